"""SoftImpute: the regularized nuclear norm along a warm-started path of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from overt._utils.checks import check_callable, check_integer, check_number, check_seed, optional
from overt.completion.convex.proximal_steps import proximal_steps
from overt.completion.convex.weights import Chosen, Solved, choose_weight, solve_weight
from overt.completion.problem import ZERO_MESSAGE, check_problem
from overt.completion.result import Completion, HistoryRow


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
    history: list[HistoryRow] = []

    def wrapped(solved: Solved, converged: bool, message: str) -> Completion:
        U, s, Vt = solved.point
        total, seconds = sum(row["iterations"] for row in history), time.perf_counter() - started
        return Completion(
            U, s * scale, Vt, converged, total, solved.residual, seconds, list(history), message
        )

    def report(solved: Solved) -> None:
        if callback is not None:
            callback(wrapped(solved, False, "running"))

    y = problem.y.detach() / scale
    steps = proximal_steps(problem.rows, problem.cols, problem.shape, y, max_rank=max_rank, seed=seed)
    largest = steps.norm(y)
    chosen = Chosen(math.nan)
    if weight is None:
        ratios = [smallest ** ((i + 1) / n_weights) for i in range(n_weights)]
        chosen = choose_weight(
            problem,
            y,
            ratios,
            heldout,
            scale=scale,
            max_rank=max_rank,
            max_iter=max_iter,
            seed=seed,
            report=report,
            history=history,
        )
    absolute = chosen.ratio * largest if weight is None else weight / scale
    solved = solve_weight(steps, y, absolute, chosen.solved, max_iter, tolerance, report)
    history.append(solved.row(scale) | {"heldout_rmse": chosen.error})
    good = solved.gap <= tolerance
    message = f"relative duality gap {solved.gap:.1e} at weight {absolute * scale:.3g}"
    if weight is None and math.isnan(chosen.error):
        message += ", the smallest of the path: held-out entries are too few to choose it"
    if not good:
        message += f" exceeds tolerance {tolerance:.1e} after {max_iter} iterations; raise max_iter"
    if steps.capped:
        message += f"; max_rank={max_rank} was reached, so the gap bounds the convex problem only"
    return wrapped(solved, good, message)
