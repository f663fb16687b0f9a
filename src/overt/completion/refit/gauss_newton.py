"""Exact refit on the found rank: variable-projection Gauss–Newton to machine precision.

With the rank r known, ``min_{U, V} ‖P(U Vᵀ) − y‖²`` is a separable nonlinear least-squares problem: for
fixed V the best U is linear. Eliminating U and taking damped Gauss–Newton steps in V alone (variable
projection; Ruhe & Wedin 1980, algorithm 2; for low-rank matrices Okatani & Deguchi 2007, Hong & Fitzgibbon
2015) has a far wider basin of attraction than joint Gauss–Newton steps, and converges quadratically when the
data is exactly of rank r.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from overt.completion.measurements import check_matrix_problem
from overt.completion.refit.normal import ReducedSolver, balanced, solve_rows, variable_projection_step
from overt.completion.refit.sensing import refit_sensing
from overt.completion.result import Completion
from overt.completion.tangent.entries import Entries, entries_of
from overt.linalg import orthonormal_basis

__all__ = ["balanced", "refit", "refit_entries"]

_STALL = 0.98  # a fit that keeps more than this share of its misfit over `patience` steps has stalled


def _start(
    start: Any, s: Tensor | None, Vt: Tensor | None, rank: int | None, shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Leading ``rank`` triplets of the start, padded by random directions where it has fewer."""
    if s is None and Vt is None:
        found = Completion.from_dense(start) if isinstance(start, Tensor) and start.ndim == 2 else start
        if not isinstance(found, Completion):
            raise TypeError(
                "start must be a Completion, a matrix of the problem's shape, or the left singular vectors "
                f"together with singular_values and Vt; got {type(start).__name__}"
            )
        U, s, Vt = found.U, found.singular_values, found.Vt
    elif not isinstance(start, Tensor):
        raise TypeError(
            f"start must be the left singular vectors where they are given; got {type(start).__name__}"
        )
    else:
        U = start
    if s is None or Vt is None:
        raise ValueError("give refit either a Completion or all of U, singular_values and Vt")
    if U.shape[0] != shape[0] or Vt.shape[1] != shape[1]:
        raise ValueError(f"start has shape {(U.shape[0], Vt.shape[1])}; the problem's is {shape}")
    rank = int(s.shape[0]) if rank is None else rank
    if not 1 <= rank <= min(shape):
        raise ValueError(f"rank must lie in 1…{min(shape)} for shape {shape}; got {rank}")
    U, s, Vt = U[:, :rank].detach(), s[:rank].detach(), Vt[:rank].detach()
    missing = rank - s.shape[0]
    if missing:
        generator = torch.Generator().manual_seed(0)
        more = torch.randn(shape[0] + shape[1], missing, generator=generator, dtype=torch.float64).to(s)
        U, Vt = torch.cat([U, more[: shape[0]]], 1), torch.cat([Vt, more[shape[0] :].mT], 0)
        U, Vt = orthonormal_basis(U), orthonormal_basis(Vt.mT).mT
        small = 1e-3 * (s[-1:] if s.numel() else s.new_ones(1))
        s = torch.cat([s, small.expand(missing)])
    return U, s, Vt


def refit(
    problem: Any,
    start: Completion | Tensor,
    singular_values: Tensor | None = None,
    Vt: Tensor | None = None,
    *,
    rank: int | None = None,
    tolerance: float | None = None,
    max_iter: int = 60,
    ridge: float = 0.0,
    patience: int = 6,
) -> Completion:
    """Fit the observations with a matrix of exactly the given rank, starting from a nearby one.

    Minimizes ``‖P(U Vᵀ) − y‖² + ridge · (‖U‖_F² + ‖V‖_F²)``. On exact data and from a start in the basin of
    the truth the residual falls to machine precision in a few steps; where the rank is wrong the misfit
    stalls and the routine gives up after ``patience`` steps.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
        Anything with ``y`` (k,), ``shape`` and either ``rows``/``cols`` or ``A`` (k, m·n).
    start : Completion or Tensor, shape (m, n) or (m, ≥ rank)
        A completion, a matrix, or left singular vectors (then ``singular_values`` and ``Vt`` are needed too).
    singular_values : Tensor, shape (≥ rank,), optional
    Vt : Tensor, shape (≥ rank, n), optional
    rank : int, optional
        Rank to fit; the start's own by default, which for a matrix is its numerical rank.
    tolerance : float, optional
        Relative residual ``‖P(X) − y‖/‖y‖`` below which the fit is exact; ``100 eps`` by default
        (2e-14 in double precision).
    max_iter : int
        Gauss–Newton steps at most.
    ridge : float
        Weight of the squared Frobenius norms of the factors, in the units of ``y``.
    patience : int
        Steps without progress (misfit kept above 98 %) before giving up.

    Returns
    -------
    Completion
        ``converged`` says whether the residual reached ``tolerance`` (or, with a ridge, whether the fit
        became stationary); ``message`` says what happened otherwise.

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem, or ``start`` is no start.
    ValueError
        If the rank, the shape of the start or an option is impossible.

    References
    ----------
    A. Ruhe, P.-Å. Wedin (1980), *Algorithms for separable nonlinear least squares problems*, SIAM Review 22;
    J. H. Hong, A. Fitzgibbon (2015), *Secrets of matrix factorization*, ICCV;
    P. Zilber, B. Nadler (2022), *GNMR: a provable one-line algorithm for low rank matrix recovery*.

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> from overt.completion.refit import refit
    >>> W = torch.outer(torch.arange(1.0, 5.0), torch.tensor([1.0, -1.0, 2.0])).double()
    >>> rows, cols = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([0, 1, 1, 2, 0, 2, 0, 1])
    >>> problem = SimpleNamespace(rows=rows, cols=cols, y=W[rows, cols], shape=(4, 3))
    >>> U, s, Vt = torch.linalg.svd(W + 0.3 * torch.eye(4, 3).double(), full_matrices=False)
    >>> fit = refit(problem, U, s, Vt, rank=1)
    >>> fit.converged, bool((fit.W - W).norm() < 1e-12)
    (True, True)
    """
    began = time.perf_counter()
    if max_iter < 0 or patience < 1 or not ridge >= 0:
        raise ValueError(f"need max_iter ≥ 0, patience ≥ 1, ridge ≥ 0; got {max_iter}, {patience}, {ridge}")
    check_matrix_problem(problem)
    shape = (int(problem.shape[0]), int(problem.shape[1]))
    U, s, Vt = _start(start, singular_values, Vt, rank, shape)
    tolerance = 100 * torch.finfo(s.dtype).eps if tolerance is None else tolerance
    if hasattr(problem, "A"):
        return refit_sensing(problem, U, s, Vt, tolerance, max_iter, ridge, patience, began)
    entries, y = entries_of(problem)
    return refit_entries(entries, y, U, s, Vt, tolerance, max_iter, ridge, patience, began)


