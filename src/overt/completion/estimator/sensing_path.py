"""Rank and ridge of a noisy sensing problem, chosen on held-out measurements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from overt.completion.convex.shrinkage import shrink_singular_values
from overt.completion.problem import largest_rank, split_observations
from overt.completion.refit import refit
from overt.completion.result import Completion, joined
from overt.problems import SensingProblem

_MULTIPLES = (0.05, 0.3, 1.0)  # of the noise's spectral norm; each has its own path over the ranks
_MARGIN, _EXTRA = 1.5, 10.0  # standard errors that count as beyond doubt, and more by this over their number
_PATIENCE = 2  # ranks in a row without a better held-out error


@dataclass(frozen=True)
class _Best:
    found: Completion
    ridge: float
    error: float


def sensing_path(
    problem: SensingProblem,
    *,
    heldout: float = 0.15,
    max_rank: int | None = None,
    seed: int = 0,
    on_better: Callable[[Completion], None] | None = None,
) -> tuple[Completion, float]:
    """Fit ranks 1, 2, 3, … with ridges that follow the held-out error; finish the best on all measurements.

    The ridge is a multiple of the spectral norm to expect of ``A*(noise)``, that is
    ``error · ‖A‖_F/√(mn) · (√m + √n)``. ``on_better`` receives every improvement.

    Returns
    -------
    completion : Completion
    error : float
        Root mean square error on the held-out measurements; nan where none could be held out.
    """
    m, n = problem.shape
    zero = Completion.zero(problem.y, (m, n))
    split = split_observations(problem.n_observed, heldout, seed)
    if split is None:
        return replace(zero, converged=False, message="one measurement: nothing can be held out"), math.nan
    kept, out = (index.to(problem.y.device) for index in split)
    train = SensingProblem(problem.A[kept], problem.y[kept], problem.shape)
    test = SensingProblem(problem.A[out], problem.y[out], problem.shape)
    limit = min(largest_rank(problem.shape, train.n_observed), max_rank or min(m, n))
    best = _Best(zero, 0.0, _error(test, zero))
    for multiple in _MULTIPLES:
        before = best.error
        best = _grow(train, test, multiple, limit, best, on_better)
        if best.found.rank and best.error == before:
            break
    if not best.found.rank:
        return replace(zero, message="no rank lowers the held-out error: the zero matrix"), best.error
    final = refit(problem, best.found, rank=best.found.rank, ridge=best.ridge)
    message = f"rank {final.rank} with ridge {best.ridge:.2e}, chosen on held-out measurements"
    borne_out = _beats_zero(test, best.found)
    if not borne_out:
        message += "; these do not bear it out beyond doubt: observe more"
    return replace(final, converged=borne_out, message=message), best.error


def _beats_zero(test: SensingProblem, found: Completion) -> bool:
    """Whether held-out measurements are predicted better than by zero, beyond doubt; never on a few."""
    gain = test.y.square() - (test.measure(found.W) - test.y).square()
    count = gain.numel()
    if count < 2:
        return False
    margin = (_MARGIN + _EXTRA / count) / math.sqrt(count)
    return float(gain.mean()) > margin * float(gain.std())


def _error(test: SensingProblem, found: Completion) -> float:
    return float(test.loss(found.W).sqrt())


def _grow(
    train: SensingProblem,
    test: SensingProblem,
    multiple: float,
    limit: int,
    best: _Best,
    on_better: Callable[[Completion], None] | None,
) -> _Best:
    m, n = train.shape
    unit = float(torch.linalg.matrix_norm(train.A)) / math.sqrt(m * n) * (math.sqrt(m) + math.sqrt(n))
    found = Completion.zero(train.y, (m, n))
    error, misses = _error(test, found), 0
    while misses < _PATIENCE and found.rank < limit:
        left = train.adjoint(train.y - train.measure(found.W)) * (m * n / float(train.A.square().sum()))
        U, s, Vt = shrink_singular_values(left, 0.0)
        if not s.numel():
            break
        start = joined(found.triplet, (U[:, :1], s[:1], Vt[:1]))
        for _ in range(10):
            ridge = multiple * unit * error
            found = refit(train, *start, rank=start[1].numel(), ridge=ridge, max_iter=15, patience=3)
            start = found.triplet
            now = _error(test, found)
            settled = not now < 0.9 * error
            error = min(now, error)
            if now < 0.999 * best.error:
                best, misses = _Best(found, ridge, now), -1
                if on_better is not None:
                    on_better(replace(found, converged=False))
            if settled:
                break
        misses += 1
    return best
