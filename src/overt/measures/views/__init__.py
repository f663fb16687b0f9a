"""Spectra of weights, products, convolutions and activations."""

from overt.measures.views.activations import activation_spectra
from overt.measures.views.convolution import convolution_spectrum
from overt.measures.views.weights import product_spectra, weight_spectra

__all__ = [
    "activation_spectra",
    "convolution_spectrum",
    "product_spectra",
    "weight_spectra",
]
