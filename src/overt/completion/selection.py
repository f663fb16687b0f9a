"""Which model of the data to trust: exact low rank, low rank plus noise, offsets, or the column means.

Nothing is told. If a low-rank matrix with fewer degrees of freedom than observations meets all of them to rounding,
that is the answer. Otherwise candidates are compared by their error on entries held out from them, the column means
among them, and the winner is fitted to all observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from overt.completion.factored import FactoredPoint, factored_path, finish, split_observations
from overt.completion.refit import refit
from overt.completion.result import Completion, HistoryRow
from overt.completion.solvers import SolverOptions, is_exact, solve
from overt.completion.tangent_entries import Entries
from overt.problems import CompletionProblem, Offsets, fit_offsets

LARGEST = 100.0  # a completed entry above this many times the largest observed one is a blow-up
_DENSE_ENTRIES = (
    1_500_000  # up to this m·n the exact solver, which iterates on dense matrices, is tried first
)
_HOPELESS = 0.5  # held-out error, as a share of the column means', above which exact recovery is tried hard


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


Progress = Callable[[Selected], None]


def select_model(
    problem: CompletionProblem,
    options: SolverOptions,
    *,
    offsets: str | None = "auto",
    heldout: float = 0.1,
    progress: Progress | None = None,
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
    progress : callable, optional
        Receives every model that could be returned if the search were stopped now.
    """
    tell = progress or (lambda _: None)
    tell(column_mean(problem))
    exact = _try_exact(problem, options, tell) if offsets in (None, "auto") else None
    if exact is not None:
        return _with_heldout_of_exact(problem, exact, heldout, options.seed)
    split = split_observations(problem.n_observed, _share(problem.n_observed, heldout), options.seed)
    if split is None:
        return replace(column_mean(problem), message="one observation: nothing but its mean can be said")
    trial = _Trial.of(problem, split, options, tell)
    best = trial.best([offsets] if offsets != "auto" else [None, "biases"])
    if options.solver == "auto" and best.error > _HOPELESS * trial.baseline and _small(problem):
        hard = solve(problem, replace(options, solver="irls", noise_std=0.0))
        if offsets in (None, "auto") and is_exact(problem, hard) and sane(problem, hard, _none(problem)):
            return _with_heldout_of_exact(problem, _exact(problem, hard, "irls"), heldout, options.seed)
    return trial.finish(best)


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


def _none(problem: CompletionProblem) -> Offsets:
    m, n = problem.shape
    return Offsets(problem.y.new_zeros(()), problem.y.new_zeros(m), problem.y.new_zeros(n))


def _small(problem: CompletionProblem) -> bool:
    return problem.shape[0] * problem.shape[1] <= _DENSE_ENTRIES // 10


def _share(k: int, heldout: float) -> float:
    return max(heldout, min(0.3, 30 / k))


def _exact(problem: CompletionProblem, found: Completion, solver: str) -> Selected:
    return Selected(
        found, _none(problem), solver, noise_std=0.0, message=found.message, history=found.history
    )


def _try_exact(problem: CompletionProblem, options: SolverOptions, tell: Progress) -> Selected | None:
    """The exact model, where the solver asked for finds one; a quick attempt only for ``"auto"``."""
    m, n = problem.shape
    if options.noise_std or m + n - 1 >= problem.n_observed:
        return None
    if options.solver == "auto":
        if m * n > _DENSE_ENTRIES:
            return None
        from overt.completion.irls import irls

        found = irls(problem, rank_proxy=options.rank_proxy, attempts=1, seed=options.seed)
        solver = "irls"
    elif options.solver in ("irls", "explicit"):
        found = solve(problem, replace(options, noise_std=0.0))
        solver = options.solver
    else:
        return None
    if not (is_exact(problem, found) and sane(problem, found, _none(problem))):
        return None
    exact = _exact(problem, found, solver)
    tell(exact)
    return exact


