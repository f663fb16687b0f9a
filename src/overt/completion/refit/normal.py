"""Linear algebra of variable projection: batched row solves and the reduced (Schur) system in V.

Write J_U, J_V for the Jacobians of ``P(U Vᵀ)``. With ``A_i = Σ_{j∈Ω_i} v_j v_jᵀ`` (row Grams) and
``C_j = Σ_{i∈Ω_j} u_i u_iᵀ`` (column Grams), the reduced system is ``S = J_Vᵀ (I − J_U J_U⁺) J_V``,

    S_{(j a),(l b)} = δ_{jl} (C_j)_{ab} − Σ_{i: j, l ∈ Ω_i} (v_jᵀ A_i⁻¹ v_l) u_{ia} u_{ib}.

Small problems form S and factorize it; large ones apply it to vectors in O(|Ω| r) and use conjugate
gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from overt.completion.result import Triplet
from overt.completion.tangent import Entries, typed
from overt.linalg import Factored, LinearSolution, conjugate_gradients, svd

DENSE_UNKNOWNS = 1600  # above this n·r one Cholesky factorization costs more than any number of iterations
_MOST_ITERATIONS = 500
_BLOCK_NUMBERS = 8_000_000  # numbers formed at a time while assembling S


def balanced(U: Tensor, V: Tensor) -> Triplet:
    """Thin SVD ``(U, s, Vt)`` of ``U Vᵀ`` from two QR factorizations and an r×r core."""
    return svd(Factored(U, V))


def factor_grams(grams: Tensor, ridge: float | Tensor = 0.0) -> Tensor:
    """Batched Cholesky factors of positive semidefinite ``grams + ridge I``, nudged where singular."""
    r = grams.shape[-1]
    eye = torch.eye(r, dtype=grams.dtype, device=grams.device)
    trace = grams.diagonal(dim1=-2, dim2=-1).sum(-1)
    floor = torch.finfo(grams.dtype).eps * (10 * trace + trace.mean() + torch.finfo(grams.dtype).tiny)
    for boost in (1.0, 1e3, 1e6, 1e9):
        shifted = grams + (ridge + boost * floor)[..., None, None] * eye
        factor, info = torch.linalg.cholesky_ex(shifted)
        if not bool(info.any()):
            break
    return typed(factor)


def solve_grams(factors: Tensor, right: Tensor) -> Tensor:
    """One r×r system for each line: Cholesky factors (…, r, r) and right-hand sides (…, r)."""
    return torch.cholesky_solve(right[..., None], factors)[..., 0]


def solve_rows(entries: Entries, z: Tensor, V: Tensor, ridge: float) -> Tensor:
    """``argmin_U ‖P(U Vᵀ) − z‖² + ridge ‖U‖²``, one r×r system a row."""
    return solve_grams(factor_grams(entries.row_grams(V), ridge), entries.times(z, V))


@dataclass(frozen=True, eq=False)
class ReducedSystem:
    """``S + metric``: the normal equations in V once U is eliminated row by row.

    U is (m, r) and V (n, r); ``rows`` (m, r, r) are Cholesky factors of the row Grams with any ridge, and
    ``metric`` (r, r) is added to each diagonal block.
    """

    entries: Entries
    U: Tensor
    V: Tensor
    rows: Tensor
    metric: Tensor

    @cached_property
    def blocks(self) -> Tensor:
        """Column Grams plus the metric (n, r, r): the diagonal blocks before U is eliminated."""
        return self.entries.col_grams(self.U) + self.metric

    def apply(self, D: Tensor) -> Tensor:
        """The product with a direction (n, r), without forming S."""
        moved = self.entries.predict(self.U, D)
        answer = solve_grams(self.rows, self.entries.times(moved, self.V))
        return self.entries.times_t(moved - self.entries.predict(answer, self.V), self.U) + D @ self.metric

    def dense(self) -> Tensor:
        """The matrix (n r, n r)."""
        return reduced_matrix(self.entries, self.U, self.V, self.rows, self.blocks)

    def solve(self, right: Tensor, tolerance: float, max_iter: int = _MOST_ITERATIONS) -> LinearSolution:
        """Conjugate gradients, preconditioned by the diagonal blocks."""
        factors = factor_grams(self.blocks)
        return conjugate_gradients(
            self.apply,
            right,
            precondition=lambda R: solve_grams(factors, R),
            tolerance=tolerance,
            max_iter=max_iter,
        )


class ReducedSolver:
    """Solves reduced systems, by conjugate gradients while that is cheap, else by one Cholesky factorization.

    Well-conditioned systems take a handful of conjugate-gradient iterations; near the information limit they
    take hundreds, and up to ``DENSE_UNKNOWNS`` unknowns a factorization is then faster and more exact. The
    first solve that overruns its budget switches the rest of the run.
    """

    def __init__(self) -> None:
        self.direct = False
        self.iterations = 0  # of conjugate gradients, in all solves so far

    def __call__(self, system: ReducedSystem, right: Tensor, tolerance: float) -> Tensor:
        """X with ``(S + metric) X = right``, all (n, r)."""
        size = right.numel()
        small = size <= DENSE_UNKNOWNS
        if not (small and self.direct):
            found = system.solve(right, tolerance, 20 + size // 8 if small else _MOST_ITERATIONS)
            self.iterations += found.n_iter
            if found.converged or not small:
                return found.x
            self.direct = True
        return torch.cholesky_solve(right.reshape(-1, 1), factor_matrix(system.dense())).view_as(right)


def factor_matrix(S: Tensor) -> Tensor:
    """Cholesky factor of a positive semidefinite matrix, nudged (in place) until it exists."""
    nudge = torch.finfo(S.dtype).eps * float(S.diagonal().mean())
    factor, info = torch.linalg.cholesky_ex(S)
    while bool(info):
        S.diagonal().add_(nudge)
        nudge *= 10
        factor, info = torch.linalg.cholesky_ex(S)
    return typed(factor)


def variable_projection_step(
    entries: Entries,
    U: Tensor,
    V: Tensor,
    misfit: Tensor,
    damping: float,
    ridge: float,
    solver: ReducedSolver,
) -> tuple[Tensor, float]:
    """Damped Gauss–Newton step in V and the decrease of the objective that its model promises.

    The damping measures the step in the completed matrix, ``damping · (k/mn) · ‖U dVᵀ‖_F²``, so it does not
    depend on how the factors are scaled.
    """
    m, n = entries.shape
    rows = factor_grams(entries.row_grams(V), ridge)
    gradient = entries.times_t(misfit, U) + ridge * V
    metric = (damping * entries.k / (m * n)) * (U.mT @ U)
    metric = metric + ridge * torch.eye(U.shape[1], dtype=U.dtype, device=U.device)
    system = ReducedSystem(entries, U, V, rows, metric)
    step = -solver(system, gradient, min(0.1, 0.1 * damping + 1e-3))
    predicted = -float((step * gradient).sum())  # = stepᵀ (S + metric) step for an exact solve
    return step, predicted


def reduced_matrix(
    entries: Entries, U: Tensor, V: Tensor, rows: Tensor, blocks: Tensor, *, inverse: bool = False
) -> Tensor:
    """The dense reduced matrix S, shape (n r, n r), with ``blocks`` (n, r, r) on its block diagonal.

    ``rows`` (m, r, r) holds Cholesky factors of the row Grams or, with ``inverse``, matrices H with
    ``A_i⁻¹ = HᵀH`` (a pseudo-inverse where the Gram is singular).
    """
    m, n = entries.shape
    r = U.shape[1]
    mask = entries.dense_mask()
    upper = torch.triu_indices(r, r, device=U.device)
    products = (U[:, upper[0]] * U[:, upper[1]]).mT
    total = torch.zeros(upper.shape[1], n * n, dtype=U.dtype, device=U.device)
    chunk = max(1, _BLOCK_NUMBERS // (n * n))
    for start in range(0, m, chunk):
        piece = slice(start, start + chunk)
        right = mask[piece, None, :] * V.mT
        if inverse:
            half = rows[piece] @ right.contiguous()
        else:
            half = torch.linalg.solve_triangular(rows[piece], right, upper=False)
        total.addmm_(products[:, piece], (half.mT @ half).view(-1, n * n))
    S = torch.empty(n, r, n, r, dtype=U.dtype, device=U.device)
    for index, (a, b) in enumerate(upper.mT.tolist()):
        part = total[index].view(n, n).neg_()
        S[:, a, :, b] = part
        if a != b:
            S[:, b, :, a] = part
    each = torch.arange(n, device=U.device)
    S[each, :, each, :] += blocks
    return S.view(n * r, n * r)
