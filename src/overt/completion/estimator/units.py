"""A problem in units of its own: without empty lines, and with lines of comparable size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from overt.completion.estimator.inputs import Observations
from overt.completion.result import Completion
from overt.problems import CompletionProblem

_ROUNDS = 5  # of scaling columns and rows in turn
_LEEWAY = 10.0  # lines are left within this factor of the median: low rank and sampling make as much


@dataclass(frozen=True)
class Compressed:
    """A completion problem over the rows and columns that hold an observation, in units of their RMS.

    ``kept_rows[i]`` is the caller's row of the problem's row i; ``empty_rows`` are the others.
    """

    problem: CompletionProblem
    scale: float
    kept_rows: Tensor
    kept_cols: Tensor
    empty_rows: Tensor
    empty_cols: Tensor
    shape: tuple[int, int]


def compress(observations: Observations, device: torch.device | str | None = None) -> Compressed:
    """Leave out empty rows and columns and divide by the root mean square.

    Raises
    ------
    ValueError
        If nothing is observed.
    """
    if not observations.n_observed:
        raise ValueError("X: no observed entry, every entry is missing; give at least one")
    rows, cols, values = observations.tensors(device)
    kept_rows, inner_rows = torch.unique(rows, return_inverse=True)
    kept_cols, inner_cols = torch.unique(cols, return_inverse=True)
    scale = observations.scale
    y = values / scale if scale > 0 else values
    inner = (kept_rows.numel(), kept_cols.numel())
    problem = CompletionProblem(inner_rows, inner_cols, y, inner, name="estimator input")
    m, n = observations.shape
    empty_rows = (torch.bincount(rows, minlength=m) == 0).nonzero()[:, 0]
    empty_cols = (torch.bincount(cols, minlength=n) == 0).nonzero()[:, 0]
    return Compressed(problem, scale or 1.0, kept_rows, kept_cols, empty_rows, empty_cols, (m, n))


@dataclass(frozen=True, eq=False)
class Comparable:
    """A problem whose lines are of comparable size, and the factors (m,) and (n,) that were divided out.

    Rank is not changed by that, so an exact low-rank matrix stays one, whatever the units of its rows and
    columns are. Lines of ordinary size are left alone: near the information limit, scaling by what few
    entries say makes a matrix worse conditioned and harder to find.
    """

    problem: CompletionProblem
    row: Tensor
    col: Tensor

    @classmethod
    def of(cls, problem: CompletionProblem, *, rows_too: bool = True) -> Comparable:
        """Scale columns and rows in turn (Sinkhorn 1967, for squares); undo what is within the leeway."""
        rows, cols, y = problem.rows, problem.cols, problem.y
        row, col = (y.new_ones(size) for size in problem.shape)
        for _ in range(_ROUNDS):
            for lines, scale in ((cols, col), (rows, row))[: 1 + rows_too]:
                size = _sizes(lines, y, scale.numel())
                y = y / size[lines]
                scale *= size
        row, col = (size / (size / size.median()).clamp(1 / _LEEWAY, _LEEWAY) for size in (row, col))
        y = problem.y / row[rows] / col[cols]
        unit = y.square().mean().sqrt()
        return cls(replace(problem, y=y / unit), row, col * unit)

    def restored(self, found: Completion) -> Completion:
        """A completion of the scaled problem as one of the original."""
        if not found.rank:
            return found
        left, right = found.factors
        return found.of_factors(left * self.row[:, None], right * self.col[:, None])

    @property
    def unit(self) -> float:
        """Root mean square of what an error of one means in the original problem."""
        sizes = self.row[self.problem.rows] * self.col[self.problem.cols]
        return float(sizes.square().mean().sqrt())


def _sizes(lines: Tensor, y: Tensor, count: int) -> Tensor:
    """Root mean square of each line's entries; 1 for lines of zeros."""
    top = y.new_zeros(count).scatter_reduce(0, lines, y.abs(), "amax")
    top = torch.where(top > 0, top, 1.0)
    square = y.new_zeros(count).index_add(0, lines, (y / top[lines]).square())
    mean = square / torch.bincount(lines, minlength=count).clamp_min(1)
    size = top * mean.sqrt()
    return torch.where(size > 0, size, 1.0)  # also where the size of denormal numbers underflows
