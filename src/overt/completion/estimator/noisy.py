"""The noisy model: which member of the Bayesian family, by held-out entries, and its posterior.

Sparse data in one unit, such as ratings, get the two-sided member. Tables get the one-sided member, Bayesian
factor analysis on standardized columns, unless the two-sided one predicts held-out entries better. Where the
rows carry units, the transposed table is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from overt.completion.bayes import (
    Data,
    Family,
    Posterior,
    Predictive,
    Sampler,
    Schedule,
    Standard,
    Variational,
    who_rated_what,
)
from overt.completion.estimator.combining import combine, stacked
from overt.completion.estimator.layout import Layout, limits, sizes
from overt.completion.estimator.selected import Selected, column_mean
from overt.completion.problem import largest_rank
from overt.completion.result import Completion
from overt.problems import CompletionProblem, Offsets

_RANK = 20  # of a member, where shape and data allow as much: directions that are not needed are shrunk away
_LARGE = 200_000  # entries from which few sweeps are enough
_CLEAR = 3.0  # standard errors by which another member must be better than the first
_SIMPLER = 1.0  # the same where what is better is simpler: a smaller rank, or the column means
_GAP = 4.0  # factor by which the spectrum falls where a smaller rank is tried: what follows is noise
_SWEEPS = 100  # of the variational form at most; it stops when its bound rises no more
_LINKED = 1.5  # sweeps with side information, as a multiple
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NoisyOptions:
    """What a user may say about the noisy model.

    ``implicit``: use the mask as side information (True, False or "auto", by held-out error). ``quality``:
    "standard", or "best" for a stack of several members. The features describe the problem's rows and
    columns. ``inference``: "sampling", or "variational", which takes no side information.
    """

    implicit: bool | str = False
    quality: str = "standard"
    row_features: sparse.csr_matrix | None = None
    column_features: sparse.csr_matrix | None = None
    inference: str = "sampling"

    def __post_init__(self) -> None:
        if self.inference == "variational" and (
            self.implicit or self.row_features is not None or self.column_features is not None
        ):
            raise ValueError(
                "inference='variational' must be used without implicit, row_features and column_features; "
                "use inference='sampling', which takes side information"
            )


@dataclass(frozen=True, eq=False)
class Candidate:
    """A member of the family with the data that it is fitted to."""

    name: str
    family: Family
    data: Data
    turned: bool = False
    sweeps: float = 1.0
    variational: bool = False

    def of_rank(self, rank: int) -> Candidate:
        """The same with fewer directions."""
        name = f"{self.name} rank-{rank}"
        return replace(self, name=name, family=replace(self.family, rank=rank))

    def schedules(self) -> tuple[Schedule, Schedule]:
        """Sweeps on the kept entries, and further ones on all entries."""
        if self.variational:
            return Schedule(_SWEEPS, 0), Schedule(_SWEEPS, 0)
        if self.family.one_sided:
            first, second = (100, 30), (150, 10)
        elif self.data.values.size < _LARGE:
            first, second = (30, 10), (60, 6)
        else:
            first, second = (10, 6), (22, 4)
        more = self.sweeps
        return Schedule(round(first[0] * more), first[1]), Schedule(round(second[0] * more), second[1])


def candidates(data: Data, layout: Layout, options: NoisyOptions, max_rank: int | None) -> list[Candidate]:
    """The members to compare, the first one being preferred."""
    m, n = data.shape
    most = min(_RANK, max_rank or _RANK, m, n)
    two = max(1, min(most, largest_rank(data.shape, data.values.size)))
    turned = _turned(data) if layout.turned else data
    one = max(1, min(most, turned.shape[1] - 1))
    features = [(data.row_features, data.column_features)]
    if options.implicit:
        features = [_with_mask(data)] if options.implicit is True else [*features, _with_mask(data)]
    table = layout.dense and options.implicit is not True
    found = []
    if table:
        family = Family(one, one_sided=True, row_levels=False, by_column=True)
        name, linked = _described("one-sided", data)
        found.append(Candidate(name, family, turned, layout.turned, linked))
    for rows, cols in features:
        described = replace(data, row_features=rows, column_features=cols)
        base = _turned(described) if layout.turned else described
        family = Family(two, by_column=layout.by_column)
        name, linked = _described("two-sided", described)
        found.append(Candidate(name, family, base, layout.turned, linked))
        if table and options.quality == "best":
            family = replace(family, row_levels=False)
            found.append(Candidate(f"{name}, alike rows", family, base, layout.turned, linked))
    return [replace(one, variational=options.inference == "variational") for one in found]


def _described(name: str, data: Data) -> tuple[str, float]:
    """Name of a member, and its sweeps as a multiple."""
    if data.row_features is None and data.column_features is None:
        return name, 1.0
    return f"{name} with side information", _LINKED


def _turned(data: Data) -> Data:
    return Data(data.cols, data.rows, data.values, data.shape[::-1], data.column_features, data.row_features)


def _with_mask(data: Data) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Features with the mask beside them."""
    masks = who_rated_what(data.rows, data.cols, data.shape)
    given = data.row_features, data.column_features
    both = (
        mask if own is None else sparse.hstack([own, mask]) for own, mask in zip(given, masks, strict=True)
    )
    rows, cols = (matrix.tocsr() for matrix in both)
    return rows, cols


