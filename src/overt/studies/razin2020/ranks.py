"""The rank of a tensor, up to a tolerance: the smallest CP model that fits it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt.models.cp import CPTensor

__all__ = ["cp_residual", "tensor_rank"]

TOLERANCE = 0.05


def tensor_rank(T: Tensor, *, limit: int, seed: int) -> tuple[int, list[float]]:
    """The least number of rank-one terms within 5 % of T, and the residual of each number tried.

    ``limit + 1`` stands for "more than ``limit``".
    """
    residuals: list[float] = []
    for rank in range(1, limit + 1):
        residuals.append(cp_residual(T, rank, seed=seed))
        if residuals[-1] <= TOLERANCE:
            return rank, residuals
    return limit + 1, residuals


def cp_residual(T: Tensor, rank: int, *, seed: int, starts: int = 4, sweeps: int = 60) -> float:
    """‖T − T_rank‖_F / ‖T‖_F, T_rank the best of several alternating least squares fits.

    A fit can end in a local minimum, so the true residual may be smaller, never larger.
    """
    norm = float(torch.linalg.vector_norm(T))
    if norm == 0:
        return 0.0
    best = math.inf
    for start in range(starts):
        model = CPTensor(T.shape, rank, norm / math.sqrt(T.numel()), seed=seed + start, dtype=T.dtype)
        factors = [weight.detach() for weight in model.weights]
        for _ in range(sweeps):
            for mode in range(T.ndim):
                factors[mode] = _least_squares(T, factors, mode)
        with torch.no_grad():
            for weight, factor in zip(model.weights, factors, strict=True):
                weight.copy_(factor)
            best = min(best, float(torch.linalg.vector_norm(T - model.product())) / norm)
        if best <= TOLERANCE:
            break
    return best


def _least_squares(T: Tensor, factors: list[Tensor], mode: int) -> Tensor:
    """The factor of one mode that is best while the others stay."""
    rank = factors[0].shape[1]
    gram = torch.ones(rank, rank, dtype=T.dtype)
    moved = T.movedim(mode, 0)
    others = [factor for other, factor in enumerate(factors) if other != mode]
    right = moved.unsqueeze(-1)
    for factor in reversed(others):
        gram = gram * (factor.mT @ factor)
        right = (right * factor).sum(-2)
    ridge = 1e-12 * float(gram.diagonal().mean()) * torch.eye(rank, dtype=T.dtype)
    solution: Tensor = torch.linalg.solve(gram + ridge, right.mT).mT
    return solution
