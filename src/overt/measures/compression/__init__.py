"""Models of fewer numbers and nearly the same outputs, and how few a model needs."""

from overt.measures.compression.compressing import compress
from overt.measures.compression.parameters import EffectiveParameters, LayerParameters, effective_parameters
from overt.measures.compression.report import CompressionReport

__all__ = [
    "CompressionReport",
    "EffectiveParameters",
    "LayerParameters",
    "compress",
    "effective_parameters",
]
