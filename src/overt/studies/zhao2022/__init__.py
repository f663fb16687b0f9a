"""Zhao (2022), Combining Explicit and Implicit Regularization for Efficient Learning in Deep Networks."""

from overt.studies.zhao2022.study import study

__all__ = ["study"]
