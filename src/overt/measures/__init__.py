"""Spectra of M = E[JᵀJ], a model's sensitivity, and of its weights, layers and activations.

`measuring.py` has `measure`, `spectrum.py` and `pointwise.py` its results, `methods/` its algorithms;
`data.py` and `comparison.py` measure the data beside it. Sub-rooms: `views/` (weights, layers, activations),
`compression/` (fewer numbers, nearly the same outputs), `inference/` (the penalty that a solution
seems to minimize) and `tracking/` (spectra while a model trains).
"""

from overt.measures.comparison import Comparison, compare
from overt.measures.compression import (
    CompressionReport,
    EffectiveParameters,
    LayerParameters,
    compress,
    effective_parameters,
)
from overt.measures.data import data_spectrum
from overt.measures.inference import InferredPenalty, Stationarity, infer_penalty
from overt.measures.measuring import measure
from overt.measures.pointwise import PointwiseSpectrum
from overt.measures.spectrum import Spectrum
from overt.measures.tracking import SpectrumTracker
from overt.measures.views import (
    activation_spectra,
    convolution_spectrum,
    product_spectra,
    weight_spectra,
)

__all__ = [
    "Comparison",
    "CompressionReport",
    "EffectiveParameters",
    "InferredPenalty",
    "LayerParameters",
    "PointwiseSpectrum",
    "Spectrum",
    "SpectrumTracker",
    "Stationarity",
    "activation_spectra",
    "compare",
    "compress",
    "convolution_spectrum",
    "data_spectrum",
    "effective_parameters",
    "infer_penalty",
    "measure",
    "product_spectra",
    "weight_spectra",
]
