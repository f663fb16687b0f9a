"""Which model of the data to trust: exact low rank, low rank plus noise, offsets, or the column means.

If a low-rank matrix with fewer degrees of freedom than observations meets all of them to rounding, it is the
answer. Otherwise candidates are compared by their error on entries held out from
them, the column means among them, and the winner is fitted to all observations.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from overt.completion.certificate import certificate
from overt.completion.estimator.selected import (
    Incumbent,
    Selected,
    column_mean,
    column_mean_errors,
    no_offsets,
    rmse,
    subset,
)
from overt.completion.estimator.solvers import SolverOptions, solve
from overt.completion.estimator.trial import Scored, Trial
from overt.completion.factored.path import split_observations
from overt.completion.problem import is_exact, within_bounds
from overt.completion.refit import refit
from overt.completion.result import Completion, degrees_of_freedom
from overt.problems import CompletionProblem

_AGREES = 1e-3  # share of the largest observation within which an exact fit predicts held-out ones
_FEW = 3000  # observations below which two more splits decide whether the column means are beaten
# First attempt of the exact solver: (largest m·n, steps). A step costs more on a larger matrix.
_STEPS = ((20_000, 30), (150_000, 20), (20_000_000, 12), (10**12, 1))
# Further attempts: (largest m·n, attempts).
_ATTEMPTS = ((20_000, 6), (150_000, 3))
# What speaks for them, as measured on exact and on noisy data. The first attempt finds exact matrices unless
# the data is scarce; then the rank chosen on held-out entries is close to the true one, and the next rank has
# few observations for each degree of freedom:
_SCARCE = 1.5
# … or no rank explains much, by held-out error over that of the column means, and ε has not stalled either:
_UNEXPLAINED, _MOVING = 0.85, 0.955
# … or ε fell, step by step, faster than it does on noise:
_FAST = 0.86
_WARM_UP = 10  # steps before which the fall of ε says nothing


def select_model(
    problem: CompletionProblem,
    options: SolverOptions,
    *,
    offsets: str | None = "auto",
    heldout: float = 0.1,
    incumbent: Incumbent | None = None,
) -> Selected:
    """Choose and fit the model of a completion problem scaled to mean square one, without empty lines.

    ``options.solver="auto"`` tries exact recovery first, then noisy low rank. At least 30 entries are held
    out where so many can be spared. ``incumbent`` keeps the best model so far, for an interrupted search.
    """
    tell = incumbent or Incumbent(problem)
    if not bool(problem.y.any()):
        return replace(column_mean(problem, "every observation is zero"), heldout_error=0.0)
    exact, fall = _try_exact(problem, options, tell) if offsets in (None, "auto") else (None, 1.0)
    if exact is not None:
        judged = _judge_exact(problem, exact, heldout, options.seed)
        if judged is not None:
            return judged
    share = _share(problem.n_observed, heldout)
    split = split_observations(problem.n_observed, share, options.seed)
    if split is None:
        return column_mean(problem, "one observation: nothing but its mean can be said")
    trial = Trial.of(problem, split, options, tell)
    best = trial.best([offsets] if offsets != "auto" else trial.promising())
    if offsets in (None, "auto") and options.solver == "auto" and _maybe_exact(trial, best, fall):
        exact = _try_hard(problem, options, tell)
        judged = None if exact is None else _judge_exact(problem, exact, heldout, options.seed)
        if judged is not None:
            return judged
    few = problem.n_observed < _FEW and options.solver in ("auto", "factored")
    if few and not trial.clear(best):
        trial.repeat(best.how, share)
    return trial.finish(best)


def _maybe_exact(trial: Trial, best: Scored, fall: float) -> bool:
    """Whether data that the first attempt did not complete exactly may be exact all the same."""
    if fall < _FAST:
        return True
    rank = 0 if best.point is None else best.point.rank
    if not rank or best.error > _UNEXPLAINED * trial.baseline:
        return fall < _MOVING
    return trial.problem.n_observed < _SCARCE * degrees_of_freedom(trial.problem.shape, rank + 1)


def _fall(found: Completion) -> float:
    """Factor by which ε fell in a step of the exact solver, once under way."""
    eps = [row["eps"] for row in found.history if row.get("eps")]  # none where a shortcut was taken
    steps = len(eps) - 1 - _WARM_UP
    return 1.0 if steps < 1 else float((eps[-1] / eps[_WARM_UP]) ** (1 / steps))


def _share(k: int, heldout: float) -> float:
    return max(heldout, min(0.3, 30 / k))


def _try_exact(
    problem: CompletionProblem, options: SolverOptions, tell: Incumbent
) -> tuple[Selected | None, float]:
    """The exact model, where the solver asked for finds one, and how fast ε fell on the way.

    For ``"auto"`` this is a quick attempt only.
    """
    name, fall = options.solver, 1.0
    if _beyond_hope(problem, options):
        return None, fall
    if name == "auto":
        steps = _allowed(_STEPS, problem)
        if not steps:
            return None, fall
        found = _search(problem, options, tell, 1, steps)
        name, fall = "irls", _fall(found)
    elif name == "irls" or (name == "explicit" and options.depth == 1):
        found = solve(problem, replace(options, noise_std=0.0), lambda found: tell.offer(found, name))
    else:
        return None, fall
    exact = _accept(problem, found, name, options.rounding)
    if exact is not None:
        tell(exact)
    return exact, fall


def _try_hard(problem: CompletionProblem, options: SolverOptions, tell: Incumbent) -> Selected | None:
    """All attempts of the exact solver."""
    attempts = _allowed(_ATTEMPTS, problem)
    if not attempts or _beyond_hope(problem, options):
        return None
    found = _search(problem, options, tell, attempts, None)
    return _accept(problem, found, "irls", options.rounding)


def _beyond_hope(problem: CompletionProblem, options: SolverOptions) -> bool:
    """Whether the data is known to be noisy, or too little to tell an exact fit of rank one from chance."""
    return bool(options.noise_std) or degrees_of_freedom(problem.shape, 1) >= problem.n_observed


def _search(
    problem: CompletionProblem, options: SolverOptions, tell: Incumbent, attempts: int, max_iter: int | None
) -> Completion:
    """The exact solver, which hands its iterates to the incumbent."""
    asked = replace(
        options, solver="irls", noise_std=0.0, tolerance=None, attempts=attempts, max_iter=max_iter
    )
    return solve(problem, asked, lambda found: tell.offer(found, "irls"))


def _allowed(table: tuple[tuple[int, int], ...], problem: CompletionProblem) -> int:
    """The second number of the first pair whose bound holds for the size of the matrix, else 0."""
    size = problem.shape[0] * problem.shape[1]
    return next((number for bound, number in table if size <= bound), 0)


def _accept(problem: CompletionProblem, found: Completion, solver: str, rounding: float) -> Selected | None:
    """An exact fit, brought down to the smallest rank that is exact, if it is within bounds.

    One rank too many always fits too: a row may be changed at will where it is not observed. Such a fit is
    not determined by the data, so the rank is lowered as long as the certificate says so and a refit stays
    exact.
    """
    while found.residual <= rounding and found.rank > 1:
        if is_exact(problem, found, rounding) and certificate(problem, found).identifiable is not False:
            break
        lower = refit(problem, found, rank=found.rank - 1, tolerance=max(rounding * 1e-4, 2e-14))
        if not lower.residual <= rounding:
            break
        found = lower
    if not (is_exact(problem, found, rounding) and within_bounds(problem, found)):
        return None
    return Selected(found, no_offsets(problem), solver)


def _judge_exact(problem: CompletionProblem, exact: Selected, heldout: float, seed: int) -> Selected | None:
    """Held-out error of an exact fit: refit from it without some of the surplus observations.

    Returns None if most of these are not predicted: then the fit was not exact after all, as when a few huge
    entries hide all others from the residual.
    """
    found = exact.completion
    surplus = problem.n_observed - found.freedom
    n_out = min(round(heldout * problem.n_observed), surplus // 4, 10_000)
    spare = _spare(problem, found.rank, seed)[:n_out]
    if not spare.numel():
        return exact
    stays = torch.ones(problem.n_observed, dtype=torch.bool, device=problem.y.device)
    stays[spare] = False
    kept = stays.nonzero()[:, 0]
    again = refit(subset(problem, kept), found, rank=found.rank, max_iter=5)
    square = (again.at(problem.rows[spare], problem.cols[spare]) - problem.y[spare]).square()
    error, stderr = rmse(square)
    baseline = rmse(column_mean_errors(problem, kept, spare))[0]
    if float(square.median().sqrt()) > _AGREES * problem.max_abs_observed and error > _AGREES * baseline:
        return None
    return replace(exact, heldout_error=error, heldout_stderr=stderr, baseline_error=baseline)


def _spare(problem: CompletionProblem, rank: int, seed: int) -> Tensor:
    """Observations in random order, one a row and column at most where lines are short.

    Only lines that keep more than ``rank`` entries give any: others would no longer be determined.
    """
    order = torch.randperm(problem.n_observed, generator=torch.Generator().manual_seed(seed))
    order = order.to(problem.y.device)
    m, n = problem.shape
    per_row, per_col = torch.bincount(problem.rows, minlength=m), torch.bincount(problem.cols, minlength=n)
    long = (per_row[problem.rows] > 1.3 * rank + 1) & (per_col[problem.cols] > 1.3 * rank + 1)
    return order[long[order]]
