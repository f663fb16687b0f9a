"""What gradient descent does to the measure M = E[JᵀJ]: collapse, dynamics on images, Fourier alignment."""

from overt.studies.measure.study import study

__all__ = ["study"]
