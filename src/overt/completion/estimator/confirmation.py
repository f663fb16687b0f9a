"""What the observations confirm of an exact fit: lines that they determine, and lines that they test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overt._utils.seeds import normal
from overt.completion.certificate import Certificate, certificate
from overt.completion.cover import smallest_cover
from overt.completion.estimator.selected import Selected, column_mean_errors, no_offsets, rmse, subset
from overt.completion.estimator.units import Comparable
from overt.completion.irls import irls
from overt.completion.problem import is_exact, within_bounds
from overt.completion.refit import refit
from overt.completion.result import Completion, degrees_of_freedom
from overt.linalg import Factored, svd
from overt.problems import CompletionProblem

_AGREES = 1e-3  # share of the root mean square within which held-out entries count as predicted
_REFUTED = 0.1  # share of held-out entries that are not predicted beyond which nothing is believed
_PLENTY = 1.4  # entries kept over degrees of freedom from which the fit is found again from a far start
_FAR, _NEAR = 0.5, 0.02  # perturbation of the start, as a share of the factors
_ROUNDING = 1e-7  # singular values below this share of the largest are zero
_DISCRETE, _SAMPLE = 0.5, 20_000  # values of fewer kinds than this share of a sample are not generic
_DOUBLE, _TESTS = 2, 5  # entries over degrees of freedom, and entries held out, that rule out chance


@dataclass(frozen=True, eq=False)
class Exact:
    """An exact fit, and the lines (rows and columns) in which it is to be trusted.

    Parameters
    ----------
    selected : Selected
        The fit, with its held-out error where that could be judged.
    rank : int
        Rank of the fit on the other lines.
    rows, cols : Tensor of bool, shapes (m,) and (n,)
        Lines whose hidden entries the observations do not determine, or contradict.
    untested_rows, untested_cols : Tensor of bool, shapes (m,) and (n,)
        Other lines of which no entry could be held out.
    """

    selected: Selected
    rank: int
    rows: Tensor
    cols: Tensor
    untested_rows: Tensor
    untested_cols: Tensor


def confirmed(
    problem: CompletionProblem, found: Completion, solver: str, *, heldout: float, seed: int, rounding: float
) -> Exact | None:
    """The exact fit with the lines that it holds for; None if the observations do not bear it out.

    The part of the matrix that the observations determine must have fewer degrees of freedom than it has
    observations, stay within bounds, and be found again without some of these, which it must predict.
    """
    found, answer = _lowest(problem, found, rounding)
    if answer is None or not _met_everywhere(problem, found, rounding):
        return None
    rows, cols = (
        _mask(lines, size, problem)
        for lines, size in zip((answer.rows, answer.cols), problem.shape, strict=True)
    )
    part = _Part.of(problem, found, ~rows, ~cols)
    if part is None:
        return None
    tested = _tested(part, heldout, seed, rounding)
    if tested is None:
        return None
    at = part.problem.rows[tested.out], part.problem.cols[tested.out]
    bad = ~tested.good
    ones = tuple(torch.ones(size, dtype=torch.long) for size in part.problem.shape)
    wrong = smallest_cover(at[0][bad], at[1][bad], (ones[0], ones[1]))
    rows = rows | part.spread(torch.tensor(wrong[0], dtype=torch.long, device=rows.device), 0)
    cols = cols | part.spread(torch.tensor(wrong[1], dtype=torch.long, device=cols.device), 1)
    untested = ~(rows | part.spread(at[0], 0)), ~(cols | part.spread(at[1], 1))
    if not (generic(part.problem) or tested.beyond_chance(part)):  # believed only where it was tested
        rows, cols, untested = rows | untested[0], cols | untested[1], (~rows & rows, ~cols & cols)
        if not _mostly(problem, ~rows, ~cols):
            return None
    rows, cols = (lines & holes for lines, holes in zip((rows, cols), _with_holes(problem), strict=True))
    decided = answer.identifiable is not None
    selected = Selected(found, no_offsets(problem), solver, certain=(~rows, ~cols) if decided else None)
    if tested.out.numel():
        error, stderr, baseline = tested.errors(part)
        selected = replace(selected, heldout_error=error, heldout_stderr=stderr, baseline_error=baseline)
    return Exact(selected, part.found.rank, rows, cols, *untested)


def refined(problem: CompletionProblem, exact: Exact, rounding: float) -> Completion:
    """The exact fit, with the entries that are to be trusted fitted once more without the open lines.

    What these need, such as a direction for a huge outlier, moves the others by rounding errors of its size.
    """
    found = exact.selected.completion
    if not bool(exact.rows.any() or exact.cols.any()):
        return found
    inner, kept = _within(problem, ~exact.rows, ~exact.cols)
    part = Comparable.of(inner)
    alone = irls(part.problem, rank_proxy=exact.rank, attempts=2, tolerance=max(rounding * 1e-4, 2e-14))
    if not alone.residual <= rounding:
        return found
    alone = part.restored(alone)
    left, right = (found.U.new_zeros(size, alone.rank) for size in problem.shape)
    left[kept[0]], right[kept[1]] = alone.factors
    return found.of_factors(left, right)


def _within(
    problem: CompletionProblem, rows: Tensor, cols: Tensor
) -> tuple[CompletionProblem, tuple[Tensor, Tensor]]:
    """The problem of the rows and columns that two masks (m,) and (n,) mark, and their numbers."""
    index = (rows[problem.rows] & cols[problem.cols]).nonzero()[:, 0]
    kept = rows.nonzero()[:, 0], cols.nonzero()[:, 0]
    at = rows.long().cumsum(0) - 1, cols.long().cumsum(0) - 1
    inner = CompletionProblem(
        at[0][problem.rows[index]],
        at[1][problem.cols[index]],
        problem.y[index],
        (len(kept[0]), len(kept[1])),
    )
    return inner, kept


def _with_holes(problem: CompletionProblem) -> tuple[Tensor, Tensor]:
    """Rows and columns that have hidden entries at all."""
    m, n = problem.shape
    return torch.bincount(problem.rows, minlength=m) < n, torch.bincount(problem.cols, minlength=n) < m


def generic(problem: CompletionProblem) -> bool:
    """Whether values differ so much that no fit meets them by chance; judged by a sample of them."""
    sample = problem.y[:: max(1, problem.n_observed // _SAMPLE)]
    return len(set(sample.tolist())) > _DISCRETE * len(sample)


def _mostly(problem: CompletionProblem, rows: Tensor, cols: Tensor) -> bool:
    """Whether most of the hidden entries lie in these rows and columns."""
    m, n = problem.shape
    hidden = int(rows.sum()) * int(cols.sum()) - int((rows[problem.rows] & cols[problem.cols]).sum())
    return 2 * hidden >= m * n - problem.n_observed


def _mask(lines: tuple[int, ...], size: int, problem: CompletionProblem) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool, device=problem.y.device)
    mask[list(lines)] = True
    return mask


def _lowest(
    problem: CompletionProblem, found: Completion, rounding: float
) -> tuple[Completion, Certificate | None]:
    """An exact fit brought down to the smallest rank that is exact, with its certificate; None if inexact.

    One rank too many always fits too: a row may be changed at will where it is not observed. Such a fit is
    not determined by the data, so the rank is lowered as long as the certificate says so and a refit stays
    exact.
    """
    answer = None
    while found.residual <= rounding:
        answer = certificate(problem, found) if is_exact(problem, found, rounding) else None
        if found.rank <= 1 or (answer is not None and answer.identifiable is not False):
            break
        lower = refit(problem, found, rank=found.rank - 1, tolerance=max(rounding * 1e-4, 2e-14))
        if not lower.residual <= rounding:
            break
        found = lower
    return found, answer


def _met_everywhere(problem: CompletionProblem, found: Completion, rounding: float) -> bool:
    """Whether each line's entries are met to rounding: a few huge ones hide all others in the residual."""
    square = (found.at(problem.rows, problem.cols) - problem.y).square()
    for lines, size in zip((problem.rows, problem.cols), problem.shape, strict=True):
        left = square.new_zeros(size).index_add(0, lines, square)
        energy = square.new_zeros(size).index_add(0, lines, problem.y.square())
        floor = float(energy.mean()) * 1e-4
        if bool((left > (100 * rounding) ** 2 * energy.clamp_min(floor)).any()):
            return False
    return True


