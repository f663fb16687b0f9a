"""The data of a noisy matrix, and the units in which its model is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from overt.completion.bayes.lines import Lines
from overt.completion.bayes.posterior import Draw, Posterior

Array = NDArray[Any]
_FAR = 1e3  # distance of a column from zero, in its scale, that single precision can hold
_FEW = 2  # entries of a column below which its unit is unknown
_ALIKE = 4.0  # factor within which nearly all sizes are alike …
_ODD = 1e-3  # … and share of others below which one is odd
_LEAST = 1e-100  # share of the largest scale below which a column counts as constant: squares would underflow


@dataclass(frozen=True, eq=False)
class Data:
    """Observed entries (k,) with their positions, and features of rows and columns (lines, features)."""

    rows: Array
    cols: Array
    values: Array
    shape: tuple[int, int]
    row_features: sparse.csr_matrix | None = None
    column_features: sparse.csr_matrix | None = None

    def subset(self, index: Array) -> Data:
        """The data with some of the entries."""
        return replace(self, rows=self.rows[index], cols=self.cols[index], values=self.values[index])


@dataclass(frozen=True, eq=False)
class Standard:
    """Centre and scale of each column (n,), the same for all unless ``by_column``."""

    centre: Array
    scale: Array
    by_column: bool

    @classmethod
    def of(cls, data: Data, by_column: bool) -> Standard:
        """Mean and standard deviation of the entries; a column without spread is measured by its own size.

        A single entry says nothing of its column's unit: where the other columns are alike, it is theirs.
        """
        n, values, cols = data.shape[1], data.values, data.cols
        centre, scale = np.full(n, values.mean()), np.full(n, values.std() or 1.0)
        if by_column:
            count = np.bincount(cols, minlength=n)
            some = np.maximum(count, 1)
            centre = np.where(count, np.bincount(cols, values, n) / some, centre)
            spread = np.sqrt(np.bincount(cols, np.square(values - centre[cols]), n) / some)
            found = np.where(spread > 1e-12 * np.abs(centre), spread, np.abs(centre))
            typical = np.median(found[found > 0]) if found.any() else scale
            scale = np.where(found > 0, found, typical)
            many = count >= _FEW
            if many.any() and alike(scale[many]):
                scale[~many] = np.median(scale[many])
        return cls(centre, np.maximum(scale, _LEAST * scale.max()), by_column)

    def lines(self, data: Data) -> tuple[Lines, Lines]:
        """The standardized entries by row and by column."""
        z = (data.values - self.centre[data.cols]) / self.scale[data.cols]
        m, n = data.shape
        return Lines.of(data.rows, data.cols, z, (m, n)), Lines.of(data.cols, data.rows, z, (n, m))

    def draw(self, rows: Array, cols: Array, row_std: Array, col_std: Array) -> Draw:
        """A draw in the data's units, from coordinates ``[p, b]`` and ``[q, c]`` and factors of the noise.

        In single precision, unless a column is far from zero.
        """
        left, right = augmented(rows, cols)
        right = right * self.scale[:, None]
        right[:, -1] += self.centre
        draw = Draw(left, right, row_std, self.scale * col_std)
        return draw if bool((np.abs(self.centre) > _FAR * self.scale).any()) else draw.single()

    def parts(self, rows: Array, cols: Array) -> tuple[Array, Array, Array, Array]:
        """Factors of the low-rank part and offsets of both sides, from coordinates ``[p, b]`` and ``[q, c]``.

        Where columns have units of their own, a row's bias is a direction like the others, not an offset.
        """
        q, c = cols[:, :-1], cols[:, -1]
        if self.by_column:
            return rows, np.concatenate([q, np.ones_like(cols[:, -1:])], 1), np.zeros(rows.shape[0]), c
        return rows[:, :-1], q, rows[:, -1], c

    def restored(self, found: Posterior, data: Data, watched_cols: Array) -> Posterior:
        """A posterior in standard units (not its draws) in the data's; ``watched_cols`` are watched."""
        scale, col_std = self.scale, self.scale * found.col_std
        if self.by_column:
            centre, row, col = 0.0, found.row, found.col * scale + self.centre
        else:
            centre, row, col = float(self.centre[0]), found.row * scale[0], found.col * scale[0]
        return replace(
            found,
            right=found.right * scale[:, None],
            mean=centre,
            row=row,
            col=col,
            noise_std=float(np.sqrt(np.mean(np.square(col_std)[data.cols]))),
            col_std=col_std,
            watched=found.watched * scale[watched_cols] + self.centre[watched_cols],
        )


def alike(sizes: Array, chance: float = 1.0, largest: float = 0.0) -> bool:
    """Whether the 90 % and the 10 % quantile of sizes are within a small factor, times that of chance.

    No size, nor the ``largest`` of others that are less well known, may be far from all others: it would be
    that of a column in a unit of its own.
    """
    least, low, high, most = np.quantile(sizes, (0, 0.1, 0.9, 1))
    return bool(high < _ALIKE * chance * low and high > _ODD * max(most, largest) and low * _ODD < least)


def augmented(rows: Array, cols: Array) -> tuple[Array, Array]:
    """Factors whose product is ``p·q + b + c``, from coordinates ``[p, b]`` and ``[q, c]``."""
    left = np.concatenate([rows, np.ones((rows.shape[0], 1), rows.dtype)], 1)
    right = np.concatenate([cols[:, :-1], np.ones((cols.shape[0], 1), cols.dtype), cols[:, -1:]], 1)
    return left, right
