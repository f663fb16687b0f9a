"""Reference solutions: largest margins for ℓ2 and for the Fourier ℓ1 norm, and tests of stationarity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "best_exponent",
    "fourier_norm",
    "l1_interpolator",
    "l1_margin",
    "l2_margin",
    "per_margin",
    "stationarity",
]

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
EXPONENTS = np.arange(0.3, 2.41, 0.02)
ACTIVE = 0.1  # samples whose margin is within this part of the smallest one count as support vectors


def fourier_norm(w: Floats, p: float) -> float:
    """‖ŵ‖_p, ŵ the orthonormal discrete Fourier transform."""
    return float((np.abs(np.fft.fft(w, norm="ortho")) ** p).sum() ** (1 / p))


def per_margin(w: Floats, A: Floats, p: float) -> float:
    """‖ŵ‖_p over the smallest margin min A w; A has a row y x for each sample; infinite if one is wrong."""
    margin = float((A @ w).min())
    return fourier_norm(w, p) / margin if margin > 0 else float("inf")


def l2_margin(A: Floats) -> Floats:
    """argmin ‖w‖₂ subject to A w ≥ 1, by least distance programming (Lawson & Hanson 1974, chapter 23)."""
    from scipy.optimize import nnls

    k, d = A.shape
    E, f = np.vstack([A.T, np.ones((1, k))]), np.append(np.zeros(d), 1.0)
    multipliers, _ = nnls(E, f)
    residual = E @ multipliers - f
    w: Floats = -residual[:d] / residual[d]
    return w


def l1_margin(A: Floats) -> tuple[Floats, float]:
    """argmin ‖ŵ‖₁ subject to A w ≥ 1, and the relative gap to the dual's value.

    The dual is max Σ α_n subject to |F(Aᵀα)_k| ≤ 1 and α ≥ 0, which is smooth. At its solution ŵ lives on the
    frequencies where the modulus is one and has the phase of F(Aᵀα); their sizes are a linear program.
    """
    return _from_dual(A, inequality=True)


def l1_interpolator(X: Floats, y: Floats) -> tuple[Floats, float]:
    """argmin ‖ŵ‖₁ subject to X w = y, and the relative gap to the dual's value."""
    return _from_dual(X * (1 / y)[:, None], inequality=False)


def _from_dual(A: Floats, *, inequality: bool) -> tuple[Floats, float]:
    from scipy.optimize import linprog, minimize

    k, d = A.shape
    transformed: Complex = np.fft.fft(A, axis=1, norm="ortho")[:, : d // 2 + 1].T
    scale = 1 / np.abs(transformed.sum(1)).max()

    def room(alpha: Floats) -> Floats:
        return np.asarray(1 - np.abs(transformed @ alpha) ** 2)

    def room_slope(alpha: Floats) -> Floats:
        return np.asarray(-2 * (np.conj(transformed @ alpha)[:, None] * transformed).real)

    found: Any = minimize(
        lambda alpha: -alpha.sum(),
        np.full(k, scale),
        jac=lambda alpha: -np.ones_like(alpha),
        bounds=[(0, None)] * k if inequality else None,
        method="SLSQP",
        constraints={"type": "ineq", "fun": room, "jac": room_slope},
        options={"maxiter": 2000, "ftol": 1e-14},
    )
    z = transformed @ found.x
    z = z / max(1.0, float(np.abs(z).max()))  # feasible to rounding, so that its value is a bound
    value = float(found.x.sum()) / max(1.0, float(np.abs(transformed @ found.x).max()))
    atoms = np.flatnonzero(np.abs(z) > 0.98)
    paired = np.array([1.0 if index in (0, d / 2) else 2.0 for index in atoms])
    signals = np.zeros((len(atoms), d))
    for row, index in enumerate(atoms):
        spectrum = np.zeros(d, dtype=complex)
        spectrum[index] = z[index] / np.abs(z[index])
        spectrum[-index % d] = np.conj(spectrum[index])
        signals[row] = np.fft.ifft(spectrum, norm="ortho").real
    measured = A @ signals.T
    # An equation may be missed by the accuracy of the dual's phases.
    slack = 1e-9 if inequality else 1e-5
    rows = -measured if inequality else np.vstack([-measured, measured])
    limits = -np.ones(k) if inequality else np.append(-np.ones(k) + slack, np.ones(k) + slack)
    program = linprog(paired, A_ub=rows, b_ub=limits, bounds=(0, None), method="highs")
    if program.x is None:
        raise ValueError(f"the dual's frequencies do not carry a solution: {program.message}")
    w: Floats = program.x @ signals
    return w, float(program.fun / value - 1)


def stationarity(w: Floats, A: Floats, p: float, *, inequality: bool = True) -> float:
    """How far w is from a first-order stationary point of ‖ŵ‖_p subject to A w ≥ 1 (or A w fixed).

    At one, some z = F(Aᵀα), with α ≥ 0 and only samples of smallest margin, has ŵ_k · z̄_k = |ŵ_k|^p at all
    frequencies; those where ŵ is zero ask for nothing if p < 1. Returned is the norm of the difference for
    the best α over that of the right side: 0 at a stationary point, 1 if no α does better than none.
    """
    from scipy.optimize import nnls

    margins = A @ w
    spectrum: Complex = np.fft.fft(w / np.abs(margins).min(), norm="ortho")
    if inequality:
        A = A[margins <= (1 + ACTIVE) * margins.min()]
    columns = spectrum[:, None] * np.conj(np.fft.fft(A, axis=1, norm="ortho").T)
    target = np.append(np.abs(spectrum) ** p, np.zeros(len(w)))
    stacked = np.vstack([columns.real, columns.imag])
    if inequality:
        residual = float(nnls(stacked, target)[1])
    else:
        solution = np.linalg.lstsq(stacked, target, rcond=None)[0]
        residual = float(np.linalg.norm(stacked @ solution - target))
    return residual / float(np.linalg.norm(target))


def best_exponent(w: Floats, A: Floats, *, inequality: bool = True) -> float:
    """The p in 0.3, 0.32, …, 2.4 for which w is closest to stationary."""
    residuals = [stationarity(w, A, float(p), inequality=inequality) for p in EXPONENTS]
    return float(EXPONENTS[int(np.argmin(residuals))])
