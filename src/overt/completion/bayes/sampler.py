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
_LARGEST_RELEVANCE = 1e6
_FLAT, _FIXED = 1e-2, 1e6  # prior precisions of the column means, and of row biases that are left out


@dataclass(frozen=True)
class Family:
    """A member of the family of models.

    ``one_sided``: Bayesian factor analysis, for tables. Rows are ``p_i ~ N(0, I)`` without bias, column means
    have a flat prior, and each direction of the loadings has a precision of its own, half-Cauchy in its
    inverse root, so that directions without use die. Otherwise both sides have Normal–Wishart priors.
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

    def given(self, precision: float, own: Array, prior: tuple[Array, Array]) -> Given:
        """What the other side is given by this one."""
        root = np.sqrt(self.levels).astype(self.sample.dtype)
        design = np.ascontiguousarray(self.sample * root[:, None])
        design[:, -1] = root
        return Given(design, self.sample[:, -1].copy(), root, precision, own, *prior)


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
    relevance: Array | None = None  # precisions of the loadings of a one-sided family (rank,)
    sweeps: int = 0

    def observe(self, rows: Lines, cols: Lines, backend: Callable[[Lines], HalfSweep]) -> None:
        """Take other entries of the same matrix from here on."""
        self.draw_rows, self.draw_cols = backend(rows), backend(cols)
        self.row_sizes, self.col_sizes = rows.sizes, cols.sizes

    def sweep(self) -> Iterator[tuple[Array, Array]]:
        """One sweep; yields coordinates of rows and columns whose products estimate the matrix, twice."""
        drawn = self._half(self.cols, self.rows, self.draw_cols, self._column_prior())
        yield self.rows.sample, self.cols.mean
        self._levels(self.cols, self.col_sizes, drawn.misfit)
        drawn = self._half(self.rows, self.cols, self.draw_rows, self._row_prior())
        yield self.rows.mean, self.cols.sample
        if self.family.row_levels:
            self._levels(self.rows, self.row_sizes, drawn.misfit)
        square = float(np.sum(drawn.misfit * self.rows.levels, dtype=np.float64))
        count = float(self.row_sizes.sum())
        self.precision = float(half_cauchy_precision(count, square, self.precision, self.random))
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
        loadings = self.cols.sample[:, :-1].astype(np.float64)
        count, rank = loadings.shape
        before = np.ones(rank) if self.relevance is None else self.relevance
        precision = half_cauchy_precision(count, np.square(loadings).sum(0), before, self.random)
        self.relevance = np.minimum(precision, _LARGEST_RELEVANCE)
        return np.diag(np.r_[self.relevance, _FLAT]), np.zeros((1, rank + 1))

    def _row_prior(self) -> tuple[Array, Array]:
        if not self.family.one_sided:
            return self._gaussian(self.rows)
        d = self.rows.sample.shape[1]
        return np.diag(np.r_[np.ones(d - 1), _FIXED]), np.zeros((1, d))

    def _gaussian(self, side: Side) -> tuple[Array, Array]:
        d = side.sample.shape[1]
        if not self.sweeps:
            return 2 * np.eye(d), np.zeros((1, d))
        fitted, link = 0.0 if side.fitted is None else side.fitted, side.link
        linked = None if link is None or side.fitted is None else link.scaled
        mean, precision = normal_wishart(side.sample - fitted, self.random, linked)
        if link is not None and self.sweeps >= _FIRST_LINKS:
            side.fitted = link.draw((side.sample - mean).astype(np.float32), precision, self.random)
            return precision, side.fitted + mean
        return precision, mean[None]
