"""Which model of the data to trust: exact low rank, low rank plus noise, offsets, or the column means.

Nothing is told. If a low-rank matrix with fewer degrees of freedom than observations meets all of them to
rounding, that is the answer. Otherwise candidates are compared by their error on entries held out from
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
    sane,
    subset,
)
from overt.completion.estimator.solvers import SolverOptions, is_exact, solve
from overt.completion.estimator.trial import Scored, Trial
from overt.completion.factored.path import split_observations
from overt.completion.irls import irls
from overt.completion.refit import refit
from overt.completion.result import Completion
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
    """Choose and fit the model of a completion problem scaled to mean square one.

    Parameters
    ----------
    problem : CompletionProblem
        Every row and column holds an observation.
    options : SolverOptions
        ``solver="auto"`` tries exact recovery first and noisy low rank then.
    offsets : {"auto", "biases", "mean", None}
    heldout : float
        Share of the observations held out; at least 30 entries where so many can be spared.
    incumbent : Incumbent, optional
        Keeps the best model so far, for a search that is interrupted.
    """
    tell = incumbent or Incumbent(problem)
    if not bool(problem.y.any()):
        return replace(column_mean(problem), heldout_error=0.0, message="every observation is zero")
    exact, fall = _try_exact(problem, options, tell) if offsets in (None, "auto") else (None, 1.0)
    if exact is not None:
        judged = _judge_exact(problem, exact, heldout, options.seed)
        if judged is not None:
            return judged
    share = _share(problem.n_observed, heldout)
    split = split_observations(problem.n_observed, share, options.seed)
    if split is None:
        return replace(column_mean(problem), message="one observation: nothing but its mean can be said")
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
    m, n = trial.problem.shape
    rank = 0 if best.point is None else best.point.rank
    if not rank or best.error > _UNEXPLAINED * trial.baseline:
        return fall < _MOVING
    return trial.problem.n_observed < _SCARCE * (rank + 1) * (m + n - rank - 1)


def _fall(found: Completion) -> float:
    """Factor by which ε fell in a step of the exact solver, once under way."""
    eps = [row["eps"] for row in found.history if row.get("eps")]  # none where a shortcut was taken
    steps = len(eps) - 1 - _WARM_UP
    return 1.0 if steps < 1 else float((eps[-1] / eps[_WARM_UP]) ** (1 / steps))


def _share(k: int, heldout: float) -> float:
    return max(heldout, min(0.3, 30 / k))


def _exact(problem: CompletionProblem, found: Completion, solver: str) -> Selected:
    return Selected(
        found, no_offsets(problem), solver, noise_std=0.0, message=found.message, history=found.history
    )


def _try_exact(
    problem: CompletionProblem, options: SolverOptions, tell: Incumbent
) -> tuple[Selected | None, float]:
    """The exact model, where the solver asked for finds one, and how fast ε fell on the way.

    For ``"auto"`` this is a quick attempt only.
    """
    m, n = problem.shape
    fall = 1.0
    if options.noise_std or m + n - 1 >= problem.n_observed:
        return None, fall
    if options.solver == "auto":
        steps = _allowed(_STEPS, m * n)
        if not steps:
            return None, fall
        found = irls(
            problem,
            rank_proxy=options.rank_proxy,
            attempts=1,
            max_iter=steps,
            max_rank=options.max_rank,
            tolerance=options.rounding if options.rounding > 1e-8 else None,
            seed=options.seed,
            callback=lambda found: tell.offer(found, "irls"),
        )
        solver, fall = "irls", _fall(found)
    elif options.solver == "irls" or (options.solver == "explicit" and options.depth == 1):
        solver = options.solver
        exactly = replace(options, noise_std=0.0)
        found = solve(problem, exactly, lambda found: tell.offer(found, options.solver))
    else:
        return None, fall
    exact = _accept(problem, found, solver, options.rounding)
    if exact is not None:
        tell(exact)
    return exact, fall


def _allowed(table: tuple[tuple[int, int], ...], entries: int) -> int:
    """The second number of the first pair whose bound holds, else 0."""
    return next((number for bound, number in table if entries <= bound), 0)


def _accept(problem: CompletionProblem, found: Completion, solver: str, rounding: float) -> Selected | None:
    """An exact fit, brought down to the smallest rank that is exact, if it is sane.

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
    if not (is_exact(problem, found, rounding) and sane(problem, found, no_offsets(problem))):
        return None
    return _exact(problem, found, solver)


def _try_hard(problem: CompletionProblem, options: SolverOptions, tell: Incumbent) -> Selected | None:
    """All attempts of the exact solver."""
    m, n = problem.shape
    attempts = _allowed(_ATTEMPTS, m * n)
    if options.noise_std or not attempts or m + n - 1 >= problem.n_observed:
        return None
    found = irls(
        problem,
        rank_proxy=options.rank_proxy,
        attempts=attempts,
        max_rank=options.max_rank,
        tolerance=options.rounding if options.rounding > 1e-8 else None,
        seed=options.seed,
        callback=lambda found: tell.offer(found, "irls"),
    )
    return _accept(problem, found, "irls", options.rounding)


def _judge_exact(problem: CompletionProblem, exact: Selected, heldout: float, seed: int) -> Selected | None:
    """Held-out error of an exact fit: refit from it without some of the surplus observations.

    Returns None if most of these are not predicted: then the fit was not exact after all, as when a few huge
    entries hide all others from the residual.
    """
    found = exact.completion
    m, n = problem.shape
    surplus = problem.n_observed - found.rank * (m + n - found.rank)
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
