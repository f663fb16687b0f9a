"""Linear measurement maps from (m, n) matrices to k numbers, with what the nuclear norm solvers need of them.

Both write ``A Aᵀ = Q diag(gram) Qᵀ``; for observed entries that is the identity, for Gaussian
measurements it costs one k × k eigendecomposition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg import eigh


class ObservedEntries:
    """Reads the entries at distinct positions; its Gram matrix is the identity."""

    def __init__(self, rows: Tensor, cols: Tensor, shape: tuple[int, int], like: Tensor) -> None:
        self.shape = shape
        self._flat = rows * shape[1] + cols
        if bool((self._flat.sort().values.diff() == 0).any()):
            raise ValueError("problem holds a position twice; merge repeated observations first")
        self.gram = torch.ones(1, dtype=like.dtype, device=like.device)

    def apply(self, X: Tensor) -> Tensor:
        """``X[rows, cols]``."""
        return X.reshape(-1)[self._flat]

    def adjoint(self, z: Tensor) -> Tensor:
        """Zeros with ``z`` at the positions."""
        out = z.new_zeros(self.shape[0] * self.shape[1])
        out[self._flat] = z
        return out.reshape(self.shape)

    def rotate(self, z: Tensor) -> Tensor:
        """``z``: nothing to rotate."""
        return z

    rotate_back = rotate


class InnerProducts:
    """Inner products with k given matrices, as the rows of ``A`` (k, m·n)."""

    def __init__(self, A: Tensor, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._A = A.reshape(A.shape[0], -1)
        gram, self._Q = eigh(self._A @ self._A.mT)
        floor = torch.finfo(A.dtype).eps * max(self._A.shape) * gram[0].abs()
        self.gram = torch.where(gram > floor, gram, torch.zeros_like(gram))

    def apply(self, X: Tensor) -> Tensor:
        """``⟨A_i, X⟩`` for every i."""
        return self._A @ X.reshape(-1)

    def adjoint(self, z: Tensor) -> Tensor:
        """``Σ z_i A_i``."""
        return (self._A.mT @ z).reshape(self.shape)

    def rotate(self, z: Tensor) -> Tensor:
        """Coordinates in the eigenvectors of ``A Aᵀ``."""
        return self._Q.mT @ z

    def rotate_back(self, z: Tensor) -> Tensor:
        """Back from those coordinates."""
        return self._Q @ z
