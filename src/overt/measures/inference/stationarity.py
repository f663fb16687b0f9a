"""Shares of gradients in the null space, at a solution and at random ones, and under resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from overt._utils.seeds import normal
from overt.measures.inference.family import Member
from overt.measures.inference.frames import Frame
from overt.measures.inference.null_space import MeasurementMap, interpolate, smallest_null_part

Rest = tuple[Tensor, float]  # the part of the gradient in the null space, and the size of the gradient

_VANISHED = 1e-12  # a gradient of this size, beside a spectrum of size 1, is rounding
_PROBES = 6
_RESAMPLES = 400


def rest_of(problem: MeasurementMap, frame: Frame, member: Member, zero: float) -> Rest:
    """The part in the null space of the best member of the subdifferential."""
    slopes, radius = member.slopes(frame.spectrum, zero * float(frame.spectrum[0]))
    rest = smallest_null_part(problem, frame, frame.compose(slopes), radius)
    return rest, float(torch.linalg.vector_norm(slopes))


def share_of(rest: Rest) -> float:
    """‖rest‖ / ‖G‖; NaN where the gradient vanishes, as for S_p/S_q at a flat spectrum."""
    part, size = rest
    return float(torch.linalg.vector_norm(part)) / size if size > _VANISHED else math.nan


def freedom(problem: MeasurementMap, frame: Frame, generator: torch.Generator) -> float:
    """Dimension of T ∩ null 𝒜, from the share of random directions of T that lies in it."""
    inside = total = 0.0
    for _ in range(_PROBES):
        direction = frame.tangent(normal(*problem.shape, generator=generator).to(problem.y))
        rest = smallest_null_part(problem, frame, direction, math.inf)
        inside += float(rest.square().sum())
        total += float(direction.square().sum())
    return frame.dim * inside / total


def random_solutions(
    problem: MeasurementMap, frame: Frame, count: int, generator: torch.Generator
) -> list[Frame]:
    """Solutions of the same data with as many non-zeros, from random points with the same spectrum.

    Fewer than ``count`` if 3 ``count`` draws do not give so many.
    """
    y = problem.measure(frame.point())
    found: list[Frame] = []
    for _ in range(3 * count):
        if len(found) == count:
            break
        other = interpolate(problem, frame.random(generator), y)
        if other is not None:
            found.append(other)
    return found


def resampled_best(rests: Sequence[Rest], factors: Sequence[float], seed: int) -> list[int]:
    """The member with the lowest factor × share in each resample of the rows of a matrix or vector.

    All members are judged on the same draws.
    """
    energies = np.stack(
        [
            (part.square().sum(-1) if part.ndim == 2 else part.square()).cpu().numpy() * (factor / size) ** 2
            for (part, size), factor in zip(rests, factors, strict=True)
        ]
    )
    rng = np.random.default_rng(seed)
    count = energies.shape[1]
    draws = rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    return [int(k) for k in np.argmin(energies @ draws.T, axis=0)]
