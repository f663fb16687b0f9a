"""A fitted completion: offsets plus a low-rank part, and how it answers for known and for new rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt.completion.estimator.inputs import Observations
from overt.completion.estimator.selected import Selected
from overt.completion.estimator.uncertainty import Uncertainty
from overt.completion.estimator.units import Compressed
from overt.completion.refit.normal import factor_grams, solve_grams
from overt.completion.result import Completion
from overt.completion.tangent import Entries
from overt.linalg import eigh
from overt.problems import Offsets

_FLOOR = 1e-11  # noise variance assumed at least, as a share of the prior's: keeps the systems regular
_CHUNK = 1 << 20
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class CompletionModel:
    """``X_ij = mean + row_i + col_j + low_rank_ij``.

    ``noise_std``, of the observations around the model, or ``column_noise`` (n,) weighs the prior when new
    rows are folded in. Values keep within the limits of ``uncertainty``.
    """

    low_rank: Completion
    offsets: Offsets
    noise_std: float = 0.0
    column_noise: Tensor | None = None
    uncertainty: Uncertainty | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.low_rank.shape

    def at(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Entries at any positions, shape (k,)."""
        return self._limited(self.offsets.at(rows, cols) + self.low_rank.at(rows, cols), rows, cols)

    def dense(self) -> Tensor:
        """The completed matrix (m, n)."""
        row = self.offsets.mean + self.offsets.row
        return self._limited(self.low_rank.W + row[:, None] + self.offsets.col)

    def std(self, rows: Array, cols: Array) -> Array:
        """Standard deviations of new observations at positions (k,)."""
        return self._uncertainty.stds(rows, cols)

    def interval(self, rows: Array, cols: Array, level: float) -> tuple[Array, Array]:
        """Central intervals of probability ``level`` for new observations at positions (k,)."""
        low, high = self._uncertainty.interval(rows, cols, self._values(rows, cols), level)
        return self._limited_array(low, rows, cols), self._limited_array(high, rows, cols)

    def sample(self, rows: Array, cols: Array, count: int, random: np.random.Generator) -> Array:
        """Draws of new observations at positions (k,), shape (count, k)."""
        drawn = self._uncertainty.sample(rows, cols, self._values(rows, cols), count, random)
        return np.stack([self._limited_array(one, rows, cols) for one in drawn])

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.low_rank.U.device

    @property
    def _uncertainty(self) -> Uncertainty:
        return self.uncertainty or Uncertainty(1.0, self.noise_std)

    def _limited(self, values: Tensor, rows: Tensor | None = None, cols: Tensor | None = None) -> Tensor:
        return values if self.uncertainty is None else self.uncertainty.limited(values, rows, cols)

    def _limited_array(self, values: Array, rows: Array, cols: Array) -> Array:
        i, j = (torch.as_tensor(index).to(self.device) for index in (rows, cols))
        limited: Array = self._limited(torch.as_tensor(values).to(self.device), i, j).cpu().numpy()
        return limited

    def _values(self, rows: Array, cols: Array) -> Array:
        i, j = (torch.as_tensor(index).to(self.device) for index in (rows, cols))
        values: Array = self.at(i, j).cpu().numpy()
        return values

    @cached_property
    def _loadings(self) -> Tensor:
        """Right factor of the row coordinates (n, t + 1), with a column of ones for the row offset."""
        right = self.low_rank.factors[1]
        return torch.cat([right, right.new_ones(len(right), 1)], 1)

    @cached_property
    def _prior(self) -> tuple[float, Tensor, Tensor]:
        """Unit, mean and covariance of the fitted rows' coordinates, which new rows are taken to follow.

        The covariance includes the mean once more as a direction, so that a new row may differ in size.
        """
        rows = torch.cat([self.low_rank.factors[0], self.offsets.row[:, None]], 1)
        unit = float(rows.abs().max()) or 1.0
        rows = rows / unit
        mean = rows.mean(0)
        centred = rows - mean
        covariance = centred.mT @ centred / max(1, rows.shape[0] - 1)
        return unit, mean, covariance + torch.outer(mean, mean) / rows.shape[0]

    def fold_in(self, observations: Observations) -> Tensor:
        """Complete new rows from their observed entries.

        The coordinates of a row are those of largest posterior probability when coordinates follow the mean
        and covariance of the fitted rows and observations carry noise of ``noise_std``: regularized least
        squares on the right singular vectors. A row without observations gets the mean of the fitted rows.

        Returns
        -------
        Tensor, shape (observations.shape[0], n)
        """
        rows, cols, values = observations.tensors(self.device)
        y = values - self.offsets.mean - self.offsets.col[cols]
        coordinates = self._coordinates(rows, cols, y, observations.shape)
        folded = coordinates @ self._loadings.mT + self.offsets.mean + self.offsets.col
        if self.uncertainty is None or not self.uncertainty.any_row:
            return folded
        return self._limited(folded)

    def _coordinates(self, rows: Tensor, cols: Tensor, y: Tensor, shape: tuple[int, int]) -> Tensor:
        unit, mean, covariance = self._prior
        values, basis = eigh(covariance)
        alive = values > 1e-14 * values[0]
        if not bool(alive.any()):
            return unit * mean.expand(shape[0], -1)
        root = basis[:, alive] * values[alive].sqrt()  # coordinates = mean + root·z with z ~ N(0, I)
        loadings = self._loadings @ root
        floor = _FLOOR * loadings.square().sum(1)  # of each column, which may have units of its own
        floor = torch.where(floor > 0, floor, floor.mean())
        noise = self.noise_std if self.column_noise is None else self.column_noise
        variance = torch.as_tensor(noise).to(y).expand(self.shape[1]).div(unit).square()
        variance = torch.maximum(variance, floor)
        loadings = loadings / variance.sqrt()[:, None]
        out = torch.empty(shape[0], self._loadings.shape[1], dtype=y.dtype, device=y.device)
        order = torch.argsort(rows, stable=True)
        rows, cols = rows[order], cols[order]
        misfit = (y[order] / unit - self._loadings[cols] @ mean) / variance[cols].sqrt()
        step = max(1, _CHUNK // loadings.shape[1] ** 2)
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            low, high = (int(i) for i in torch.searchsorted(rows, rows.new_tensor([start, stop])))
            piece = slice(low, high)
            block = Entries(rows[piece] - start, cols[piece], (stop - start, shape[1]), y.dtype)
            z = _posterior(block, misfit[piece], loadings)
            out[start:stop] = unit * (mean + z @ root.mT)
        return out


def _posterior(block: Entries, misfit: Tensor, loadings: Tensor) -> Tensor:
    """Posterior mean of standard normal coordinates under unit noise, refined once against rounding."""
    factors = factor_grams(block.row_grams(loadings), 1.0)
    misfit = block.sort(misfit)
    z = solve_grams(factors, block.times(misfit, loadings))
    left = block.times(misfit - block.predict(z, loadings), loadings) - z
    return z + solve_grams(factors, left)


def expand(chosen: Selected, compressed: Compressed) -> CompletionModel:
    """The model over all rows and columns, in the caller's units.

    Empty rows and columns get the mean coordinates of the others, hence the column (or row) means of the
    completed matrix; their own offsets are the means of the others' too.
    """
    low_rank, offsets, scale = chosen.completion, chosen.offsets, compressed.scale
    if compressed.empty_rows.numel() or compressed.empty_cols.numel():
        left, right = low_rank.factors
        left = _spread(left, compressed.kept_rows, compressed.shape[0])
        right = _spread(right, compressed.kept_cols, compressed.shape[1])
        low_rank = low_rank.of_factors(left, right, cut=1e-14)
    row = _spread(offsets.row[:, None], compressed.kept_rows, compressed.shape[0])[:, 0]
    col = _spread(offsets.col[:, None], compressed.kept_cols, compressed.shape[1])[:, 0]
    scaled = Offsets(offsets.mean * scale, row * scale, col * scale)
    noise = None
    if chosen.column_noise is not None:
        noise = torch.as_tensor(chosen.column_noise).to(col)[:, None]
        noise = _spread(noise, compressed.kept_cols, compressed.shape[1])[:, 0] * scale
    uncertainty = Uncertainty.of(chosen, compressed)
    return CompletionModel(low_rank.scaled(scale), scaled, chosen.noise_std * scale, noise, uncertainty)


def _spread(rows: Tensor, kept: Tensor, size: int) -> Tensor:
    if kept.numel() == size:
        return rows
    out = rows.mean(0).expand(size, -1).clone()
    out[kept] = rows
    return out
