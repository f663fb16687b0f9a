"""The observed entries sorted by line: once by row and once by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.floating]
Whole = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Lines:
    """Entries of ``count`` lines that each cross ``across`` others: those of line i lie in
    ``start[i]:start[i+1]``.

    ``other`` (k,) are the lines they cross and ``y`` (k,) the values.
    """

    start: NDArray[np.int64]
    other: NDArray[np.int32]
    y: NDArray[np.float64]
    across: int

    @classmethod
    def of(cls, own: Whole, other: Whole, y: Floats, shape: tuple[int, int]) -> Lines:
        """Sort entries by their line; ``shape`` is (lines, lines across)."""
        found = sparse.coo_matrix((y, (own, other)), shape).tocsr()
        across = found.indices.astype(np.int32, copy=False)
        return cls(found.indptr.astype(np.int64), across, found.data, shape[1])

    @property
    def count(self) -> int:
        """Number of lines."""
        return self.start.size - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Entries of each line, shape (count,)."""
        return np.diff(self.start)

    @property
    def own(self) -> NDArray[np.int64]:
        """The line of each entry, shape (k,)."""
        return np.repeat(np.arange(self.count), self.sizes)
