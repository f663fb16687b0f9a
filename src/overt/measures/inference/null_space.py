"""Gradients projected onto the null space of the measurements, and solutions of the same data."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from overt.linalg import conjugate_gradients
from overt.measures.inference.frames import Frame


class MeasurementMap(Protocol):
    """A problem as seen here; see ``overt.problems.Problem``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def y(self) -> Tensor: ...
    def measure(self, W: Tensor, /) -> Tensor: ...
    def adjoint(self, z: Tensor, /) -> Tensor: ...


def null_part(problem: MeasurementMap, X: Tensor) -> Tensor:
    """Orthogonal projection of X onto the null space of 𝒜."""
    z = conjugate_gradients(lambda v: problem.measure(problem.adjoint(v)), problem.measure(X)).x
    return X - problem.adjoint(z)


def _multiplier(problem: MeasurementMap, frame: Frame, b: Tensor, tolerance: float) -> Tensor:
    """z with 𝒜 P_T 𝒜* z = b, P_T the projection onto the tangent space T."""

    def gram(v: Tensor) -> Tensor:
        return problem.measure(frame.tangent(problem.adjoint(v)))

    return conjugate_gradients(gram, b, tolerance=tolerance).x


def smallest_null_part(
    problem: MeasurementMap, frame: Frame, G: Tensor, radius: float, *, max_iter: int = 300
) -> Tensor:
    """The smallest P_null (G + Z) over Z in the complement of T with no value above ``radius``.

    Without a bound it is the projection of G onto T ∩ null 𝒜: a vector of the null space is orthogonal to
    every P_null Z exactly if it is orthogonal to every Z, so if it lies in T. A linear system gives it. If
    its Z is too large, the accelerated projected gradient method (Beck & Teboulle 2009) gives the answer,
    with step 1 because the map is a projection.
    """
    if frame.full or radius == 0:
        return null_part(problem, G)
    # z minimizes ‖P_T (G − 𝒜* z)‖.
    z = _multiplier(problem, frame, problem.measure(frame.tangent(G)), 1e-10)
    pulled = problem.adjoint(z)
    if math.isinf(radius) or frame.normal_size(pulled) <= radius:
        return frame.tangent(G - pulled)
    Z = ahead = frame.normal(pulled, radius)
    momentum, best, checked = 1.0, null_part(problem, G + Z), math.inf
    for iteration in range(max_iter):
        following = frame.normal(ahead - null_part(problem, G + ahead), radius)
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + ((momentum - 1) / grown) * (following - Z)
        Z, momentum = following, grown
        if iteration % 10 == 9:
            rest = null_part(problem, G + Z)
            size = float(torch.linalg.vector_norm(rest))
            if size < float(torch.linalg.vector_norm(best)):
                best = rest
            if abs(checked - size) <= 2e-3 * size or size <= 1e-6 * float(torch.linalg.vector_norm(G)):
                break
            checked = size
    return best


def interpolate(problem: MeasurementMap, frame: Frame, y: Tensor, *, max_iter: int = 40) -> Frame | None:
    """Move a point to one with 𝒜(X) = y and as many non-zeros; None if that fails.

    Gauss–Newton steps in the tangent space: each is the shortest that meets the linearized equations, and is
    damped if the residual would grow.
    """
    target = 1e-8 * float(torch.linalg.vector_norm(y))
    X = frame.point()
    residual = y - problem.measure(X)
    for _ in range(max_iter):
        size = float(torch.linalg.vector_norm(residual))
        if size <= target:
            return frame
        z = _multiplier(problem, frame, residual, 1e-12 if frame.full else 1e-6)
        step = frame.tangent(problem.adjoint(z))
        for share in (1.0, 0.5, 0.25, 0.1):
            moved = frame.retract(X + share * step)
            found = y - problem.measure(moved.point())
            if float(torch.linalg.vector_norm(found)) < (1 - 0.1 * share) * size:
                break
        else:
            return None
        frame, X, residual = moved, moved.point(), found
    return None
