"""A chosen model with its evidence, the model that every other must beat, and what judges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from overt.completion.result import Completion, HistoryRow
from overt.problems import CompletionProblem, Offsets

LARGEST = 100.0  # a completed entry above this many times the largest observed one is a blow-up


@dataclass(frozen=True, eq=False)
class Selected:
    """A model, in the problem's units, and the evidence for it.

    Attributes
    ----------
    completion : Completion
        The low-rank part.
    offsets : Offsets
    solver : str
        What produced it: a solver's name or ``"column_mean"``.
    heldout_error, heldout_stderr, baseline_error : float
        Root mean square error on held-out entries with its standard error, and that of the column means; nan
        where nothing could be held out.
    noise_std : float
    message : str
    fallback : bool
        Whether the column means won although something else was asked for or tried.
    """

    completion: Completion
    offsets: Offsets
    solver: str
    heldout_error: float = math.nan
    heldout_stderr: float = math.nan
    baseline_error: float = math.nan
    noise_std: float = 0.0
    message: str = ""
    fallback: bool = False
    history: list[HistoryRow] = field(default_factory=list)

    @property
    def estimate(self) -> float:
        """Estimated error on an entry that was not seen: held out, or else from the misfit."""
        return self.noise_std if math.isnan(self.heldout_error) else self.heldout_error


Progress = Callable[[Selected], None]


def column_mean(problem: CompletionProblem) -> Selected:
    """The model that every other must beat: each column's mean."""
    m, n = problem.shape
    y = problem.y
    total = y.new_zeros(n).index_add(0, problem.cols, y)
    count = torch.bincount(problem.cols, minlength=n)
    mean = y.mean()
    col = torch.where(count > 0, total / count.clamp_min(1) - mean, torch.zeros_like(total))
    zero = Completion(y.new_zeros(m, 0), y.new_zeros(0), y.new_zeros(0, n), True, 0, message="column means")
    noise = float((y - mean - col[problem.cols]).square().mean().sqrt())
    return Selected(zero, Offsets(mean, y.new_zeros(m), col), "column_mean", noise_std=noise)


def sane(problem: CompletionProblem, found: Completion, offsets: Offsets) -> bool:
    """Whether no completed entry exceeds 100 times the largest observed one."""
    left, right = found.U * found.singular_values, found.Vt
    bound = LARGEST * problem.max_abs_observed
    m, n = problem.shape
    step = max(1, (1 << 22) // n)
    for start in range(0, m, step):
        part = slice(start, start + step)
        block = left[part] @ right + (offsets.mean + offsets.row[part])[:, None] + offsets.col
        if not float(block.abs().max()) <= bound:
            return False
    return True


def no_offsets(problem: CompletionProblem) -> Offsets:
    m, n = problem.shape
    return Offsets(problem.y.new_zeros(()), problem.y.new_zeros(m), problem.y.new_zeros(n))


def subset(problem: CompletionProblem, index: Tensor) -> CompletionProblem:
    return CompletionProblem(problem.rows[index], problem.cols[index], problem.y[index], problem.shape)


def rmse(square: Tensor) -> tuple[float, float]:
    """Root mean square error and its standard error by the delta method."""
    error = float(square.mean().sqrt())
    if square.numel() < 2 or error == 0:
        return error, 0.0 if error == 0 else math.nan
    return error, float(square.std() / math.sqrt(square.numel()) / (2 * error))


def column_mean_errors(problem: CompletionProblem, kept: Tensor, out: Tensor) -> Tensor:
    offsets = column_mean(subset(problem, kept)).offsets
    return (offsets.at(problem.rows[out], problem.cols[out]) - problem.y[out]).square()


def misfit_std(problem: CompletionProblem, found: Completion, offsets: Offsets, freedom: int) -> float:
    """Standard deviation of the misfit, corrected for the degrees of freedom of the fit."""
    misfit = found.at(problem.rows, problem.cols) + offsets.at(problem.rows, problem.cols) - problem.y
    left = max(problem.n_observed - freedom, 0.1 * problem.n_observed)
    return math.sqrt(float(misfit.square().sum()) / left)


class Incumbent:
    """The best model so far, which an interrupted fit is left with.

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
        noise = misfit_std(problem, found, offsets, found.rank * (sum(found.shape) - found.rank))
        self(Selected(found, offsets, solver, noise_std=noise, history=found.history))

    def answer(self) -> Selected:
        """The best model, or the column means where it puts an entry beyond all bounds."""
        best = self._best
        return best if sane(self._problem, best.completion, best.offsets) else self._means
