"""Optimizers under an explicit penalty: which recover the matrix, and what in their steps does it."""

from overt.studies.adam.study import study

__all__ = ["study"]
