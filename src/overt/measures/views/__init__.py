"""Spectra of what a model holds: weights, products, convolutions, activations, Jacobians point by point."""
