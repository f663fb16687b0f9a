"""Singular values and right singular vectors from the smaller Gram matrix of W.

One product and a symmetric eigenvalue decomposition of the smaller side cost less than an SVD, most of all
for elongated matrices. Squaring loses what is below √eps·σ₁ of the precision that it is done in. A float32
matrix is therefore squared in float64, where that is 1.5e-8 σ₁, below its own rounding error.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["factored_decomposition", "gram_decomposition", "gram_spectrum", "spectral_decomposition"]


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
    U, S = gram_spectrum(W, dtype)
    inverse = torch.where(S > 0, S, torch.ones_like(S)).reciprocal() * (S > 0)
    return U, S, inverse.unsqueeze(-1) * (U.mT @ W)


def gram_spectrum(W: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Singular vectors of the smaller side, in columns, and the values: :func:`gram_decomposition` without
    the product that gives the other vectors.
    """
    high = dtype or torch.float64
    peak = W.abs().amax(dim=(-2, -1), keepdim=True)
    peak = torch.where(peak > 0, peak, torch.ones_like(peak)).to(high)
    X = W.to(high) / peak
    squares, Q = torch.linalg.eigh(X @ X.mT if W.shape[-2] <= W.shape[-1] else X.mT @ X)
    squares, Q = squares.flip(-1), Q.flip(-1)
    known = squares > squares[..., :1] * (torch.finfo(high).eps * max(W.shape[-2:]))
    S = torch.where(known, squares, torch.zeros_like(squares)).sqrt()
    return Q.to(W.dtype), (S * peak.squeeze(-1)).to(W.dtype)


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
