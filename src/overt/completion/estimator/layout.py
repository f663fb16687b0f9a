"""How the entries of a noisy matrix are measured: in which units, and within which bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt.completion.bayes import Data, alike

_SPARSE = 0.1  # share of entries observed below which columns that are alike share one unit
_COUNTED = 5  # entries of a column whose size is known
_TENTHS = 2.56  # standard deviations between the outer tenths of a normal distribution
_CARRY_UNITS = 10.0  # spread of the rows' sizes from which they carry units, if columns are alike otherwise
_MARGIN = 0.25  # share of the observed range by which predictions may leave it …
_MOST = 100.0  # … and the largest multiple of that where there is little noise
_TRUSTED = 0.5  # share of noise in a column below which it is more than that share
_ROUNDS = 5  # of scaling columns and rows in turn
_LEVELS = 10  # different values up to which a line is discrete: predictions stay within its range
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """How a problem's entries are measured: in one unit, by columns, or by rows (``turned``)."""

    by_column: bool
    turned: bool
    dense: bool

    @classmethod
    def of(cls, data: Data) -> Layout:
        """Judged by the shares and sizes of the entries alone."""
        share = data.values.size / (data.shape[0] * data.shape[1])
        if share < _SPARSE and _of_one_unit(data):
            return cls(False, False, False)
        rows, cols = _joint_sizes(data)
        low, high = np.quantile(rows, (0.1, 0.9))
        turned = bool(high > _CARRY_UNITS * low) and alike(cols)
        return cls(True, turned, share >= _SPARSE)


def _joint_sizes(data: Data) -> tuple[Array, Array]:
    """Sizes of rows and columns such that entries divided by both have mean square one in each line."""
    values = data.values
    row, col = np.ones(data.shape[0]), np.ones(data.shape[1])
    for _ in range(_ROUNDS):
        for lines, scale in ((data.cols, col), (data.rows, row)):
            found = sizes(lines, values, scale.size, 1.0)[0]
            values = values / found[lines]
            scale *= found
    return row, col


def _of_one_unit(data: Data) -> bool:
    """Whether columns are alike, by those that hold as many entries as half of the columns do, or two.

    The size of a column of c normal entries spreads by a factor of about ``exp(1/√(2c))``.
    """
    found, counts = sizes(data.cols, data.values, data.shape[1])
    some = found > 0
    if not some.any():
        return True
    # Of a single entry the size may be anything.
    least = min(_COUNTED, max(2.0, float(np.median(counts[some]))), float(counts.max()))
    wider = (2 * least) ** -0.5 - (2 * _COUNTED) ** -0.5
    return alike(found[some & (counts >= least)], math.exp(_TENTHS * wider), found.max())


def sizes(lines: Array, values: Array, count: int, empty: float = 0.0) -> tuple[Array, Array]:
    """Root mean square and number of the entries of each line; ``empty`` for lines of zeros."""
    top = np.zeros(count)
    np.maximum.at(top, lines, np.abs(values))
    safe = np.where(top > 0, top, 1.0)
    counts = np.bincount(lines, minlength=count)
    mean = np.bincount(lines, np.square(values / safe[lines]), count) / np.maximum(counts, 1)
    return np.where(top > 0, safe * np.sqrt(mean), empty), counts


def limits(data: Data, col_std: Array, by_column: bool) -> tuple[Array, Array]:
    """Bounds of predictions in each column (n,); the same for all unless ``by_column``.

    They leave the observed range by a quarter of it, and by the more the less noise ``col_std`` (n,) is in
    the column, for then predictions can be trusted. Values of few kinds stay within their range; a single
    value says nothing of it.
    """
    n = data.shape[1]
    group = data.cols if by_column else np.zeros(data.cols.size, np.int64)
    order = np.lexsort((data.values, data.cols)) if by_column else np.argsort(data.values)
    values, lines = data.values[order], group[order]
    first = np.r_[True, lines[1:] != lines[:-1]]
    last = np.r_[first[1:], True]
    count = np.bincount(lines)
    fresh = first | np.r_[True, values[1:] != values[:-1]]
    kinds, size = np.bincount(lines[fresh], minlength=count.size), np.maximum(count, 1)
    low, high = np.full(count.size, -np.inf), np.full(count.size, np.inf)
    low[lines[first]], high[lines[last]] = values[first], values[last]
    discrete = (kinds < np.minimum(count, 3)) | ((kinds <= _LEVELS) & (count >= 5 * kinds))
    centre = np.bincount(lines, values) / size
    spread = sizes(lines, values - centre[lines], count.size, 1.0)[0]
    noise = np.sqrt(np.bincount(group, np.square(col_std)[data.cols]) / size) / spread
    margin = _MARGIN * np.clip(np.square(_TRUSTED / np.maximum(noise, 1e-3)), 1.0, _MOST)
    room = np.where(discrete, 0.0, margin * np.where(count > 0, high - low, 0.0))
    room[count == 1] = np.inf
    low, high = low - room, high + room
    if not by_column:
        return np.full(n, low[0]), np.full(n, high[0])
    rest = (0, n - count.size)
    return np.pad(low, rest, constant_values=-np.inf), np.pad(high, rest, constant_values=np.inf)
