"""Woodworth et al. 2020: kernel and rich regimes, and explicit penalties in their place."""

from overt.studies.woodworth2020.study import study

__all__ = ["study"]
