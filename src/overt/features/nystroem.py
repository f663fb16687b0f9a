"""Kernel ridge regression on some centres, for more rows than a kernel matrix has room for.

With m centres and K_mm = L Lᵀ, rows are φ = L⁻¹ k_m(x) and the model is ridge regression on them (subset of
regressors, Nyström approximation; Williams & Seeger 2001; Rasmussen & Williams 2006, chapter 8). The n × m
matrix is formed block by block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.features.kernels import KernelName, kernel_values, multiplied, similarities, typical
from overt.features.machine import Machine, blocks
from overt.features.ridge import ridge_factor
from overt.linalg.cholesky import cholesky_solve, lower_solve

__all__ = ["fit_on_centres", "whitener"]

_FLOOR = 1e-6  # added to K_mm, so that coefficients can be summed in single precision


def whitener(centres: Tensor, kernel: KernelName, scale: float) -> Tensor:
    """L⁻¹, shape (m, m), of K_mm = L Lᵀ; float64."""
    V = centres.double()
    L, _ = ridge_factor(kernel_values(similarities(V, V, kernel), kernel, scale), _FLOOR)
    return lower_solve(L, torch.eye(len(L), dtype=L.dtype, device=L.device))


def fit_on_centres(
    X: Tensor,
    Y: Tensor,
    kernel: KernelName,
    root: Tensor | None,
    bandwidth: float,
    ridge: float,
    most: int,
) -> Machine:
    """Kernel ridge regression on all rows of X (n, d) with the first ``most`` of them as centres.

    Sums over rows are kept in double precision.
    """
    centres, offset = multiplied(X[:most], root), Y.mean(0)
    scale = bandwidth * typical(similarities(centres, centres, kernel), kernel)
    inverse = whitener(centres, kernel, scale)
    turn = inverse.mT.to(X)
    normal = torch.zeros_like(inverse)
    pulled = inverse.new_zeros(len(centres), Y.shape[1])
    for part in blocks(len(X), len(centres)):
        similar = similarities(multiplied(X[part], root), centres, kernel)
        rows = kernel_values(similar, kernel, scale) @ turn
        normal += (rows.mT @ rows).double()
        pulled += (rows.mT @ (Y[part] - offset)).double()
    L, ridge = ridge_factor(normal, ridge)
    A = inverse.mT @ cholesky_solve(L, pulled)
    return Machine(kernel, root, centres, A.to(Y), offset, scale, ridge, normal)
