"""Kernel ridge regression with closed-form leave-one-out errors.

The prediction for a row that is left out differs from its target by a_i / [(K + rI)⁻¹]_ii, a = (K + rI)⁻¹ y
(Rasmussen & Williams 2006, equations 5.10–5.12). One eigendecomposition of K serves all ridges r.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.features.kernels import KernelName, kernel_values, similarities, typical
from overt.linalg.cholesky import cholesky, cholesky_solve
from overt.linalg.decompositions import eigh

__all__ = ["Choice", "choose", "leave_one_out", "ridge_factor", "solve"]

_RANGE = (-3, 4)  # exponents of 2: bandwidths in units of the median distance
_STEPS = 2  # ridges for each power of ten
_GAIN = 0.995  # a bandwidth is left for one whose error is lower by this factor


@dataclass(frozen=True)
class Choice:
    """A bandwidth in units of the median distance, a ridge, and their mean squared leave-one-out error."""

    bandwidth: float
    ridge: float
    error: float


def ridges(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The ridges that are compared: from what the precision allows up to 10, beside kernel values of at most 1."""
    low = -9 if dtype == torch.float64 else -5
    exponents = torch.arange(low * _STEPS, _STEPS + 1, dtype=torch.float64) / _STEPS
    return (10.0**exponents).to(device, dtype)


def leave_one_out(K: Tensor, Y: Tensor, ridge: Tensor) -> Tensor:
    """Mean squared leave-one-out errors, one for each ridge, from one eigendecomposition of K.

    Parameters
    ----------
    K : Tensor, shape (n, n)
    Y : Tensor, shape (n, k)
    ridge : Tensor, shape (q,)

    Returns
    -------
    Tensor, shape (q,)
    """
    values, vectors = eigh(K)
    inverse = 1 / (values.clamp_min(0)[:, None] + ridge)  # (n, q)
    leverage = vectors.square() @ inverse
    turned = vectors.mT @ Y
    total = torch.zeros_like(ridge)
    for column in turned.unbind(1):
        total += ((vectors @ (inverse * column[:, None])) / leverage).square().mean(0)
    return total


def choose(U: Tensor, Y: Tensor, kernel: KernelName, start: float | None) -> Choice:
    """Bandwidth and ridge of the least leave-one-out error, by a local search over bandwidths.

    Parameters
    ----------
    U : Tensor, shape (n, r)
        Inputs, already multiplied.
    Y : Tensor, shape (n, k)
    start : float, optional
        The bandwidth in units of the median distance to start from; 1 by default.
    """
    similar, Y = similarities(U, U, kernel), Y - Y.mean(0)
    unit, candidates = typical(similar, kernel), ridges(U.dtype, U.device)
    tried: dict[float, Choice] = {}

    def attempt(bandwidth: float) -> Choice:
        if bandwidth not in tried:
            errors = leave_one_out(kernel_values(similar, kernel, bandwidth * unit), Y, candidates)
            best = int(errors.nan_to_num(nan=torch.inf).argmin())
            tried[bandwidth] = Choice(bandwidth, float(candidates[best]), float(errors[best]))
        return tried[bandwidth]

    best = attempt(1.0 if start is None else start)
    if kernel == "linear":  # a bandwidth is a factor of the ridge
        return best
    for factor in (2.0, 0.5):
        moved = False
        while 2.0 ** _RANGE[0] <= best.bandwidth * factor <= 2.0 ** _RANGE[1]:
            other = attempt(best.bandwidth * factor)
            if not other.error < _GAIN * best.error:
                break
            best, moved = other, True
        if moved:
            break
    return best


def ridge_factor(K: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Cholesky factor of K + rI, and the r that it took: ten times larger until K + rI is positive definite."""
    while True:
        shifted = K.clone()
        shifted.diagonal().add_(ridge)
        L = cholesky(shifted)
        if L is not None:
            return L, ridge
        ridge *= 10


def solve(K: Tensor, Y: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Coefficients (K + rI)⁻¹ Y, shape (n, k), and the ridge that was taken."""
    L, ridge = ridge_factor(K, ridge)
    return cholesky_solve(L, Y), ridge
