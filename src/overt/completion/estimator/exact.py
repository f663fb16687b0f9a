"""The exact low-rank model of a completion problem: whether one is worth looking for, and the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overt.completion.estimator.confirmation import Exact, confirmed, generic
from overt.completion.estimator.selected import Incumbent
from overt.completion.estimator.solvers import SolverOptions, solve
from overt.completion.hopping import hop
from overt.completion.irls import irls
from overt.completion.irls.solver import sparse
from overt.completion.problem import is_exact, largest_rank
from overt.completion.result import Completion, degrees_of_freedom
from overt.problems import CompletionProblem

__all__ = ["Exact", "exact_fit"]

_BLOCK, _BLOCK_STEPS = 64, 20  # lines of the densest block, by which large data are judged first, and steps
_DECISIVE = 0.8  # a block that leaves fewer ranks than this share of all open decides
_GENERIC_RANK = 8  # values of few kinds are not exactly of a higher rank
_LARGE, _LARGE_SHARE = 3e7, 0.3  # entries times rank beyond which this share is decisive
_RUNS, _SPARSE_RUNS = 2, 8  # runs of the exact solver on dense data, and on sparse data
_MEDIUM = 20_000  # cells above which dense data get one run
_SETTLED = 1.5  # entries over the degrees of freedom of the next rank from which a gap counts as settled …
_SMALL = 5  # … above this limit rank, where it stayed; below, where a plateau of noise follows:
_GAP, _FLAT = 5.0, 3.0  # … the gap is at least this factor, and the ranks left open differ by less than that
_WARM_UP, _STEADY, _SLOW = 10, 8, 0.6  # … for some of so many steps, in which ε kept more than this share


def exact_fit(
    problem: CompletionProblem,
    options: SolverOptions,
    tell: Incumbent,
    *,
    heldout: float = 0.1,
    effort: str = "normal",
) -> tuple[Exact | None, str]:
    """The exact model of a problem with comparable lines, none of them empty.

    Large data are judged by their densest block first: where that is not exactly of low rank, neither is the
    whole. The exact solver then runs until its smoothing stalls, or its spectrum has settled on fewer
    directions than the data could determine. On sparse data, where runs end in spurious minima, others
    follow. Values of few kinds, which a high rank meets by chance, are asked for a low one. ``effort="high"``
    adds basin hopping.

    Returns
    -------
    exact : Exact or None
    remark : str
        What to say of the data where there is none; may be empty.
    """
    if options.noise_std or degrees_of_freedom(problem.shape, 1) >= problem.n_observed:
        return None, ""
    name = options.solver
    if name == "auto":
        if _plainly_noisy(problem, options):
            return None, ""
        name, found = "irls", _search(problem, options, tell)
    elif name == "irls" or (name == "explicit" and options.depth == 1):
        asked = replace(options, noise_std=0.0)
        found = solve(problem, asked, lambda found: tell.offer(found, name))
    else:
        return None, ""
    exact = _exact(problem, found, name, heldout, options, tell)
    limit = min(largest_rank(problem.shape, problem.n_observed), options.max_rank or problem.n_observed)
    if exact is None and effort == "high" and options.solver in ("auto", "irls"):
        hopped = hop(problem, found, limit, tolerance=_tolerance(options), seed=options.seed)
        exact = _exact(problem, hopped, "irls", heldout, options, tell)
    if exact is not None:
        return exact, ""
    if sparse(problem.shape, limit) and found.message != _HOPELESS:
        more = "" if effort == "high" else ", or effort='high' may find it"
        return None, (
            f"the positions leave room for a matrix of rank {limit}, but no exact one was found: the data "
            f"are noisy{more}"
        )
    return None, ""


_HOPELESS = "the spectrum has settled above the noise"


def _exact(
    problem: CompletionProblem,
    found: Completion,
    name: str,
    heldout: float,
    options: SolverOptions,
    tell: Incumbent,
) -> Exact | None:
    exact = confirmed(problem, found, name, heldout=heldout, seed=options.seed, rounding=options.rounding)
    if exact is not None:
        tell(exact.selected)
    return exact


def _tolerance(options: SolverOptions) -> float | None:
    """Relative residual that counts as exact: the precision of single-precision input, or the default."""
    return options.rounding if options.rounding > 1e-8 else None


@dataclass
class _Watch:
    """Ends the exact solver where its spectrum has settled above the noise."""

    problem: Any
    limit: int
    tell: Callable[[Completion], None] | None = None
    ranks: list[int] = field(default_factory=list)
    settled: bool = False

    def __call__(self, found: Completion) -> bool:
        """Take an iterate, cut where its spectrum falls most; True to end."""
        if self.tell is not None:
            self.tell(found)
        self.ranks.append(found.rank)
        eps = [row["eps"] for row in found.history[-_STEADY:]]
        steady = len(self.ranks) > _WARM_UP and len({*self.ranks[-_STEADY:]}) == 1
        freedom = degrees_of_freedom(found.shape, found.rank + 1)
        spare = len(self.problem.y) >= _SETTLED * freedom
        clear = self.limit > _SMALL or _plateau(found.history[-1]["sigma"][: self.limit], found.rank)
        self.settled = steady and spare and clear and eps[-1] > _SLOW * eps[0]
        return self.settled


def _plateau(s: list[float], rank: int) -> bool:
    """Whether singular values fall steeply behind a rank and are nearly equal from there on, two at least."""
    tail = s[rank:]
    return len(tail) > 1 and s[rank - 1] >= _GAP * tail[0] and tail[0] <= _FLAT * tail[-1]


def _search(problem: CompletionProblem, options: SolverOptions, tell: Incumbent) -> Completion:
    """The exact solver, until it has found a matrix or there is none to find."""
    limit = min(largest_rank(problem.shape, problem.n_observed), options.max_rank or problem.n_observed)
    if not generic(problem):
        limit = min(limit, max(2, min(problem.shape) // 3))
    scarce = sparse(problem.shape, limit)
    cells = problem.shape[0] * problem.shape[1]
    watch = _Watch(problem, limit, lambda found: tell.offer(found, "irls"))
    found = irls(
        problem,
        rank_proxy=options.rank_proxy,
        max_rank=limit,
        max_iter=options.max_iter or 60,
        tolerance=_tolerance(options),
        attempts=_SPARSE_RUNS if scarce else _RUNS if cells <= _MEDIUM else 1,
        seed=options.seed,
        callback=watch,
    )
    return replace(found, message=_HOPELESS) if watch.settled and not found.converged else found


def _plainly_noisy(problem: CompletionProblem, options: SolverOptions) -> bool:
    """Whether the densest block of large data shows that they are not exactly of low rank.

    It does where it leaves nearly as few ranks open as all data, or where its own spectrum settles.
    """
    m, n = problem.shape
    size = max(_BLOCK, _BLOCK * _BLOCK // min(m, n))
    if m <= size and n <= size:
        return False
    block = densest_block(problem, min(m, size), min(n, size))
    k, limit = len(block.y), largest_rank(problem.shape, problem.n_observed)
    excluded = largest_rank(block.shape, k)
    if sparse(block.shape, excluded) or not bool(block.y.any()):
        return False  # too few entries to exclude anything
    watch = _Watch(block, excluded)
    found = irls(block, max_iter=_BLOCK_STEPS, tolerance=_tolerance(options), attempts=1, callback=watch)
    if is_exact(block, found, options.rounding):
        return False
    large = problem.n_observed * limit > _LARGE
    decisive = excluded >= (_LARGE_SHARE if large else _DECISIVE) * limit
    return decisive or watch.settled or (excluded >= _GENERIC_RANK and not generic(problem))


def densest_block(problem: CompletionProblem, m: int, n: int) -> Any:
    """The problem of about the ``m`` rows and ``n`` columns that hold most entries together."""
    rows, cols = problem.rows, problem.cols
    chosen_cols = _fullest(cols, problem.shape[1], n)
    for _ in range(2):
        chosen_rows = _fullest(rows[chosen_cols[cols] >= 0], problem.shape[0], m)
        chosen_cols = _fullest(cols[chosen_rows[rows] >= 0], problem.shape[1], n)
    held = (chosen_rows[rows] >= 0) & (chosen_cols[cols] >= 0)
    return SimpleNamespace(
        rows=chosen_rows[rows[held]],
        cols=chosen_cols[cols[held]],
        y=problem.y[held],
        shape=(m, n),
        n_observed=int(held.sum()),
    )


def _fullest(lines: Tensor, count: int, kept: int) -> Tensor:
    """New numbers of the ``kept`` lines that occur most, −1 for the others."""
    top = torch.bincount(lines, minlength=count).topk(kept).indices
    numbers = torch.full((count,), -1, dtype=torch.long, device=lines.device)
    numbers[top] = torch.arange(kept, device=lines.device)
    return numbers
