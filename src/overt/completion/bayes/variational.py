"""The variational form of the noisy model: deterministic, with a bound on the evidence that rises.

    x_ij = μ + b_i + c_j + p_i · q_j + ε,     ε ~ N(0, 1/(τ γ_i δ_j))

The posterior is approximated by independent Gaussians of the blocks ``[p_i, b_i]`` and ``[q_j, c_j]`` with
full covariances, and Gamma distributions of the noise levels γ, δ (Lim & Teh 2007, *Variational Bayesian
approach to movie rating prediction*; here with biases, noise levels and full prior precisions). The means and
precisions of the coordinates, τ and the shapes of the noise levels are at the maximum of the bound.
Directions are left out where that raises the bound, so that it finds the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import digamma, gammaln
from torch import Tensor

from overt.completion.bayes.accumulate import truncated
from overt.completion.bayes.hyper import shape_of_gap
from overt.completion.bayes.moments import Entries, Gaussians
from overt.completion.bayes.posterior import Posterior, Predictive, entries_at, kept_draws
from overt.completion.bayes.sampler import Family
from overt.completion.bayes.solver import Schedule
from overt.completion.bayes.standard import Data, Standard
from overt.linalg import Factored, eigh, svd

Array = NDArray[Any]
_START = 0.1  # size of the first coordinates; 1 for rows of a one-sided model
_FIRST_PRIORS, _FIRST_LEVELS, _FIRST_SHAPE = 2, 3, 5.0  # sweeps before they are fitted; shape of noise levels
_FLAT, _FIXED = 1e-2, 1e6  # prior precisions of the column means, and of row biases that are left out
_LARGEST_RELEVANCE, _LARGEST_PRECISION = 1e4, 1e8
_RISE = 3e-5  # of the bound in a sweep, for each entry, below which a run ends
_SETTLED = 1e-3  # the same, below which directions may be left out: before, those that count are still small
_WEAK = 0.1, 0.01  # signal over noise, summed, for each line: shares that are tried
_PRUNED = 3  # sweeps between two tries
_SINGLE = 30_000  # entries from which a two-sided model is in single precision


@dataclass(frozen=True, eq=False)
class Levels:
    """Noise levels with posterior ``Γ(form_i, rate_i)``, prior ``Γ(shape, shape)``; 1 without ``form``."""

    count: int
    form: Array | None = None
    rate: Array | None = None
    shape: float = _FIRST_SHAPE

    @classmethod
    def start(cls, count: int, free: bool) -> Levels:
        """The prior itself, or levels of 1."""
        return cls(count, np.full(count, _FIRST_SHAPE), np.full(count, _FIRST_SHAPE)) if free else cls(count)

    @property
    def mean(self) -> Array:
        """E γ (lines,)."""
        return np.ones(self.count) if self.form is None or self.rate is None else self.form / self.rate

    @property
    def log(self) -> Array:
        """E log γ (lines,)."""
        if self.form is None or self.rate is None:
            return np.zeros(self.count)
        found: Array = digamma(self.form) - np.log(self.rate)
        return found

    def fitted(self, sizes: Array, misfit: Array) -> Levels:
        """Posterior from the lines' ``sizes`` and expected misfits times τ; then the best shape."""
        if self.form is None:
            return self
        found = replace(self, form=self.shape + 0.5 * sizes, rate=self.shape + 0.5 * misfit)
        return replace(found, shape=shape_of_gap(float(np.mean(found.mean - 1 - found.log))))

    def divergence(self) -> float:
        """Kullback–Leibler divergence of the posterior from the prior, summed."""
        if self.form is None or self.rate is None:
            return 0.0
        a, form, rate = self.shape, self.form, self.rate
        each = (form - a) * digamma(form) - gammaln(form) + gammaln(a)
        each += a * np.log(rate / a) + form * (a / rate - 1)
        return float(each.sum())


