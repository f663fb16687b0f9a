"""Kernel ridge regression on some centres, for more rows than a kernel matrix has room for.

With m centres, coefficients are (K_mn K_nm + r K_mm)⁻¹ K_mn y (subset of regressors; Nyström approximation,
Williams & Seeger 2001). The n × m matrix is formed block by block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.features.kernels import KernelName, kernel_values, multiplied, similarities, typical
from overt.features.machine import Machine, blocks
from overt.features.ridge import ridge_factor
from overt.linalg.cholesky import cholesky_solve

__all__ = ["fit_on_centres"]


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
    similar = similarities(centres, centres, kernel)
    scale = bandwidth * typical(similar, kernel)
    inner = kernel_values(similar, kernel, scale).double()
    normal, pulled = ridge * inner, Y.new_zeros(len(centres), Y.shape[1], dtype=torch.float64)
    for part in blocks(len(X), len(centres)):
        K = kernel_values(similarities(multiplied(X[part], root), centres, kernel), kernel, scale)
        normal += (K.mT @ K).double()
        pulled += (K.mT @ (Y[part] - offset)).double()
    # The least shift that rounding of a sum of products in single precision may need.
    size = float(normal.diagonal().mean())
    L, _ = ridge_factor(normal, size * torch.finfo(X.dtype).eps)
    A = cholesky_solve(L, pulled).to(Y)
    return Machine(kernel, root, centres, A, offset, scale, ridge, normal.to(Y))
