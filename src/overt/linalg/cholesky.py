"""Positive definite systems by Cholesky factors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cholesky", "cholesky_solve", "lower_solve"]


def cholesky(A: Tensor) -> Tensor | None:
    """Lower factor L of A = L Lᵀ, or None where A is not positive definite to rounding."""
    L, info = torch.linalg.cholesky_ex(A)
    return None if int(info) or not bool(torch.isfinite(L.diagonal()).all()) else L


def cholesky_solve(L: Tensor, B: Tensor) -> Tensor:
    """A⁻¹ B, shape (n, k), of A = L Lᵀ."""
    return torch.cholesky_solve(B, L)


def lower_solve(L: Tensor, B: Tensor) -> Tensor:
    """L⁻¹ B, shape (n, k), of a lower triangular L."""
    found: Tensor = torch.linalg.solve_triangular(L, B, upper=False)
    return found
