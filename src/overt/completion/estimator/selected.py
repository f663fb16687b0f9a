"""A chosen model with its evidence, and the model that every other must beat."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from overt.completion.bayes import Predictive
from overt.completion.certificate import certificate, names
from overt.completion.estimator.units import Compressed
from overt.completion.problem import within_bounds
from overt.completion.result import Completion
from overt.problems import CompletionProblem, Offsets

_CERTIFIED_UNKNOWNS = 200_000  # r (m + n) above which no certificate is computed
_CHUNK = 1 << 16  # entries gathered at a time


@dataclass(frozen=True, eq=False)
class Selected:
    """A model, in the problem's units, and the evidence for it.

    ``completion`` is the low-rank part, with the history and message of its making; ``solver`` names what
    produced it, such as ``"column_mean"``. The errors are root mean squares on held-out entries,
    ``baseline_error`` is the one of the column means; nan where nothing could be held out. ``predictive`` is
    the distribution of entries where it is known; ``limits`` bound predictions: lower and upper ones, and
    whether they belong to "rows" or "columns"; ``column_noise`` (n,) is the noise of each column. ``certain``
    marks rows and columns whose entries are exact.
    """

    completion: Completion
    offsets: Offsets
    solver: str
    heldout_error: float = math.nan
    heldout_stderr: float = math.nan
    baseline_error: float = math.nan
    noise_std: float = 0.0
    predictive: Predictive | None = None
    limits: tuple[NDArray[Any], NDArray[Any], str] | None = None
    column_noise: NDArray[Any] | None = None
    certain: tuple[Tensor, Tensor] | None = None

    @property
    def estimate(self) -> float:
        """Estimated error on an entry that was not seen: held out, or else from the misfit."""
        return self.noise_std if math.isnan(self.heldout_error) else self.heldout_error


def column_mean(problem: CompletionProblem, message: str = "column means") -> Selected:
    """The model that every other must beat: each column's mean."""
    m, n = problem.shape
    y = problem.y
    total = y.new_zeros(n).index_add(0, problem.cols, y)
    count = torch.bincount(problem.cols, minlength=n)
    col = torch.where(count > 0, total / count.clamp_min(1), y.mean())
    zero = Completion.zero(y, (m, n), message=message)
    square = (y - col[problem.cols]).square()
    noise = square.mean().sqrt()
    variance = y.new_zeros(n).index_add(0, problem.cols, square) * (1 + 1 / count) / (count - 1)
    of_new = torch.where((count > 1) & (variance > 0), variance.sqrt(), noise)
    offsets = Offsets(y.new_zeros(()), y.new_zeros(m), col)
    return Selected(zero, offsets, "column_mean", noise_std=float(noise), column_noise=of_new.cpu().numpy())


def no_offsets(problem: CompletionProblem) -> Offsets:
    """Offsets of zero."""
    m, n = problem.shape
    return Offsets(problem.y.new_zeros(()), problem.y.new_zeros(m), problem.y.new_zeros(n))


def subset(problem: CompletionProblem, index: Tensor) -> CompletionProblem:
    """The problem of some of the observations."""
    return CompletionProblem(problem.rows[index], problem.cols[index], problem.y[index], problem.shape)


def rmse(square: Tensor) -> tuple[float, float]:
    """Root mean square error and its standard error by the delta method."""
    error = float(square.mean().sqrt())
    if square.numel() < 2 or error == 0:
        return error, 0.0 if error == 0 else math.nan
    return error, float(square.std() / math.sqrt(square.numel()) / (2 * error))


def column_mean_errors(problem: CompletionProblem, kept: Tensor, out: Tensor) -> Tensor:
    """Square errors on the entries ``out`` of the column means of the entries ``kept``."""
    offsets = column_mean(subset(problem, kept)).offsets
    return (offsets.at(problem.rows[out], problem.cols[out]) - problem.y[out]).square()


def misfit_std(problem: CompletionProblem, found: Completion, offsets: Offsets, spent: int = 0) -> float:
    """Standard deviation of the misfit, corrected for the degrees of freedom of the fit and `spent` ones.

    A shrunk singular value σ spends the share σ/(σ + λ) of its degrees of freedom. Where the misfit R has a
    part ``uᵀ P*(R) v`` left along its direction, this is λ times the share of entries observed.
    """
    misfit = problem.y - found.at(problem.rows, problem.cols) - offsets.at(problem.rows, problem.cols)
    left = problem.n_observed - _degrees_spent(problem, found, misfit) - spent
    return math.sqrt(float(misfit.square().sum()) / max(left, 0.1 * problem.n_observed))


