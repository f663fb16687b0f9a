"""Exact refit on the found rank: variable-projection Gauss–Newton to machine precision.

With the rank r known, ``min_{U, V} ‖P(U Vᵀ) − y‖²`` is a separable nonlinear least-squares problem: for
fixed V the best U is linear. Eliminating U and taking damped Gauss–Newton steps in V alone (variable
projection; Ruhe & Wedin 1980, algorithm 2; for low-rank matrices Okatani & Deguchi 2007, Hong & Fitzgibbon
2015) has a far wider basin of attraction than joint Gauss–Newton steps, and converges quadratically when the
data is exactly of rank r. Dense measurements take Levenberg–Marquardt steps on balanced factors instead.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_number, message, optional
from overt.completion.problem import check_problem
from overt.completion.refit.damped import Fit, Limits, Point
from overt.completion.refit.normal import ReducedSolver, balanced, solve_rows, variable_projection_step
from overt.completion.result import Completion, Triplet
from overt.completion.tangent import Entries, entries_of
from overt.linalg import orthonormal_basis
from overt.linalg.decompositions import least_squares


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
    shape = check_problem(problem)
    tolerance = optional(check_number, tolerance, "tolerance", least=0)
    point = _cut(_triplet(start, singular_values, Vt, shape), rank, shape)
    limits = Limits(
        100 * torch.finfo(point[1].dtype).eps if tolerance is None else tolerance,
        check_integer(max_iter, "max_iter", least=0),
        check_number(ridge, "ridge", least=0),
        check_integer(patience, "patience", least=1),
    )
    if hasattr(problem, "A"):
        y = problem.y.detach()
        found = refit_measurements(problem.A.detach().reshape(-1, *shape), y, point, limits)
    else:
        found = refit_entries(*entries_of(problem), point, limits)
    return replace(found, seconds=time.perf_counter() - began)


def _triplet(start: Any, s: Tensor | None, Vt: Tensor | None, shape: tuple[int, int]) -> Triplet:
    """Whatever start was given as singular triplets of the right shape."""
    if s is None and Vt is None:
        found = Completion.from_dense(start) if isinstance(start, Tensor) and start.ndim == 2 else start
        if not isinstance(found, Completion):
            expected = (
                "a Completion, a matrix of the problem's shape, or the left singular vectors together with "
                "singular_values and Vt"
            )
            raise TypeError(message("start", expected, start))
        point = found.triplet
    elif not isinstance(start, Tensor):
        raise TypeError(message("start", "the left singular vectors where Vt is given", start))
    elif s is None or Vt is None:
        raise ValueError("singular_values and Vt must come together, got one; give all of U, s and Vt")
    else:
        point = start, s, Vt
    given = point[0].shape[0], point[2].shape[1]
    if given != shape:
        raise ValueError(f"start must have the shape {shape} of the problem, got {given}")
    return point


def _cut(point: Triplet, rank: int | None, shape: tuple[int, int]) -> Triplet:
    """The leading ``rank`` triplets, padded by random directions where there are fewer."""
    U, s, Vt = point
    rank = check_integer(len(s) if rank is None else rank, "rank", least=1, most=min(shape))
    U, s, Vt = U[:, :rank].detach(), s[:rank].detach(), Vt[:rank].detach()
    missing = rank - len(s)
    if missing:
        generator = torch.Generator().manual_seed(0)
        more = torch.randn(sum(shape), missing, generator=generator, dtype=torch.float64).to(s)
        U = orthonormal_basis(torch.cat([U, more[: shape[0]]], 1))
        Vt = orthonormal_basis(torch.cat([Vt.mT, more[shape[0] :]], 1)).mT
        small = 1e-3 * (s[-1:] if s.numel() else s.new_ones(1))
        s = torch.cat([s, small.expand(missing)])
    return U, s, Vt


def refit_entries(entries: Entries, y: Tensor, start: Triplet, limits: Limits) -> Completion:
    """:func:`refit` on prepared entries (``y`` in row order), for solvers that refit often."""
    _, s, Vt = start
    fit = _EntriesFit(entries, y, limits.ridge)
    at = fit.point(_awake(Vt.mT * s.sqrt() if limits.ridge else Vt.mT.contiguous()))
    return fit.descend(at, float(y.norm()) or 1.0, limits)


class _EntriesFit(Fit):
    """``‖P(U Vᵀ) − y‖² + ridge (‖U‖² + ‖V‖²)`` in V alone: U is always the best one."""

    damping = 1.0

    def __init__(self, entries: Entries, y: Tensor, ridge: float) -> None:
        self.entries, self.y, self.ridge = entries, y, ridge
        self._solver = ReducedSolver()

    def point(self, V: Tensor) -> Point:
        """The best U for V."""
        entries, y, ridge = self.entries, self.y, self.ridge
        U = solve_rows(entries, y, V, ridge)
        misfit = entries.predict(U, V) - y
        if not ridge:  # one step of iterative refinement wins back what the normal equations lose
            better = U - solve_rows(entries, misfit, V, ridge)
            again = entries.predict(better, V) - y
            if float(again.norm()) < float(misfit.norm()):
                U, misfit = better, again
        value = float(misfit.square().sum()) + ridge * float(U.square().sum() + V.square().sum())
        return Point(U, V, misfit, value)

    def trial(self, at: Point, damping: float) -> tuple[Point, float]:
        step, promised = variable_projection_step(
            self.entries, at.U, at.V, at.misfit, damping, self.ridge, self._solver
        )
        V = at.V + step
        if self.ridge:  # balanced against U, since the ridge ties their scales
            _, s, Vt = balanced(at.U, V)
            return self.point(Vt.mT * s.sqrt()), promised
        return self.point(orthonormal_basis(V)), promised

    def relaxed(self, damping: float, ratio: float) -> float:
        if ratio > 0.5:
            return max(damping / 5.0, 1e-8)
        return damping * (1.0 if ratio > 0.1 else 3.0)


def _awake(V: Tensor) -> Tensor:
    """Give rows of V that are exactly idle a random direction: they would stay at that saddle forever."""
    size = V.norm(dim=1)
    idle = size <= 1e-8 * size.mean()
    if not bool(idle.any()):
        return V
    noise = torch.randn(V.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(V)
    awake: Tensor = V + noise * (idle * size.mean() / noise.norm(dim=1))[:, None]
    return awake


def refit_measurements(A: Tensor, y: Tensor, start: Triplet, limits: Limits) -> Completion:
    """:func:`overt.completion.refit` for ``y_i = ⟨A_i, X⟩`` with dense A (k, m, n)."""
    U, s, Vt = start
    fit = _MeasurementFit(A, y, limits.ridge)
    at = fit.point(U * s.sqrt(), Vt.mT * s.sqrt())
    return fit.descend(at, float(y.norm()) or 1.0, limits)


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
        return least_squares(gram, right)
    return torch.cholesky_solve(right[:, None], factor)[:, 0]
