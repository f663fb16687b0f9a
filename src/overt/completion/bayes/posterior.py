"""What sampling leaves: the posterior mean as a low-rank matrix with offsets, and draws for intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[Any]
_CHUNK = 1 << 16  # positions answered at a time
_DRAWS, _NUMBERS = 32, 16_000_000  # draws kept at most, and floats in them
_HALVINGS = 30  # of the interval in which a quantile lies


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw: ``left`` (m, t) · ``right``ᵀ (t, n), with noise of ``row_std · col_std``."""

    left: Array
    right: Array
    row_std: Array
    col_std: Array

    def at(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Values without noise and standard deviations of the noise at positions (k,)."""
        value = np.einsum("kt,kt->k", self.left[rows], self.right[cols])
        return value.astype(np.float64), (self.row_std[rows] * self.col_std[cols]).astype(np.float64)

    def single(self) -> Draw:
        """The draw in single precision."""
        return Draw(
            *(np.asarray(part, np.float32) for part in (self.left, self.right, self.row_std, self.col_std))
        )

    def turned(self) -> Draw:
        """The draw of the transposed matrix."""
        return Draw(self.right, self.left, self.col_std, self.row_std)


@dataclass(frozen=True, eq=False)
class Predictive:
    """The predictive distribution of entries: a mixture of one normal distribution for each draw.

    ``weights`` (draws,) sum to one; without them all draws weigh the same.
    """

    draws: tuple[Draw, ...]
    weights: Array | None = None

    @property
    def shares(self) -> Array:
        """The weights (draws,)."""
        count = len(self.draws)
        return np.full(count, 1 / count) if self.weights is None else self.weights

    def moments(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of new observations at positions (k,), the noise included."""
        near = self.draws[0].at(rows, cols)[0]  # squares of what is far from zero would drown the variance
        mean, square = np.zeros(rows.size), np.zeros(rows.size)
        for draw, share in zip(self.draws, self.shares, strict=True):
            value, std = draw.at(rows, cols)
            mean += share * (value - near)
            square += share * ((value - near) ** 2 + std**2)
        return near + mean, np.sqrt(np.maximum(square - mean**2, 0))

    def interval(self, rows: Array, cols: Array, level: float) -> tuple[Array, Array]:
        """Central intervals that hold new observations with probability ``level``."""
        tail = (1 - level) / 2
        low, high = np.empty(rows.size), np.empty(rows.size)
        for part in _chunks(rows.size):
            pairs = [draw.at(rows[part], cols[part]) for draw in self.draws]
            values, stds = (np.stack(each) for each in zip(*pairs, strict=True))
            low[part] = _quantile(values, stds, self.shares, tail)
            high[part] = _quantile(values, stds, self.shares, 1 - tail)
        return low, high

    def sample(self, rows: Array, cols: Array, count: int, random: np.random.Generator) -> Array:
        """``count`` draws of new observations at positions (k,), shape (count, k)."""
        out = np.empty((count, rows.size))
        for number in range(count):
            value, std = self.draws[random.choice(len(self.draws), p=self.shares)].at(rows, cols)
            out[number] = value + std * random.standard_normal(rows.size)
        return out


@dataclass(frozen=True, eq=False)
class Posterior:
    """What a run leaves.

    The posterior mean is ``left_i·right_j + mean + row_i + col_j``. ``watched`` (k,) is the mean at the
    positions that were watched. ``col_std`` (n,) is the noise of each column in a typical row, ``noise_std``
    the root mean square over the observed entries. ``spectrum`` are the singular values of the product of
    both factors in units in which the data has variance one; there the columns of ``left`` are orthogonal.
    """

    left: Array
    right: Array
    mean: float
    row: Array
    col: Array
    noise_std: float
    col_std: Array
    predictive: Predictive
    watched: Array
    sweeps: int
    spectrum: Array = field(default_factory=lambda: np.zeros(0))


def entries_at(left: Array, right: Array, rows: Array, cols: Array) -> Array:
    """Entries of ``left`` (m, t) times the transpose of ``right`` (n, t) at positions (k,)."""
    out = np.empty(rows.size)
    for part in _chunks(rows.size):
        out[part] = np.einsum("kt,kt->k", left[rows[part]], right[cols[part]])
    return out


def _chunks(size: int) -> Iterator[slice]:
    for start in range(0, size, _CHUNK):
        yield slice(start, start + _CHUNK)


def _quantile(values: Array, stds: Array, weights: Array, share: float) -> Array:
    """Quantiles of mixtures of normal distributions, shapes (draws, k), by bisection."""
    reach = 10 * stds.max(0) + 1e-300
    low, high = values.min(0) - reach, values.max(0) + reach
    safe = np.maximum(stds, 1e-12 * reach)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = weights @ ndtr((middle - values) / safe) < share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: Array = (low + high) / 2
    return found


def kept_draws(shape: tuple[int, int], width: int, most: int = _DRAWS, numbers: int = _NUMBERS) -> int:
    """How many draws to keep: ``most``, or what ``numbers`` floats hold, but a few at least."""
    return int(min(most, max(4, numbers // (width * math.fsum(shape) + 1))))
