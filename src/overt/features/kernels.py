"""Kernels of multiplied inputs u = T'x: values, and the weights of their gradients.

Laplace exp(−‖u − v‖/L), Gaussian exp(−‖u − v‖²/2L²) and linear ⟨u, v⟩/L². All are functions of one matrix of
*similarities*, squared distances or inner products, which bandwidths share.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "KernelName",
    "kernel_diagonal",
    "kernel_values",
    "multiplied",
    "similarities",
    "slopes",
    "typical",
]

KernelName = Literal["laplace", "gaussian", "linear"]


def multiplied(X: Tensor, root: Tensor | None) -> Tensor:
    """Inputs times a root of M: nothing for None, a vector for a diagonal one, or a matrix (d, r)."""
    if root is None:
        return X
    return X * root if root.ndim == 1 else X @ root


def similarities(U: Tensor, V: Tensor, kernel: KernelName) -> Tensor:
    """Squared distances, or inner products for the linear kernel, of rows; shape (n, m).

    Distances below what rounding leaves of equal rows are zero.
    """
    products = U @ V.mT
    if kernel == "linear":
        return products
    norms, others = U.square().sum(1), V.square().sum(1)
    squares = products.mul_(-2).add_(norms[:, None]).add_(others)
    least = 32 * torch.finfo(U.dtype).eps
    return torch.where(squares > least * (norms[:, None] + others), squares, 0)


def typical(similar: Tensor, kernel: KernelName) -> float:
    """Median distance of unequal pairs, or root mean square norm (linear kernel); 1 where there is none."""
    if kernel == "linear":
        found = similar.diagonal().mean().clamp_min(0).sqrt()
    else:
        n = len(similar)
        rows = torch.arange(0, n, max(1, n // 500), device=similar.device)
        some = similar[rows]
        positive = some[some > 0]
        found = positive.median().sqrt() if len(positive) else some.new_ones(())
    return float(found) if bool(found > 0) else 1.0


def kernel_values(similar: Tensor, kernel: KernelName, scale: float) -> Tensor:
    """Values of the kernel with L = ``scale``, shape (n, m)."""
    if kernel == "linear":
        return similar / scale**2
    if kernel == "gaussian":
        return (similar * (-0.5 / scale**2)).exp_()
    return similar.sqrt().mul_(-1 / scale).exp_()


def kernel_diagonal(U: Tensor, kernel: KernelName, scale: float) -> Tensor:
    """k(u, u) for each row, shape (n,)."""
    return U.square().sum(1) / scale**2 if kernel == "linear" else U.new_ones(len(U))


def slopes(similar: Tensor, kernel: KernelName, scale: float) -> Tensor:
    """w of ∇_u k(u, v) = −w (u − v), shape (n, m), not linear; 0 at the kink of Laplace's kernel."""
    values = kernel_values(similar, kernel, scale)
    if kernel == "gaussian":
        return values.div_(scale**2)
    return torch.where(similar > 0, values / (scale * similar.sqrt()), 0)