@dataclass(frozen=True, eq=False)
class _Part:
    """The determined rows and columns of a problem, as a problem of their own."""

    problem: CompletionProblem
    found: Completion
    lines: tuple[Tensor, Tensor]
    sizes: tuple[int, int]

    @classmethod
    def of(cls, problem: CompletionProblem, found: Completion, rows: Tensor, cols: Tensor) -> _Part | None:
        """None if its degrees of freedom leave no observation as a check, or an entry is out of bounds."""
        if not bool((rows[problem.rows] & cols[problem.cols]).any()):
            return None
        part, kept = _within(problem, rows, cols)
        root = found.singular_values.sqrt()
        U, s, Vt = svd(Factored((found.U * root)[kept[0]], (found.Vt.mT * root)[kept[1]]))
        rank = int((s > _ROUNDING * s[0]).sum()) if s.numel() else 0
        cut = Completion(U[:, :rank], s[:rank], Vt[:rank], residual=0.0)
        if not is_exact(part, cut) or not within_bounds(part, cut):
            return None
        return cls(part, cut, kept, problem.shape)

    def spread(self, lines: Tensor, side: int) -> Tensor:
        """Lines of the part as a mask of all lines of the whole problem's side."""
        mask = torch.zeros(self.sizes[side], dtype=torch.bool, device=lines.device)
        mask[self.lines[side][lines]] = True
        return mask


