"""What a model is sensitive to: M = E[JᵀJ] of its Jacobians, in a basis."""

from overt.measures.comparison import Comparison, compare
from overt.measures.data_spectrum import data_spectrum
from overt.measures.measure import measure
from overt.measures.spectrum import Spectrum

__all__ = ["Comparison", "Spectrum", "compare", "data_spectrum", "measure"]
