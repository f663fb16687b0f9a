"""Draws of hyperparameters: means and precisions of coordinates, and the spread of noise levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Array = NDArray[Any]
_STRENGTH = 2.0  # lines that the prior mean of coordinates counts for
_SHAPES = (0.2, 300.0)  # of the distribution of noise levels
_LEVELS = (0.05, 20.0)  # bounds of one noise level


def normal_wishart(X: Array, random: np.random.Generator, centred_too: Array) -> tuple[Array, Array]:
    """Mean (d,) and precision (d, d) of Gaussian rows X (n, d), drawn from their posterior.

    ``centred_too`` (f, d) are further rows of the same precision whose mean is known to be zero.

    The prior is Normal–Wishart with mean 0, scale I and d degrees of freedom (Salakhutdinov & Mnih 2008,
    equation 14).
    """
    X = X.astype(np.float64)
    n, d = X.shape
    mean = X.mean(0)
    centred = X - mean
    scatter = np.eye(d) + centred.T @ centred + n * _STRENGTH / (n + _STRENGTH) * np.outer(mean, mean)
    scatter += centred_too.T @ centred_too
    degrees = d + n + centred_too.shape[0]
    factor = np.linalg.inv(np.linalg.cholesky(scatter)).T  # of the inverse scatter
    bartlett = np.tril(random.standard_normal((d, d)), -1)
    bartlett[np.diag_indices(d)] = np.sqrt(random.chisquare(degrees - np.arange(d)))
    root = factor @ bartlett
    precision = root @ root.T
    jitter = np.linalg.solve(root.T, random.standard_normal(d)) / math.sqrt(_STRENGTH + n)
    return n * mean / (n + _STRENGTH) + jitter, precision


def half_cauchy_precision(
    count: float,
    square: Array | float,
    before: Array | float,
    random: np.random.Generator,
    scale_square: float = 1.0,
) -> tuple[Any, Any]:
    """Precisions of normal numbers whose standard deviation is half-Cauchy a priori, and their rates.

    ``count`` numbers each have the sums of squares ``square``; ``before`` are the precisions λ of the last
    sweep. With a scale of square t², ``λ | a ~ Γ(½, a t²)`` and the rates a are exponential given λ (Gelman
    2006; Makalic & Schmidt 2016, equation 4).
    """
    rate = random.exponential(1 / (1 + np.asarray(before) * scale_square))
    drawn = random.gamma(0.5 * count + 0.5, size=np.shape(square) or None)
    return drawn / (0.5 * np.asarray(square) + rate * scale_square), rate


def gamma_levels(
    shape: float,
    sizes: Array,
    misfit: Array,
    precision: float,
    random: np.random.Generator,
) -> Array:
    """Noise levels γ of lines with ``sizes`` entries and weighted square ``misfit``: γ ~ Γ(a, a) a priori."""
    levels = random.gamma(shape + 0.5 * sizes) / (shape + 0.5 * precision * misfit)
    return np.clip(levels, *_LEVELS)


def gamma_shape(levels: Array) -> float:
    """Maximum-likelihood shape a of Γ(a, a): ``log a − ψ(a) = mean γ − 1 − mean log γ``."""
    return shape_of_gap(float(levels.mean() - 1 - np.log(levels).mean()))


def shape_of_gap(gap: float) -> float:
    """The shape a with ``log a − ψ(a) = gap``, within bounds."""
    low, high = _SHAPES
    for _ in range(40):
        middle = math.sqrt(low * high)
        if math.log(middle) - digamma(middle) > gap:
            low = middle
        else:
            high = middle
    return middle