@dataclass(frozen=True, eq=False)
class _Tested:
    """Held-out observations of a part, their square errors, and which of them were predicted."""

    kept: Tensor
    out: Tensor
    square: Tensor
    good: Tensor

    def beyond_chance(self, part: _Part) -> bool:
        """Whether even values of few kinds cannot have been met by chance.

        Then there are twice as many observations as degrees of freedom, and each one held out is predicted.
        """
        plenty = part.problem.n_observed >= _DOUBLE * part.found.freedom
        return plenty and self.out.numel() >= _TESTS and bool(self.good.all())

    def errors(self, part: _Part) -> tuple[float, float, float]:
        """Root mean square error where the fit holds, its standard error, and the column means' error."""
        means = column_mean_errors(part.problem, self.kept, self.out)[self.good]
        return *rmse(self.square[self.good]), rmse(means)[0]


def _tested(part: _Part, heldout: float, seed: int, rounding: float) -> _Tested | None:
    """The test on entries held out from all lines that can spare one; None if the fit is refuted.

    A fit that already meets all entries is a fixed point of any refit, so a refit starts elsewhere: far away
    where the entries are plentiful, and near, which tests only whether the rest determines them, where they
    are scarce. Values of few kinds can be met by chance, and must be found from afar.
    """
    problem, rank = part.problem, part.found.rank
    surplus = problem.n_observed - degrees_of_freedom(problem.shape, rank)
    out = _spare(problem, rank, seed)[
        : min(surplus // 3, max(sum(problem.shape), round(heldout * problem.n_observed)))
    ]
    stays = torch.ones(problem.n_observed, dtype=torch.bool, device=problem.y.device)
    stays[out] = False
    kept = stays.nonzero()[:, 0]
    rest = subset(problem, kept)
    if not out.numel():
        return _Tested(kept, out, problem.y[:0], stays[:0]) if generic(problem) or rank == 1 else None
    ends = len(kept) / degrees_of_freedom(problem.shape, rank)
    certain = generic(problem)
    starts = [_FAR, None] if ends >= _PLENTY or not certain else []
    starts += [_NEAR] if certain else []
    limit = _AGREES * float(problem.y.square().mean().sqrt())
    for start in starts:
        again = _again(rest, part.found, start, seed, rounding)
        if not again.residual <= rounding:
            continue
        square = (again.at(problem.rows[out], problem.cols[out]) - problem.y[out]).square()
        good = square <= limit * limit
        if int((~good).sum()) <= _REFUTED * len(out):
            return _Tested(kept, out, square, good)
    return None


def _again(
    rest: CompletionProblem, found: Completion, start: float | None, seed: int, rounding: float
) -> Completion:
    """The fit of some observations at the rank of a fit of all, from a perturbation of it or from nothing."""
    tolerance = max(rounding * 1e-4, 2e-14)
    if start is None:
        return irls(rest, rank_proxy=found.rank, attempts=2, seed=seed, tolerance=tolerance)
    root = found.singular_values.sqrt()
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for part in (found.U * root, found.Vt.mT * root):
        noise = normal(*part.shape, generator=generator).to(part)
        factors.append(part + start * float(part.square().mean().sqrt()) * noise)
    return refit(rest, *svd(Factored(*factors)), rank=found.rank, tolerance=tolerance)


def _spare(problem: CompletionProblem, rank: int, seed: int) -> Tensor:
    """Observations in random order, at first at most one for each row and column, of lines that are long."""
    m, n = problem.shape
    order = torch.randperm(problem.n_observed, generator=torch.Generator().manual_seed(seed))
    order = order.to(problem.y.device)
    rows, cols = problem.rows[order], problem.cols[order]
    per_row, per_col = torch.bincount(rows, minlength=m), torch.bincount(cols, minlength=n)
    long = (per_row[rows] > 1.3 * rank + 1) & (per_col[cols] > 1.3 * rank + 1)
    order, rows, cols = order[long], rows[long], cols[long]
    first = _first(rows, m) | _first(cols, n)
    order, left = order[first], (per_row.tolist(), per_col.tolist())
    spare = []
    for i, j in zip(rows[first].tolist(), cols[first].tolist(), strict=True):
        spare.append(left[0][i] > rank + 1 and left[1][j] > rank + 1)
        left[0][i] -= spare[-1]
        left[1][j] -= spare[-1]
    return order[torch.tensor(spare, dtype=torch.bool, device=order.device)]


def _first(lines: Tensor, size: int) -> Tensor:
    """Whether each element is the first of its line."""
    place = torch.arange(len(lines), device=lines.device)
    first = place.new_full((size,), len(lines)).scatter_reduce(0, lines, place, "amin")
    return first[lines] == place
