"""Global, row and column offsets of partly observed matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_number
from overt.linalg import Factored
from overt.problems.base import EntriesProblem

_How = Literal["biases", "mean"]
_TOLERANCE = 1e-12
_MAX_SWEEPS = 1000


@dataclass(frozen=True, eq=False)
class Offsets:
    """The matrix μ + b_i + c_j, kept as a number and two vectors.

    Parameters
    ----------
    mean
        μ, a 0-d tensor.
    row, col
        b (m,) and c (n,).
    """

    mean: Tensor
    row: Tensor
    col: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.row.numel(), self.col.numel()

    def at(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Values at the given places, of the shape of `rows`."""
        return self.mean + self.row[rows] + self.col[cols]

    def dense(self) -> Tensor:
        """The whole m×n matrix."""
        return self.mean + self.row[:, None] + self.col

    def factored(self) -> Factored:
        """The same matrix as a product of two factors; its rank is at most two."""
        ones_row, ones_col = torch.ones_like(self.row), torch.ones_like(self.col)
        return Factored(
            torch.stack([self.mean + self.row, ones_row], 1), torch.stack([ones_col, self.col], 1)
        )

    @overload
    def add(self, W: Tensor) -> Tensor: ...
    @overload
    def add(self, W: Factored) -> Factored: ...
    def add(self, W: Tensor | Factored) -> Tensor | Factored:
        """W (m, n) plus the offsets; a Factored stays one, with two more columns in each factor."""
        return W + self.dense() if isinstance(W, Tensor) else W + self.factored()


def fit_offsets(problem: EntriesProblem, how: str = "biases", *, ridge: float = 5.0) -> Offsets:
    """Offsets of the observed entries.

    Parameters
    ----------
    problem
        A `CompletionProblem`. Its observations are used, its truth and held-out entries are not.
    how
        ``"mean"``: μ is the mean of y and b = c = 0. ``"biases"``: with the same μ, b and c minimise
        Σ_Ω (y_ij − μ − b_i − c_j)² + ridge (‖b‖² + ‖c‖²), the bias baseline of Koren, Bell & Volinsky 2009
        (eq. 3), by alternating exact minimisation to a relative change below 1e-12.
    ridge
        Shrinks a line towards the mean as if it held so many more entries equal to the mean; 0 is plain least
        squares. A line without entries gets offset 0.

    Returns
    -------
    Offsets

    Raises
    ------
    TypeError, ValueError
        Unknown `how`; `ridge` no number, negative or infinite.
    """
    check_choice(how, "how", _How)
    ridge = check_number(ridge, "ridge", least=0)
    (m, n), (rows, cols) = problem.shape, problem.places()
    mean = problem.y.mean()
    row, col = problem.y.new_zeros(m), problem.y.new_zeros(n)
    if how == "biases":
        row, col = _biases(rows, cols, problem.y - mean, row, col, ridge)
    return Offsets(mean, row, col)


def _biases(
    rows: Tensor, cols: Tensor, y: Tensor, row: Tensor, col: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    def line_step(index: Tensor, residual: Tensor, count: Tensor) -> Tensor:
        # A line without entries has residual sum 0; the floor keeps 0/0 away when ridge is 0.
        return torch.zeros_like(count).index_add(0, index, residual) / (count + ridge).clamp_min(1.0)

    per_row = torch.zeros_like(row).index_add(0, rows, torch.ones_like(y))
    per_col = torch.zeros_like(col).index_add(0, cols, torch.ones_like(y))
    scale = float(y.abs().max())
    for _ in range(_MAX_SWEEPS):
        new_row = line_step(rows, y - col[cols], per_row)
        new_col = line_step(cols, y - new_row[rows], per_col)
        change = max(float((new_row - row).abs().max()), float((new_col - col).abs().max()))
        row, col = new_row, new_col
        if change <= _TOLERANCE * scale:
            break
    return row, col
