"""Spectra of M = E[JᵀJ], what a model is sensitive to, and of its weights, layers and activations."""

from overt.measures.activations import activation_spectra
from overt.measures.comparison import Comparison, compare
from overt.measures.compressing import compress
from overt.measures.compression_report import CompressionReport
from overt.measures.convolution import convolution_spectrum
from overt.measures.data_spectrum import data_spectrum
from overt.measures.inverse import InferredPenalty, Stationarity, infer_penalty
from overt.measures.local_rank import LocalRanks, local_ranks
from overt.measures.measuring import measure
from overt.measures.noise_stability import LayerStability, NoiseStability, noise_stability
from overt.measures.parameters import EffectiveParameters, LayerParameters, effective_parameters
from overt.measures.spectrum import Spectrum
from overt.measures.tracker import SpectrumTracker
from overt.measures.variation import Nonlinearity, nonlinearity
from overt.measures.views import product_spectra, weight_spectra

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
