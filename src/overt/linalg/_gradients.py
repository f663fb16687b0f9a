"""The gradient U diag(∂f/∂σ) Vᵀ of a function of singular values, from the decomposition that gave them.

Forming the Gram matrix instead would be faster, but loses singular values below √eps·σ₁, and a matrix under a
rank penalty has many of those.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg.decompositions import full_precision, rescale, robust_svd


def rank_tolerance(S: Tensor, m: int, n: int) -> Tensor:
    """Size up to which a singular value of an m×n matrix is rounding error: eps·max(m, n)·σ₁.

    Parameters
    ----------
    S : Tensor, shape (..., k)
        Singular values, descending.
    m, n : int
        Shape of the matrix.

    Returns
    -------
    Tensor, shape (..., 1)
    """
    if S.shape[-1] == 0:
        return S.new_zeros((*S.shape[:-1], 1))
    return S[..., :1] * (torch.finfo(S.dtype).eps * max(m, n))


def spectral_parts(W: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Singular values of a float32 or float64 matrix, and what a gradient U diag(g) Vᵀ needs.

    Returns left, S, Vh for :func:`spectral_gradient` and the scale, or None, that S is to be multiplied by.
    An elongated matrix is reduced by a QR decomposition whose orthogonal factor is never formed, because
    U = W V diag(1/σ): left is then W itself. This saves half of the work. The error of such a u_i is of the
    order eps·σ₁/σ_i, which is also how far rounding W moves u_i.
    """
    scaled, scale = rescale(W)
    m, n = W.shape[-2:]
    if _elongated(m, n):
        left = (scaled if m > n else scaled.mT).detach()
        _, S, Vh = robust_svd(torch.linalg.qr(left, mode="r")[1])
    else:
        left, S, Vh = robust_svd(scaled)
    return left, S, Vh, scale


def spectral_weights(S: Tensor, slope: Tensor, shape: torch.Size) -> Tensor:
    """Turn slopes ∂f/∂σ into the weights that :func:`spectral_gradient` takes.

    Slopes at or below the rank tolerance become 0, whatever they are.
    """
    m, n = shape[-2:]
    if _elongated(m, n):
        slope = slope / S
    if _full_rank(S, m, n):
        return slope
    return slope.masked_fill(rank_tolerance(S, m, n) >= S, 0)


def spectral_gradient(left: Tensor, weights: Tensor, Vh: Tensor, shape: torch.Size) -> Tensor:
    """U diag(∂f/∂σ) Vᵀ for a matrix of the given shape, from its :func:`spectral_parts`."""
    if torch.is_autocast_enabled(left.device.type):
        with full_precision(left.device):
            return spectral_gradient(left, weights, Vh, shape)
    m, n = shape[-2:]
    if not _elongated(m, n):
        return left @ (weights.unsqueeze(-1) * Vh)
    gradient = left @ ((Vh.mT * weights.unsqueeze(-2)) @ Vh)
    return gradient if m > n else gradient.mT


def _full_rank(S: Tensor, m: int, n: int) -> bool:
    """Whether one matrix is known to have no singular value at or below the rank tolerance.

    Two numbers read on the host are cheaper than the four operations that masking takes. Not on a GPU, where
    reading waits.
    """
    if S.ndim > 1 or S.shape[0] == 0 or S.is_cuda:
        return False
    return S[-1].item() > S[0].item() * torch.finfo(S.dtype).eps * max(m, n)


def _elongated(m: int, n: int) -> bool:
    return max(m, n) >= 2 * min(m, n)
