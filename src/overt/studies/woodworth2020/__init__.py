"""Woodworth et al. 2020: kernel and rich regimes, and explicit penalties in their place."""

from overt.studies.woodworth2020.study import Woodworth2020, study

__all__ = ["Woodworth2020", "study"]
