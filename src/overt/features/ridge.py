"""Kernel ridge regression with closed-form leave-one-out errors.

The prediction for a row that is left out differs from its target by a_i / [(K + rI)⁻¹]_ii, a = (K + rI)⁻¹ y
(Rasmussen & Williams 2006, equation 5.12). One eigendecomposition of K serves all ridges r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overt.features.kernels import KernelName, kernel_values, similarities, typical
from overt.linalg.cholesky import cholesky, cholesky_solve
from overt.linalg.decompositions import eigh

__all__ = ["Choice", "Screened", "Trial", "choose", "ridge_factor", "solve"]

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
    """The ridges that are compared: from what the precision allows up to 1, the kernel's largest value."""
    low = -9 if dtype == torch.float64 else -5
    exponents = torch.arange(low * _STEPS, 1, dtype=torch.float64) / _STEPS
    return (10.0**exponents).to(device, dtype)


class Screened:
    """Kernel ridge regression for all ridges at once, by one eigendecomposition of the kernel matrix.

    Parameters
    ----------
    K : Tensor, shape (n, n)
    Y : Tensor, shape (n, k)
        Centred.
    ridge : Tensor, shape (q,)
    """

    def __init__(self, K: Tensor, Y: Tensor, ridge: Tensor) -> None:
        values, self._vectors = eigh(K)
        self._inverse = 1 / (values.clamp_min(0)[:, None] + ridge)  # (n, q)
        self._turned = self._vectors.mT @ Y

    def leave_one_out(self) -> Tensor:
        """Mean squared leave-one-out errors, summed over outputs, one for each ridge."""
        leverage = self._vectors.square() @ self._inverse
        columns = self._turned.unbind(1)
        parts = [
            ((self._vectors @ (self._inverse * c[:, None])) / leverage).square().mean(0) for c in columns
        ]
        return torch.stack(parts).sum(0)

    def errors(self, K: Tensor, Y: Tensor) -> Tensor:
        """Mean squared errors on other rows with kernel values K (m, n) and targets Y (m, k)."""
        pulled, columns = K @ self._vectors, zip(self._turned.unbind(1), Y.unbind(1), strict=True)
        parts = [(pulled @ (self._inverse * c[:, None]) - y[:, None]).square().mean(0) for c, y in columns]
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Trial:
    """Multiplied inputs and targets of some rows, and of others by which settings are judged, if any."""

    U: Tensor
    Y: Tensor
    others: Tensor | None = None
    targets: Tensor | None = None


def choose(trials: Sequence[Trial], kernel: KernelName, start: float = 1.0) -> Choice:
    """Bandwidth and ridge of the least error over all trials, by a local search over bandwidths.

    A trial is judged by its other rows, or by leave-one-out where it has none. The search starts from
    ``start``, in units of the median distance.
    """
    prepared = [_Prepared(trial, kernel) for trial in trials]
    candidates = ridges(trials[0].U.dtype, trials[0].U.device)
    tried: dict[float, Choice] = {}

    def attempt(bandwidth: float) -> Choice:
        if bandwidth not in tried:
            errors = torch.stack([one.errors(bandwidth, candidates) for one in prepared]).mean(0)
            best = int(errors.nan_to_num(nan=torch.inf).argmin())
            tried[bandwidth] = Choice(bandwidth, float(candidates[best]), float(errors[best]))
        return tried[bandwidth]

    best = attempt(start)
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


class _Prepared:
    """A trial with its similarities, which all bandwidths share."""

    def __init__(self, trial: Trial, kernel: KernelName) -> None:
        self.kernel = kernel
        self.offset = trial.Y.mean(0)
        self.Y, self.targets = trial.Y - self.offset, trial.targets
        self.similar = similarities(trial.U, trial.U, kernel)
        self.unit = typical(self.similar, kernel)
        self.others = None if trial.others is None else similarities(trial.others, trial.U, kernel)

    def errors(self, bandwidth: float, ridge: Tensor) -> Tensor:
        scale = bandwidth * self.unit
        screened = Screened(kernel_values(self.similar, self.kernel, scale), self.Y, ridge)
        if self.others is None or self.targets is None:
            return screened.leave_one_out()
        return screened.errors(kernel_values(self.others, self.kernel, scale), self.targets - self.offset)


def ridge_factor(K: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Cholesky factor of K + rI, and r, ten times larger until K + rI is positive definite."""
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
