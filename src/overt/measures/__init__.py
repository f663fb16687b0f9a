"""Spectra of M = E[JᵀJ], what a model is sensitive to, and of its weights, layers and activations."""

from overt.measures.comparison import Comparison, compare
from overt.measures.compression.compressing import compress
from overt.measures.compression.parameters import EffectiveParameters, LayerParameters, effective_parameters
from overt.measures.compression.report import CompressionReport
from overt.measures.data_spectrum import data_spectrum
from overt.measures.inference.inverse import InferredPenalty, Stationarity, infer_penalty
from overt.measures.measuring import measure
from overt.measures.spectrum import Spectrum
from overt.measures.tracking.tracker import SpectrumTracker
from overt.measures.views.activations import activation_spectra
from overt.measures.views.convolution import convolution_spectrum
from overt.measures.views.local_rank import LocalRanks, local_ranks
from overt.measures.views.noise_stability import LayerStability, NoiseStability, noise_stability
from overt.measures.views.variation import Nonlinearity, nonlinearity
from overt.measures.views.weights import product_spectra, weight_spectra

__all__ = [
    "Comparison",
    "CompressionReport",
    "EffectiveParameters",
    "InferredPenalty",
    "LayerParameters",
    "LayerStability",
    "LocalRanks",
    "NoiseStability",
    "Nonlinearity",
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
    "local_ranks",
    "measure",
    "noise_stability",
    "nonlinearity",
    "product_spectra",
    "weight_spectra",
]
