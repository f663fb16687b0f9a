"""Gunasekar et al. 2018: implicit bias of linear convolutional networks."""

from overt.studies.gunasekar2018.study import study

__all__ = ["study"]
