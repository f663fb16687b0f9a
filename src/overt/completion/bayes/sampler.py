"""Blocked Gibbs sampling of low-rank factors with biases, noise levels and hyperparameters.

    x_ij = μ + b_i + c_j + p_i · q_j + ε,     ε ~ N(0, 1/(τ γ_i δ_j))

One sweep draws the blocks ``[q_j, c_j]`` of all columns, their noise levels δ, the blocks ``[p_i, b_i]`` of
all rows, their noise levels γ, and τ. After each half sweep the conditional means of one side times the
sample of the other go into the average (Rao–Blackwell), twice a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt.completion.bayes.half_sweep import Drawn, Given, HalfSweep
from overt.completion.bayes.hyper import gamma_levels, gamma_shape, half_cauchy_precision, normal_wishart
from overt.completion.bayes.lines import Lines
from overt.completion.bayes.link import Link

Array = NDArray[Any]
_FIRST_LEVELS = 3  # sweeps before the noise levels of lines are drawn
_FIRST_LINKS = 2  # sweeps before the side information is used
_FIRST_SHAPE = 5.0
_FIRST_LOADING = 0.3
_SETTLING = 0.1  # share by which the noise follows its conditional, in the logarithm, while the chain settles
_LARGEST_RELEVANCE = 1e12
_MOST_PRECISION = {4: 1e6, 8: 1e10}  # by the bytes of a number: systems of exact data stay regular
_FIXED = 1e6  # prior precision of row biases that are left out
_FLATTEST = 1e-30  # smallest prior precision of the column means: zero may be far away


@dataclass(frozen=True)
class Family:
    """A member of the family of models.

    ``one_sided``: Bayesian factor analysis, for tables. Rows are ``p_i ~ N(0, I)`` without bias. The loadings
    of direction k are ``q_jk ~ N(0, s_k²)`` with ``s_k`` half-Cauchy of scale t, t half-normal: directions
    without use die, and the more so the more of them there are. Column means are normal around the zero of
    the data, with a half-Cauchy standard deviation. Otherwise both sides have Normal–Wishart priors.
    ``row_levels`` says whether γ is drawn or 1; δ always is. With ``by_column`` each column is standardized
    by itself, otherwise all by the same numbers.
    """

    rank: int
    one_sided: bool = False
    row_levels: bool = True
    by_column: bool = False


@dataclass(eq=False)
class Side:
    """The state of one side: coordinates (lines, rank + 1), the bias last, and noise levels (lines,)."""

    sample: Array
    mean: Array
    levels: Array
    shape: float = _FIRST_SHAPE
    link: Link | None = None
    fitted: Array | None = None  # of the link

    @classmethod
    def start(
        cls, count: int, rank: int, size: float, random: np.random.Generator, link: Link | None
    ) -> Side:
        """Small random coordinates."""
        sample = np.zeros((count, rank + 1), np.float32)
        sample[:, :-1] = size * random.standard_normal((count, rank))
        return cls(sample, sample.copy(), np.ones(count, np.float32), link=link)

    @property
    def unexplained(self) -> Array:
        """Coordinates without what their features say."""
        return self.sample if self.fitted is None else self.sample - self.fitted

    @property
    def coefficients(self) -> Array:
        """Scaled coefficients of the features (features, rank + 1), none where these are not used."""
        if self.link is None or self.fitted is None:
            return np.zeros((0, self.sample.shape[1]))
        return self.link.scaled

    def given(self, precision: float, own: Array, prior: tuple[Array, Array]) -> Given:
        """What the other side is given by this one."""
        root = np.sqrt(self.levels).astype(self.sample.dtype)
        design = np.ascontiguousarray(self.sample * root[:, None])
        design[:, -1] = root
        return Given(design, self.sample[:, -1].copy(), root, precision, own, *prior)


@dataclass(eq=False)
class Relevance:
    """Prior precisions of the loadings (rank,) and of the column means, and the square of the scale t."""

    loadings: Array
    means: float = 1.0
    square: float = 1.0

    @classmethod
    def start(cls, rank: int) -> Relevance:
        """Small loadings."""
        return cls(np.full(rank, _FIRST_LOADING**-2.0), square=_FIRST_LOADING**2)

    def draw(self, loadings: Array, means: Array, random: np.random.Generator) -> Array:
        """New precisions (rank + 1,) given loadings (n, rank) and column means (n,)."""
        count, rank = loadings.shape
        squares = np.square(loadings).sum(0)
        self.loadings, rates = half_cauchy_precision(count, squares, self.loadings, random, self.square)
        self.square = random.gamma(0.5 * rank + 0.5) / (0.5 + float(rates @ self.loadings))
        self.loadings = np.minimum(self.loadings, _LARGEST_RELEVANCE)
        found, _ = half_cauchy_precision(count, np.square(means).sum(), self.means, random)
        self.means = max(float(found), _FLATTEST)
        drawn: Array = np.r_[self.loadings, self.means]
        return drawn


@dataclass(eq=False)
class Chain:
    """The sampler's state on standardized entries.

    ``draw_rows`` and ``draw_cols`` are the half sweeps. ``random`` is used for everything that is drawn.
    """

    family: Family
    rows: Side
    cols: Side
    draw_rows: HalfSweep
    draw_cols: HalfSweep
    row_sizes: Array
    col_sizes: Array
    precision: float
    random: np.random.Generator
    zero: Array  # where the data's zero lies in each column's standardized units (n,)
    sweeps: int = 0
    relevance: Relevance | None = None  # of a one-sided family

    def observe(self, rows: Lines, cols: Lines, backend: Callable[[Lines], HalfSweep]) -> None:
        """Take other entries of the same matrix from here on."""
        self.draw_rows, self.draw_cols = backend(rows), backend(cols)
        self.row_sizes, self.col_sizes = rows.sizes, cols.sizes

    def sweep(self, settling: bool = False) -> Iterator[tuple[Array, Array]]:
        """One sweep; yields coordinates of rows and columns whose products estimate the matrix, twice.

        While a one-sided chain is ``settling`` the noise falls slowly, as in annealing: directions that
        explain much are found first. Otherwise all take up noise at once, and lose it slowly.
        """
        drawn = self._half(self.cols, self.rows, self.draw_cols, self._column_prior())
        yield self.rows.sample, self.cols.mean
        self._levels(self.cols, self.col_sizes, drawn.misfit)
        drawn = self._half(self.rows, self.cols, self.draw_rows, self._row_prior())
        yield self.rows.mean, self.cols.sample
        if self.family.row_levels:
            self._levels(self.rows, self.row_sizes, drawn.misfit)
        square = float(np.sum(drawn.misfit * self.rows.levels, dtype=np.float64))
        count = float(self.row_sizes.sum())
        drawn_precision = float(half_cauchy_precision(count, square, self.precision, self.random)[0])
        share = _SETTLING if settling and self.family.one_sided else 1.0
        most = _MOST_PRECISION[np.dtype(self.draw_rows.dtype).itemsize]
        self.precision = min(self.precision ** (1 - share) * drawn_precision**share, most)
        self.sweeps += 1

    def _half(self, own: Side, other: Side, draw: HalfSweep, prior: tuple[Array, Array]) -> Drawn:
        normals = self.random.standard_normal(own.sample.shape, dtype=np.float32)
        drawn = draw(other.given(self.precision, own.levels, prior), normals)
        own.sample, own.mean = drawn.sample, drawn.mean
        return drawn

    def _levels(self, side: Side, sizes: Array, misfit: Array) -> None:
        if self.sweeps < _FIRST_LEVELS:
            return
        levels = gamma_levels(side.shape, sizes, misfit, self.precision, self.random)
        side.levels = levels.astype(np.float32)
        side.shape = gamma_shape(levels) if self.sweeps > _FIRST_LEVELS else _FIRST_SHAPE

    def _column_prior(self) -> tuple[Array, Array]:
        if not self.family.one_sided:
            return self._gaussian(self.cols)
        if self.relevance is None:
            self.relevance = Relevance.start(self.family.rank)
        centre = np.zeros(self.cols.sample.shape)
        centre[:, -1] = self.zero
        away = np.concatenate([self.cols.unexplained.astype(np.float64) - centre, self.cols.coefficients])
        precision = np.diag(self.relevance.draw(away[:, :-1], away[:, -1], self.random))
        return self._linked(self.cols, centre, precision)

    def _row_prior(self) -> tuple[Array, Array]:
        if not self.family.one_sided:
            return self._gaussian(self.rows)
        d = self.rows.sample.shape[1]
        return self._linked(self.rows, np.zeros((1, d)), np.diag(np.r_[np.ones(d - 1), _FIXED]))

    def _gaussian(self, side: Side) -> tuple[Array, Array]:
        d = side.sample.shape[1]
        if not self.sweeps:
            return 2 * np.eye(d), np.zeros((1, d))
        mean, precision = normal_wishart(side.unexplained, self.random, side.coefficients)
        return self._linked(side, mean[None], precision)

    def _linked(self, side: Side, mean: Array, precision: Array) -> tuple[Array, Array]:
        """Precision and means of a side's prior, with what its features add to the means."""
        if side.link is None or self.sweeps < _FIRST_LINKS:
            return precision, mean
        side.fitted = side.link.draw((side.sample - mean).astype(np.float32), precision, self.random)
        return precision, side.fitted + mean
