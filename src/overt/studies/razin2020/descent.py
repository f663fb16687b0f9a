"""Gradient descent on 2×2 layers in plain numbers, which takes millions of steps in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overt.studies.base import RunContext
    from overt.studies.razin2020.settings import StepsConfig

Square = tuple[float, float, float, float]  # row by row
ONE: Square = (1.0, 0.0, 0.0, 1.0)


def descend(layers: Sequence[Sequence[float]], config: StepsConfig, context: RunContext) -> dict[str, Any]:
    """Descend on ℓ(W) = ½ Σ (w_ij − b_ij)² until det W ≤ 0; the record of the end.

    The determinant is the product of those of the layers: computed from W it would drown in rounding.
    """
    weights: list[Square] = [(a, b, c, d) for a, b, c, d in layers]
    lr, steps = config.lr, round(config.horizon / config.lr)
    step, crossed = 0, False
    while True:
        before = [ONE]
        for layer in weights:
            before.append(_times(layer, before[-1]))
        W = before[-1]
        gradient = (0.0, W[1] - config.upper, W[2] - config.lower, W[3] - config.corner)
        determinant = 1.0
        for layer in weights:
            determinant *= layer[0] * layer[3] - layer[1] * layer[2]
        crossed = determinant <= 0
        if crossed or step == steps:
            break
        after = gradient  # the gradient, through the layers behind
        moved: list[Square] = []
        for layer, start in zip(reversed(weights), reversed(before[:-1]), strict=True):
            g = _times(after, _turned(start))
            moved.append(
                (layer[0] - lr * g[0], layer[1] - lr * g[1], layer[2] - lr * g[2], layer[3] - lr * g[3])
            )
            after = _times(_turned(layer), after)
        weights = moved[::-1]
        step += 1
        if step % 500_000 == 0:
            context.progress(f"step {step} of {steps}")
    return {
        "status": "converged" if crossed else "budget",
        "steps": step,
        "time": step * lr,
        "crossed_at": step * lr if crossed else None,
        "loss": 0.5 * sum(g * g for g in gradient),
        "open_entry": W[0],
        "determinant": determinant,
    }


def _times(a: Square, b: Square) -> Square:
    return (
        a[0] * b[0] + a[1] * b[2],
        a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2],
        a[2] * b[1] + a[3] * b[3],
    )


def _turned(a: Square) -> Square:
    return (a[0], a[2], a[1], a[3])
