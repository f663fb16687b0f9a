"""Deep models of one linear map: products of matrices, powers of vectors, chains of convolutions."""

from __future__ import annotations

from overt.models.convolution import DeepCircularConvolution
from overt.models.cp import CPTensor
from overt.models.diagonal import DeepDiagonal
from overt.models.linear import DeepLinear

__all__ = ["CPTensor", "DeepCircularConvolution", "DeepDiagonal", "DeepLinear"]