def _with_heldout_of_exact(
    problem: CompletionProblem, exact: Selected, heldout: float, seed: int
) -> Selected:
    """Held-out error of an exact fit: refit from it without some of the surplus observations."""
    found = exact.completion
    m, n = problem.shape
    surplus = problem.n_observed - found.rank * (m + n - found.rank)
    n_out = min(round(heldout * problem.n_observed), surplus // 2, 10_000)
    split = split_observations(problem.n_observed, n_out / problem.n_observed, seed) if n_out >= 1 else None
    if split is None:
        return exact
    kept, out = split
    without = _subset(problem, kept)
    again = refit(without, found, rank=found.rank, max_iter=5)
    square = (again.at(problem.rows[out], problem.cols[out]) - problem.y[out]).square()
    error, stderr = _rmse(square)
    baseline = _rmse(_column_mean_errors(problem, kept, out))[0]
    return replace(exact, heldout_error=error, heldout_stderr=stderr, baseline_error=baseline)


def _subset(problem: CompletionProblem, index: Tensor) -> CompletionProblem:
    return CompletionProblem(problem.rows[index], problem.cols[index], problem.y[index], problem.shape)


def _rmse(square: Tensor) -> tuple[float, float]:
    """Root mean square error and its standard error by the delta method."""
    error = float(square.mean().sqrt())
    if square.numel() < 2 or error == 0:
        return error, 0.0 if error == 0 else math.nan
    return error, float(square.std() / math.sqrt(square.numel()) / (2 * error))


def _column_mean_errors(problem: CompletionProblem, kept: Tensor, out: Tensor) -> Tensor:
    offsets = column_mean(_subset(problem, kept)).offsets
    return (offsets.at(problem.rows[out], problem.cols[out]) - problem.y[out]).square()


@dataclass(frozen=True, eq=False)
class _Scored:
    """A candidate fitted to the kept observations."""

    name: str
    how: str | None
    error: float
    square: Tensor
    point: FactoredPoint | None
    found: Completion | None
    offsets: Offsets
    history: list[HistoryRow]


@dataclass
class _Trial:
    """Candidates on one split of the observations."""

    problem: CompletionProblem
    kept: Tensor
    out: Tensor
    options: SolverOptions
    tell: Progress
    baseline_square: Tensor

    @classmethod
    def of(
        cls, problem: CompletionProblem, split: tuple[Tensor, Tensor], options: SolverOptions, tell: Progress
    ) -> _Trial:
        kept, out = (index.to(problem.y.device) for index in split)
        return cls(problem, kept, out, options, tell, _column_mean_errors(problem, kept, out))

    @property
    def baseline(self) -> float:
        """Held-out error of the column means."""
        return float(self.baseline_square.mean().sqrt())

    def best(self, hows: list[str | None]) -> _Scored:
        """The candidate of smallest held-out error."""
        scored = [self._score(how) for how in hows]
        return min(scored, key=lambda candidate: candidate.error)

    def _score(self, how: str | None) -> _Scored:
        train = _subset(self.problem, self.kept)
        offsets = _none(train) if how is None else fit_offsets(train, how)
        centred = replace(train, y=train.y - offsets.at(train.rows, train.cols))
        rows, cols = self.problem.rows[self.out], self.problem.cols[self.out]
        values = self.problem.y[self.out] - offsets.at(rows, cols)
        if self.options.solver in ("auto", "factored"):
            return self._score_path(how, centred, offsets, (rows, cols, values))
        found = self._solve(centred)
        square = (found.at(rows, cols) - values).square()
        return _Scored(
            self.options.solver, how, _rmse(square)[0], square, None, found, offsets, found.history
        )

    def _solve(self, problem: CompletionProblem) -> Completion:
        return solve(problem, self.options)

    def _score_path(
        self,
        how: str | None,
        centred: CompletionProblem,
        offsets: Offsets,
        out: tuple[Tensor, Tensor, Tensor],
    ) -> _Scored:
        entries = Entries(centred.rows, centred.cols, centred.shape, centred.y.dtype)

        def on_point(point: FactoredPoint) -> None:
            found = Completion(*point.point, False, message="interrupted while the rank was chosen")
            self.tell(Selected(found, offsets, "factored", point.heldout_rmse, noise_std=point.heldout_rmse))

        point, history = factored_path(
            entries,
            entries.sort(centred.y),
            out,
            max_rank=self.options.max_rank,
            seed=self.options.seed,
            on_point=on_point,
        )
        square = (Completion(*point.point).at(out[0], out[1]) - out[2]).square()
        return _Scored("factored", how, _rmse(square)[0], square, point, None, offsets, history)

    def finish(self, best: _Scored) -> Selected:
        """Fit the winner to all observations, or fall back on the column means."""
        error, stderr = _rmse(best.square)
        difference = best.square - self.baseline_square
        doubt = float(difference.std() / math.sqrt(difference.numel())) if difference.numel() > 1 else 0.0
        if not float(difference.mean()) < -doubt:
            return self._column_mean(f"{best.name} did not beat the column means on held-out entries")
        offsets = _none(self.problem) if best.how is None else fit_offsets(self.problem, best.how)
        centred = replace(self.problem, y=self.problem.y - offsets.at(self.problem.rows, self.problem.cols))
        if best.point is not None:
            entries = Entries(centred.rows, centred.cols, centred.shape, centred.y.dtype)
            found = finish(entries, entries.sort(centred.y), best.point)
        else:
            found = self._solve(centred)
        if not sane(self.problem, found, offsets):
            return self._column_mean(f"{best.name} blew up on entries that were not observed")
        noise = 0.0 if best.how is None and is_exact(self.problem, found) else error
        return Selected(
            found,
            offsets,
            best.name,
            error,
            stderr,
            self.baseline,
            noise,
            found.message,
            history=best.history or found.history,
        )

    def _column_mean(self, why: str) -> Selected:
        error, stderr = _rmse(self.baseline_square)
        return replace(
            column_mean(self.problem),
            heldout_error=error,
            heldout_stderr=stderr,
            baseline_error=error,
            message=f"{why}; the column means are used",
            fallback=True,
        )
