"""Razin & Cohen 2020: implicit regularization that norms do not explain."""

from overt.studies.razin2020.study import study

__all__ = ["study"]
