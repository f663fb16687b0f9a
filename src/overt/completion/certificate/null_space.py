"""Null spaces of the measurement map on a tangent space: dense, Krylov and for dense measurements."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.completion.refit.normal import factor_grams, reduced_system
from overt.completion.tangent.entries import Entries
from overt.linalg import eigh, singular_values

_SHARE = 1e-3  # a row whose entries move this much, relative to the row that moves most, is named


@dataclass(frozen=True)
class NullSpace:
    """Dimension (``None``: undecided), rows and columns that move, smallest relative eigenvalue."""

    dimension: int | None
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    smallest: float


def dense_null_space(entries: Entries, U: Tensor, V: Tensor, tolerance: float) -> NullSpace:
    """Null space by eigenvalues of the reduced matrix on the smaller side."""
    if entries.shape[0] < entries.shape[1]:
        turned = dense_null_space(entries.T, V, U, tolerance)
        return NullSpace(turned.dimension, turned.cols, turned.rows, turned.smallest)
    n, r = V.shape
    grams = entries.row_grams(V)
    values, vectors = eigh(grams)
    live = values > tolerance * values.max()
    idle = int((~live).sum())  # directions of A that no entry sees
    half = (vectors * torch.where(live, values, 1.0).rsqrt()[:, None, :] * live[:, None, :]).mT
    blocks = entries.col_grams(U)
    S = reduced_system(entries, U, V, half, blocks, inverse=True)
    trivial = V @ V.mT * float(blocks.diagonal(dim1=1, dim2=2).mean())
    S.view(n, r, n, r).diagonal(dim1=1, dim2=3).add_(trivial[..., None])
    spectrum, directions = eigh(S)
    free = spectrum <= tolerance * spectrum[0]
    dimension = idle + int(free.sum())
    smallest = 0.0 if idle else max(0.0, float(spectrum[-1] / spectrum[0]))
    if dimension == 0:
        return NullSpace(0, (), (), smallest)
    B = directions[:, free].mT.reshape(-1, n, r)
    row_motion, col_motion = _motion(entries, U, V, half, B)
    row_motion = row_motion + (~live).any(1).to(row_motion)
    return NullSpace(dimension, _moving(row_motion), _moving(col_motion), smallest)


def _motion(entries: Entries, U: Tensor, V: Tensor, half: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Squared norms of the rows and columns of ``A Vᵀ + U Bᵀ`` summed over the null directions B."""
    rows = U.new_zeros(U.shape[0])
    cols = U.new_zeros(V.shape[0])
    for direction in B[:64]:
        right = entries.times(entries.predict(U, direction), V)
        A = -(half.mT @ (half @ right[..., None]))[..., 0]
        total = A @ V.mT + U @ direction.mT
        rows += total.square().sum(1)
        cols += total.square().sum(0)
    return rows, cols


def _moving(motion: Tensor) -> tuple[int, ...]:
    top = float(motion.max()) if motion.numel() else 0.0
    if not top > 0:
        return ()
    return tuple(int(index) for index in (motion > _SHARE * top).nonzero()[:, 0])


def krylov_null_space(
    entries: Entries, U: Tensor, V: Tensor, tolerance: float, max_inner: int, seed: int = 0
) -> NullSpace:
    """Decide whether the null space is trivial from the Ritz values of preconditioned conjugate gradients.

    A random right-hand side has a component in any null direction, which shows as a Ritz value that falls to
    zero; convergence without one certifies, with probability one, that there is none.
    """
    rows = factor_grams(entries.row_grams(V), 0.0)
    blocks = entries.col_grams(U)
    scale = float(blocks.diagonal(dim1=-2, dim2=-1).mean())
    preconditioner = factor_grams(blocks, 0.0)

    def apply(D: Tensor) -> Tensor:
        moved = entries.predict(U, D)
        A = torch.cholesky_solve(entries.times(moved, V)[..., None], rows)[..., 0]
        return entries.times_t(moved - entries.predict(A, V), U) + scale * (V @ (V.mT @ D))

    def precondition(R: Tensor) -> Tensor:
        return torch.cholesky_solve(R[..., None], preconditioner)[..., 0]

    generator = torch.Generator().manual_seed(seed)
    R = torch.randn(V.shape, generator=generator, dtype=torch.float64).to(V)
    Z = precondition(R)
    D, rz = Z, float((R * Z).sum())
    first = rz
    steps: list[float] = []
    ratios: list[float] = []
    smallest = 0.0
    for iteration in range(max_inner):
        AD = apply(D)
        curvature = float((D * AD).sum())
        if curvature <= 0:
            return NullSpace(1, (), (), 0.0)
        steps.append(rz / curvature)
        R = R - steps[-1] * AD
        Z = precondition(R)
        new = float((R * Z).sum())
        ratios.append(new / rz)
        done = new <= 1e-20 * first
        if done or iteration % 100 == 99 or iteration == max_inner - 1:
            smallest = _smallest_ritz(steps, ratios)
            if smallest <= tolerance:
                return NullSpace(1, (), (), smallest)
            if done:
                return NullSpace(0, (), (), smallest)
        D, rz = Z + ratios[-1] * D, new
    return NullSpace(None, (), (), smallest)


def _smallest_ritz(steps: list[float], ratios: list[float]) -> float:
    """Smallest over largest Ritz value from the coefficients of conjugate gradients (Lanczos)."""
    size = len(steps)
    T = torch.zeros(size, size, dtype=torch.float64)
    for index in range(size):
        T[index, index] = 1 / steps[index] + (ratios[index - 1] / steps[index - 1] if index else 0.0)
        if index + 1 < size:
            T[index, index + 1] = T[index + 1, index] = ratios[index] ** 0.5 / steps[index]
    values, _ = eigh(T)
    return max(0.0, float(values[-1] / values[0]))


def sensing_null_space(A: Tensor, U: Tensor, V: Tensor, tolerance: float) -> NullSpace:
    """Null space of ``(dU, dV) ↦ ⟨A_i, dU Vᵀ + U dVᵀ⟩`` beyond its r² trivial directions."""
    k, m, n = A.shape
    r = U.shape[1]
    if r == 0:
        return NullSpace(0, (), (), 1.0)
    J = torch.cat([(A @ V).reshape(k, -1), (A.mT @ U).reshape(k, -1)], dim=1)
    values = singular_values(J).square()
    degrees = r * (m + n - r)
    kept = int((values > tolerance * values[0]).sum())
    smallest = float(values[degrees - 1] / values[0]) if degrees <= len(values) else 0.0
    return NullSpace(max(0, degrees - kept), (), (), smallest)
