"""The posterior mean of a matrix, summed up over draws of its factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_DENSE_CELLS = 1_000_000  # m·n up to which the mean is summed up densely
_SPARE = 2  # singular values kept meanwhile, as a multiple of those kept in the end
_GRAM_ROUNDING = 1e-7  # eigenvalues of a Gram matrix below this share of the largest are rounding
_ROWS = 65_536  # rows that are held in float64 at a time
_NEGLIGIBLE = 0.01  # share of the noise by which leaving out singular values may change entries
_ROUNDING = 1e-6  # singular values below this share of the largest are dropped


class MatrixMean:
    """Mean of products ``L Rᵀ``, kept as a dense matrix or as a truncated singular value decomposition.

    Parameters
    ----------
    shape : (int, int)
    keep : int
        Singular values kept of a large matrix.
    """

    def __init__(self, shape: tuple[int, int], keep: int) -> None:
        self._shape, self._keep = shape, min(keep, *shape)
        self._dense = np.zeros(shape) if shape[0] * shape[1] <= _DENSE_CELLS else None
        self._left: list[Array] = []
        self._right: list[Array] = []
        self.count = 0

    def add(self, left: Array, right: Array) -> None:
        """Take in ``left`` (m, t) times the transpose of ``right`` (n, t)."""
        self.count += 1
        if self._dense is not None:
            self._dense += left @ right.T
            return
        self._left.append(left)
        self._right.append(right)
        if sum(part.shape[1] for part in self._left) > 4 * _SPARE * self._keep:
            U, s, Vt = self._compressed(_SPARE * self._keep)
            root = np.sqrt(s)
            self._left, self._right = [U * root], [Vt.T * root]

    def triplet(self, noise: Array) -> tuple[Array, Array, Array]:
        """Thin singular value decomposition of the mean.

        Of it :func:`truncated` drops what is small beside the ``noise`` (n,) of the columns.
        """
        if self._dense is not None:
            U, s, Vt = np.linalg.svd(self._dense / max(self.count, 1), full_matrices=False)
        else:
            U, s, Vt = self._compressed(self._keep)
            s = s / self.count
        return truncated(U, s, Vt, noise)

    def _compressed(self, keep: int) -> tuple[Array, Array, Array]:
        left, right = np.concatenate(self._left, 1), np.concatenate(self._right, 1)
        P, Q = _orthonormalizer(left), _orthonormalizer(right)
        U, s, Vt = np.linalg.svd(np.linalg.pinv(P) @ np.linalg.pinv(Q).T, full_matrices=False)
        return (
            left @ (P @ U[:, :keep]).astype(left.dtype),
            s[:keep],
            (right @ (Q @ Vt[:keep].T).astype(right.dtype)).T,
        )


def truncated(U: Array, s: Array, Vt: Array, noise: Array) -> tuple[Array, Array, Array]:
    """A decomposition without its smallest singular values.

    They are dropped as long as that changes each column, in root mean square, by less than a small share of
    its ``noise`` (n,).
    """
    tail = np.cumsum(np.square(s[:, None] * Vt)[::-1], 0)[::-1] / U.shape[0]
    rank = int(((tail > np.square(_NEGLIGIBLE * noise)).any(1) & (s > _ROUNDING * s[:1])).sum())
    return U[:, :rank], s[:rank], Vt[:rank]


def _orthonormalizer(X: Array) -> Array:
    """P with orthonormal columns ``X P`` that span those of X (k, t), by its Gram matrix: cheaper than QR."""
    gram = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X), _ROWS):
        # In float64: the Gram matrix of single precision has errors of the size of the smallest value kept.
        rows = X[start : start + _ROWS].astype(np.float64)
        gram += rows.T @ rows
    values, vectors = np.linalg.eigh(gram)
    kept = values > _GRAM_ROUNDING * values[-1]
    basis: Array = vectors[:, kept] / np.sqrt(values[kept])
    return basis
