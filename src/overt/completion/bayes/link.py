"""Side information: the prior means of coordinates as a linear function of features of the lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from overt.linalg import conjugate_gradients

Array = NDArray[Any]
_TOLERANCE = 1e-2  # of the conjugate gradients, relative to the right-hand side: noise drowns what is left
_MOST_ITERATIONS = 30


class Link:
    """``x_i ~ N(μ + Bᵀ f_i, Λ⁻¹)`` with coefficients B (features, d), ``vec B ~ N(0, Λ⁻¹ ⊗ I/λ)``.

    B is drawn by perturbing the normal equations and solving them by conjugate gradients, warm started from
    the last draw (Simm et al. 2017, *Macau*, section III). λ has a flat Gamma prior.

    Parameters
    ----------
    features : sparse matrix, shape (lines, features)
    d : int
        Coordinates of a line.
    """

    def __init__(self, features: sparse.csr_matrix, d: int) -> None:
        self._F = features.astype(np.float32).tocsr()
        self._Ft = self._F.T.tocsr()
        self._diagonal = torch.as_tensor(np.asarray(self._F.multiply(self._F).sum(0)).ravel())
        self._B = torch.zeros(features.shape[1], d)
        self._ridge = 5.0

    @property
    def scaled(self) -> Array:
        """``√λ B`` (features, d), whose rows have the precision Λ of the coordinates, and mean zero."""
        scaled: Array = math.sqrt(self._ridge) * self._B.numpy().astype(np.float64)
        return scaled

    def draw(self, residual: Array, precision: Array, random: np.random.Generator) -> Array:
        """New prior means without μ (lines, d), given coordinates minus μ and their precision Λ."""
        lines, d = residual.shape
        count = self._Ft.shape[0]
        factor = np.linalg.cholesky(precision)
        root = np.linalg.inv(factor).astype(np.float32)  # rows z @ root have covariance Λ⁻¹
        noisy = residual + random.standard_normal((lines, d), dtype=np.float32) @ root
        right = self._Ft @ noisy.astype(np.float32)
        right += (
            np.float32(math.sqrt(self._ridge)) * random.standard_normal((count, d), dtype=np.float32) @ root
        )
        self._solve(torch.as_tensor(right))
        B = self._B.numpy()
        size = float(np.square(B @ factor).sum())
        self._ridge = random.gamma(1 + 0.5 * count * d) / (1 + 0.5 * size)
        fitted: Array = self._F @ B
        return fitted

    def _solve(self, right: Tensor) -> None:
        inverse = 1 / (self._diagonal + self._ridge)[:, None]

        def normal(P: Tensor) -> Tensor:
            return torch.as_tensor(self._Ft @ (self._F @ P.numpy())) + self._ridge * P

        left = right - normal(self._B)
        have = float((left * inverse * left).sum())
        want = _TOLERANCE**2 * float((right * inverse * right).sum())
        if have > want:
            found = conjugate_gradients(
                normal,
                left,
                precondition=lambda R: R * inverse,
                tolerance=math.sqrt(want / have),
                max_iter=_MOST_ITERATIONS,
            )
            self._B = self._B + found.x


def who_rated_what(
    rows: Array, cols: Array, shape: tuple[int, int]
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Features of rows and columns from the positions of their entries: the mask over √(entries of the line).

    The implicit feedback of SVD++ (Koren 2008, equation 15), on both sides.
    """
    mask = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, cols)), shape=shape)

    def scaled(matrix: Any) -> sparse.csr_matrix:
        size = np.asarray(matrix.sum(1)).ravel()
        return (sparse.diags(1 / np.sqrt(np.maximum(size, 1))) @ matrix).tocsr()

    return scaled(mask), scaled(mask.T.tocsr())
