"""Jacobians of predictors that only predict, by central finite differences, where they are smooth enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Outputs = Callable[[Values], Values]
"""A map from inputs (n, d) to outputs (n, K)."""

_PAIRS = 32
_HALVINGS = 40
_ENTRIES = 2**22  # of the inputs of one call
_JUMP = 1e-5  # share of the outputs' spread that is a jump
_DISAGREE = 0.03  # of derivatives by two steps, relative


def difference_rows(outputs: Outputs, X: Values, generator: np.random.Generator) -> Values:
    """The Jacobians of the outputs at inputs (n, d), shape (n, K, d), by central differences.

    Column j moves by ε^{1/3} times its standard deviation, ε the precision of the outputs, which balances
    truncation and rounding (both are then of the order ε^{2/3}). Changes within rounding count as none. This
    takes 2 d predictions for each input.

    Raises
    ------
    ValueError
        The outputs are NaN or infinite; they jump somewhere between two inputs, as those of trees and nearest
        neighbours do; or derivatives by two steps differ.
    """
    plain = _checked(outputs(X))
    n, d = X.shape
    J = np.zeros((n, plain.shape[1], d))
    spread = float(np.ptp(plain, axis=0).max())
    size = float(np.abs(plain).max())
    if spread <= 100 * float(np.finfo(plain.dtype).eps) * size:
        return J
    refuse_jumps(outputs, X, spread, size, generator)
    scales = _scales(X)
    step, eps = _step(outputs, X, scales, generator)
    noise = 8 * eps * size
    columns = max(1, _ENTRIES // (2 * n * d))
    for start in range(0, d, columns):
        chosen = np.arange(start, min(d, start + columns))
        moves = np.zeros((len(chosen), 1, d))
        moves[np.arange(len(chosen)), 0, chosen] = step * scales[chosen]
        J[:, :, chosen] = np.moveaxis(_slopes(outputs, X, moves, noise), 0, -1)
    return J


def refuse_jumps(
    outputs: Outputs, X: Values, spread: float, size: float, generator: np.random.Generator
) -> None:
    """Refuse outputs with a jump between two inputs, found by halving the way.

    The half with the larger change is kept. A continuous function's change goes to zero with the length of
    the way, while a jump that is on the way at each halving stays. Averages of many trees have many small
    jumps, of which one stays.

    Raises
    ------
    ValueError
        A change stays.
    """
    count = min(_PAIRS, len(X))
    start = generator.permutation(len(X))[:count]
    a, b = X[start], X[(start + generator.integers(1, max(2, len(X)), count)) % len(X)]
    fa, fb = _checked(outputs(a)), _checked(outputs(b))
    for _ in range(_HALVINGS):
        middle = (a + b) / 2
        fm = _checked(outputs(middle))
        left = (np.abs(fm - fa).max(1) >= np.abs(fb - fm).max(1))[:, None]
        b, fb = np.where(left, middle, b), np.where(left, fm, fb)
        a, fa = np.where(left, a, middle), np.where(left, fa, fm)
    jump = float(np.abs(fb - fa).max())
    # Learners that compute in single precision have steps of its rounding.
    if jump > max(_JUMP * spread, 16 * float(np.finfo(np.float32).eps) * size):
        raise ValueError(
            f"fit: the predictions jump (by {jump:.2g} between inputs that nearly coincide), as those of "
            "trees, nearest neighbours, binned inputs and votes do, so that M = E[JᵀJ] says nothing; use a "
            "smooth learner (a kernel method, a network) or, for a classifier, outputs='probabilities'"
        )


def _slopes(outputs: Outputs, X: Values, moves: Values, noise: float = 0.0) -> Values:
    """Derivatives (m, n, K) along moves (m, 1, d), by the length of the moves that rounding leaves."""
    up, down = X + moves, X - moves
    length = np.abs(up - down).max(2, keepdims=True)
    both = np.concatenate([up, down]).reshape(-1, X.shape[1])
    above, below = _checked(outputs(both)).astype(np.float64).reshape(2, *up.shape[:2], -1)
    change = above - below
    change[np.abs(change) <= noise] = 0.0
    slopes: Values = change / length
    return slopes


def _step(outputs: Outputs, X: Values, scales: Values, generator: np.random.Generator) -> tuple[float, float]:
    """The relative step, and the precision that it is for: the outputs', or single where that fails."""
    count = min(_PAIRS, len(X))
    points = X[generator.permutation(len(X))[:count]]
    direction = generator.choice([-1.0, 1.0], (1, 1, X.shape[1])) * scales
    direction /= np.abs(direction).max()
    for dtype in dict.fromkeys((_checked(outputs(points)).dtype, np.dtype(np.float32))):
        eps = float(np.finfo(dtype).eps)
        step = eps ** (1 / 3)
        length = step * scales.max()
        one, other = (_slopes(outputs, points, factor * length * direction) for factor in (1, 4))
        if np.linalg.norm(one - other) <= _DISAGREE * np.linalg.norm(one):
            return step, eps
    raise ValueError(
        "fit: finite differences of the predictions by two steps disagree; the learner is not smooth enough, "
        "or predicts at random, so that M = E[JᵀJ] is not known"
    )


def _scales(X: Values) -> Values:
    """Standard deviations of the columns; of a constant one its size, or 1."""
    deviation, size = X.std(0), np.abs(X).max(0)
    constant = deviation <= np.finfo(X.dtype).eps * size
    scales: Values = np.where(constant, np.where(size > 0, size, 1.0), deviation)
    return scales


def _checked(found: Values) -> Values:
    if not np.isfinite(found).all():
        raise ValueError("fit: the predictions are NaN or infinite near the inputs; the learner has diverged")
    return found