def refit_entries(
    entries: Entries,
    y: Tensor,
    U: Tensor,
    s: Tensor,
    Vt: Tensor,
    tolerance: float,
    max_iter: int = 60,
    ridge: float = 0.0,
    patience: int = 6,
    began: float | None = None,
) -> Completion:
    """:func:`refit` on prepared entries (``y`` in row order), for solvers that refit often."""
    began = time.perf_counter() if began is None else began
    scale = float(y.norm()) or 1.0
    root = s.sqrt()
    V = _awake(Vt.mT * root if ridge else Vt.mT.contiguous())
    solver = ReducedSolver()
    U, misfit, value = _best_rows(entries, y, V, ridge)
    damping, history, message, n_iter = 1.0, [], "", 0
    for n_iter in range(max_iter + 1):
        relative = float(misfit.norm()) / scale
        history.append({"step": n_iter, "residual": relative})
        if relative <= tolerance:
            message = f"the residual reached {relative:.1e}"
            break
        if _stalled(history, patience) or n_iter == max_iter:
            break
        accepted = False
        for _ in range(8):
            step, predicted = variable_projection_step(
                entries, U, V, misfit, damping * min(1.0, relative), ridge, solver
            )
            trial_V = _renew(U, V + step, ridge)
            trial_U, trial_misfit, trial = _best_rows(entries, y, trial_V, ridge)
            ratio = (value - trial) / max(predicted, 1e-300)
            if math.isfinite(trial) and trial < value:
                accepted = True
                break
            damping *= 8.0
        if not accepted:
            break
        damping = max(damping / 5.0, 1e-8) if ratio > 0.5 else damping * (1.0 if ratio > 0.1 else 3.0)
        U, V, misfit, value = trial_U, trial_V, trial_misfit, trial
    relative = float(misfit.norm()) / scale
    converged = relative <= tolerance
    if not converged:
        message = (
            f"the misfit stalled at {relative:.1e} of ‖y‖: the data is not exactly of rank {s.shape[0]}, "
            "or the start lies outside the basin of the solution; try another rank or start"
        )
        converged = ridge > 0 and n_iter < max_iter
    U, s, Vt = balanced(U, V)
    seconds = time.perf_counter() - began
    return Completion(U, s, Vt, converged, n_iter, relative, seconds, history, message)


def _awake(V: Tensor) -> Tensor:
    """Give rows of V that are exactly idle a random direction: they would stay at that saddle forever."""
    size = V.norm(dim=1)
    idle = size <= 1e-8 * size.mean()
    if not bool(idle.any()):
        return V
    noise = torch.randn(V.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(V)
    awake: Tensor = V + noise * (idle * size.mean() / noise.norm(dim=1))[:, None]
    return awake


def _stalled(history: list[dict[str, float]], patience: int) -> bool:
    if len(history) <= patience:
        return False
    return history[-1]["residual"] > _STALL * history[-1 - patience]["residual"]


def _renew(U: Tensor, V: Tensor, ridge: float) -> Tensor:
    """Keep V well conditioned: orthonormal, or balanced against U where the ridge ties their scales."""
    if not ridge:
        return orthonormal_basis(V)
    _, s, Vt = balanced(U, V)
    return Vt.mT * s.sqrt()


def _best_rows(entries: Entries, y: Tensor, V: Tensor, ridge: float) -> tuple[Tensor, Tensor, float]:
    """The best U for V, the misfit ``P(U Vᵀ) − y`` and the objective."""
    U = solve_rows(entries, y, V, ridge)
    misfit = entries.predict(U, V) - y
    if not ridge:  # one step of iterative refinement wins back what the normal equations lose
        better = U - solve_rows(entries, misfit, V, ridge)
        again = entries.predict(better, V) - y
        if float(again.norm()) < float(misfit.norm()):
            U, misfit = better, again
    value = float(misfit.square().sum()) + ridge * float(U.square().sum() + V.square().sum())
    return U, misfit, value
