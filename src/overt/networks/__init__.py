"""Reading any torch network without leaving a trace in it: weights as they act, passes, Jacobians."""

from overt.networks.weights import Weight, weights_of

__all__ = ["Weight", "weights_of"]