def _degrees_spent(problem: CompletionProblem, found: Completion, misfit: Tensor) -> float:
    """Degrees of freedom of a fit whose singular values may be shrunk."""
    (m, n), s = found.shape, found.singular_values
    if not found.rank:
        return 0.0
    along = torch.zeros_like(s)
    for start in range(0, problem.n_observed, _CHUNK):
        part = slice(start, start + _CHUNK)
        left, right = found.U[problem.rows[part]], found.Vt.mT[problem.cols[part]]
        along += (misfit[part, None] * left * right).sum(0)
    shrunk = along.clamp_min(0) * (m * n / problem.n_observed)
    kept = s / (s + shrunk).clamp_min(torch.finfo(s.dtype).tiny)
    return float(kept.sum()) * found.freedom / found.rank


def warn_empty(compressed: Compressed, stacklevel: int) -> None:
    """Warn of rows and columns without any observation."""
    for name, empty in (("row", compressed.empty_rows), ("column", compressed.empty_cols)):
        if empty.numel():
            warnings.warn(
                f"{empty.numel()} {name}(s) hold no observation ({names(empty.tolist())}); they get "
                f"the mean of the fitted {name}s",
                UserWarning,
                stacklevel=stacklevel + 1,
            )


def determined(
    compressed: Compressed, chosen: Selected, asked: bool, stacklevel: int
) -> tuple[bool | None, list[int], list[int]]:
    """Whether the observed positions determine a fit, and the caller's rows and columns that they do not.

    Empty rows and columns are among these. None where this is not computed: where it is not asked, for rank
    0, a very large matrix, and the noisy model, in which the prior leaves nothing open. Warns of a fit that
    is not determined.
    """
    rows, cols = compressed.empty_rows.tolist(), compressed.empty_cols.tolist()
    found, empty = chosen.completion, bool(rows or cols)
    apart, answer = "", None
    if chosen.certain is not None:
        open_rows, open_cols = ((~mask).nonzero()[:, 0] for mask in chosen.certain)
        if not asked and not len(open_rows) + len(open_cols):
            return None, rows, cols
    elif (
        not asked or chosen.solver == "bayes" or not 0 < found.rank * sum(found.shape) <= _CERTIFIED_UNKNOWNS
    ):
        return None, rows, cols
    else:
        answer = certificate(compressed.problem, found)
        open_rows, open_cols = (
            torch.as_tensor(lines, dtype=torch.long) for lines in (answer.rows, answer.cols)
        )
        apart = f" (the observations fall into {answer.components} parts)" if answer.components > 1 else ""
    rows += compressed.kept_rows[open_rows].tolist()
    cols += compressed.kept_cols[open_cols].tolist()
    identifiable = not len(open_rows) + len(open_cols) if answer is None else answer.identifiable
    if identifiable is False:
        rank = "" if answer is None else f" at rank {found.rank}"
        warnings.warn(
            f"the observed entries do not determine the completion{rank}{apart}: observe more "
            f"in row(s) {names(rows)} and column(s) {names(cols)}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return False if empty else identifiable, rows, cols


class Incumbent:
    """The best model so far, which an interrupted fit keeps.

    Models judged on held-out entries are compared by that error; iterates of an exact solver, which saw all
    observations, by their misfit corrected for the degrees of freedom.
    """

    def __init__(self, problem: CompletionProblem) -> None:
        means = column_mean(problem)
        spent = int((means.offsets.col != 0).sum())
        self._problem = problem
        self._means = self._best = means
        self._estimate = misfit_std(problem, means.completion, means.offsets, spent)

    def __call__(self, model: Selected) -> None:
        """Take the model if it is better."""
        if model.estimate <= self._estimate:
            self._best, self._estimate = model, model.estimate

    def offer(self, found: Completion, solver: str, offsets: Offsets | None = None) -> None:
        """Take an iterate of a solver if it is better."""
        if not bool(found.singular_values.isfinite().all()):
            return
        problem = self._problem
        offsets = no_offsets(problem) if offsets is None else offsets
        noise = misfit_std(problem, found, offsets)
        self(Selected(found, offsets, solver, noise_std=noise))

    def answer(self) -> Selected:
        """The best model, or the column means where it puts an entry beyond all bounds."""
        best = self._best
        return best if within_bounds(self._problem, best.completion, best.offsets) else self._means
