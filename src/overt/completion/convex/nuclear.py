"""Nuclear norm minimization by the alternating direction method of multipliers (ADMM).

The convex baseline. Three forms of one problem, with A the measurement map and y the measurements:

- equality: ``min ‖X‖_*  s.t.  A(X) = y`` (Candès & Recht 2009);
- ball: ``min ‖X‖_*  s.t.  ‖A(X) − y‖ ≤ δ`` (Candès & Plan 2010);
- regularized: ``min ½‖A(X) − y‖² + λ‖X‖_*``.

All three split ``X = Z``, shrink the singular values of one copy and move the other onto the data. Each has a
dual whose value is available at every iterate, so convergence is decided by the relative duality gap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_callable, check_integer, check_number, optional
from overt.completion.convex.measurements import InnerProducts, ObservedEntries
from overt.completion.convex.shrinkage import dual_value_on_ray, shrink_singular_values, spectral_norm_of
from overt.completion.problem import check_problem
from overt.completion.result import Completion, HistoryRow

_RELAXATION = 1.6  # over-relaxation in [1.5, 1.8], Boyd et al. 2011, §3.4.3


def nuclear_norm_minimization(
    problem: Any,
    *,
    noise_level: float = 0.0,
    weight: float | None = None,
    max_iter: int = 2000,
    tolerance: float = 1e-6,
    check_every: int = 10,
    callback: Callable[[Completion], None] | None = None,
) -> Completion:
    r"""Complete a matrix by the smallest nuclear norm that explains the measurements.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
        Gives the measurement map, ``y`` and the shape (m, n). The dense matrix is formed.
    noise_level : float
        Radius δ of the ball ‖A(X) − y‖₂ ≤ δ; 0 asks for equality.
    weight : float, optional
        Solves the regularized form with λ = ``weight`` instead. Zero is the only solution from
        ``weight_max(problem)`` = ‖A*(y)‖₂ on.
    max_iter : int
        Largest number of iterations; each costs one eigendecomposition of size min(m, n).
    tolerance : float
        Stops when both the relative duality gap and (for the constrained forms) the relative violation
        of the constraint are at most this.
    check_every : int
        Iterations between two looks at the gap (one more eigendecomposition each).
    callback : callable, optional
        Receives the current :class:`Completion` at every look.

    Returns
    -------
    Completion
        ``history`` rows hold ``iteration``, ``nuclear_norm``, ``residual``, ``gap``, ``rank``, ``penalty``.

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem, or an option is of the wrong kind.
    ValueError
        If an option is out of range or the measurements contradict each other.

    Notes
    -----
    The multiplier of the splitting lies in the range of A* after every data step, so scaling it to
    spectral norm one gives a dual feasible ν with value ``⟨y, ν⟩ − δ‖ν‖``. The penalty parameter of ADMM is
    balanced against the relative residuals (Wohlberg 2017, §III) during the first half of the iterations.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import matrix_completion
    >>> problem = matrix_completion((20, 20), rank=1, n_observed=200, seed=0)
    >>> found = nuclear_norm_minimization(problem)
    >>> found.converged, found.rank, problem.error(found.W) < 1e-5
    (True, 1, True)
    """
    shape = check_problem(problem)
    noise_level = check_number(noise_level, "noise_level", least=0)
    weight = optional(check_number, weight, "weight", above=0)
    if weight is not None and noise_level > 0:
        raise ValueError("give noise_level or weight, not both: they select different problems")
    max_iter = check_integer(max_iter, "max_iter", least=1)
    tolerance = check_number(tolerance, "tolerance", above=0)
    check_every = check_integer(check_every, "check_every", least=1)
    optional(check_callable, callback, "callback")
    started = time.perf_counter()
    y = problem.y.detach()
    scale = float(y.abs().max()) if y.numel() else 0.0
    if scale == 0 or float(torch.linalg.vector_norm(y / scale)) * scale <= noise_level:
        zero = Completion.zero(y, problem.shape, residual=float(scale > 0))
        seconds = time.perf_counter() - started
        return replace(zero, seconds=seconds, message="zero already satisfies the measurements")
    form = _Form(noise_level / scale, None if weight is None else weight / scale)
    if hasattr(problem, "A"):
        A: InnerProducts | ObservedEntries = InnerProducts(problem.A, shape)
    else:
        A = ObservedEntries(problem.rows, problem.cols, shape, y)
    state = _Admm(A, y / scale, form)
    history: list[HistoryRow] = []

    def wrapped(converged: bool, message: str) -> Completion:
        residual, seconds = history[-1]["residual"], time.perf_counter() - started
        return Completion(
            state.U, state.s * scale, state.Vt, converged, k, residual, seconds, list(history), message
        )

    for k in range(1, max_iter + 1):
        state.step()
        if k % check_every and k != max_iter:
            continue
        row = state.look(k)
        history.append(row | {"nuclear_norm": row["nuclear_norm"] * scale})
        if callback is not None:
            callback(wrapped(False, "running"))
        if row["gap"] <= tolerance and row["violation"] <= tolerance:
            return wrapped(True, f"relative duality gap {row['gap']:.1e}")
        if k <= max_iter // 2:
            state.balance()
    return wrapped(
        False,
        f"stopped at max_iter={max_iter} with relative duality gap {row['gap']:.1e} and constraint "
        f"violation {row['violation']:.1e}, tolerance {tolerance:.1e}; raise max_iter or tolerance",
    )


@dataclass(frozen=True)
class _Form:
    """Which of the three problems is solved."""

    radius: float
    weight: float | None

    def multiplier(self, r: Tensor, gram: Tensor, penalty: float) -> Tensor:
        """``t`` with ``Z = V − A*(t)`` the data step at V, from the rotated misfit r of V."""
        if self.weight is not None:
            return r / (penalty + gram)
        if self.radius == 0:
            return torch.where(
                gram > 0, r / gram.clamp_min(torch.finfo(gram.dtype).tiny), torch.zeros_like(r)
            )
        if float(torch.linalg.vector_norm(r)) <= self.radius:
            return torch.zeros_like(r)
        mu = _ball_multiplier(r, gram, self.radius)
        return mu * r / (1 + mu * gram)


class _Admm:
    """State of the iteration on ``min ‖X‖_* (× weight) + data(Z)  s.t.  X = Z``; scaled multiplier M."""

    def __init__(self, A: InnerProducts | ObservedEntries, y: Tensor, form: _Form) -> None:
        self.A, self.y, self.form = A, y, form
        if form.weight is None and form.radius == 0:
            null = A.rotate(y)[A.gram.expand_as(y) == 0]
            if float(torch.linalg.vector_norm(null)) > 1e-6 * float(torch.linalg.vector_norm(y)):
                raise ValueError("problem's measurements contradict each other; give noise_level or weight")
        back = A.adjoint(y)
        self.Z, self.M = back, torch.zeros_like(back)
        self.dual = torch.zeros_like(y)
        self.lift = 1.0 if form.weight is None else form.weight
        self.penalty = self.lift / max(0.1 * spectral_norm_of(back), torch.finfo(y.dtype).tiny)
        self.U, self.s, self.Vt = shrink_singular_values(back, math.inf)
        self._primal = self._change = 0.0

    def step(self) -> None:
        """Shrink, relax, move onto the data, update the multiplier."""
        self.U, self.s, self.Vt = shrink_singular_values(self.Z - self.M, self.lift / self.penalty)
        X = (self.U * self.s) @ self.Vt
        mixed = _RELAXATION * X + (1 - _RELAXATION) * self.Z
        V = mixed + self.M
        t = self.form.multiplier(self.A.rotate(self.A.apply(V) - self.y), self.A.gram, self.penalty)
        self.dual = -self.penalty * self.A.rotate_back(t)
        Z = V - self.A.adjoint(-self.dual / self.penalty)
        self.M = V - Z
        norm = torch.linalg.matrix_norm
        self._primal = float(norm(X - Z)) / max(float(norm(X)), float(norm(Z)), 1e-300)
        self._change = float(norm(Z - self.Z)) / max(float(norm(self.M)), 1e-300)
        self.Z = Z

    def balance(self) -> None:
        """Keep the relative primal and dual residuals within a factor of two of each other."""
        ratio = self._primal / max(self._change, 1e-300)
        if 0.5 <= ratio <= 2:
            return
        factor = min(max(math.sqrt(ratio), 0.2), 5.0)
        self.penalty *= factor
        self.M = self.M / factor

    def look(self, k: int) -> HistoryRow:
        """Duality gap and misfit at the shrunken copy."""
        X = (self.U * self.s) @ self.Vt
        misfit = self.A.apply(X) - self.y
        size = float(torch.linalg.vector_norm(self.y))
        error = float(torch.linalg.vector_norm(misfit))
        nuclear = float(self.s.sum())
        if self.form.weight is None:
            nu = self.dual
            steep = max(1.0, spectral_norm_of(self.A.adjoint(nu)))
            lower = (float(self.y @ nu) - self.form.radius * float(torch.linalg.vector_norm(nu))) / steep
            primal, violation = nuclear, max(error - self.form.radius, 0.0) / size
            gap = abs(primal - lower) / max(primal, 1e-300)
        else:
            primal, violation = 0.5 * error**2 + self.form.weight * nuclear, 0.0
            norm = spectral_norm_of(self.A.adjoint(misfit))
            gap = (primal - dual_value_on_ray(self.y, -misfit, self.form.weight, norm)) / (0.5 * size**2)
        return {
            "iteration": k,
            "nuclear_norm": nuclear,
            "residual": error / size,
            "violation": violation,
            "gap": gap,
            "rank": int(self.s.numel()),
            "penalty": self.penalty,
        }


def _ball_multiplier(r: Tensor, gram: Tensor, radius: float) -> float:
    """``μ`` with ``‖r / (1 + μ·gram)‖ = radius``, by Newton on the reciprocal norm (Moré & Sorensen 1983)."""
    if gram.numel() == 1:
        return (float(torch.linalg.vector_norm(r)) / radius - 1) / float(gram)
    stuck = float(torch.linalg.vector_norm(r[gram.expand_as(r) == 0]))
    if stuck >= radius:
        raise ValueError(
            f"noise_level is smaller than the contradiction between the measurements, {stuck:.3g} times the "
            "largest measurement; raise noise_level"
        )
    mu = 0.0
    for _ in range(50):
        small = r / (1 + mu * gram)
        norm = torch.linalg.vector_norm(small)
        slope = -(small**2 * gram / (1 + mu * gram)).sum() / norm
        step = float((norm / radius - 1) * norm / -slope)
        mu += step
        if abs(step) <= 1e-12 * mu:
            break
    return mu
