"""Models with fewer numbers and nearly the same outputs, and the fewest that a model needs."""

from overt.measures.compression.compressing import (
    EffectiveParameters,
    LayerParameters,
    compress,
    effective_parameters,
)
from overt.measures.compression.shrinking import CompressionReport

__all__ = [
    "CompressionReport",
    "EffectiveParameters",
    "LayerParameters",
    "compress",
    "effective_parameters",
]
