"""Steps apart from the loss: a penalty's, beside those of any optimizer."""

from overt.optim.spectral_decay import SpectralDecay

__all__ = ["SpectralDecay"]
