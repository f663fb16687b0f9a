"""A fitted completion: offsets plus a low-rank part, and how it answers for known and for new rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from overt.completion.estimator.inputs import Compressed, Observations
from overt.completion.refit import balanced
from overt.completion.refit.normal import factor_grams, solve_grams
from overt.completion.result import Triplet, entries_at
from overt.completion.tangent import Entries
from overt.linalg import eigh
from overt.problems import Offsets

_FLOOR = 1e-11  # noise variance assumed at least, as a share of the prior's: keeps the systems regular
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class CompletionModel:
    """``X_ij = mean + row_i + col_j + Σ_k U_ik s_k Vt_kj``.

    U (m, r), the singular values (r,) and Vt (r, n) are a thin SVD. ``noise_std``, of the observations around
    the model, weighs the prior when new rows are folded in.
    """

    U: Tensor
    singular_values: Tensor
    Vt: Tensor
    offsets: Offsets
    noise_std: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.U.shape[0], self.Vt.shape[1]

    def at(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Entries at any positions, shape (k,)."""
        point = self.U, self.singular_values, self.Vt
        return self.offsets.at(rows, cols) + entries_at(point, rows, cols)

    def dense(self) -> Tensor:
        """The completed matrix (m, n)."""
        low_rank = (self.U * self.singular_values) @ self.Vt
        return low_rank + (self.offsets.mean + self.offsets.row)[:, None] + self.offsets.col

    @cached_property
    def _loadings(self) -> Tensor:
        """Right factor of the row coordinates (n, r + 1): Vtᵀ and a column of ones for the row offset."""
        ones = self.Vt.new_ones(self.Vt.shape[1], 1)
        return torch.cat([self.Vt.mT, ones], 1)

    @cached_property
    def _prior(self) -> tuple[float, Tensor, Tensor]:
        """Unit, mean and covariance of the fitted rows' coordinates, which new rows are taken to follow.

        The covariance includes the mean once more as a direction, so that a new row may differ in size.
        """
        rows = torch.cat([self.U * self.singular_values, self.offsets.row[:, None]], 1)
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
        rows, cols, values = observations.tensors(self.U.device)
        y = values - self.offsets.mean - self.offsets.col[cols]
        coordinates = self._coordinates(rows, cols, y, observations.shape)
        return coordinates @ self._loadings.mT + self.offsets.mean + self.offsets.col

    def _coordinates(self, rows: Tensor, cols: Tensor, y: Tensor, shape: tuple[int, int]) -> Tensor:
        unit, mean, covariance = self._prior
        values, basis = eigh(covariance)
        alive = values > 1e-14 * values[0]
        if not bool(alive.any()):
            return unit * mean.expand(shape[0], -1)
        root = basis[:, alive] * values[alive].sqrt()  # coordinates = mean + root·z with z ~ N(0, I)
        loadings = self._loadings @ root
        variance = max((self.noise_std / unit) ** 2, _FLOOR * float(loadings.square().sum(1).mean()))
        out = torch.empty(shape[0], self._loadings.shape[1], dtype=y.dtype, device=y.device)
        order = torch.argsort(rows, stable=True)
        rows, cols = rows[order], cols[order]
        misfit = y[order] / unit - self._loadings[cols] @ mean
        step = max(1, _CHUNK // loadings.shape[1] ** 2)
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            low, high = (int(i) for i in torch.searchsorted(rows, rows.new_tensor([start, stop])))
            piece = slice(low, high)
            block = Entries(rows[piece] - start, cols[piece], (stop - start, shape[1]), y.dtype)
            z = _posterior(block, misfit[piece], loadings, variance)
            out[start:stop] = unit * (mean + z @ root.mT)
        return out


def _posterior(block: Entries, misfit: Tensor, loadings: Tensor, variance: float) -> Tensor:
    """Posterior mean of standard normal coordinates, refined once against rounding in the Gram matrices."""
    factors = factor_grams(block.row_grams(loadings), variance)
    misfit = block.sort(misfit)
    z = solve_grams(factors, block.times(misfit, loadings))
    left = block.times(misfit - block.predict(z, loadings), loadings) - variance * z
    return z + solve_grams(factors, left)


def expand(point: Triplet, offsets: Offsets, compressed: Compressed, noise_std: float) -> CompletionModel:
    """The model over all rows and columns, in the caller's units.

    Empty rows and columns get the mean coordinates of the others, hence the column (or row) means of the
    completed matrix; their own offsets are the means of the others' too.
    """
    U, s, Vt = point
    scale = compressed.scale
    left = _spread(U * s, compressed.kept_rows, compressed.shape[0])
    right = _spread(Vt.mT, compressed.kept_cols, compressed.shape[1])
    if compressed.empty_rows.numel() or compressed.empty_cols.numel():
        U, s, Vt = balanced(left, right)
        keep = s > 1e-14 * s[:1]
        U, s, Vt = U[:, keep], s[keep], Vt[keep]
    row = _spread(offsets.row[:, None], compressed.kept_rows, compressed.shape[0])[:, 0]
    col = _spread(offsets.col[:, None], compressed.kept_cols, compressed.shape[1])[:, 0]
    scaled = Offsets(offsets.mean * scale, row * scale, col * scale)
    return CompletionModel(U, s * scale, Vt, scaled, noise_std * scale)


def _spread(rows: Tensor, kept: Tensor, size: int) -> Tensor:
    if kept.numel() == size:
        return rows
    out = rows.mean(0).expand(size, -1).clone()
    out[kept] = rows
    return out
