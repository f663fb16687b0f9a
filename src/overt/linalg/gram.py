"""Singular values and the vectors of the smaller side from the smaller Gram matrix of W, and its factor.

One product and a symmetric eigenvalue decomposition cost less than an SVD, most of all for elongated
matrices. Squaring loses singular values below √eps·σ₁. A float32 matrix is therefore squared in float64,
where this is 1.5e-8 σ₁, below its own rounding error.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg.decompositions import eigh


def gram_spectrum(W: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """Singular vectors of the smaller side, in columns, and the singular values, descending.

    Reads no number on the host, so it can be compiled; entries that are not finite make LAPACK fail.

    Parameters
    ----------
    W : Tensor, shape (..., m, n)
        float32 or float64, detached.
    dtype
        Of the Gram matrix and its eigenvalues; float64 by default.

    Returns
    -------
    Q : Tensor, shape (..., min(m, n), min(m, n))
        U where m ≤ n, otherwise V.
    S : Tensor, shape (..., min(m, n))
        0 where σ is at or below √(eps·max(m, n))·σ₁.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg.gram import gram_spectrum
    >>> gram_spectrum(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))[1]
    tensor([4., 3.])
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


def gram_factor(M: Tensor) -> Tensor:
    """F, shape (n, n), of a positive semidefinite M = Fᵀ F; its rows are orthogonal, the longest first."""
    values, vectors = eigh(M)
    return values.clamp_min(0).sqrt()[:, None] * vectors.mT
