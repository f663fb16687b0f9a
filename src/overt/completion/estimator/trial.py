"""Candidate models on one split of the observations, and the fit of the best to all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

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
from overt.completion.problem import is_exact, within_bounds
from overt.completion.result import Completion, HistoryRow
from overt.problems import CompletionProblem, Offsets, fit_offsets

_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)  # of the offsets, in entries per line
_MARGIN = 1.5  # standard errors by which a model must beat the column means, and more on few entries:
_EXTRA = 30.0  # … by this over their number
_HELPFUL = 0.99  # share of the error of no offsets below which row and column offsets are worth a try


@dataclass(frozen=True, eq=False)
class Scored:
    """A candidate fitted to the kept observations: how offsets were taken, and its square held-out errors."""

    how: str | None
    ridge: float
    square: Tensor
    history: list[HistoryRow]

    @property
    def error(self) -> float:
        """Root mean square error on the held-out entries."""
        return rmse(self.square)[0]


@dataclass
class Trial:
    """Candidates on one split of the observations."""

    problem: CompletionProblem
    kept: Tensor
    out: Tensor
    options: SolverOptions
    tell: Incumbent
    baseline_square: Tensor

    @classmethod
    def of(
        cls, problem: CompletionProblem, split: tuple[Tensor, Tensor], options: SolverOptions, tell: Incumbent
    ) -> Trial:
        """The trial on a split into entries kept and held out."""
        kept, out = (index.to(problem.y.device) for index in split)
        return cls(problem, kept, out, options, tell, column_mean_errors(problem, kept, out))

    @property
    def baseline(self) -> float:
        """Held-out error of the column means."""
        return float(self.baseline_square.mean().sqrt())

    def best(self, hows: list[str | None]) -> Scored:
        """The candidate of smallest held-out error."""
        scored = [self._score(how) for how in hows]
        return min(scored, key=lambda candidate: candidate.error)

    def promising(self) -> list[str | None]:
        """No offsets, and row and column offsets where these predict anything at all."""
        rows, cols, y = self.problem.rows[self.out], self.problem.cols[self.out], self.problem.y[self.out]
        offsets, _ = self._offsets(subset(self.problem, self.kept), "biases", rows, cols)
        left = (offsets.at(rows, cols) - y).square().mean().sqrt()
        return [None, "biases"] if float(left) < _HELPFUL * float(y.square().mean().sqrt()) else [None]

    def _score(self, how: str | None) -> Scored:
        train = subset(self.problem, self.kept)
        rows, cols = self.problem.rows[self.out], self.problem.cols[self.out]
        offsets, ridge = self._offsets(train, how, rows, cols)
        centred = replace(train, y=train.y - offsets.at(train.rows, train.cols))
        values = self.problem.y[self.out] - offsets.at(rows, cols)
        found = self._solve(centred, offsets)
        return Scored(how, ridge, (found.at(rows, cols) - values).square(), found.history)

    def _offsets(
        self, train: CompletionProblem, how: str | None, rows: Tensor, cols: Tensor
    ) -> tuple[Offsets, float]:
        """Offsets of the kept entries with the ridge that predicts the held-out ones best."""
        if how is None:
            return no_offsets(train), 0.0
        ridges = _RIDGES if how == "biases" else (0.0,)
        found = [(fit_offsets(train, how, ridge=ridge), ridge) for ridge in ridges]
        y = self.problem.y[self.out]
        return min(found, key=lambda pair: float((pair[0].at(rows, cols) - y).square().mean()))

    def _solve(self, problem: CompletionProblem, offsets: Offsets) -> Completion:
        name = self.options.solver
        return solve(problem, self.options, lambda found: self.tell.offer(found, name, offsets))

    def finish(self, best: Scored) -> Selected:
        """Fit the winner to all observations, or fall back on the column means."""
        error, stderr = rmse(best.square)
        name = self.options.solver
        difference = best.square - self.baseline_square
        doubt = float(difference.std() / math.sqrt(difference.numel())) if difference.numel() > 1 else 0.0
        margin = _MARGIN + _EXTRA / max(difference.numel(), 1)
        if not float(difference.mean()) < -margin * doubt:
            return self._column_mean(f"{name} did not beat the column means on held-out entries")
        offsets = no_offsets(self.problem)
        if best.how is not None:
            offsets = fit_offsets(self.problem, best.how, ridge=best.ridge)
        centred = replace(self.problem, y=self.problem.y - offsets.at(self.problem.rows, self.problem.cols))
        found = self._solve(centred, offsets)
        if not within_bounds(self.problem, found, offsets):
            return self._column_mean(f"{name} blew up on entries that were not observed")
        if not found.rank and best.how != "biases":
            return self._column_mean(f"{name} found nothing of low rank{self._dominated()}")
        exact = best.how is None and is_exact(self.problem, found, self.options.rounding)
        return Selected(
            replace(found, history=best.history or found.history),
            offsets,
            name if found.rank else "offsets",
            error,
            stderr,
            self.baseline,
            0.0 if exact else self._noise(found, offsets, error),
        )

    def _noise(self, found: Completion, offsets: Offsets, error: float) -> float:
        """Standard deviation of the noise: root mean square of the held-out error and of the misfit.

        With noise σ, d degrees of freedom and n observations, least squares has a mean square misfit of
        ``σ² (1 − d/n)`` and a held-out one of ``σ² (1 + d/n)``; so has ridge with the best ridge.
        """
        at = self.problem.rows, self.problem.cols
        misfit = float((self.problem.y - found.at(*at) - offsets.at(*at)).square().mean())
        return math.sqrt((error**2 + misfit) / 2)

    def _dominated(self) -> str:
        """Names the outlier where most of the data's energy lies in one observation."""
        square = self.problem.y.square()
        alone = square.numel() > 1 and float(square.max()) > 0.5 * float(square.sum())
        return ", for one observation outweighs all others (an outlier?)" if alone else ""

    def _column_mean(self, why: str) -> Selected:
        """The column means after all, marked as unconverged."""
        error, stderr = rmse(self.baseline_square)
        means = column_mean(self.problem, f"{why}; the column means are used")
        return replace(
            means,
            completion=replace(means.completion, converged=False),
            heldout_error=error,
            heldout_stderr=stderr,
            baseline_error=error,
        )
