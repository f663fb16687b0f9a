"""Exact refit for dense measurement maps: Levenberg–Marquardt on balanced factors."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from overt.completion.refit.normal import balanced
from overt.completion.result import Completion


def _jacobian(A: Tensor, U: Tensor, V: Tensor) -> Tensor:
    """Jacobian of ``⟨A_i, U Vᵀ⟩`` in (U, V), shape (k, r(m+n))."""
    k = A.shape[0]
    left = (A @ V).reshape(k, -1)
    right = (A.mT @ U).reshape(k, -1)
    return torch.cat([left, right], dim=1)


def _damped_step(J: Tensor, misfit: Tensor, U: Tensor, V: Tensor, damping: float, ridge: float) -> Tensor:
    """Solve the damped normal equations on whichever side is smaller."""
    k, p = J.shape
    shift = damping + ridge
    theta = torch.cat([U.reshape(-1), V.reshape(-1)])
    right = J.mT @ misfit + ridge * theta
    if k < p and not ridge:
        gram = J @ J.mT
        gram.diagonal().add_(shift + 4 * torch.finfo(J.dtype).eps * float(gram.diagonal().mean()))
        return -J.mT @ _solve(gram, misfit)
    gram = J.mT @ J
    gram.diagonal().add_(shift + 4 * torch.finfo(J.dtype).eps * float(gram.diagonal().mean()))
    return -_solve(gram, right)


def _solve(gram: Tensor, right: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(gram)
    if bool(info):
        solution: Tensor = torch.linalg.lstsq(gram, right[:, None]).solution[:, 0]
        return solution
    return torch.cholesky_solve(right[:, None], factor)[:, 0]


def refit_sensing(
    problem: Any,
    U: Tensor,
    s: Tensor,
    Vt: Tensor,
    tolerance: float,
    max_iter: int,
    ridge: float,
    patience: int,
    began: float,
) -> Completion:
    """:func:`overt.completion.refit` for ``y_i = ⟨A_i, X⟩`` with dense ``A_i``."""
    m, n = U.shape[0], Vt.shape[1]
    y, r = problem.y.detach(), s.shape[0]
    A = problem.A.detach().reshape(-1, m, n)
    scale = float(y.norm()) or 1.0

    def evaluate(U: Tensor, V: Tensor) -> tuple[Tensor, float]:
        misfit = A.reshape(len(y), -1) @ (U @ V.mT).reshape(-1) - y
        return misfit, float(misfit.square().sum()) + ridge * float(U.square().sum() + V.square().sum())

    U, V = U * s.sqrt(), Vt.mT * s.sqrt()
    misfit, value = evaluate(U, V)
    history: list[dict[str, float]] = []
    damping, n_iter = 1e-3, 0
    for n_iter in range(max_iter + 1):
        relative = float(misfit.norm()) / scale
        history.append({"step": n_iter, "residual": relative})
        stalled = len(history) > patience and relative > 0.98 * history[-1 - patience]["residual"]
        if relative <= tolerance or stalled or n_iter == max_iter:
            break
        J = _jacobian(A, U, V)
        unit = float(J.square().sum()) / J.shape[1]
        accepted = False
        for _ in range(8):
            step = _damped_step(J, misfit, U, V, damping * unit * min(1.0, relative), ridge)
            trial = U + step[: m * r].view(m, r), V + step[m * r :].view(n, r)
            trial_misfit, trial_value = evaluate(*trial)
            if math.isfinite(trial_value) and trial_value < value:
                accepted = True
                break
            damping *= 8.0
        if not accepted:
            break
        damping = max(damping / 5.0, 1e-10)
        misfit, value = trial_misfit, trial_value
        U, V = _balance(*trial)
    relative = float(misfit.norm()) / scale
    exact = relative <= tolerance
    message = (
        f"the residual reached {relative:.1e}"
        if exact
        else f"the misfit stalled at {relative:.1e} of ‖y‖: the data is not exactly of rank {r}, "
        "or the start lies outside the basin of the solution; try another rank or start"
    )
    U, s, Vt = balanced(U, V)
    converged = exact or (ridge > 0 and n_iter < max_iter)
    seconds = time.perf_counter() - began
    return Completion(U, s, Vt, converged, n_iter, relative, seconds, history, message)


def _balance(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product with equal, diagonal Grams, ordered by singular value."""
    U, s, Vt = balanced(U, V)
    return U * s.sqrt(), Vt.mT * s.sqrt()
