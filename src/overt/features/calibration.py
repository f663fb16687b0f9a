"""Probabilities from scores: softmax(a s + b), fitted on out-of-fold scores.

One slope and a bias for each class: temperature scaling with bias correction (Alexandari, Kundaje &
Shrikumar 2020), which for two classes is Platt's (1999) sigmoid. Targets are smoothed as Platt smooths his,
so that perfect scores do not make a infinite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

__all__ = ["Calibration", "calibrate"]

_RIDGE = 1e-3


@dataclass(frozen=True)
class Calibration:
    """The map from scores (n, classes) to probabilities."""

    slope: float
    biases: NDArray[np.float64]

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities, shape (n, classes)."""
        found: NDArray[np.float64] = softmax(self.slope * scores + self.biases, axis=1)
        return found


def calibrate(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """The calibration of the highest likelihood.

    Parameters
    ----------
    scores : ndarray, shape (n, classes)
        Of rows that the model has not seen.
    labels : ndarray of int, shape (n,)
        The class of each row.
    """
    n, classes = scores.shape
    counts = np.bincount(labels, minlength=classes)
    smoothed = np.full((n, classes), 1.0 / (n + classes))
    smoothed += np.eye(classes)[labels] * (counts[labels] / (counts[labels] + 1.0))[:, None]
    smoothed /= smoothed.sum(1, keepdims=True)
    size = max(float(np.sqrt(np.mean(np.square(scores)))), 1e-12)
    unit = scores / size

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, biases = np.exp(parameters[0]), parameters[1:]
        logits = slope * unit + biases
        off = (softmax(logits, axis=1) - smoothed) / n
        value = -float(np.sum(smoothed * log_softmax(logits, axis=1))) / n
        value += 0.5 * _RIDGE / n * float(np.sum(np.square(biases)))
        return value, np.append(slope * np.sum(off * unit), off.sum(0) + _RIDGE / n * biases)

    found = minimize(loss, np.append(np.log(3.0), np.zeros(classes)), jac=True, method="L-BFGS-B").x
    return Calibration(float(np.exp(found[0])) / size, found[1:])
