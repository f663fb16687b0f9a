"""What theory predicts: the minimizers of ‖w‖₂, ‖w‖₁ and of the Q-functional among all w with X w = y."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["basis_pursuit", "minimum_norm", "q_minimizer", "q_value"]

Floats = NDArray[np.float64]


def minimum_norm(X: Floats, y: Floats) -> Floats:
    """argmin ‖w‖₂ subject to X w = y."""
    w: Floats = X.T @ np.linalg.solve(X @ X.T, y)
    return w


def basis_pursuit(X: Floats, y: Floats) -> Floats:
    """argmin ‖w‖₁ subject to X w = y, as a linear program in the positive and negative parts."""
    from scipy.optimize import linprog

    d = X.shape[1]
    found = linprog(np.ones(2 * d), A_eq=np.hstack([X, -X]), b_eq=y, bounds=(0, None), method="highs")
    if found.x is None:
        raise ValueError(f"no w with X w = y was found: {found.message}")
    w: Floats = found.x[:d] - found.x[d:]
    return w


def q_value(w: Floats, alpha: float, depth: int) -> float:
    """Q(w) = α^D Σ q_D(w_i / α^D), the functional that gradient flow from u = v = α minimizes.

    q_D is the integral of h_D^{-1} with h₂(s) = 2 sinh(s) and, for D > 2, h_D(s) = (1 − s)^{−D/(D−2)}
    − (1 + s)^{−D/(D−2)} (Woodworth et al. 2020, theorems 1 and 3). It is computed as the conjugate of H, the
    integral of h: w s − H(s) + H(0) at s = h^{-1}(w).
    """
    s = _inverse(w, alpha, depth)
    return float((w * s - _potential(s, alpha, depth) + _potential(np.zeros_like(s), alpha, depth)).sum())


def q_minimizer(X: Floats, y: Floats, alpha: float, depth: int, *, tolerance: float = 1e-10) -> Floats:
    """argmin Q subject to X w = y, by Newton's method on the dual: X h(Xᵀν) = y.

    At depth 1 it is the minimum norm. The dual is followed from a large α, where it is quadratic, to the
    wanted one.

    Raises
    ------
    ValueError
        Newton's method did not reach the tolerance.
    """
    if depth == 1:
        return minimum_norm(X, y)
    path = [alpha]
    while path[-1] < 10.0:
        path.append(path[-1] * 1.5)
    dual = np.zeros_like(y)
    for one in reversed(path):
        dual = _newton(X, y, one, depth, dual, tolerance)
    w: Floats = _h(X.T @ dual, alpha, depth)
    return w


def _newton(X: Floats, y: Floats, alpha: float, depth: int, dual: Floats, tolerance: float) -> Floats:
    """Maximize ⟨ν, y⟩ − Σ H(Xᵀν), which is concave."""
    scale = float(np.abs(y).max())

    def objective(nu: Floats) -> float:
        return float(nu @ y - _potential(X.T @ nu, alpha, depth).sum())

    value = objective(dual)
    if not np.isfinite(value):
        dual = np.zeros_like(dual)
        value = objective(dual)
    for _ in range(500):
        s = X.T @ dual
        residual = y - X @ _h(s, alpha, depth)
        if float(np.abs(residual).max()) <= tolerance * scale:
            return dual
        step = np.linalg.solve((X * _slope(s, alpha, depth)) @ X.T, residual)
        length, gain = 1.0, float(residual @ step)
        while length > 1e-12:
            candidate = objective(dual + length * step)
            if np.isfinite(candidate) and candidate >= value + 1e-4 * length * gain - 1e-14 * abs(value):
                break
            length *= 0.5
        dual = dual + length * step
        value = objective(dual)
    residual = y - X @ _h(X.T @ dual, alpha, depth)
    if float(np.abs(residual).max()) <= 1e-6 * scale:  # rounding ends the progress before the tolerance
        return dual
    raise ValueError(f"Newton's method did not converge at alpha={alpha:g}, depth={depth}")


def _power(depth: int) -> float:
    return depth / (depth - 2)


def _h(s: Floats, alpha: float, depth: int) -> Floats:
    if depth == 2:
        return np.asarray(2 * alpha**2 * np.sinh(np.clip(s, -700, 700)))
    p = _power(depth)
    return np.asarray(alpha**depth * ((1 - s) ** -p - (1 + s) ** -p))


def _slope(s: Floats, alpha: float, depth: int) -> Floats:
    """h′."""
    if depth == 2:
        return np.asarray(2 * alpha**2 * np.cosh(np.clip(s, -700, 700)))
    p = _power(depth)
    return np.asarray(alpha**depth * p * ((1 - s) ** (-p - 1) + (1 + s) ** (-p - 1)))


def _potential(s: Floats, alpha: float, depth: int) -> Floats:
    """H, the integral of h; infinite outside its domain."""
    if depth == 2:
        return np.asarray(2 * alpha**2 * np.where(np.abs(s) < 700, np.cosh(np.clip(s, -700, 700)), np.inf))
    p = _power(depth) - 1
    inside = np.abs(s) < 1
    kept = np.where(inside, s, 0.0)
    return np.asarray(np.where(inside, alpha**depth / p * ((1 - kept) ** -p + (1 + kept) ** -p), np.inf))


def _inverse(w: Floats, alpha: float, depth: int) -> Floats:
    """h^{-1}, by bisection where there is no formula."""
    if depth == 2:
        return np.asarray(np.arcsinh(w / (2 * alpha**2)))
    low, high = np.full_like(w, -1 + 1e-16), np.full_like(w, 1 - 1e-16)
    for _ in range(100):
        middle = 0.5 * (low + high)
        below = _h(middle, alpha, depth) < w
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
