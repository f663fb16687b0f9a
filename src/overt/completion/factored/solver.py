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

from overt._utils.checks import (
    check_callable,
    check_integer,
    check_number,
    check_numbers,
    check_seed,
    optional,
)
from overt.completion.factored.path import (
    MULTIPLES,
    FactoredPoint,
    factored_path,
    finish,
    leading,
    split_observations,
)
from overt.completion.problem import ZERO_MESSAGE, check_problem
from overt.completion.result import Completion, HistoryRow
from overt.completion.tangent import Entries


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
        If ``problem`` is not a completion problem, or an option is of the wrong kind.
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
    shape = check_problem(problem, entries=True)
    rank = optional(check_integer, rank, "rank", least=1, most=min(shape))
    ridge = optional(check_number, ridge, "ridge", least=0)
    if (rank is None) != (ridge is None):
        raise ValueError("rank and ridge must come together, got one of them; give both or neither")
    heldout = check_number(heldout, "heldout", above=0, below=1)
    multiples = check_numbers(multiples, "multiples", above=0)
    max_rank = optional(check_integer, max_rank, "max_rank", least=1)
    max_iter = check_integer(max_iter, "max_iter", least=0)
    seed = check_seed(seed)
    optional(check_callable, callback, "callback")
    started = time.perf_counter()
    y = problem.y.detach()
    scale = float(y.abs().max())
    if scale == 0:
        return Completion.zero(y, shape, residual=0.0, message=ZERO_MESSAGE)
    y = y / scale
    whole = Entries(problem.rows, problem.cols, shape, y.dtype)
    history: list[HistoryRow] = []
    split = split_observations(y.numel(), heldout, seed)
    if rank is not None and ridge is not None:
        start = FactoredPoint(leading(whole, whole.sort(y), rank, seed), math.nan, ridge / scale, math.nan)
    elif split is None:  # a single observation
        start = FactoredPoint(leading(whole, whole.sort(y), 1, 0, passes=1), math.nan, 0.0, math.nan)
    else:
        kept, out = (index.to(y.device) for index in split)
        train = Entries(problem.rows[kept], problem.cols[kept], shape, y.dtype)

        def on_point(point: FactoredPoint) -> None:
            if callback is not None:
                seconds = time.perf_counter() - started
                found = Completion(*point.point, False, seconds=seconds, message="running")
                callback(found.scaled(scale))

        start, rows = factored_path(
            train,
            train.sort(y[kept]),
            (problem.rows[out], problem.cols[out], y[out]),
            multiples=multiples,
            max_rank=max_rank,
            seed=seed,
            on_point=on_point,
        )
        history = [row | {name: row[name] * scale for name in ("ridge", "heldout_rmse")} for row in rows]
    found = finish(whole, whole.sort(y), start, max_iter)
    return replace(found.scaled(scale), history=history, seconds=time.perf_counter() - started)
