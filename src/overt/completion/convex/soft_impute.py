"""SoftImpute: the regularized nuclear norm, at one weight or along a warm-started path of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_callable, check_integer, check_number, check_seed, optional
from overt.completion.convex.proximal_steps import ProximalSteps, proximal_steps
from overt.completion.convex.shrinkage import dual_value_on_ray
from overt.completion.problem import ZERO_MESSAGE, check_problem
from overt.completion.result import Completion, HistoryRow, Triplet, entries_at

_FEWEST = 10  # held-out entries below which their error says too little about the weight
_PATIENCE = 3  # weights without a better held-out error before the path ends
_PATH_TOLERANCE = 1e-3  # duality gap asked for on the way; the chosen weight is solved to `tolerance`


def weight_max(problem: Any) -> float:
    """Smallest weight at which the completion is zero: ``‖P*(y)‖₂``.

    Parameters
    ----------
    problem : CompletionProblem

    Returns
    -------
    float
        Mazumder, Hastie & Tibshirani 2010, §3: the path starts here.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import CompletionProblem
    >>> problem = CompletionProblem.from_dense(torch.tensor([[3.0, torch.nan], [torch.nan, 4.0]]))
    >>> round(weight_max(problem), 6)
    4.0
    """
    check_problem(problem, entries=True)
    return proximal_steps(problem.rows, problem.cols, problem.shape, problem.y).norm(problem.y)


def soft_impute(
    problem: Any,
    *,
    weight: float | None = None,
    heldout: float = 0.1,
    n_weights: int = 20,
    smallest: float = 1e-3,
    max_rank: int | None = None,
    max_iter: int = 500,
    tolerance: float = 1e-5,
    seed: int = 0,
    callback: Callable[[Completion], None] | None = None,
) -> Completion:
    r"""Complete a matrix by iterated singular value shrinkage.

    .. math:: \min_X \tfrac12 \lVert P_Ω(X) - y \rVert^2 + λ \lVert X \rVert_*

    Parameters
    ----------
    problem : CompletionProblem
        Observed positions ``rows``, ``cols``, values ``y`` and the shape (m, n).
    weight : float, optional
        λ. By default it is chosen from a geometric path below :func:`weight_max` by the error on a held-out
        share of the observations, and then used, as a share of ``weight_max``, on all of them.
    heldout : float
        Share of the observations held out for that choice, in (0, 1); at least 10 entries where that is no
        more than a quarter. Where fewer than 10 of them share a row and a column with others nothing can be
        chosen: ``smallest`` is used, and ``message`` says so.
    n_weights, smallest : int, float
        Length of the path and its last weight as a share of ``weight_max``. The path ends early once
        three weights in a row bring no better held-out error.
    max_rank : int, optional
        Bound on the number of singular values kept, for memory; the problem is then no longer convex.
    max_iter : int
        Largest number of iterations for each weight.
    tolerance : float
        Relative duality gap at which a weight counts as solved.
    seed : int
        Chooses the held-out observations and the random directions of the block iteration.
    callback : callable, optional
        Receives the current :class:`Completion` a few times per weight.

    Returns
    -------
    Completion
        ``history`` has one row per weight of the path with ``weight``, ``iterations``, ``gap``, ``rank`` and
        ``heldout_rmse``; the last row is the final solve (``heldout_rmse`` of the chosen weight, or
        ``nan`` where nothing was held out).

    Raises
    ------
    TypeError
        If ``problem`` is not a completion problem, or an option is of the wrong kind.
    ValueError
        If an option is out of range or ``y`` is not finite.

    Notes
    -----
    Mazumder, Hastie & Tibshirani 2010, Algorithm 1, with Nesterov extrapolation and restarts
    (O'Donoghue & Candès 2015). Up to 500 rows or columns the matrix is formed; above that, the shrinkage runs
    on "sparse plus low rank" by a warm-started block iteration and never forms it.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import CompletionProblem
    >>> problem = CompletionProblem.from_dense(torch.diag(torch.tensor([3.0, 0.5])))
    >>> soft_impute(problem, weight=1.0).singular_values
    tensor([2.])
    """
    check_problem(problem, entries=True)
    weight = optional(check_number, weight, "weight", above=0)
    heldout = check_number(heldout, "heldout", above=0, below=1)
    n_weights = check_integer(n_weights, "n_weights", least=1)
    smallest = check_number(smallest, "smallest", above=0, below=1)
    max_rank = optional(check_integer, max_rank, "max_rank", least=1)
    max_iter = check_integer(max_iter, "max_iter", least=1)
    tolerance = check_number(tolerance, "tolerance", above=0)
    seed = check_seed(seed)
    optional(check_callable, callback, "callback")
    started = time.perf_counter()
    scale = float(problem.y.abs().max()) if problem.y.numel() else 0.0
    if scale == 0:
        return Completion.zero(problem.y, problem.shape, residual=0.0, message=ZERO_MESSAGE)
    search = _Search(problem, scale, max_rank, max_iter, seed, callback, started)
    steps = search.steps(problem.rows, problem.cols, search.y)
    largest = steps.norm(search.y)
    chosen = _Chosen(math.nan)
    if weight is None:
        chosen = search.choose([smallest ** ((i + 1) / n_weights) for i in range(n_weights)], heldout)
    absolute = chosen.ratio * largest if weight is None else weight / scale
    solved = search.solve(steps, search.y, absolute, chosen.solved, tolerance)
    search.record(solved, chosen.error)
    good = solved.gap <= tolerance
    message = f"relative duality gap {solved.gap:.1e} at weight {absolute * scale:.3g}"
    if weight is None and math.isnan(chosen.error):
        message += ", the smallest of the path: held-out entries are too few to choose it"
    if not good:
        message += f" exceeds tolerance {tolerance:.1e} after {max_iter} iterations; raise max_iter"
    if steps.capped:
        message += f"; max_rank={max_rank} was reached, so the gap bounds the convex problem only"
    return search.completion(solved, good, message)


@dataclass(frozen=True)
class _Solved:
    """A solution at one weight, in scaled units."""

    point: Triplet
    weight: float
    n_iter: int
    gap: float
    residual: float


@dataclass(frozen=True)
class _Chosen:
    """The best weight of a path, as a share of the smallest one that gives zero, and what it achieved.

    ``error`` is NaN where held-out entries were too few to choose it.
    """

    ratio: float
    error: float = math.nan
    solved: _Solved | None = None


@dataclass
class _Search:
    """SoftImpute on a problem's observations over ``scale``; the history is in the units of the data."""

    problem: Any
    scale: float
    max_rank: int | None
    max_iter: int
    seed: int
    callback: Callable[[Completion], None] | None
    started: float
    y: Tensor = field(init=False)
    history: list[HistoryRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.y = self.problem.y.detach() / self.scale

    def steps(self, rows: Tensor, cols: Tensor, y: Tensor) -> ProximalSteps:
        """The proximal steps on some of the entries."""
        return proximal_steps(rows, cols, self.problem.shape, y, max_rank=self.max_rank, seed=self.seed)

    def record(self, solved: _Solved, error: float) -> None:
        """Note a weight that is solved, and its held-out error."""
        row = {"weight": solved.weight * self.scale, "iterations": solved.n_iter, "gap": solved.gap}
        row |= {"rank": int(solved.point[1].numel()), "residual": solved.residual, "heldout_rmse": error}
        self.history.append(row)

    def completion(self, solved: _Solved, converged: bool, message: str) -> Completion:
        """A solution in the units of the data, with the history so far."""
        (U, s, Vt), history, residual = solved.point, list(self.history), solved.residual
        total, seconds = sum(row["iterations"] for row in history), time.perf_counter() - self.started
        return Completion(U, s * self.scale, Vt, converged, total, residual, seconds, history, message)

    def choose(self, ratios: Sequence[float], heldout: float) -> _Chosen:
        """Walk the weights down on a part of the entries and keep the one that predicts the others best.

        ``ratios`` are falling weights as shares of the smallest one whose solution is zero.
        """
        rows, cols, y, k = self.problem.rows, self.problem.cols, self.y, self.y.numel()
        n_out = max(0, min(max(round(heldout * k), min(_FEWEST, k // 4)), k - 1))
        order = torch.randperm(k, generator=torch.Generator().manual_seed(self.seed)).to(y.device)
        out, kept = order[:n_out], order[n_out:]
        predictable = torch.isin(rows[out], rows[kept]) & torch.isin(cols[out], cols[kept])
        chosen = _Chosen(ratios[-1])
        if int(predictable.sum()) < _FEWEST:
            return chosen
        steps = self.steps(rows[kept], cols[kept], y[kept])
        largest = steps.norm(y[kept])
        if largest == 0:
            return chosen
        solved, best, since = None, math.inf, 0
        for ratio in ratios:
            solved = self.solve(steps, y[kept], ratio * largest, solved, _PATH_TOLERANCE)
            U, s, Vt = solved.point
            predicted = entries_at(U * s, Vt.mT, rows[out], cols[out])
            error = float((predicted - y[out]).square().mean().sqrt())
            self.record(solved, error * self.scale)
            since += 1
            if error < best:
                chosen, best, since = _Chosen(ratio, error * self.scale, solved), error, 0
            if since >= _PATIENCE:
                break
        return chosen

    def solve(
        self, steps: ProximalSteps, y: Tensor, weight: float, warm: _Solved | None, tolerance: float
    ) -> _Solved:
        """Accelerated proximal gradient with restarts at one weight, to a relative duality gap."""
        current = Completion.zero(y, steps.shape).triplet if warm is None else warm.point
        values = steps.observe(current)
        previous, previous_values, momentum = current, values, 1.0
        size, objective = float(y @ y), math.inf
        for k in range(1, self.max_iter + 1):
            following = 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
            beta = (momentum - 1) / following
            extrapolated = values + beta * (values - previous_values)
            point = steps.shrink(y - extrapolated, ((1 + beta, current), (-beta, previous)), weight)
            previous, previous_values = current, values
            current, values = point, steps.observe(point)
            misfit = y - values
            square = float(misfit @ misfit)
            now = 0.5 * square + weight * float(current[1].sum())
            momentum = 1.0 if now > objective else following
            objective = now
            if k % 5 and k != self.max_iter:
                continue
            below = dual_value_on_ray(y, misfit, weight, steps.norm(misfit))
            gap = abs(now - below) / max(0.5 * size, 1e-300)
            solved = _Solved(current, weight, k, gap, math.sqrt(square / size))
            if self.callback is not None:
                self.callback(self.completion(solved, False, "running"))
            if gap <= tolerance:
                break
        return solved
