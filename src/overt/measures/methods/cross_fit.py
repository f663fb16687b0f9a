"""Eigenvalues of an average of random matrices, with their bias corrected by cross-fitting.

The eigenvalues λ̂ of an average M̂ of independent random matrices with mean M are spread too far: for each
k, E Σ_{i≤k} λ̂_i ≥ Σ_{i≤k} λ_i, because the sum of the k largest eigenvalues is convex (Fan 1949).
Eigenvectors v̂ of one part of the matrices, applied to the other part M̂′, give estimates that are too
flat: E Σ_{i≤k} v̂_iᵀM̂′v̂_i ≤ Σ_{i≤k} λ_i, because k orthonormal vectors cannot exceed that sum. To second
order in M̂ − M both are off by one amount in opposite directions,

    E λ̂_i − λ_i = Σ_{j≠i} E(v_iᵀ(M̂ − M)v_j)² / (λ_i − λ_j) = λ_i − E v̂_iᵀM v̂_i,

with v̂ the eigenvectors of M̂, so that a weighted mean cancels it. The expansion is around separate
eigenvalues: if they are closer to one another than the noise, only the two inequalities hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from overt.linalg import eigh


@dataclass(frozen=True)
class CrossFit:
    """Estimated eigenvalues of M, descending in ``upper``.

    Attributes
    ----------
    upper : Tensor, shape (r,)
        Eigenvalues of the average.
    lower : Tensor, shape (k,)
        Cross-fitted v̂ᵀM̂′v̂; k ≤ r. Empty for a single fold.
    corrected : Tensor, shape (k,)
        Their weighted mean; may be out of order or negative.
    vectors : Tensor, shape (r, D)
        Eigenvectors of the average, in rows.
    projections : list of Tensor, shape (n_f, k)
        Squared inner products of the rows of each fold with eigenvectors from the other folds.
    """

    upper: Tensor
    lower: Tensor
    corrected: Tensor
    vectors: Tensor
    projections: list[Tensor]


def cross_fit(folds: list[Tensor], shares: list[float]) -> CrossFit:
    """Cross-fit M̂ = Σ_f share_f A_fᵀA_f, the shares adding up to 1, from the rows A_f of its folds.

    Only a symmetric matrix of the smaller size is formed, of all rows or of all columns.
    """
    side = _Rows(folds) if sum(map(len, folds)) <= folds[0].shape[1] else _Columns(folds)
    upper, vectors = side.decompose(shares)
    if len(folds) == 1:
        return CrossFit(upper, upper[:0], upper[:0], vectors, [])
    projections = []
    for fold in range(len(folds)):
        weights = [0.0 if g == fold else share / (1 - shares[fold]) for g, share in enumerate(shares)]
        projections.append(side.project(fold, weights))
    k = min(len(upper), *(p.shape[1] for p in projections))
    projections = [p[:, :k] for p in projections]
    means = [share * p.sum(0) for share, p in zip(shares, projections, strict=True)]
    lower = torch.stack(means).sum(0)
    # The eigenvectors come from a share 1 − share_f of the draws, so their error is larger by its inverse.
    c = sum(share / (1 - share) for share in shares)
    return CrossFit(upper, lower, (c * upper[:k] + lower) / (c + 1), vectors, projections)


def _positive(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues above rounding, and their eigenvectors."""
    floor = values[:1].clamp_min(0) * (len(values) * torch.finfo(values.dtype).eps)
    k = max(1, int((values > floor).sum()))
    return values[:k].clamp_min(0), vectors[:, :k]


class _Rows:
    """For fewer rows than columns: works on the Gram matrix of the rows."""

    def __init__(self, folds: list[Tensor]) -> None:
        self.sizes = [len(fold) for fold in folds]
        self.rows = torch.cat(folds).double()
        self.gram = self.rows @ self.rows.mT

    def _scales(self, weights: list[float]) -> Tensor:
        per_row = [weight for weight, size in zip(weights, self.sizes, strict=True) for _ in range(size)]
        return torch.tensor(per_row, dtype=self.rows.dtype, device=self.rows.device).sqrt()

    def _coordinates(self, weights: list[float]) -> tuple[Tensor, Tensor]:
        """Eigenvalues, and the combinations of rows that are the eigenvectors."""
        scale = self._scales(weights)
        values, W = _positive(*eigh(scale[:, None] * self.gram * scale))
        inverse = values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt()
        return values, scale[:, None] * W * inverse

    def decompose(self, shares: list[float]) -> tuple[Tensor, Tensor]:
        values, combinations = self._coordinates(shares)
        return values, combinations.mT @ self.rows

    def project(self, fold: int, weights: list[float]) -> Tensor:
        _, combinations = self._coordinates(weights)
        start = sum(self.sizes[:fold])
        return (self.gram[start : start + self.sizes[fold]] @ combinations).square()


class _Columns:
    """For fewer columns than rows: works on the matrices AᵀA of the folds."""

    def __init__(self, folds: list[Tensor]) -> None:
        self.folds = [fold.double() for fold in folds]

    def decompose(self, shares: list[float]) -> tuple[Tensor, Tensor]:
        total = sum(share * (A.mT @ A) for share, A in zip(shares, self.folds, strict=True) if share)
        assert isinstance(total, Tensor)
        values, vectors = _positive(*eigh(total))
        return values, vectors.mT

    def project(self, fold: int, weights: list[float]) -> Tensor:
        _, vectors = self.decompose(weights)
        return (self.folds[fold] @ vectors.mT).square()
