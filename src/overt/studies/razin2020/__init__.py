"""Razin & Cohen 2020: implicit regularization that norms do not explain."""

from overt.studies.razin2020.study import Razin2020, study

__all__ = ["Razin2020", "study"]
