"""The null space of the tangent map of a low-rank matrix on its observations, and the entries it moves.

At U Vᵀ the tangent map is ``(A, B) ↦ P(A Vᵀ + U Bᵀ)``. Each row of A meets the entries of its own row only,
so A is eliminated row by row: a direction a of row i that no observed column sees, ``v_jᵀ a = 0`` for all j
in Ω_i, is free by itself. What remains is the reduced matrix of :mod:`overt.completion.refit.normal` on B,

    S = Σ_i (D_i − D_i V A_i⁺ Vᵀ D_i) ⊗ u_i u_iᵀ,    A_i = Vᵀ D_i V,  D_i the indicator of Ω_i,

with pseudo-inverses. So the null space has dimension Σ_i null(A_i) + null(S), r² of which are the directions
(U M, −V Mᵀ) that do not change the matrix. Pseudo-inverses of row Grams that are nearly singular come from
singular values of the factors themselves: Grams hold them to half the digits only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from overt._utils.seeds import normal
from overt.completion.cover import smallest_cover
from overt.completion.refit.gauss_newton import jacobian
from overt.completion.refit.normal import reduced_matrix
from overt.completion.result import degrees_of_freedom
from overt.completion.tangent import Entries
from overt.linalg import conjugate_gradients, eigh, orthonormal_basis, singular_values, svd

DENSE_UNKNOWNS = 2000  # up to this min(m, n)·r the null space is computed by a symmetric eigenvalue problem
_QUICK = 100  # conjugate-gradient iterations that look for a plain yes first
_WEAK = 1e-4  # a Gram whose eigenvalues differ by more than this is decomposed through its factor
_TINY = 1e-10  # lines of a factor below this share of the largest are zero
_MIXTURES = 4  # random mixtures of the null directions that show which entries move
_MOVES = 1e-6  # an entry moves if it changes by this share of the largest change
_BLOCK, _MOST = 1 << 22, 1 << 20  # entries formed at a time, and moving entries listed


@dataclass(frozen=True)
class NullSpace:
    """Dimension (``None``: undecided), smallest relative eigenvalue, lines that cover what moves."""

    dimension: int | None
    smallest: float = 0.0
    rows: tuple[int, ...] = ()
    cols: tuple[int, ...] = ()

    @property
    def turned(self) -> NullSpace:
        """The null space of the transposed problem."""
        return replace(self, rows=self.cols, cols=self.rows)


def null_space(entries: Entries, U: Tensor, V: Tensor, tolerance: float, max_inner: int) -> NullSpace:
    """Null space at factors U (m, r) and V (n, r) of full column rank, beyond its r² trivial directions.

    Squared singular values at or below ``tolerance`` times the largest count as zero. Up to
    ``DENSE_UNKNOWNS`` the dimension is counted, above it is a lower bound where it is not zero.
    """
    if entries.shape[0] < entries.shape[1]:
        return null_space(entries.T, V, U, tolerance, max_inner).turned
    tangent = Tangent(entries, _leveled(U), _leveled(V), tolerance)
    if min(entries.shape) * V.shape[1] > DENSE_UNKNOWNS:
        return krylov_null_space(tangent, max_inner)
    quick = None if tangent.rows.idle else krylov_null_space(tangent, min(max_inner, _QUICK))
    if quick is not None and quick.dimension == 0:
        return quick
    return dense_null_space(tangent)


def _leveled(U: Tensor) -> Tensor:
    """An orthonormal basis of U with its rows at one length: scaling lines leaves the dimensions alone."""
    size = U.norm(dim=1, keepdim=True)
    alive = size > _TINY * size.max()
    return orthonormal_basis(torch.where(alive, U / torch.where(alive, size, 1.0), 0.0))


@dataclass(frozen=True, eq=False)
class Lines:
    """For each line, H (count, r, r) with ``Gram⁺ = HᵀH``, and its null vectors as columns among zeros."""

    half: Tensor
    null: Tensor

    @cached_property
    def idle(self) -> int:
        """Null directions in all lines together."""
        return int(self.null.any(1).sum())

    def solve(self, right: Tensor) -> Tensor:
        """``Gram⁺`` times one vector a line."""
        return (self.half.mT @ (self.half @ right[..., None]))[..., 0]

    def without(self, D: Tensor) -> Tensor:
        """D (count, r) without its parts in the null directions."""
        return D - (self.null @ (self.null.mT @ D[..., None]))[..., 0]

    def mixed(self, generator: torch.Generator) -> Tensor:
        """A random null vector for each line, shape (count, r)."""
        return (self.null @ normal(*self.null[..., :1].shape, generator=generator).to(self.null))[..., 0]


def line_grams(entries: Entries, V: Tensor, tolerance: float) -> Lines:
    """Row Grams of V decomposed."""
    values, vectors = eigh(entries.row_grams(V))  # descending
    top = float(values.max())
    live = values > tolerance * top
    half = (vectors * torch.where(live, values, 1.0).rsqrt()[:, None, :] * live[:, None, :]).mT
    null = vectors * ~live[:, None, :]
    weak = (values[:, -1] <= _WEAK * top).nonzero()[:, 0]
    order = weak[torch.argsort(entries.row_counts[weak])]
    starts = torch.cat([entries.row_counts.new_zeros(1), entries.row_counts.cumsum(0)])
    for part in torch.split(order, 256) if order.numel() else ():
        factors = _rows_of(entries, V, starts[part], entries.row_counts[part])
        _, s, Wt = svd(factors)
        alive = s.square() > tolerance * top
        half[part] = torch.where(alive, 1 / torch.where(alive, s, 1.0), 0.0)[..., None] * Wt
        null[part] = Wt.mT * ~alive[:, None, :]
    return Lines(half, null)


def _rows_of(entries: Entries, V: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
    """The observed rows of V of some lines, padded with zeros: (lines, longest, r)."""
    each = torch.arange(max(int(counts.max()), V.shape[1]), device=V.device)
    inside = each < counts[:, None]
    where = torch.where(inside, starts[:, None] + each, 0)
    return V[entries.cols.long()[where]] * inside[..., None]


class Tangent:
    """The tangent map with A eliminated."""

    def __init__(self, entries: Entries, U: Tensor, V: Tensor, tolerance: float) -> None:
        self.entries, self.U, self.V, self.tolerance = entries, U, V, tolerance
        self.rows = line_grams(entries, V, tolerance)

    @cached_property
    def cols(self) -> Lines:
        """Column Grams of U decomposed: the diagonal blocks before A is eliminated."""
        return line_grams(self.entries.T, self.U, self.tolerance)

    def lift(self, B: Tensor) -> Tensor:
        """The A that moves the observed entries least, given B."""
        return -self.rows.solve(self.entries.times(self.entries.predict(self.U, B), self.V))

    def apply(self, B: Tensor) -> Tensor:
        """S B."""
        left = self.entries.predict(self.U, B) + self.entries.predict(self.lift(B), self.V)
        return self.entries.times_t(left, self.U)


def dense_null_space(tangent: Tangent) -> NullSpace:
    """Null space by eigenvalues of S, whose trivial directions V M are lifted out of the way."""
    U, V, rows = tangent.U, tangent.V, tangent.rows
    n, r = V.shape
    blocks = tangent.entries.col_grams(U)
    S = reduced_matrix(tangent.entries, U, V, rows.half, blocks, inverse=True)
    trivial = V @ V.mT * float(blocks.diagonal(dim1=1, dim2=2).mean())
    S.view(n, r, n, r).diagonal(dim1=1, dim2=3).add_(trivial[..., None])
    spectrum, directions = eigh(S)
    free = spectrum <= tangent.tolerance * spectrum[0]
    dimension = rows.idle + int(free.sum())
    if dimension == 0:
        return NullSpace(0, max(0.0, float(spectrum[-1] / spectrum[0])))
    generator = torch.Generator().manual_seed(0)
    basis = directions[:, free]
    mixtures = [
        (basis @ normal(basis.shape[1], generator=generator).to(basis)).view(n, r) for _ in range(_MIXTURES)
    ]
    return NullSpace(dimension, 0.0, *_moving(tangent, mixtures, generator))


def krylov_null_space(tangent: Tangent, max_inner: int, seed: int = 0) -> NullSpace:
    """Null space from conjugate gradients, for S too large to be formed.

    Null directions of single rows and columns are found in their Grams. Beyond these, conjugate gradients
    solve ``S X = S Z`` for a random Z: Z − X is a null vector if there is one, which its Rayleigh quotient
    shows; convergence without one certifies, with probability one, that there is none.
    """
    V, cols = tangent.V, tangent.cols
    scale = float(tangent.entries.k * tangent.U.square().mean())
    scale /= len(V)  # mean diagonal of S

    def matrix(D: Tensor) -> Tensor:
        return cols.without(tangent.apply(D) + scale * (V @ (V.mT @ D)))

    generator = torch.Generator().manual_seed(seed)
    Z = cols.without(normal(*V.shape, generator=generator).to(V))
    found = conjugate_gradients(
        matrix,
        matrix(Z),
        precondition=cols.solve,
        tolerance=1e-10,
        max_iter=max_inner,
        callback=lambda state: state.n_iter % _QUICK == 0 and state.spread() <= tangent.tolerance,
    )
    local = max(tangent.rows.idle, cols.idle)
    rest = Z - found.x
    energy = float(
        (rest * tangent.entries.times_t(tangent.entries.predict(tangent.U, rest), tangent.U)).sum()
    )
    free = bool(rest.any()) and float((rest * matrix(rest)).sum()) <= tangent.tolerance * energy
    if local or free:
        mixtures = [rest] if free else [torch.zeros_like(rest)]
        return NullSpace(local + free, 0.0, *_moving(tangent, mixtures, generator, cols))
    smallest = found.spread()
    decided = found.converged and smallest > tangent.tolerance
    return NullSpace(0 if decided else None, 0.0 if found.breakdown else smallest)


def _moving(
    tangent: Tangent, mixtures: list[Tensor], generator: torch.Generator, cols: Lines | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows and columns that cover all entries which null directions move, and few others that are hidden."""
    moves = []
    for B in mixtures:
        B = B / B.abs().max().clamp_min(torch.finfo(B.dtype).tiny)
        A = tangent.lift(B) + tangent.rows.mixed(generator)
        moves.append((A, B if cols is None else B + cols.mixed(generator)))
    left = torch.cat([part for A, _ in moves for part in (A, tangent.U)], 1)
    right = torch.cat([part for _, B in moves for part in (tangent.V, B)], 1)
    positions = _moved(left, right, len(moves))
    return smallest_cover(*positions, _at_rest(tangent.entries, *positions))


