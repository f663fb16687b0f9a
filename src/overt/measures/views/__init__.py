"""Spectra of weights, products, convolutions and activations, and of Jacobians point by point."""

from overt.measures.views.activations import activation_spectra
from overt.measures.views.convolution import convolution_spectrum
from overt.measures.views.local_rank import LocalRanks, local_ranks
from overt.measures.views.weights import product_spectra, weight_spectra

__all__ = [
    "LocalRanks",
    "activation_spectra",
    "convolution_spectrum",
    "local_ranks",
    "product_spectra",
    "weight_spectra",
]
