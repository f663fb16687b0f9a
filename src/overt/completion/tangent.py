"""Observed entries as a linear map on factors, each product in O(|Ω| r), and the leading triplets of low rank
plus sparse."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from overt.completion.result import Triplet
from overt.linalg import orthonormal_basis, qr, svd

_DENSE_CELLS = 1_000_000  # matrices up to this size may be formed on the way to their entries
_LINE = 8  # columns of a dense factor taken at a time: in double precision one cache line a row
_CACHED_NUMBERS = 250_000  # numbers of a dense factor that stay in a core's cache
_DEVICE_CHUNK = 1 << 20  # the same on a device that likes long ones
_PASSES, _OVERSAMPLE = 4, 10  # of subspace iteration
_CHUNK = 8192  # entries gathered at a time: two (chunk, r) blocks stay in a core's cache


def _csr(major: Tensor, minor: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR tensor from entries sorted by ``major``, without torch's notice that CSR is in beta."""
    pointer = torch.zeros(shape[0] + 1, dtype=minor.dtype, device=minor.device)
    pointer[1:] = torch.bincount(major, minlength=shape[0]).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CSR", category=UserWarning)
        return torch.sparse_csr_tensor(pointer, minor, values, shape, check_invariants=False)


class Entries:
    """Index structure of the observed positions Ω of an m×n matrix, sorted once by row and once by column.

    Values ``z`` over Ω are vectors of length ``k`` in *row order* (see :meth:`sort`).

    Parameters
    ----------
    rows, cols : Tensor of int64, shape (k,)
        Observed positions, each at most once.
    shape : (int, int)
    dtype : torch.dtype
        Floating type of all values.
    """

    def __init__(self, rows: Tensor, cols: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.order = torch.argsort(rows * self.shape[1] + cols)
        index = torch.int32 if max(rows.numel(), *self.shape) < 2**31 else torch.int64
        rows, cols = rows[self.order], cols[self.order]
        self._flat = rows * self.shape[1] + cols
        self.by_col = torch.argsort(cols, stable=True)
        self.rows, self.cols = rows.to(index), cols.to(index)
        ones = torch.ones(rows.numel(), dtype=dtype, device=rows.device)
        self._ones = _csr(self.rows, self.cols, ones, self.shape)
        self._ones_t = _csr(self.cols[self.by_col], self.rows[self.by_col], ones, self.shape[::-1])
        self.row_counts = torch.bincount(rows, minlength=self.shape[0])
        self.col_counts = torch.bincount(cols, minlength=self.shape[1])

    @property
    def k(self) -> int:
        """|Ω|."""
        return int(self.rows.shape[0])

    @property
    def T(self) -> Entries:  # noqa: N802
        """The same entries of the transposed matrix; its value vectors are in *its own* row order."""
        return Entries(self.cols.long(), self.rows.long(), self.shape[::-1], self._ones.dtype)

    def sort(self, values: Tensor) -> Tensor:
        """Bring values given in the caller's order into row order."""
        return values[self.order]

    def predict(self, U: Tensor, V: Tensor) -> Tensor:
        """``(U Vᵀ)`` on Ω, shape (k,)."""
        t, cells = U.shape[1], self.shape[0] * self.shape[1]
        if cells <= _DENSE_CELLS and cells * (1.5 + 0.08 * t) < 2.5 * self.k * t:  # nanoseconds, one core
            return (U @ V.mT).reshape(-1).index_select(0, self._flat)
        # Two buffers for all pieces: the kernel would map and clear fresh blocks of this size each time.
        chunk = min(max(self.k, 1), _CHUNK if U.device.type == "cpu" else _DEVICE_CHUNK)
        left, right = U.new_empty(chunk, t), V.new_empty(chunk, t)
        out = U.new_empty(self.k)
        for start in range(0, self.k, chunk):
            piece = out[start : start + chunk]
            size = piece.shape[0]
            where = slice(start, start + size)
            torch.index_select(U, 0, self.rows[where], out=left[:size])
            torch.index_select(V, 0, self.cols[where], out=right[:size])
            torch.sum(left[:size].mul_(right[:size]), 1, out=piece)
        return out

    def _with(self, pattern: Tensor, values: Tensor) -> Tensor:
        return torch.sparse_csr_tensor(
            pattern.crow_indices(), pattern.col_indices(), values, pattern.shape, check_invariants=False
        )

    def times(self, z: Tensor, V: Tensor) -> Tensor:
        """``P*(z) V``, shape (m, r)."""
        return _matmul(self._with(self._ones, z), V)

    def times_t(self, z: Tensor, U: Tensor) -> Tensor:
        """``P*(z)ᵀ U``, shape (n, r)."""
        return _matmul(self._with(self._ones_t, z.index_select(0, self.by_col)), U)

    def row_grams(self, V: Tensor) -> Tensor:
        """``Σ_{j ∈ Ω_i} v_j v_jᵀ`` for every row i, shape (m, r, r)."""
        return _grams(self._ones, V)

    def col_grams(self, U: Tensor) -> Tensor:
        """``Σ_{i ∈ Ω_j} u_i u_iᵀ`` for every column j, shape (n, r, r)."""
        return _grams(self._ones_t, U)

    def dense_mask(self) -> Tensor:
        """The (m, n) array of ones on Ω; for small problems only."""
        return self._ones.to_dense()


def _matmul(S: Tensor, D: Tensor) -> Tensor:
    """Sparse times dense.

    Where the dense block outgrows a core's cache its columns are taken a cache line at a time: rows are read
    in random order, and narrow ones stay in the cache.
    """
    if D.device.type != "cpu" or D.shape[1] <= _LINE or D.numel() <= _CACHED_NUMBERS:
        return typed(S @ D)
    return torch.cat([typed(S @ part.contiguous()) for part in torch.split(D, _LINE, 1)], 1)


def typed(value: Any) -> Tensor:
    """A tensor that torch's annotations leave untyped."""
    tensor: Tensor = value
    return tensor


def _grams(pattern: Tensor, V: Tensor) -> Tensor:
    r = V.shape[1]
    upper = torch.triu_indices(r, r, device=V.device)
    flat = _matmul(pattern, V[:, upper[0]] * V[:, upper[1]])
    grams = torch.empty(pattern.shape[0], r, r, dtype=V.dtype, device=V.device)
    grams[:, upper[0], upper[1]] = flat
    grams[:, upper[1], upper[0]] = flat
    return grams


def entries_of(problem: Any) -> tuple[Entries, Tensor]:
    """Sorted entries and values of a completion problem."""
    entries = Entries(problem.rows.long(), problem.cols.long(), tuple(problem.shape), problem.y.dtype)
    return entries, entries.sort(problem.y.detach())


def leading_triplets(
    entries: Entries,
    L: Tensor,
    R: Tensor,
    z: Tensor,
    keep: int,
    *,
    start: Tensor | None = None,
    seed: int = 0,
) -> Triplet:
    """The ``keep`` leading singular triplets of ``L Rᵀ + P*(z)``; those towards the end are approximate.

    Subspace iteration from a random block and the previous directions (Halko, Martinsson & Tropp 2011,
    algorithm 4.4).

    Parameters
    ----------
    entries, z : Entries, Tensor (k,)
        Pattern Ω and values of the sparse part.
    L, R : Tensor, shapes (m, p) and (n, p)
    start : Tensor, shape (n, q), optional
        Right directions expected to be near the leading ones; random directions are added.
    """
    m, n = entries.shape
    width = min(m, n, keep + _OVERSAMPLE)
    generator = torch.Generator().manual_seed(seed)
    Q = torch.randn(n, width, generator=generator, dtype=torch.float64).to(z)
    if start is not None:
        Q = torch.cat([start, Q[:, : max(_OVERSAMPLE, width - start.shape[1])]], 1)[:, :width]
    for _ in range(_PASSES):
        left = orthonormal_basis(L @ (R.mT @ Q) + entries.times(z, Q))
        product = R @ (L.mT @ left) + entries.times_t(z, left)
        Q, core = qr(product)
    u, s, vt = svd(core.mT)
    return (left @ u)[:, :keep], s[:keep], (Q @ vt.mT).mT[:keep]
