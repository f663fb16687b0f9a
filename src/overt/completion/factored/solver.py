"""Ridge-regularized factors of growing rank with a pivotal weight: for noisy data, matrix-free at any size.

Fits ``min ‖P(U Vᵀ) − y‖² + ρ (‖U‖_F² + ‖V‖_F²)``, the factored form of the nuclear norm (Srebro, Rennie &
Jaakkola 2005), at rank 1, 2, 3, …, each from the one before plus the leading directions of what is left, and
keeps the rank with the smallest error on held-out entries. The weight needs no tuning: it is a multiple of
the current held-out error times ``√(k/m) + √(k/n)``, the size of the spectral norm of noise on Ω, so that it
follows the noise down to nothing on exact data (as in the square-root lasso, Belloni, Chernozhukov & Wang
2011).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from overt.completion.convex.checks import check_completion_problem
from overt.completion.convex.proximal_steps import BlockSteps, Triplet
from overt.completion.factored.path import (
    MULTIPLES,
    FactoredPoint,
    factored_path,
    finish,
    split_observations,
)
from overt.completion.result import Completion, HistoryRow
from overt.completion.tangent.entries import Entries


def factored(
    problem: Any,
    *,
    rank: int | None = None,
    ridge: float | None = None,
    heldout: float = 0.1,
    multiples: Sequence[float] = MULTIPLES,
    max_rank: int | None = None,
    max_iter: int = 60,
    seed: int = 0,
    callback: Callable[[Completion], None] | None = None,
) -> Completion:
    """Complete by ridge-regularized factors whose rank and weight are chosen on held-out entries.

    Parameters
    ----------
    problem : CompletionProblem
    rank, ridge : int, float, optional
        Give both to skip the choice.
    heldout : float
        Share of the observations held out for it.
    multiples : sequence of float
        Weights to try, in units of the spectral norm of noise as large as the held-out error.
    max_rank : int, optional
        By default the largest rank with fewer degrees of freedom than observations.
    max_iter : int
        Gauss–Newton steps of the last fit, on all observations.
    seed : int
    callback : callable, optional
        Receives each improvement as a :class:`Completion`.

    Returns
    -------
    Completion
        ``history`` holds the path: ``multiple``, ``ridge``, ``rank`` and ``heldout_rmse`` of each point.

    Raises
    ------
    TypeError
        If ``problem`` is not a completion problem.
    ValueError
        If an option is out of range or ``y`` is not finite.

    Examples
    --------
    >>> from overt.completion.factored import factored
    >>> from overt.problems import matrix_completion
    >>> problem = matrix_completion((60, 50), rank=2, n_observed=1200, seed=0)
    >>> found = factored(problem)
    >>> found.rank, problem.error(found.factored) < 1e-8
    (2, True)
    """
    check_completion_problem(problem)
    if (rank is None) != (ridge is None):
        raise ValueError("give both rank and ridge, or neither")
    if not 0 < heldout < 1:
        raise ValueError(f"heldout must lie strictly between 0 and 1; got {heldout}")
    started = time.perf_counter()
    y = problem.y.detach()
    scale = float(y.abs().max())
    m, n = problem.shape
    if scale == 0:
        empty = y.new_zeros
        return Completion(
            empty(m, 0), empty(0), empty(0, n), True, 0, 0.0, message="every observation is zero"
        )
    y = y / scale
    whole = Entries(problem.rows, problem.cols, (m, n), y.dtype)
    start, history = _start(
        problem, y, scale, rank, ridge, heldout, multiples, max_rank, seed, started, callback
    )
    found = finish(whole, whole.sort(y), start, max_iter)
    seconds = time.perf_counter() - started
    return replace(found.scaled(scale), history=history, seconds=seconds)


def _start(
    problem: Any,
    y: Tensor,
    scale: float,
    rank: int | None,
    ridge: float | None,
    heldout: float,
    multiples: Sequence[float],
    max_rank: int | None,
    seed: int,
    started: float,
    callback: Callable[[Completion], None] | None,
) -> tuple[FactoredPoint, list[HistoryRow]]:
    """The point to finish on all observations: asked for, or the best of the path."""
    rows, cols = problem.rows, problem.cols
    if rank is not None and ridge is not None:
        entries = Entries(rows, cols, problem.shape, y.dtype)
        steps = BlockSteps.of(entries, y, max_rank=rank, seed=seed)
        for _ in range(3):
            point = steps.shrink_sorted(entries.sort(y), [], 0.0)
        return FactoredPoint(point, math.nan, ridge / scale, math.nan), []
    split = split_observations(y.numel(), heldout, seed)
    if split is None:
        return FactoredPoint(_top(rows, cols, problem.shape, y), math.nan, 0.0, math.nan), []
    kept, out = (index.to(y.device) for index in split)
    entries = Entries(rows[kept], cols[kept], problem.shape, y.dtype)

    def on_point(point: FactoredPoint) -> None:
        if callback is not None:
            seconds = time.perf_counter() - started
            callback(Completion(*point.point, False, 0, math.nan, seconds, message="running").scaled(scale))

    best, history = factored_path(
        entries,
        entries.sort(y[kept]),
        (rows[out], cols[out], y[out]),
        multiples=multiples,
        max_rank=max_rank,
        seed=seed,
        on_point=on_point,
    )
    for row in history:
        row["ridge"] *= scale
        row["heldout_rmse"] *= scale
    return best, history


def _top(rows: Tensor, cols: Tensor, shape: tuple[int, int], y: Tensor) -> Triplet:
    """Rank one fit of a single observation."""
    entries = Entries(rows, cols, shape, y.dtype)
    return BlockSteps.of(entries, y, max_rank=1, seed=0).shrink_sorted(entries.sort(y), [], 0.0)