@dataclass(eq=False)
class Run:
    """A candidate's run on kept entries: the sampler to go on with, and its predictions of the others."""

    candidate: Candidate
    sampler: Sampler | Variational
    watched: Array
    posterior: Posterior


def noisy_model(
    problem: CompletionProblem,
    splits: Sequence[tuple[Tensor, Tensor]],
    options: NoisyOptions,
    *,
    max_rank: int | None = None,
    seed: int = 0,
    tell: Callable[[Selected], object] = lambda _: None,
) -> Selected:
    """Choose a member on entries held out, and fit it to all entries.

    Parameters
    ----------
    problem : CompletionProblem
    splits : sequence of (kept, held out)
        Indices of entries. The first one is used to choose; a stack uses all.
    options, max_rank, seed : NoisyOptions, int, int
    tell : callable
        Receives each member's model as it is judged, for a search that is interrupted.
    """
    rows, cols, y = (part.cpu().numpy() for part in (problem.rows, problem.cols, problem.y))
    data = Data(rows, cols, y, problem.shape, options.row_features, options.column_features)
    layout = Layout.of(data)
    members = candidates(data, layout, options, max_rank)
    best_quality = options.quality == "best" and len(members) > 1
    judged: list[_Judged] = []

    def judge(split: _Judged, member: Candidate, near: Posterior | None = None) -> Run:
        run = _first(member, split, seed, problem.y.device, near)
        split.runs.append(run)
        error = run.watched - split.values
        tell(_selected(problem, run, run.posterior, error, split.baseline_error, "interrupted"))
        return run

    for kept, out in splits if best_quality else splits[:1]:
        judged.append(_Judged.of(data, kept.cpu().numpy(), out.cpu().numpy(), layout))
        for member in members:
            judge(judged[-1], member)
        if len(judged) == 1:
            chosen = _best(judged[0].errors, judged[0].baseline_error / judged[0].unit)
            rank = _rank_at_gap(judged[0].runs[chosen].posterior.spectrum)
            if rank is not None and not members[chosen].variational:
                members.append(members[chosen].of_rank(rank))
                judge(judged[0], members[-1], judged[0].runs[chosen].posterior)
                errors = judged[0].errors
                chosen = len(members) - 1 if _clearly_less(errors[-1], errors[chosen], _SIMPLER) else chosen
    first = judged[0]
    if best_quality:
        weights = stacked(
            *(np.concatenate(parts) for parts in zip(*(one.standardized for one in judged), strict=True))
        )
    else:
        weights = np.eye(len(members))[chosen]
    error = np.concatenate([one.mixed_error(weights) for one in judged])
    baseline = np.concatenate([one.baseline_error for one in judged])
    units = np.concatenate([one.unit for one in judged])
    if _clearly_less(baseline / units, error / units, _SIMPLER):
        return _column_mean(problem, baseline)
    used = [(run, weight) for run, weight in zip(first.runs, weights, strict=True) if weight > 0]
    parts = [_selected(problem, run, _second(run), error, baseline) for run, _ in used]
    if not best_quality:
        return parts[0]
    means = column_mean(problem)
    return combine([*parts, means], [*(weight for _, weight in used), 1 - weights.sum()])


@dataclass(eq=False)
class _Judged:
    """Runs on one split: the values held out, their unit, and the column means of the others there."""

    kept: Array
    out: Array
    values: Array
    unit: Array
    means: Array
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def of(cls, data: Data, kept: Array, out: Array, layout: Layout) -> _Judged:
        """Without runs so far."""
        means = _column_means(data, kept)
        unit = np.ones(out.size)
        if layout.by_column:
            lines, count = (data.rows, data.shape[0]) if layout.turned else (data.cols, data.shape[1])
            unit = sizes(lines, data.values - means[data.cols], count, 1.0)[0][lines[out]]
        return cls(kept, out, data.values[out], unit, means[data.cols[out]])

    @property
    def baseline_error(self) -> Array:
        """Errors of the column means."""
        return self.means - self.values

    @property
    def errors(self) -> list[Array]:
        """Errors of each run, in units of their columns."""
        return [(run.watched - self.values) / self.unit for run in self.runs]

    @property
    def standardized(self) -> tuple[Array, Array]:
        """Predictions (k, runs) and values (k,), both less the column means and in units of their columns."""
        predicted = np.stack([run.watched - self.means for run in self.runs], 1)
        return predicted / self.unit[:, None], -self.baseline_error / self.unit

    def mixed_error(self, weights: Array) -> Array:
        """Errors of the weighted sum."""
        error: Array = (
            self.baseline_error + np.stack([run.watched - self.means for run in self.runs], 1) @ weights
        )
        return error


