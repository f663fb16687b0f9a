"""SoftImpute: the regularized nuclear norm along a warm-started path of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from overt.completion.convex.checks import check_completion_problem, check_options
from overt.completion.convex.proximal_steps import proximal_steps
from overt.completion.convex.weights import Solved, judged_path, solve_weight, weight_path
from overt.completion.result import Completion, HistoryRow

_FEWEST = 10  # held-out entries below which their error says too little about the weight


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
    check_completion_problem(problem)
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
        If ``problem`` is not a completion problem.
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
    check_completion_problem(problem)
    check_options(weight, heldout, n_weights, smallest, max_rank, max_iter, tolerance)
    started = time.perf_counter()
    scale = float(problem.y.abs().max()) if problem.y.numel() else 0.0
    if scale == 0:
        return _wrap(Solved.zero(problem), started, 1.0, [], True, "every observation is zero")
    y = problem.y.detach() / scale
    history: list[HistoryRow] = []

    def report(solved: Solved, rows: list[HistoryRow] = history) -> None:
        if callback is not None:
            callback(_wrap(solved, started, scale, rows, False, "running"))

    steps = proximal_steps(problem.rows, problem.cols, problem.shape, y, max_rank=max_rank, seed=seed)
    largest = steps.norm(y)
    chosen = math.nan
    warm: Solved | None = None
    if weight is None:
        ratio, chosen, warm = _choose(
            problem,
            y,
            weight_path(n_weights, smallest),
            heldout,
            max_rank,
            max_iter,
            seed,
            history,
            scale,
            report,
        )
        absolute = ratio * largest
    else:
        absolute = weight / scale
    solved = solve_weight(steps, y, absolute, warm, max_iter, tolerance, report)
    history.append(solved.row(scale) | {"heldout_rmse": chosen})
    good = solved.gap <= tolerance
    message = f"relative duality gap {solved.gap:.1e} at weight {absolute * scale:.3g}"
    if weight is None and math.isnan(chosen):
        message += ", the smallest of the path: held-out entries are too few to choose it"
    if not good:
        message += f" exceeds tolerance {tolerance:.1e} after {max_iter} iterations; raise max_iter"
    if steps.capped:
        message += f"; max_rank={max_rank} was reached, so the gap bounds the convex problem only"
    return _wrap(solved, started, scale, history, good, message)


def _wrap(
    solved: Solved, started: float, scale: float, history: list[HistoryRow], converged: bool, message: str
) -> Completion:
    U, s, Vt = solved.point
    total = sum(row["iterations"] for row in history)
    seconds = time.perf_counter() - started
    return Completion(U, s * scale, Vt, converged, total, solved.residual, seconds, list(history), message)


def _choose(
    problem: Any,
    y: Tensor,
    ratios: list[float],
    heldout: float,
    max_rank: int | None,
    max_iter: int,
    seed: int,
    history: list[HistoryRow],
    scale: float,
    report: Callable[[Solved, list[HistoryRow]], None],
) -> tuple[float, float, Solved | None]:
    """Best share of ``weight_max``, its held-out RMSE, and a solution nearby to start from."""
    k = y.numel()
    n_out = min(max(round(heldout * k), min(_FEWEST, k // 4)), k - 1)
    if n_out < 1:
        return ratios[-1], math.nan, None
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed)).to(y.device)
    out, kept = order[:n_out], order[n_out:]
    rows, cols = problem.rows, problem.cols
    predictable = torch.isin(rows[out], rows[kept]) & torch.isin(cols[out], cols[kept])
    if int(predictable.sum()) < _FEWEST:
        return ratios[-1], math.nan, None
    walked: list[HistoryRow] = []

    def rescaled(rows: list[HistoryRow]) -> list[HistoryRow]:
        return [row | {name: row[name] * scale for name in ("weight", "heldout_rmse")} for row in rows]

    chosen = judged_path(
        (rows[kept], cols[kept], y[kept]),
        (rows[out], cols[out], y[out]),
        problem.shape,
        ratios,
        max_rank=max_rank,
        max_iter=max_iter,
        seed=seed,
        report=lambda solved, rows: report(solved, rescaled(rows)),
        history=walked,
    )
    history += rescaled(walked)
    return chosen.ratio, chosen.error * scale, chosen.solved