@dataclass(frozen=True, eq=False)
class Side:
    """One side: the posterior of its coordinates, their prior N(centre, precision⁻¹), its noise levels."""

    lines: Gaussians
    centre: Tensor
    precision: Tensor
    levels: Levels

    def divergence(self) -> float:
        """Kullback–Leibler divergences of coordinates and levels from their priors, summed."""
        count, d = self.lines.mean.shape
        scatter = self.lines.scatter(self.centre)
        trace = float((self.precision * scatter).sum())
        log_det = self.lines.log_det + count * float(torch.linalg.slogdet(self.precision).logabsdet)
        return 0.5 * (trace - count * d - log_det) + self.levels.divergence()

    def weight(self, factor: float = 1.0) -> Tensor:
        """E γ times a factor, in the precision of the coordinates."""
        return torch.as_tensor(factor * self.levels.mean).to(self.lines.mean)


@dataclass(frozen=True, eq=False)
class State:
    """Both sides, τ, and the bound."""

    rows: Side
    cols: Side
    precision: float
    bound: float = -math.inf


class Variational:
    """The variational form of a member of the family, on standardized data.

    Parameters
    ----------
    data, family : Data, Family
    seed : int
        Of the first coordinates and of the draws that intervals are computed from.
    standard : Standard, optional
        The units; by default those of the data.
    device : str, optional
        Where to compute, if not on the CPU.

    Attributes
    ----------
    bounds : list of float
        The evidence lower bound after each sweep over the present entries.

    Raises
    ------
    ValueError
        If the data has features.
    """

    def __init__(
        self,
        data: Data,
        family: Family,
        *,
        seed: int = 0,
        device: Any = None,
        standard: Standard | None = None,
    ) -> None:
        if data.row_features is not None or data.column_features is not None:
            raise ValueError(
                "the variational form must be given data without features of rows or columns; sample instead"
            )
        self.family, self._random, self.sweeps = family, np.random.default_rng(seed), 0
        self.standard = standard or Standard.of(data, family.by_column)
        self._device = torch.device(device or "cpu")
        large = data.values.size >= _SINGLE and not family.one_sided
        self._type = torch.float32 if large else torch.float64
        m, n = data.shape
        self.state = State(
            self._start(m, Levels.start(m, family.row_levels), rows=True),
            self._start(n, Levels.start(n, True), rows=False),
            1.0,
        )
        self.observe(data)

    def _start(self, count: int, levels: Levels, *, rows: bool) -> Side:
        k, one_sided = self.family.rank, self.family.one_sided
        size = 1.0 if one_sided and rows else _START
        mean = np.zeros((count, k + 1))
        mean[:, :k] = size * self._random.standard_normal((count, k))
        start = torch.as_tensor(mean).to(self._device, self._type)
        diagonal = torch.full((k + 1,), 1.0 if one_sided else 2.0, dtype=torch.float64, device=self._device)
        if one_sided:
            diagonal[-1] = _FIXED if rows else _FLAT
        cov = start.new_zeros(count, (k + 1) * (k + 2) // 2)
        return Side(Gaussians(start, cov, -math.inf), diagonal * 0, torch.diag(diagonal), levels)

    def observe(self, data: Data) -> None:
        """Go on with other entries of the same matrix."""
        self.data = data
        rows, cols = self.standard.lines(data)
        self._rows = Entries(rows, self._type, self._device)
        self._cols = Entries(cols, self._type, self._device)
        self.state = replace(self.state, bound=-math.inf)
        self.bounds: list[float] = []

    def run(
        self,
        schedule: Schedule,
        watch: tuple[Array, Array] | None = None,
        callback: Callable[[int], object] | None = None,
    ) -> Posterior:
        """Sweep until the bound rises no more.

        ``schedule.sweeps`` are the most; none are burnt in. ``watch`` are positions (rows, cols).
        """
        enough = _RISE * self.data.values.size
        for number in range(schedule.sweeps):
            self._sweep()
            if callback is not None:
                callback(number)
            if len(self.bounds) > _PRUNED and self.bounds[-1] - self.bounds[-2] < enough:
                break
        return self._posterior(watch or (np.zeros(0, np.int64), np.zeros(0, np.int64)))

    # ---- one sweep -----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        state, before = self.state, self.state.bound
        cols, _ = self._updated(state.cols, state.rows, self._cols, state.precision, rows=False)
        rows, misfit = self._updated(state.rows, cols, self._rows, state.precision, rows=True)
        self.sweeps += 1
        self.state = self._bounded(rows, cols, misfit)
        if self.sweeps > _FIRST_PRIORS and self.state.rows.lines.mean.shape[1] > 1:
            rise = (self.state.bound - before) / self.data.values.size
            due = rise < _RISE or (rise < _SETTLED and self.sweeps % _PRUNED == 0)
            if due or self.family.one_sided:
                self._turn()
            if due:
                self._prune()
        self.bounds.append(self.state.bound)

    def _updated(
        self, own: Side, other: Side, entries: Entries, precision: float, *, rows: bool
    ) -> tuple[Side, Array]:
        """One side given the other, and its expected misfit (lines,)."""
        sums = entries.sums(other.lines, other.weight())
        lines = sums.posterior(own.weight(precision), own.precision, own.centre)
        misfit = sums.misfit(lines)
        own = self._with_prior(replace(own, lines=lines), rows=rows)
        if self.sweeps >= _FIRST_LEVELS:
            own = replace(own, levels=own.levels.fitted(entries.sizes, precision * misfit))
        return own, misfit

    def _with_prior(self, side: Side, *, rows: bool) -> Side:
        """The side with the prior of its coordinates at the maximum of the bound."""
        if self.sweeps < _FIRST_PRIORS or (rows and self.family.one_sided):
            return side
        lines, zero = side.lines, side.centre * 0
        if self.family.one_sided:
            relevance = lines.count / lines.scatter(zero).diagonal()[:-1]
            diagonal = torch.cat([relevance.clamp(max=_LARGEST_RELEVANCE), side.precision[-1:, -1]])
            return replace(side, precision=torch.diag(diagonal))
        centre = lines.mean.mean(0, dtype=torch.float64)
        return replace(side, centre=centre, precision=_inverse(lines.scatter(centre) / lines.count))

    def _bounded(self, rows: Side, cols: Side, misfit: Array) -> State:
        """The best τ for the ``misfit`` of rows, and the bound."""
        square, count = float(rows.levels.mean @ misfit), self.data.values.size
        precision = count / max(square, count / _LARGEST_PRECISION)
        likelihood = count * math.log(precision / (2 * math.pi)) - precision * square
        likelihood += float(self._rows.sizes @ rows.levels.log + self._cols.sizes @ cols.levels.log)
        bound = 0.5 * likelihood - rows.divergence() - cols.divergence()
        return State(rows, cols, precision, bound)

    # ---- rotation and rank ---------------------------------------------------------------------------

    def _turn(self) -> None:
        """Rotate the directions to where both second moments are diagonal.

        The products stay as they are, and so does the bound of a two-sided model. In a one-sided model, where
        the moments of rows become I, it rises as far as a rotation can raise it (Luttinen & Ilin 2010,
        *Transformations in variational Bayesian factor analysis to speed up learning*).
        """
        rows, cols = self.state.rows, self.state.cols
        d = rows.centre.shape[0]
        k = d - 1
        s, t = (side.lines.mean.mean(0, dtype=torch.float64) for side in (rows, cols))
        s[k], t[k] = 0, 0
        if self.family.one_sided:
            t = t * 0
        P, Q = (side.lines.scatter(at)[:k, :k] / side.lines.count for side, at in ((rows, s), (cols, t)))
        L = torch.linalg.cholesky(P)
        values, V = eigh(L.mT @ Q @ L)
        root = torch.ones_like(values) if self.family.one_sided else values.clamp_min(1e-300) ** 0.25
        to_rows, to_cols = torch.eye(d).to(L), torch.eye(d).to(L)
        to_rows[:k, :k] = root[:, None] * torch.linalg.solve_triangular(L.mT, V, upper=True).mT
        to_cols[:k, :k] = (L @ V / root).mT
        to_rows[k, :k], to_cols[k, :k] = t[:k], s[:k]
        shift = -to_cols @ t
        shift[k] = 0
        turned = (
            self._with_prior(replace(rows, lines=rows.lines.moved(to_rows, -to_rows @ s)), rows=True),
            self._with_prior(replace(cols, lines=cols.lines.moved(to_cols, shift)), rows=False),
        )
        gain = sum(
            one.divergence() - other.divergence() for one, other in zip((rows, cols), turned, strict=True)
        )
        if gain > 0 or not self.family.one_sided:
            self.state = State(*turned, self.state.precision, self.state.bound + gain)

    def _prune(self) -> None:
        """Leave out directions that carry little, if that raises the bound."""
        rows, cols = self.state.rows, self.state.cols
        k = rows.centre.shape[0] - 1
        sizes = [(side.lines.mean[:, :k].double() ** 2).mean(0) for side in (rows, cols)]
        signal = sizes[0] * sizes[1] * self.state.precision * self.data.values.size
        signal /= rows.lines.count + cols.lines.count
        for count in sorted({int((signal < share).sum()) for share in _WEAK} - {0}, reverse=True):
            kept = torch.ones(k + 1, dtype=torch.bool, device=signal.device)
            kept[signal.argsort()[:count]] = False
            fewer = self._without(kept.nonzero()[:, 0])
            if fewer.bound > self.state.bound:
                self.state = fewer
                return

    def _without(self, kept: Tensor) -> State:
        """The state with the coordinates ``kept`` (positions) alone."""
        rows, cols = (
            self._with_prior(
                Side(
                    side.lines.marginal(kept),
                    side.centre[kept],
                    side.precision[kept[:, None], kept],
                    side.levels,
                ),
                rows=side is self.state.rows,
            )
            for side in (self.state.rows, self.state.cols)
        )
        misfit = self._rows.sums(cols.lines, cols.weight()).misfit(rows.lines)
        return self._bounded(rows, cols, misfit)

    # ---- the answer ----------------------------------------------------------------------------------

    def _posterior(self, watch: tuple[Array, Array]) -> Posterior:
        rows, cols, (at_rows, at_cols) = self.state.rows, self.state.cols, watch
        X, Z = (side.lines.mean.double().cpu().numpy() for side in (rows, cols))
        left, right, row, col = self.standard.parts(X, Z)
        watched = entries_at(left, right, at_rows, at_cols) + row[at_rows] + col[at_cols]
        own, across = (1 / side.levels.mean for side in (rows, cols))
        noise = across / self.state.precision
        U, s, Vt = svd(Factored(torch.as_tensor(left), torch.as_tensor(right)))
        col_std = np.sqrt(own.mean() * noise)
        P, spectrum, Qt = truncated(U.numpy(), s.numpy(), Vt.numpy(), col_std)
        count = kept_draws(self.data.shape, X.shape[1] + 1)
        drawn = (side.lines.samples(count, self._random) for side in (rows, cols))
        draws = Predictive(
            tuple(self.standard.draw(x, z, np.sqrt(own), np.sqrt(noise)) for x, z in zip(*drawn, strict=True))
        )
        left = P * spectrum
        found = Posterior(left, Qt.T, 0.0, row, col, 0.0, col_std, draws, watched, self.sweeps, spectrum)
        return self.standard.restored(found, self.data, at_cols)


def _inverse(scatter: Tensor) -> Tensor:
    return torch.cholesky_inverse(torch.linalg.cholesky(scatter))
