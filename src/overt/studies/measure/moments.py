"""At which steps a training is looked at."""

from __future__ import annotations

__all__ = ["recorded_steps"]


def recorded_steps(last: int, points: int) -> frozenset[int]:
    """Step 0, ``points`` steps spaced evenly in the logarithm from 1 on, and the last step.

    Examples
    --------
    >>> sorted(recorded_steps(1000, 4))
    [0, 1, 10, 100, 1000]
    """
    inner = {round(last ** (k / max(points - 1, 1))) for k in range(points)}
    return frozenset({0, *inner, last})
