"""Coefficients of the polar iteration: the best odd quintic for each step, given the steps before."""

from __future__ import annotations

import math
from itertools import chain, islice, repeat

import numpy as np

Quintic = tuple[float, float, float]

# Amsel, Persson, Musco & Gower (2025), arXiv 2505.16932: the minimax-optimal odd quintics p(x) = a x + b x³
# + c x⁵ for singular values in [1e-3, 1], one triple a step. The last one is the limit, and is repeated.
_PUBLISHED: tuple[Quintic, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_LIMIT: Quintic = (1.875, -1.25, 0.375)
# Keeps singular values that rounding has pushed past the interval from growing (section 3.4 there).
SAFETY = 1.01
# No step is made for a lower end below this part of the upper one: the best polynomial would send large
# singular values to ones so small that half precision loses them (section 3.4 there).
_CUSHION = 0.024


def polar_coefficients(steps: int, lower: float | None = None) -> tuple[Quintic, ...]:
    """Triples (a, b, c) of the polynomials a x + b x³ + c x⁵ of `steps` steps.

    Parameters
    ----------
    steps : int
        At least 1.
    lower : float, optional
        The smallest singular value, relative to the largest, that the steps bring to one, in (0, 1): they are
        then optimal for [lower, 1]. None takes the published table for 1e-3 and goes on with its limit, so
        that more steps reach smaller singular values.

    Examples
    --------
    >>> len(polar_coefficients(4, lower=0.02))
    4
    """
    if lower is None:
        return tuple(islice(chain(map(_damped, _PUBLISHED), repeat(_LIMIT)), steps))
    quintics = _optimal_chain(steps, lower)
    return (*map(_damped, quintics[:-1]), quintics[-1])


def _damped(quintic: Quintic) -> Quintic:
    a, b, c = quintic
    return a / SAFETY, b / SAFETY**3, c / SAFETY**5


def _optimal_chain(steps: int, lower: float) -> list[Quintic]:
    """Greedy composition (Theorem 3.1 there): each quintic is the best one for the present interval."""
    low, high = lower, 1.0
    quintics: list[Quintic] = []
    for _ in range(steps):
        a, b, c = _optimal_quintic(max(low, _CUSHION * high), high)
        ends = [a * x + b * x**3 + c * x**5 for x in (low, high)]
        # Where the cushion was used, p(low) is below what it is made for: centre the interval about one.
        centre = 2 / sum(ends) if low < _CUSHION * high else 1.0
        quintics.append((a * centre, b * centre, c * centre))
        low = ends[0] * centre
        high = 2 - low
    return quintics


def _optimal_quintic(low: float, high: float) -> Quintic:
    """The odd quintic nearest to one on [low, high] in the largest error, by Remez's exchange."""
    if 1 - low / high < 5e-6:  # as good as the limit, and the exchange is ill-conditioned
        return _LIMIT[0] / high, _LIMIT[1] / high**3, _LIMIT[2] / high**5
    inner = (3 * low + high) / 4, (low + 3 * high) / 4
    error = math.inf
    for _ in range(100):
        points = zip((low, *inner, high), (1, -1, 1, -1), strict=True)
        system = np.array([[x, x**3, x**5, sign] for x, sign in points])
        a, b, c, new = (float(v) for v in np.linalg.solve(system, np.ones(4)))
        root = math.sqrt(9 * b * b - 20 * a * c)
        inner = math.sqrt((-3 * b - root) / (10 * c)), math.sqrt((-3 * b + root) / (10 * c))
        if abs(error - new) < 1e-15:
            break
        error = new
    return a, b, c
