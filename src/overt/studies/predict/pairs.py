"""The pairs of networks of one family: signs of differences, single changes, and counts of both signs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Pairs", "average", "mean_over"]


class Pairs:
    """The unordered pairs of one family."""

    def __init__(self, members: Integers, codes: Integers, gaps: Floats) -> None:
        self.members, self.codes = members, codes
        self.first, self.second = np.triu_indices(len(members), k=1)
        difference = gaps[self.first] - gaps[self.second]
        self.order, self.distance = np.sign(difference), np.abs(difference)
        differs = codes[:, self.first] != codes[:, self.second]
        single = differs.sum(0) == 1
        self._kept: tuple[Floats, Floats] | None = None
        self.alone = np.where(single, differs.argmax(0) if len(codes) else 0, -1)

    @property
    def count(self) -> int:
        return len(self.first)

    def signs(self, values: Floats) -> Floats:
        own = values[self.members]
        a, b = own[self.first], own[self.second]
        return (a > b).astype(np.float64) - (a < b)  # no difference is formed: infinities may tie

    def product(self, values: Floats) -> Floats:
        return self.signs(values) * self.order

    def weights(self, weights: Floats) -> Floats:
        """How often each pair counts, (B, pairs); kept for the next measure."""
        if self._kept is None or self._kept[0] is not weights:
            own = weights[:, self.members]
            self._kept = (weights, own[:, self.first] * own[:, self.second])
        return self._kept[1]

    def group_shares(self, row: int) -> Floats:
        """One over the number of pairs with the same other hyperparameters: each group then counts once."""
        others = np.delete(self.codes, row, axis=0)
        if not len(others):
            return np.full(self.count, 1 / max(1, int((self.alone == row).sum())))
        _, group = np.unique(others, axis=1, return_inverse=True)
        group = group.ravel()[self.first]
        sizes = np.bincount(group[self.alone == row], minlength=int(group.max()) + 1)
        shares: Floats = 1 / np.maximum(sizes, 1)[group]
        return shares

    def changes(self, row: int) -> list[tuple[NDArray[np.bool_], tuple[int, int]]]:
        """The pairs of each change of one hyperparameter alone, and the two values."""
        alone = self.alone == row
        a, b = self.codes[row, self.first], self.codes[row, self.second]
        low, high = np.minimum(a, b), np.maximum(a, b)
        ends = sorted({(int(x), int(y)) for x, y in zip(low[alone], high[alone], strict=True)})
        return [(alone & (low == x) & (high == y), (x, y)) for x, y in ends]

    @cached_property
    def _told_apart(self) -> NDArray[np.bool_]:
        told: NDArray[np.bool_] = self.order != 0
        return told

    def information(self, values: Floats, weights: Floats, conditioned_on: int) -> Floats:
        from scipy.sparse import csr_array

        keep = self._told_apart
        count = self.weights(weights)[:, keep]
        # Of a pair in both orders: the same signs turned round, and the two networks' values changed over.
        mu, g = self.signs(values)[keep].astype(np.int64), self.order[keep].astype(np.int64)
        first, second = self.first[keep], self.second[keep]
        varying = [row for row in range(len(self.codes)) if len(np.unique(self.codes[row])) > 1]
        smallest = np.full(len(weights), np.inf)
        for size in range(conditioned_on + 1):
            for rows in combinations(varying, size):
                label = _labels(self.codes[list(rows)])
                levels = int(label.max()) + 1
                one, two = label[first], label[second]
                cell = np.concatenate([one * levels + two, two * levels + one])
                sign = np.concatenate([(mu + 1) * 2 + (g > 0), (1 - mu) * 2 + (g < 0)])
                columns = np.tile(np.arange(keep.sum()), 2)
                entries = (np.ones(len(cell)), (cell * 6 + sign, columns))
                table = csr_array(entries, shape=(levels**2 * 6, int(keep.sum()))) @ count.T
                smallest = np.minimum(smallest, _normalized(table.reshape(levels**2, 3, 2, -1)))
        return smallest


def _normalized(table: Floats) -> Floats:
    """I(V_μ; V_g | U)/H(V_g | U) from counts of shape (cells, 3, 2, B); 0 where the entropy is 0."""
    total = table.sum((0, 1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = table / total
        cell = p.sum((1, 2), keepdims=True)
        mu, g = p.sum(2, keepdims=True), p.sum(1, keepdims=True)
        information = np.where(p > 0, p * np.log(p * cell / (mu * g)), 0.0).sum((0, 1, 2))
        entropy = -np.where(g > 0, g * np.log(g / cell), 0.0).sum((0, 1, 2))
        ratio: Floats = np.where(entropy > 1e-12, np.clip(information / entropy, 0.0, 1.0), 0.0)
    return np.where(total > 0, ratio, np.nan)


def _labels(codes: Integers) -> Integers:
    if not len(codes):
        return np.zeros(codes.shape[1], dtype=np.int64)
    labels: Integers = np.unique(codes, axis=1, return_inverse=True)[1].ravel().astype(np.int64)
    return labels


def average(values: Floats, counts: Floats, shares: Floats) -> Floats:
    """Weighted means over pairs, shape (B,); NaN where no pair has weight."""
    total = counts @ shares
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(total > 0, (counts @ (shares * values)) / total, np.nan)
    return mean


def mean_over(parts: Sequence[Floats]) -> Floats:
    """The mean over parts of what is there; NaN where nothing is."""
    stacked = np.stack(parts)
    there = np.isfinite(stacked)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(there, stacked, 0.0).sum(0) / there.sum(0)
    return np.where(there.any(0), mean, np.nan)
