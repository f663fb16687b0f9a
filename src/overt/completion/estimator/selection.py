"""Which model of the data to trust: exact low rank, low rank plus noise, or the column means.

If a low-rank matrix with fewer degrees of freedom than observations meets all of them to rounding, and
predicts held-out ones, it is the answer; lines that the observations leave open are filled by the noisy
model. Otherwise the noisy model is compared with the column means on held-out entries.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from overt.completion.estimator.combining import filled
from overt.completion.estimator.confirmation import generic, refined
from overt.completion.estimator.exact import Exact, exact_fit
from overt.completion.estimator.noisy import NoisyOptions, noisy_model
from overt.completion.estimator.selected import Incumbent, Selected, column_mean, column_mean_errors, rmse
from overt.completion.estimator.solvers import SolverOptions
from overt.completion.estimator.trial import Trial
from overt.completion.estimator.units import Comparable
from overt.completion.problem import split_observations
from overt.problems import CompletionProblem

_STACKED = 3  # splits from which a stack takes its weights
_NEXT = 7919  # between the seeds of splits


def select_model(
    problem: CompletionProblem,
    options: SolverOptions,
    *,
    offsets: str | None = "auto",
    heldout: float = 0.1,
    incumbent: Incumbent | None = None,
    noisy: NoisyOptions | None = None,
) -> Selected:
    """Choose and fit the model of a completion problem scaled to mean square one, without empty lines.

    ``options.solver="auto"`` tries exact recovery first, then noisy low rank. At least 30 entries are held
    out where so many can be spared. ``incumbent`` keeps the best model so far, for an interrupted search.
    """
    tell, noisy = incumbent or Incumbent(problem), noisy or NoisyOptions()
    if not bool(problem.y.any()):
        return replace(column_mean(problem, "every observation is zero"), heldout_error=0.0)
    exact, remark = None, ""
    if offsets in (None, "auto") and options.solver != "bayes":
        exact, remark = _exact(problem, options, tell, heldout)
        if exact is not None and not bool(exact.rows.any() or exact.cols.any()):
            return exact.selected
    share = _share(problem.n_observed, heldout)
    splits = [
        split
        for number in range(_STACKED if noisy.quality == "best" else 1)
        if (split := split_observations(problem.n_observed, share, options.seed + _NEXT * number)) is not None
    ]
    if not splits:
        return column_mean(problem, "one observation: nothing but its mean can be said")
    if options.solver not in ("auto", "bayes"):
        trial = Trial.of(problem, splits[0], options, tell)
        return trial.finish(trial.best([offsets] if offsets != "auto" else trial.promising()))
    chosen = noisy_model(problem, splits, noisy, max_rank=options.max_rank, seed=options.seed, tell=tell)
    if exact is not None:
        part = replace(exact.selected, completion=refined(problem, exact, options.rounding))
        return filled(part, chosen, exact.rows, exact.cols)
    if remark:
        message = f"{chosen.completion.message}; {remark}"
        chosen = replace(chosen, completion=replace(chosen.completion, message=message))
    return chosen


def _share(k: int, heldout: float) -> float:
    return max(heldout, min(0.3, 30 / k))


def _exact(
    problem: CompletionProblem, options: SolverOptions, tell: Incumbent, heldout: float
) -> tuple[Exact | None, str]:
    """The exact model, looked for on lines of comparable size, in the units of the problem.

    Values of few kinds stay of few kinds, which says what chance can meet: their rows are not scaled.
    """
    scaled = Comparable.of(problem, rows_too=generic(problem))
    inner = Incumbent(scaled.problem)
    try:
        exact, remark = exact_fit(scaled.problem, options, inner, heldout=heldout, effort=options.effort)
    except KeyboardInterrupt:
        best = inner.answer()
        tell.offer(scaled.restored(best.completion), best.solver)
        raise
    if exact is None:
        return None, remark
    found, unit = exact.selected, scaled.unit
    found = replace(
        found,
        completion=scaled.restored(found.completion),
        heldout_error=found.heldout_error * unit,
        heldout_stderr=found.heldout_stderr * unit,
        baseline_error=_baseline(problem, heldout, options.seed),
    )
    tell(found)
    return replace(exact, selected=found), remark


def _baseline(problem: CompletionProblem, heldout: float, seed: int) -> float:
    """Held-out error of the column means."""
    split = split_observations(problem.n_observed, _share(problem.n_observed, heldout), seed)
    if split is None:
        return torch.nan
    kept, out = (_on(index, problem.y) for index in split)
    return rmse(column_mean_errors(problem, kept, out))[0]


def _on(index: Tensor, like: Tensor) -> Tensor:
    return index.to(like.device)