def _first(
    candidate: Candidate, split: _Judged, seed: int, device: torch.device, near: Posterior | None
) -> Run:
    first, second = candidate.schedules()
    data, out = candidate.data, split.out
    kept, sweeps = data.subset(split.kept), first.sweeps + second.sweeps
    sampler: Sampler | Variational
    family = candidate.family
    standard = Standard.of(data, family.by_column)
    if candidate.variational:
        sampler = Variational(kept, family, seed=seed, device=device, standard=standard)
    else:
        sampler = Sampler(kept, family, seed=seed, sweeps=sweeps, device=device, standard=standard)
        if near is not None:
            sampler.begin(near)
    posterior = sampler.run(first, watch=(data.rows[out], data.cols[out]))
    low, high = limits(kept, posterior.col_std, family.by_column)
    watched = posterior.watched.clip(low[data.cols[out]], high[data.cols[out]])
    return Run(candidate, sampler, watched, posterior)


def _second(run: Run) -> Posterior:
    run.sampler.observe(run.candidate.data)
    return run.sampler.run(run.candidate.schedules()[1])


def _best(errors: list[Array], baseline: Array) -> int:
    """The first candidate unless another is clearly better than it, or than the means where they beat it."""
    best = 0
    beaten = _clearly_less(baseline, errors[0], _SIMPLER)
    for other in range(1, len(errors)):
        reference = baseline if beaten and not best else errors[best]
        if _clearly_less(errors[other], reference):
            best = other
    return best


def _rank_at_gap(spectrum: Array) -> int | None:
    """The number of singular values before a fall by a factor of ``_GAP``: the others are noise."""
    gaps = np.flatnonzero(spectrum[:-1] > _GAP * spectrum[1:])
    return int(gaps[0]) + 1 if gaps.size else None


def _clearly_less(first: Array, second: Array, clear: float = _CLEAR) -> bool:
    """Whether the squares of the first errors are smaller than those of the second by more than chance."""
    difference = first**2 - second**2
    doubt = float(difference.std()) / math.sqrt(max(difference.size, 1))
    return float(difference.mean()) < -clear * doubt


def _column_means(data: Data, kept: Array) -> Array:
    """Means of the kept entries of each column (n,), the mean of all for a column without any."""
    n, values, cols = data.shape[1], data.values[kept], data.cols[kept]
    count = np.bincount(cols, minlength=n)
    return np.where(count, np.bincount(cols, values, n) / np.maximum(count, 1), values.mean())


def _rms(error: Array) -> tuple[float, float]:
    """Root mean square and its standard error by the delta method."""
    square = np.square(error)
    value = float(np.sqrt(square.mean()))
    if square.size < 2 or value == 0:
        return value, 0.0 if value == 0 else math.nan
    return value, float(square.std(ddof=1) / math.sqrt(square.size) / (2 * value))


def _column_mean(problem: CompletionProblem, baseline: Array) -> Selected:
    means = column_mean(
        problem, "no low-rank model beat the column means on held-out entries; these are used"
    )
    error, stderr = _rms(baseline)
    completion = replace(means.completion, converged=False)
    return replace(
        means, completion=completion, heldout_error=error, heldout_stderr=stderr, baseline_error=error
    )


def _selected(
    problem: CompletionProblem,
    run: Run,
    posterior: Posterior,
    error: Array,
    baseline: Array,
    message: str = "",
) -> Selected:
    """A run's posterior as a model of the problem."""
    left, right, predictive = posterior.left, posterior.right, posterior.predictive
    row, col = posterior.row, posterior.col
    column_noise: Array | None = posterior.col_std
    bounds, lines = limits(run.candidate.data, posterior.col_std, run.candidate.family.by_column), "columns"
    if run.candidate.turned:
        left, right, row, col, column_noise, lines = right, left, col, row, None, "rows"
        predictive = Predictive(tuple(draw.turned() for draw in predictive.draws))
    tensors = [torch.as_tensor(np.ascontiguousarray(part, np.float64)) for part in (left, right, row, col)]
    left_, right_, row_, col_ = (part.to(problem.y.device) for part in tensors)
    manner = "variational, " if run.candidate.variational else "mean of "
    message = message or f"{run.candidate.name} Bayesian model: {manner}{posterior.sweeps} sweeps"
    how = {"converged": message != "interrupted", "n_iter": posterior.sweeps, "message": message}
    found = Completion.zero(problem.y, problem.shape, **how).of_factors(left_, right_)
    value, stderr = _rms(error)
    return Selected(
        found,
        Offsets(problem.y.new_tensor(posterior.mean), row_, col_),
        "bayes",
        value,
        stderr,
        _rms(baseline)[0],
        posterior.noise_std,
        predictive=predictive,
        limits=(*bounds, lines),
        column_noise=column_noise,
    )
