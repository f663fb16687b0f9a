"""Zhao (2022), Combining Explicit and Implicit Regularization for Efficient Learning in Deep Networks."""

from overt.studies.zhao2022.study import Zhao2022, study

__all__ = ["Zhao2022", "study"]
