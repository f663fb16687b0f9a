"""One reweighted least-squares step with harmonic-mean weights, without forming the kernel.

For the iterate with singular triplets (u_i, σ_i, v_i) and smoothing ε the step is

    min_X ‖W^{1/2} X‖²  subject to P(X) = y,     W⁻¹(Z) = ½ (L Z + Z R),
    L = ε² I + Σ_{σ_i>ε} (σ_i² − ε²) u_i u_iᵀ,    R = ε² I + Σ_{σ_i>ε} (σ_i² − ε²) v_i v_iᵀ

(Kümmerle & Sigl 2018, equation 15, for p → 0). Because W⁻¹ is ε² times the identity plus a map of low rank,
the solution is ``X = A Vᵀ + U Bᵀ + P*(z)`` with z the misfit that the first two leave, and (A, B) solve a
*ridge* problem,

    min ‖P(A Vᵀ + U Bᵀ) − y‖² + 2 ε² Σ_i (‖a_i‖² + ‖b_i‖²) / (σ_i² − ε²),

of t(m+n) unknowns, t = #{σ_i > ε}. A falls apart by rows and is eliminated; what remains is the reduced
system of :mod:`overt.completion.refit.normal`. With noise the constraint becomes ``‖P(X) − y‖²/ν`` and ε² +
ν takes the place of ε² in front of the ridge, while z shrinks by ε²/(ε² + ν).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.completion.refit.normal import ReducedSolver, ReducedSystem, factor_grams, solve_grams
from overt.completion.tangent import Entries


@dataclass
class Step:
    """``X = A Vᵀ + U Bᵀ + P*(z)``."""

    A: Tensor
    B: Tensor
    z: Tensor


def harmonic_step(
    entries: Entries,
    y: Tensor,
    U: Tensor,
    s: Tensor,
    V: Tensor,
    eps: float,
    solver: ReducedSolver,
    *,
    nugget: float = 0.0,
    tolerance: float = 1e-2,
) -> Step:
    """Solve one step for the t triplets ``U (m, t), s (t,), V (n, t)`` whose ``s > eps``."""
    variance = eps * eps + nugget
    penalty = torch.diag((2 * variance / (s.square() - eps * eps)).clamp(1e-14, 1e14))
    rows = factor_grams(entries.row_grams(V) + penalty)
    alone = solve_grams(rows, entries.times(y, V))
    right = entries.times_t(y - entries.predict(alone, V), U)
    B = solver(ReducedSystem(entries, U, V, rows, penalty), right, tolerance)
    rest = y - entries.predict(U, B)
    A = solve_grams(rows, entries.times(rest, V))
    z = rest - entries.predict(A, V)
    return Step(A, B, z * (eps * eps / variance))
