"""A chosen model with its evidence, and the model that every other must beat."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from overt.completion.certificate import certificate, names
from overt.completion.estimator.inputs import Compressed
from overt.completion.problem import within_bounds
from overt.completion.result import Completion
from overt.problems import CompletionProblem, Offsets

_CERTIFIED_UNKNOWNS = 200_000  # r (m + n) above which no certificate is computed


@dataclass(frozen=True, eq=False)
class Selected:
    """A model, in the problem's units, and the evidence for it.

    ``completion`` is the low-rank part, with the history and message of its making; ``solver`` names what
    produced it, such as ``"column_mean"``. The errors are root mean squares on held-out entries,
    ``baseline_error`` is the one of the column means; nan where nothing could be held out.
    """

    completion: Completion
    offsets: Offsets
    solver: str
    heldout_error: float = math.nan
    heldout_stderr: float = math.nan
    baseline_error: float = math.nan
    noise_std: float = 0.0

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
    mean = y.mean()
    col = torch.where(count > 0, total / count.clamp_min(1) - mean, torch.zeros_like(total))
    zero = Completion.zero(y, (m, n), message=message)
    noise = float((y - mean - col[problem.cols]).square().mean().sqrt())
    return Selected(zero, Offsets(mean, y.new_zeros(m), col), "column_mean", noise_std=noise)


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
    """Standard deviation of the misfit, corrected for the degrees of freedom of the fit and `spent` ones."""
    misfit = found.at(problem.rows, problem.cols) + offsets.at(problem.rows, problem.cols) - problem.y
    left = max(problem.n_observed - found.freedom - spent, 0.1 * problem.n_observed)
    return math.sqrt(float(misfit.square().sum()) / left)


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
    compressed: Compressed, found: Completion | None, stacklevel: int
) -> tuple[bool | None, list[int], list[int]]:
    """Whether the observed positions determine a fit, and the caller's rows and columns that they do not.

    Empty rows and columns are among these. None where this is not computed: for no fit, one of rank 0 or a
    very large one. Warns of a fit that is not determined.
    """
    rows, cols = compressed.empty_rows.tolist(), compressed.empty_cols.tolist()
    if found is None or not 0 < found.rank * sum(found.shape) <= _CERTIFIED_UNKNOWNS:
        return None, rows, cols
    empty = bool(rows or cols)
    answer = certificate(compressed.problem, found)
    rows += compressed.kept_rows[list(answer.rows)].tolist()
    cols += compressed.kept_cols[list(answer.cols)].tolist()
    if answer.identifiable is False:
        apart = f" (the observations fall into {answer.components} parts)" if answer.components > 1 else ""
        warnings.warn(
            f"the observed entries do not determine the completion at rank {found.rank}{apart}: observe more "
            f"in row(s) {names(rows)} and column(s) {names(cols)}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return False if empty else answer.identifiable, rows, cols


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
