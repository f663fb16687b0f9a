"""Gradient flow of a balanced deep linear network on 2×2 matrices, by singular values and angles.

Explicit descent cannot follow a flow whose solution runs to infinity: the open entry w grows as a power of
time below one while the stable step size falls with w, so that w = 1000 takes some 10¹¹ steps at depth 2. A
stiff solver on the layers gets there, but loses the sign of a determinant below its tolerance. The logarithms
of the singular values as unknowns keep the sign exactly, as the flow itself does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt.linalg import svd

__all__ = ["Path", "Target", "gradient_flow"]

Floats = NDArray[np.float64]
_CEILING = np.log(1e4)  # of log σ₁: a flow that is still above the wanted loss there does not come back
_FLOOR = -200.0  # of log σ₂: at depth 2 it falls linearly in time, and far below rounding it moves nothing


@dataclass(frozen=True)
class Target:
    """The three observed entries, w_12, w_21 and w_22; w_11 is open. ℓ(W) = ½ Σ (w_ij − b_ij)²."""

    upper: float
    lower: float
    corner: float

    def residual(self, W: Floats) -> Floats:
        """∂ℓ/∂W."""
        return np.array([[0.0, W[0, 1] - self.upper], [W[1, 0] - self.lower, W[1, 1] - self.corner]])

    def loss(self, W: Floats) -> float:
        """ℓ(W)."""
        return 0.5 * float((self.residual(W) ** 2).sum())


@dataclass(frozen=True)
class Path:
    """A flow at the solver's steps: times (T,), matrices (T, 2, 2), singular values (T, 2), losses (T,)."""

    times: Floats
    products: Floats
    singular_values: Floats
    losses: Floats
    message: str


def gradient_flow(
    W: Tensor, depth: int, target: Target, *, loss_target: float, max_time: float, rtol: float = 1e-9
) -> Path:
    """Integrate the flow of the end-to-end matrix until ℓ ≤ ``loss_target``.

    With balanced layers Ẇ = −Σ_{j=1}^{N} (WWᵀ)^{(j−1)/N} ∂ℓ/∂W (WᵀW)^{(N−j)/N} (Arora, Cohen & Hazan 2018,
    "On the optimization of deep networks", theorem 1). Written for W = U diag(σ₁, ±σ₂) Vᵀ with rotations U
    and V it is an equation for log σ₁, log σ₂ and two angles.

    Parameters
    ----------
    W
        End-to-end matrix (2, 2) at the start, with a determinant that is not zero.
    depth
        Number N of layers, at least 2.
    target
        The observed entries.
    loss_target, max_time
        Where to stop.
    rtol
        Relative tolerance of the solver; the absolute one is 10⁻³ of it.
    """
    from scipy.integrate import solve_ivp

    start, sign = _coordinates(W)
    weights = [(j / depth, (depth - 1 - j) / depth) for j in range(depth)]

    def velocity(_: float, state: Floats) -> Floats:
        left, right, sigma = _rotation(state[2]), _rotation(state[3]), np.exp(state[:2])
        signed = sigma * (1.0, sign)
        G = left.T @ target.residual((left * signed) @ right.T) @ right
        powers = [np.outer(sigma ** (2 * a), sigma ** (2 * b)) for a, b in weights]
        D = -sum(powers) * G
        # D = Ω_U S + Ṡ + S Ω_Vᵀ with S = diag(signed) and antisymmetric Ω.
        s1, s2 = signed
        gap = (s1 - s2) * (s1 + s2)
        left_turn = (s2 * D[0, 1] + s1 * D[1, 0]) / gap
        right_turn = (s1 * D[0, 1] + s2 * D[1, 0]) / gap
        # σ̇_r / σ_r, by hand because σ₂ may underflow: the powers add up to 2 − 2/N on the diagonal.
        rates = -depth * sigma ** (1 - 2 / depth) * (G[0, 0], sign * G[1, 1])
        rates[1] *= state[1] > _FLOOR
        return np.array([rates[0], rates[1], left_turn, right_turn])

    def reached(_: float, state: Floats) -> float:
        return float(np.log(max(target.loss(_matrix(state, sign)), 1e-300) / loss_target))

    def jacobian(time: float, state: Floats) -> Floats:
        # SciPy's own differences grow their step without bound once σ₂ is too small to matter.
        steps = 1e-7 * np.maximum(np.abs(state), 1e-4)
        here = velocity(time, state)
        shifted = [velocity(time, state + step * unit) for step, unit in zip(steps, np.eye(4), strict=True)]
        return (np.stack(shifted, axis=1) - here[:, None]) / steps

    def escaped(_: float, state: Floats) -> float:
        return float(state[0] - _CEILING)

    reached.terminal = escaped.terminal = True  # type: ignore[attr-defined]
    found: Any = solve_ivp(
        velocity,
        (0.0, max_time),
        start,
        method="Radau",
        jac=jacobian,
        events=(reached, escaped),
        rtol=rtol,
        atol=1e-3 * rtol,
    )
    products = np.stack([_matrix(state, sign) for state in found.y.T])
    losses = np.array([target.loss(product) for product in products])
    return Path(found.t, products, np.exp(found.y[:2].T), losses, str(found.message))


def _coordinates(W: Tensor) -> tuple[Floats, float]:
    """(log σ₁, log σ₂, angle of U, angle of V) and the sign of the determinant."""
    U, s, Vt = (part.detach().numpy().astype(np.float64) for part in svd(W.detach().to(torch.float64)))
    if s[1] == 0 or s[0] == s[1]:
        raise ValueError(f"the start must have two singular values that differ and are positive, got {s}")
    # The second columns are fixed by the first ones up to a sign, which the determinant carries.
    left, right = U[:, 0], Vt[0]
    sign = 1.0 if bool(W[0, 0] * W[1, 1] > W[0, 1] * W[1, 0]) else -1.0
    angles = [np.arctan2(vector[1], vector[0]) for vector in (left, right)]
    return np.array([np.log(s[0]), np.log(s[1]), *angles]), sign


def _rotation(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _matrix(state: Floats, sign: float) -> Floats:
    signed = np.exp(state[:2]) * (1.0, sign)
    product: Floats = (_rotation(state[2]) * signed) @ _rotation(state[3]).T
    return product
