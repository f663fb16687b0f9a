"""Means over inputs with their sampling variance, summed as the inputs come."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and variance of rows, by the update of Chan, Golub & LeVeque (1983), which cancels nothing.

    Attributes
    ----------
    count : int
        Rows so far.
    mean : Tensor
        Their mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Add rows, shape (n, …)."""
        n, mean = len(rows), rows.mean(0)
        squares = (rows - mean).square().sum(0)
        if self.count == 0:
            self.count, self.mean, self._squares = n, mean, squares
            return
        total = self.count + n
        step = mean - self.mean
        self._squares = self._squares + squares + step.square() * (self.count * n / total)
        self.mean = self.mean + step * (n / total)
        self.count = total

    def variance_of_mean(self) -> Tensor | None:
        """Estimated variance of ``mean``, the rows being independent; None for fewer than two rows."""
        if self.count < 2:
            return None
        return self._squares / (self.count - 1) / self.count


def values_with_errors(squares: Tensor, variance: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Square roots, and their standard errors √variance/(2√squares) to first order; 0 at 0."""
    values = squares.sqrt()
    if variance is None:
        return values, None
    stderr = variance.sqrt() / (2 * values)
    return values, torch.where(values > 0, stderr, 0)