def _at_rest(entries: Entries, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """How many hidden entries of each row and column do not move, plus one."""
    (m, n), listed = entries.shape, cols >= 0
    per_row = torch.bincount(rows[listed], minlength=m)
    per_col = torch.bincount(cols[listed], minlength=n)
    left = n - entries.row_counts - per_row, m - entries.col_counts - per_col
    return left[0].clamp_min(0) + 1, left[1].clamp_min(0) + 1


def _moved(left: Tensor, right: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions where one of ``count`` products of factors, side by side, is not zero to rounding."""
    (m, width), n = left.shape, right.shape[0]
    width //= count
    pairs = list(zip(torch.split(left, width, 1), torch.split(right, width, 1), strict=True))
    step = max(1, _BLOCK // n)

    def size(start: int) -> Tensor:
        parts = [(A[start : start + step] @ B.mT).abs() for A, B in pairs]
        return torch.stack(parts).amax(0) if count > 1 else parts[0]

    starts = range(0, m, step)
    top = max(float(size(start).max()) for start in starts)
    rows, cols, listed = [], [], 0
    for start in starts:
        moved = size(start) > _MOVES * top
        where = moved.nonzero()
        if listed + len(where) > _MOST:  # so much moves that whole rows do
            whole = moved.any(1).nonzero()
            where = torch.cat([whole, torch.full_like(whole, -1)], 1)
        listed += len(where)
        rows.append(where[:, 0] + start)
        cols.append(where[:, 1])
    return torch.cat(rows), torch.cat(cols)


def sensing_null_space(A: Tensor, U: Tensor, V: Tensor, tolerance: float) -> NullSpace:
    """Null space of ``(dU, dV) ↦ ⟨A_i, dU Vᵀ + U dVᵀ⟩`` beyond its r² trivial directions."""
    _, m, n = A.shape
    r = U.shape[1]
    if r == 0:
        return NullSpace(0, 1.0)
    values = singular_values(jacobian(A, U, V)).square()
    degrees = degrees_of_freedom((m, n), r)
    kept = int((values > tolerance * values[0]).sum())
    smallest = float(values[degrees - 1] / values[0]) if degrees <= len(values) else 0.0
    return NullSpace(max(0, degrees - kept), smallest)
