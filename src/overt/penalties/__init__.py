"""Explicit penalties: modules that add a functional of a model's matrices to any training loop."""

from overt.networks.adapters import adapters_of
from overt.networks.end_to_end import product_of
from overt.networks.truncation import truncate_adapters
from overt.penalties.base import Penalty
from overt.penalties.composition import CompositionPenalty
from overt.penalties.jacobian import JacobianPenalty
from overt.penalties.reports import (
    CompositionReport,
    JacobianReport,
    LayerReport,
    ParameterReport,
    SpectralReport,
)
from overt.penalties.spectral import SpectralPenalty
from overt.penalties.vector import VectorPenalty

__all__ = [
    "CompositionPenalty",
    "CompositionReport",
    "JacobianPenalty",
    "JacobianReport",
    "LayerReport",
    "ParameterReport",
    "Penalty",
    "SpectralPenalty",
    "SpectralReport",
    "VectorPenalty",
    "adapters_of",
    "product_of",
    "truncate_adapters",
]
