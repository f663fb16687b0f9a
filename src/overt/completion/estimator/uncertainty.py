"""How sure a fitted completion is of its entries, in the caller's rows, columns and units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from overt.completion.bayes import Draw, Predictive
from overt.completion.estimator.selected import Selected
from overt.completion.estimator.units import Compressed

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Distribution of the entries around the model's values.

    ``predictive`` is in units of ``scale``; without it entries are normal with standard deviation ``std``, a
    number or one for each column (n,). ``certain`` marks rows (m,) and columns (n,) whose entries are exact.
    ``low`` and ``high`` (m, 1) or (1, n) bound values where they are given.
    """

    scale: float
    std: float | Array
    predictive: Predictive | None = None
    certain: tuple[Array, Array] | None = None
    low: Tensor | None = None
    high: Tensor | None = None

    @classmethod
    def of(cls, chosen: Selected, compressed: Compressed) -> Uncertainty:
        """Of a chosen model, over all rows and columns."""
        scale = compressed.scale
        kept = compressed.kept_rows.cpu().numpy(), compressed.kept_cols.cpu().numpy()
        std: float | Array = scale * chosen.estimate
        if chosen.column_noise is not None:
            std = np.full(compressed.shape[1], scale * chosen.column_noise.max())
            std[kept[1]] = scale * chosen.column_noise
        predictive, certain = chosen.predictive, None
        bounds: tuple[Tensor | None, Tensor | None] = (None, None)
        if predictive is not None:
            draws = enumerate(predictive.draws)
            spread = tuple(_spread(draw, kept, compressed.shape, number) for number, draw in draws)
            predictive = Predictive(spread, predictive.weights)
        if chosen.certain is not None:
            masks = [np.zeros(size, bool) for size in compressed.shape]
            for mask, lines, own in zip(masks, kept, chosen.certain, strict=True):
                mask[lines] = own.cpu().numpy()
            certain = masks[0], masks[1]
        elif predictive is None and chosen.solver in ("irls", "explicit") and chosen.noise_std == 0:
            certain = np.ones(compressed.shape[0], bool), np.ones(compressed.shape[1], bool)
        if chosen.limits is not None:
            bounds = _bounds(chosen.limits, kept, compressed)
        return cls(scale, std, predictive, certain, *bounds)

    @property
    def any_row(self) -> bool:
        """Whether the limits hold for new rows too."""
        return self.low is not None and self.low.shape[0] == 1

    def limited(self, values: Tensor, rows: Tensor | None = None, cols: Tensor | None = None) -> Tensor:
        """Values within the limits, at positions (k,) or of whole rows."""
        if self.low is None or self.high is None:
            return values
        low, high = self.low, self.high
        known: Tensor | None = None
        if rows is not None and cols is not None:
            at = (rows, torch.zeros_like(rows)) if low.shape[1] == 1 else (torch.zeros_like(cols), cols)
            low, high = low[at], high[at]
        if self.certain is not None:
            row, col = (torch.as_tensor(mask).to(values.device) for mask in self.certain)
            whole = rows is None or cols is None
            fitted = row[:, None] if values.shape[:1] == row.shape else row.new_ones(1, 1)
            known = fitted & col if whole else row[rows] & col[cols]
        within = torch.minimum(torch.maximum(values, low), high)
        return within if known is None else torch.where(known, values, within)

    def stds(self, rows: Array, cols: Array) -> Array:
        """Standard deviations of new observations at positions (k,)."""
        if self.predictive is None:
            std = self._stds(cols)
        else:
            std = self.predictive.moments(rows, cols)[1] * self.scale
        return np.where(self._certain(rows, cols), 0.0, std)

    def interval(self, rows: Array, cols: Array, values: Array, level: float) -> tuple[Array, Array]:
        """Bounds that hold new observations at positions (k,) with probability ``level``."""
        if self.predictive is None:
            half = self._stds(cols) * float(ndtri(0.5 + level / 2))
            low, high = values - half, values + half
        else:
            low, high = (bound * self.scale for bound in self.predictive.interval(rows, cols, level))
        known = self._certain(rows, cols)
        return np.where(known, values, low), np.where(known, values, high)

    def sample(
        self, rows: Array, cols: Array, values: Array, count: int, random: np.random.Generator
    ) -> Array:
        """Draws of new observations at positions (k,), shape (count, k)."""
        if self.predictive is None:
            drawn = values + self._stds(cols) * random.standard_normal((count, rows.size))
        else:
            drawn = self.predictive.sample(rows, cols, count, random) * self.scale
        return np.where(self._certain(rows, cols), values, drawn)

    def _stds(self, cols: Array) -> Array:
        return self.std[cols] if isinstance(self.std, np.ndarray) else np.full(cols.size, self.std)

    def _certain(self, rows: Array, cols: Array) -> Array:
        if self.certain is None:
            return np.zeros(rows.size, bool)
        both: Array = self.certain[0][rows] & self.certain[1][cols]
        return both


def _spread(draw: Draw, kept: tuple[Array, Array], shape: tuple[int, int], number: int) -> Draw:
    """A draw over all lines: an empty line takes after a random other one, each time another."""
    random = np.random.default_rng(number)
    left, right, row_std, col_std = draw.left, draw.right, draw.row_std, draw.col_std
    if kept[0].size < shape[0]:
        index = _take_after(kept[0], shape[0], random)
        left, row_std = left[index], row_std[index]
    if kept[1].size < shape[1]:
        index = _take_after(kept[1], shape[1], random)
        right, col_std = right[index], col_std[index]
    return Draw(left, right, row_std, col_std)


def _take_after(kept: Array, size: int, random: np.random.Generator) -> Array:
    index = random.integers(kept.size, size=size)
    index[kept] = np.arange(kept.size)
    return index


def _bounds(
    limits: tuple[Array, Array, str], kept: tuple[Array, Array], compressed: Compressed
) -> tuple[Tensor, Tensor]:
    """Limits over all lines in the caller's units; an empty line has the widest ones."""
    low, high, lines = limits
    axis = 0 if lines == "rows" else 1
    size = compressed.shape[axis]
    wide = np.full(size, low.min()), np.full(size, high.max())
    for all_lines, own in zip(wide, (low, high), strict=True):
        all_lines[kept[axis]] = own
    shape = (size, 1) if axis == 0 else (1, size)
    device = compressed.problem.y.device
    first, second = (torch.as_tensor(part * compressed.scale).reshape(shape).to(device) for part in wide)
    return first, second
