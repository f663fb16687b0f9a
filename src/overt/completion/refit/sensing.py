"""Exact refit for dense measurement maps: Levenberg–Marquardt on balanced factors."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from overt.completion.refit.damped import Fit, Limits, Point
from overt.completion.refit.normal import balanced
from overt.completion.result import Completion, Triplet


def refit_measurements(
    A: Tensor, y: Tensor, start: Triplet, limits: Limits, began: float | None = None
) -> Completion:
    """:func:`overt.completion.refit` for ``y_i = ⟨A_i, X⟩`` with dense A (k, m, n)."""
    began = time.perf_counter() if began is None else began
    U, s, Vt = start
    fit = _MeasurementFit(A, y, limits.ridge)
    at = fit.point(U * s.sqrt(), Vt.mT * s.sqrt())
    return fit.descend(at, float(y.norm()) or 1.0, limits, began)


class _MeasurementFit(Fit):
    """``‖A(U Vᵀ) − y‖² + ridge (‖U‖² + ‖V‖²)`` in both factors at once."""

    damping = 1e-3

    def __init__(self, A: Tensor, y: Tensor, ridge: float) -> None:
        self.A, self.y, self.ridge = A, y, ridge
        self._linearized: tuple[Point, Tensor, float] | None = None

    def point(self, U: Tensor, V: Tensor) -> Point:
        misfit = self.A.reshape(len(self.y), -1) @ (U @ V.mT).reshape(-1) - self.y
        value = float(misfit.square().sum()) + self.ridge * float(U.square().sum() + V.square().sum())
        return Point(U, V, misfit, value)

    def trial(self, at: Point, damping: float) -> tuple[Point, float]:
        if self._linearized is None or self._linearized[0] is not at:
            J = jacobian(self.A, at.U, at.V)
            self._linearized = at, J, float(J.square().sum()) / J.shape[1]
        _, J, unit = self._linearized
        step = _damped_step(J, at, damping * unit, self.ridge)
        split = at.U.numel()
        U, V = at.U + step[:split].view_as(at.U), at.V + step[split:].view_as(at.V)
        found = self.point(U, V)
        if not found.value < at.value:
            return found, 0.0
        U, s, Vt = balanced(U, V)  # the same product, with equal and diagonal Grams
        return Point(U * s.sqrt(), Vt.mT * s.sqrt(), found.misfit, found.value), 0.0

    def relaxed(self, damping: float, ratio: float) -> float:  # noqa: ARG002
        return max(damping / 5.0, 1e-10)


def jacobian(A: Tensor, U: Tensor, V: Tensor) -> Tensor:
    """Jacobian of ``⟨A_i, U Vᵀ⟩`` in (U, V), shape (k, r(m+n))."""
    return torch.cat([(A @ V).flatten(1), (A.mT @ U).flatten(1)], dim=1)


def _damped_step(J: Tensor, at: Point, damping: float, ridge: float) -> Tensor:
    """Solve the damped normal equations on whichever side is smaller."""
    k, p = J.shape
    turned = k < p and not ridge
    gram = J @ J.mT if turned else J.mT @ J
    gram.diagonal().add_(damping + ridge + 4 * torch.finfo(J.dtype).eps * float(gram.diagonal().mean()))
    if turned:
        return -J.mT @ _solve(gram, at.misfit)
    theta = torch.cat([at.U.reshape(-1), at.V.reshape(-1)])
    return -_solve(gram, J.mT @ at.misfit + ridge * theta)


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(gram)
    if bool(info):
        solution: Tensor = torch.linalg.lstsq(gram, right[:, None]).solution[:, 0]
        return solution
    return torch.cholesky_solve(right[:, None], factor)[:, 0]
