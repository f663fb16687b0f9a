"""Explicit penalties: modules that add a functional of a model's matrices to any training loop."""

from overt.penalties.base import Penalty
from overt.penalties.end_to_end import product_of
from overt.penalties.spectral import SpectralPenalty
from overt.penalties.vector import VectorPenalty

__all__ = ["Penalty", "SpectralPenalty", "VectorPenalty", "product_of"]
