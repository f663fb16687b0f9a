"""Greedy Low-Rank Learning (Li, Luo & Lyu 2021, Algorithm 1): the saddles that gradient flow passes by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.linalg import svd
from overt.models import DeepLinear
from overt.problems import CompletionProblem
from overt.training.gradient_flow import gradient_flow

__all__ = ["CriticalPoint", "critical_points"]

_HORIZON = 60.0  # of one stretch of a phase, in units of 1/‖∇f‖, the time in which a new direction grows
_STRETCHES = 40
_REST = 1e-6  # relative gradient at which a phase has ended


@dataclass(frozen=True)
class CriticalPoint:
    """The end of one phase: a matrix of rank r at which the flow over rank-r factors rests.

    ``gradient`` is the norm of the gradient over the factors there, over ‖∇f(0)‖ × the norm of a factor.
    """

    W: Tensor
    loss: float
    gradient: float


def critical_points(
    problem: CompletionProblem, rank: int, *, epsilon: float = 1e-6, rtol: float = 1e-8
) -> list[CriticalPoint]:
    """Return the critical points W_1, …, W_rank that the greedy algorithm finds.

    Phase r starts from the factors of W_{r−1}, widened by √ε times the leading singular vectors of
    −∇f(W_{r−1}), and follows gradient flow over the factors to its end. The paper states it for W = U Uᵀ
    with the leading eigenvector; for W = U V the pair of singular vectors takes its place.

    Parameters
    ----------
    problem : CompletionProblem
    rank : int
        How many phases.
    epsilon : float
        Size of the new direction at the start of a phase, relative to the spectral norm of the data.
    rtol : float
        Tolerance of the flow's solver.
    """
    m, n = problem.shape
    left, right = torch.zeros(m, 0, dtype=torch.float64), torch.zeros(0, n, dtype=torch.float64)
    points: list[CriticalPoint] = []
    unit = float(svd(_slope(problem, left @ right))[1][0])
    for _ in range(rank):
        U, _, Vt = svd(-_slope(problem, left @ right))
        size = (epsilon * float(problem.y.norm())) ** 0.5
        left = torch.cat([left, size * U[:, :1]], dim=1)
        right = torch.cat([right, size * Vt[:1]], dim=0)
        left, right, rest = _descend(problem, left, right, unit, rtol)
        W = left @ right
        points.append(CriticalPoint(W, float(problem.loss(W)), rest))
    return points


def _descend(
    problem: CompletionProblem, left: Tensor, right: Tensor, unit: float, rtol: float
) -> tuple[Tensor, Tensor, float]:
    """Gradient flow over two factors, to its end; and the relative gradient there."""
    m, n = problem.shape
    model = DeepLinear((n, left.shape[1], m), dtype=torch.float64, seed=0)
    with torch.no_grad():
        model.weights[0].copy_(right)
        model.weights[1].copy_(left)
    rest, grown = 1.0, False
    for _ in range(_STRETCHES):
        gradient_flow(model, problem, [_HORIZON / unit], rtol=rtol, max_steps=200_000)
        right, left = (weight.detach().clone() for weight in model.weights)
        rest = _relative_gradient(problem, left, right) / unit
        # The start is close to the last critical point, where the gradient is small as well.
        grown = grown or float(svd(left)[1][-1]) > 1e-2 * float(svd(left)[1][0])
        if grown and rest <= _REST:
            break
    return left, right, rest


def _relative_gradient(problem: CompletionProblem, left: Tensor, right: Tensor) -> float:
    """Norm of the gradient over both factors, over the norm of one."""
    slope = _slope(problem, left @ right)
    norm = torch.linalg.vector_norm
    both = torch.stack([norm(slope @ right.mT), norm(left.mT @ slope)])
    return float(norm(both) / norm(left))


def _slope(problem: CompletionProblem, W: Tensor) -> Tensor:
    """∇f(W) of the mean squared residual."""
    return problem.adjoint((problem.measure(W) - problem.y) * (2 / problem.n_observed))
