"""Singular values and right singular vectors from the smaller Gram matrix of W.

One product and a symmetric eigenvalue decomposition of the smaller side cost less than an SVD, most of all
for elongated matrices. Squaring loses what is below √eps·σ₁ of the precision that it is done in. A float32
matrix is therefore squared in float64, where that is 1.5e-8 σ₁, below its own rounding error.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["factored_decomposition", "gram_decomposition", "spectral_decomposition"]


def gram_decomposition(W: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Thin U, S, Vh of W, with the smaller factor orthonormal and the other one W V diag(1/σ), or Uᵀ W.

    No number is read on the host, so it can be compiled; entries that are not finite make LAPACK fail.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        float32 or float64, detached.
    dtype
        Of the Gram matrix and its eigenvalues; float64 by default.

    Returns
    -------
    U, S, Vh : Tensor
        S descends. Where σ is at or below √(eps·max(m, n))·σ₁, S and the vector that would be divided by it
        are 0.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg.gram import gram_decomposition
    >>> gram_decomposition(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))[1]
    tensor([4., 3.])
    """
    if W.shape[-2] > W.shape[-1]:
        V, S, Uh = gram_decomposition(W.mT, dtype)
        return Uh.mT, S, V.mT
    high = dtype or torch.float64
    peak = W.abs().amax(dim=(-2, -1), keepdim=True)
    peak = torch.where(peak > 0, peak, torch.ones_like(peak)).to(high)
    X = W.to(high) / peak
    squares, U = torch.linalg.eigh(X @ X.mT)
    squares, U = squares.flip(-1), U.flip(-1)
    known = squares > squares[..., :1] * (torch.finfo(high).eps * max(W.shape[-2:]))
    S = torch.where(known, squares, torch.zeros_like(squares)).sqrt()
    inverse = torch.where(known, S, torch.ones_like(S)).reciprocal() * known
    U = U.to(W.dtype)
    Vh = inverse.unsqueeze(-1).to(W.dtype) * (U.mT @ X.to(W.dtype))
    return U, (S * peak.squeeze(-1)).to(W.dtype), Vh


def spectral_decomposition(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin U, S, Vh by LAPACK's SVD, without the checks and remedies of :func:`overt.linalg.svd`.

    Nothing is read on the host: for compiled code and for complex matrices.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        Real or complex, single or double precision, detached.
    """
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    return U, S, Vh


def factored_decomposition(U: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Thin U, S, Vh of U Vᵀ from the QR decompositions of its factors; like :func:`spectral_decomposition`.

    Parameters
    ----------
    U, V : Tensor, shapes (..., m, r) and (..., n, r)
    """
    Qu, Ru = torch.linalg.qr(U)
    Qv, Rv = torch.linalg.qr(V)
    A, S, Bh = torch.linalg.svd(Ru @ Rv.mT, full_matrices=False)
    return Qu @ A, S, Bh @ Qv.mT
