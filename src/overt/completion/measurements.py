"""Linear measurement maps with the projections that the nuclear norm solvers need.

Both maps write ``A Aᵀ = Q diag(gram) Qᵀ``; for observed entries that is the identity, for Gaussian
measurements it costs one k × k eigendecomposition.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from overt.linalg import eigh


class Measurements(Protocol):
    """A linear map from (m, n) matrices to k numbers with a diagonalized Gram matrix."""

    shape: tuple[int, int]
    gram: Tensor

    def apply(self, X: Tensor) -> Tensor:
        """``A(X)``, shape (k,)."""

    def adjoint(self, z: Tensor) -> Tensor:
        """``A*(z)``, shape (m, n)."""

    def rotate(self, z: Tensor) -> Tensor:
        """``Qᵀ z``."""

    def rotate_back(self, z: Tensor) -> Tensor:
        """``Q z``."""


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

    def rotate_back(self, z: Tensor) -> Tensor:
        """``z``: nothing to rotate."""
        return z


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


def check_matrix_problem(problem: Any) -> None:
    """Refuse what is neither a completion nor a sensing problem; anything with their fields is accepted.

    Raises
    ------
    TypeError
        If ``problem`` has no ``y``, no shape (m, n), or neither observed positions nor measurement matrices.
    """
    entries = hasattr(problem, "rows") and hasattr(problem, "cols")
    shape = getattr(problem, "shape", ())
    if not hasattr(problem, "y") or not (entries or hasattr(problem, "A")) or len(shape) != 2:
        raise TypeError(
            "problem must be a CompletionProblem or a SensingProblem, whose unknown is a matrix; got "
            f"{type(problem).__name__}"
        )


def measurements_of(problem: Any) -> Measurements:
    """The measurement map of a completion or sensing problem.

    Raises
    ------
    TypeError
        If ``problem`` has neither observed positions nor measurement matrices.
    """
    check_matrix_problem(problem)
    m, n = problem.shape
    if hasattr(problem, "A"):
        return InnerProducts(problem.A, (m, n))
    return ObservedEntries(problem.rows, problem.cols, (m, n), problem.y)
