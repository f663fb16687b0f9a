"""A chain on the data's own scale, and the posterior that it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt.completion.bayes.accumulate import MatrixMean
from overt.completion.bayes.half_sweep import Batched, Compiled, HalfSweep
from overt.completion.bayes.lines import Lines
from overt.completion.bayes.link import Link
from overt.completion.bayes.posterior import Draw, Posterior, Predictive, entries_at, kept_draws
from overt.completion.bayes.sampler import Chain, Family, Side
from overt.completion.bayes.standard import Data, Standard

Array = NDArray[Any]
_START = 0.1  # size of the first coordinates; 1 for rows of a one-sided model
_KEPT = 2.0  # singular values kept of a large mean, as a multiple of the rank
_COMPILED = 3e9  # multiplications of a run from which compiled half sweeps pay


@dataclass(frozen=True)
class Schedule:
    """Sweeps of a run, and how many of the first are left out of its averages."""

    sweeps: int
    burn_in: int


class Sampler:
    """A chain for a member of the family, on standardized data.

    Parameters
    ----------
    data, family : Data, Family
    seed : int
    sweeps : int
        Sweeps to expect in all; many are worth a compiler.
    device : str, optional
        Where half sweeps are done, as batches of small systems, if not on the CPU.
    standard : Standard, optional
        The units; by default those of the data. Where other entries follow, those of all: a column that is
        constant on some of its entries has no unit there.
    """

    def __init__(
        self,
        data: Data,
        family: Family,
        *,
        seed: int = 0,
        sweeps: int = 100,
        device: Any = None,
        standard: Standard | None = None,
    ) -> None:
        self.data, self.family, self._device = data, family, device
        self._random = np.random.default_rng(seed)
        self._compiled = self._work(sweeps) > _COMPILED
        self.standard = standard or Standard.of(data, family.by_column)
        rows, cols = self.standard.lines(data)
        m, n = data.shape
        d = family.rank + 1
        links = [
            None if features is None else Link(features, d)
            for features in (data.row_features, data.column_features)
        ]
        right = Side.start(n, family.rank, _START, self._random, links[1])
        left = Side.start(m, family.rank, 1.0 if family.one_sided else _START, self._random, links[0])
        draws = self._backend(rows), self._backend(cols)
        zero = -self.standard.centre / self.standard.scale
        self.chain = Chain(family, left, right, *draws, rows.sizes, cols.sizes, 1.0, self._random, zero)

    def begin(self, near: Posterior) -> None:
        """Start from the leading directions of another posterior of the same matrix, with its noise."""
        rank, scale = min(self.family.rank, len(near.spectrum)), self.standard.scale
        rows = self.chain.rows.sample
        rows[:, :rank] = near.left[:, :rank] / near.spectrum[:rank] * math.sqrt(len(rows))
        rows[:, -1] = 0 if self.family.by_column else near.row / scale[0]
        self.chain.precision = float(1 / np.mean(np.square(near.col_std / scale)))

    def observe(self, data: Data) -> None:
        """Go on with other entries of the same matrix."""
        self.data = data
        self.chain.observe(*self.standard.lines(data), self._backend)

    def run(
        self,
        schedule: Schedule,
        watch: tuple[Array, Array] | None = None,
        callback: Callable[[int], object] | None = None,
    ) -> Posterior:
        """Sweep, and average what the sweeps after the first say; ``watch`` are positions (rows, cols)."""
        (m, n), chain = self.data.shape, self.chain
        rows, cols = watch or (np.zeros(0, np.int64), np.zeros(0, np.int64))
        total = MatrixMean((m, n), round(_KEPT * self.family.rank))
        row, col, watched, col_variance = np.zeros(m), np.zeros(n), np.zeros(rows.size), np.zeros(n)
        averaged = schedule.sweeps - schedule.burn_in
        apart = -(-averaged // kept_draws((m, n), self.family.rank + 2))
        draws: list[Draw] = []
        for number in range(-schedule.burn_in, averaged):
            for X, Z in chain.sweep(settling=number < 0):
                if number >= 0:
                    left, right, row_part, col_part = self.standard.parts(X, Z)
                    total.add(left, right)
                    row += row_part
                    col += col_part
                    if rows.size:
                        watched += entries_at(left, right, rows, cols)
            if number >= 0:
                col_variance += np.mean(1 / chain.rows.levels) / (chain.cols.levels * chain.precision)
                if number % apart == 0:
                    draws.append(self._draw())
            if callback is not None:
                callback(number)
        row, col, col_std = row / total.count, col / total.count, np.sqrt(col_variance / averaged)
        watched = watched / total.count + row[rows] + col[cols]
        U, s, Vt = total.triplet(col_std)
        drawn = Predictive(tuple(draws))
        mean = Posterior(U * s, Vt.T, 0.0, row, col, 0.0, col_std, drawn, watched, chain.sweeps, s)
        return self.standard.restored(mean, self.data, cols)

    def _draw(self) -> Draw:
        chain = self.chain
        row = 1 / np.sqrt(chain.rows.levels * chain.precision)
        return self.standard.draw(chain.rows.sample, chain.cols.sample, row, 1 / np.sqrt(chain.cols.levels))

    def _backend(self, lines: Lines) -> HalfSweep:
        if self._device is not None and str(self._device) != "cpu":
            return Batched(lines, self._device)
        if not self._compiled:
            return Batched(lines)
        return Compiled(lines, np.float64 if self.family.one_sided else np.float32)

    def _work(self, sweeps: int) -> float:
        """Multiplications of dense half sweeps; a small factorization costs about 20 times what it counts."""
        m, n = self.data.shape
        d = self.family.rank + 1
        return sweeps * (m * n * d * d + 20 * (m + n) * d**3)
