"""Singular value shrinkage of "sparse plus low rank", dense or matrix-free.

A proximal gradient step for completion shrinks ``P*(e) + Σ c_i X_i``: a sparse misfit plus low-rank iterates.
:class:`DenseSteps` forms that matrix; :class:`BlockSteps` only multiplies with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from overt.completion.convex.measurements import ObservedEntries
from overt.completion.convex.shrinkage import shrink_singular_values, spectral_norm_of
from overt.completion.result import Triplet
from overt.completion.tangent import Entries
from overt.linalg import qr, svd

Terms = Sequence[tuple[float, Triplet]]

_DENSE_SIDE = 500  # up to this many rows or columns an eigendecomposition is cheaper than block products
_POWER_STEPS = 2
_SPARE = 15  # directions kept below the threshold
_NORM_STEPS = 50


class DenseSteps:
    """Forms the matrix and decomposes its smaller Gram matrix."""

    def __init__(self, entries: ObservedEntries, *, max_rank: int | None = None) -> None:
        self.shape = entries.shape
        self.capped = False
        self._entries = entries
        self._max_rank = max_rank

    def observe(self, point: Triplet) -> Tensor:
        """Values at the observations."""
        U, s, Vt = point
        return self._entries.apply((U * s) @ Vt)

    def shrink(self, misfit: Tensor, terms: Terms, threshold: float) -> Triplet:
        """Shrunken SVD of the formed matrix."""
        M = self._entries.adjoint(misfit)
        for c, (U, s, Vt) in terms:
            if c != 0 and s.numel():
                M.addmm_(U * s, Vt, alpha=c)
        U, s, Vt = shrink_singular_values(M, threshold)
        r = s.numel() if self._max_rank is None else self._max_rank
        self.capped |= r < s.numel()
        return U[:, :r], s[:r], Vt[:r]

    def norm(self, misfit: Tensor) -> float:
        """Spectral norm of the formed matrix."""
        return spectral_norm_of(self._entries.adjoint(misfit))


class BlockSteps:
    """Subspace iteration on products with the matrix, from the previous block of right singular vectors."""

    def __init__(self, entries: Entries, like: Tensor, *, max_rank: int | None = None, seed: int = 0) -> None:
        self.shape = entries.shape
        self.capped = False
        self._sorted = entries
        self._limit = min(*self.shape) if max_rank is None else min(max_rank, *self.shape)
        self._max_rank = max_rank
        self._generator = torch.Generator().manual_seed(seed)
        self._like = like
        self._probe: Tensor | None = None
        self._block = like.new_zeros(self.shape[1], 0)

    def observe(self, point: Triplet) -> Tensor:
        """Values at the observations, without forming the matrix."""
        out = torch.empty_like(self._like)
        out[self._sorted.order] = self._sorted.predict(point[0] * point[1], point[2].mT.contiguous())
        return out

    def shrink(self, misfit: Tensor, terms: Terms, threshold: float) -> Triplet:
        """Shrunken SVD; the block grows until its last singular value is below the threshold."""
        return self.shrink_sorted(self._sorted.sort(misfit), terms, threshold)

    def shrink_sorted(self, z: Tensor, terms: Terms, threshold: float) -> Triplet:
        """:meth:`shrink` of a misfit in row order."""
        kept = [(c, t) for c, t in terms if c != 0 and t[1].numel()]
        V = self._block
        if V.shape[1] == 0 and kept:
            V = kept[0][1][2].mT
        width = min(max(V.shape[1], 10), self._limit)
        while True:
            V = torch.cat([V[:, :width], self._random(width - V.shape[1])], 1)
            for _ in range(_POWER_STEPS):
                Q = qr(_plus(self._sorted.times(z, V), kept, V))[0]
                V, s, small = svd(_plus_t(self._sorted.times_t(z, Q), kept, Q))
            if float(s[-1]) <= threshold or width == self._limit:
                break
            width = min(2 * width, self._limit)
        keep = s > threshold
        # The directions just below the threshold are kept too: without them the next step starts blind.
        self._block = V[:, : int(keep.sum()) + _SPARE]
        self.capped |= self._max_rank is not None and bool(keep.all()) and width == self._limit
        return Q @ small.mT[:, keep], s[keep] - threshold, V[:, keep].mT

    def norm(self, misfit: Tensor) -> float:
        """Power iteration on a block of six from the last directions: a lower bound, tight to about 1e-4."""
        z = self._sorted.sort(misfit)
        V = self._random(min(6, *self.shape)) if self._probe is None else self._probe
        value = 0.0
        for _ in range(_NORM_STEPS):
            V, s, _ = svd(self._sorted.times_t(z, qr(self._sorted.times(z, V))[0]))
            if abs(float(s[0]) - value) <= 1e-6 * float(s[0]):
                break
            value = float(s[0])
        self._probe = V
        return float(s[0])

    def _random(self, columns: int) -> Tensor:
        drawn = torch.randn(self.shape[1], max(columns, 0), generator=self._generator, dtype=torch.float64)
        return drawn.to(self._like)


def _plus(product: Tensor, terms: Terms, V: Tensor) -> Tensor:
    for c, (U, s, Vt) in terms:
        product = product.addmm(U * s, Vt @ V, alpha=c)
    return product


def _plus_t(product: Tensor, terms: Terms, Q: Tensor) -> Tensor:
    for c, (U, s, Vt) in terms:
        product = product.addmm(Vt.mT, s.unsqueeze(1) * (U.mT @ Q), alpha=c)
    return product


ProximalSteps = DenseSteps | BlockSteps


def proximal_steps(
    rows: Tensor,
    cols: Tensor,
    shape: tuple[int, int],
    like: Tensor,
    *,
    max_rank: int | None = None,
    seed: int = 0,
) -> ProximalSteps:
    """The dense steps for small matrices, the matrix-free ones otherwise."""
    if min(shape) <= _DENSE_SIDE and shape[0] * shape[1] <= 20_000_000:
        return DenseSteps(ObservedEntries(rows, cols, shape, like), max_rank=max_rank)
    return BlockSteps(Entries(rows, cols, shape, like.dtype), like, max_rank=max_rank, seed=seed)
