"""The tangent space at a solution: the directions in which its zeros stay zero, and their complement.

Matrices and vectors are treated alike. The spectrum of a vector is the absolute values of its entries, and
its support plays the part of the singular vectors. The largest value of the spectrum is 1, and values of at
most ``zero`` count as zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from overt._utils.seeds import normal
from overt.linalg import orthonormal_basis, svd


class Frame(ABC):
    """A solution X with its spectrum and its tangent space T.

    Along the directions in T the number of non-zeros of the spectrum does not change to first order. The
    subdifferential of a function of the spectrum is G + Z: G = `compose` of the slopes, in T, and Z in the
    orthogonal complement of T, no larger than the slope at zero.
    """

    spectrum: Tensor  # (r,), descending, the values above zero
    dim: int  # of T
    size: int  # of the whole space

    @property
    def full(self) -> bool:
        """Whether T is the whole space, so that there is no Z."""
        return self.dim == self.size

    @abstractmethod
    def compose(self, slopes: Tensor) -> Tensor:
        """The part in T of the gradient of a function with these slopes (r,)."""

    @abstractmethod
    def tangent(self, X: Tensor) -> Tensor:
        """Orthogonal projection onto T."""

    @abstractmethod
    def normal(self, X: Tensor, radius: float) -> Tensor:
        """Projection onto the part of the complement of T where no value is above ``radius``."""

    @abstractmethod
    def normal_size(self, X: Tensor) -> float:
        """Largest value of the spectrum of the part of X in the complement of T."""

    @abstractmethod
    def retract(self, X: Tensor) -> Frame:
        """The frame of the nearest point to X with as many non-zeros."""

    @abstractmethod
    def random(self, generator: torch.Generator) -> Frame:
        """A frame with the same spectrum in random directions."""

    def point(self) -> Tensor:
        """The solution without the values that count as zero."""
        return self.compose(self.spectrum)


class MatrixFrame(Frame):
    """Of a matrix U diag(σ) Vᵀ of rank r: T = {U Aᵀ + B Vᵀ}, of dimension r (m + n − r)."""

    def __init__(self, U: Tensor, spectrum: Tensor, V: Tensor) -> None:
        self.U, self.V, self.spectrum = U, V, spectrum
        m, n, r = U.shape[0], V.shape[0], spectrum.numel()
        self.dim, self.size = r * (m + n - r), m * n

    @classmethod
    def of(cls, X: Tensor, zero: float) -> MatrixFrame:
        """The frame of a matrix whose largest singular value is 1."""
        U, S, Vh = svd(X)
        r = int((zero * S[0] < S).sum())
        return cls(U[:, :r], S[:r], Vh[:r].mT)

    def compose(self, slopes: Tensor) -> Tensor:
        return (self.U * slopes) @ self.V.mT

    def tangent(self, X: Tensor) -> Tensor:
        return X - self._normal(X)

    def normal(self, X: Tensor, radius: float) -> Tensor:
        N = self._normal(X)
        if float(torch.linalg.matrix_norm(N)) <= radius:
            return N
        A, S, Bh = svd(N)
        return (A * S.clamp_max(radius)) @ Bh

    def normal_size(self, X: Tensor) -> float:
        return float(svd(self._normal(X))[1][0])

    def retract(self, X: Tensor) -> MatrixFrame:
        U, S, Vh = svd(X)
        r = self.spectrum.numel()
        return MatrixFrame(U[:, :r], S[:r], Vh[:r].mT)

    def random(self, generator: torch.Generator) -> MatrixFrame:
        def basis(like: Tensor) -> Tensor:
            return orthonormal_basis(normal(*like.shape, generator=generator).to(like))

        return MatrixFrame(basis(self.U), self.spectrum, basis(self.V))

    def _normal(self, X: Tensor) -> Tensor:
        Y = X - self.U @ (self.U.mT @ X)
        return Y - (Y @ self.V) @ self.V.mT


class VectorFrame(Frame):
    """Of a vector x: T is the vectors that are zero where x is zero."""

    def __init__(self, x: Tensor, support: Tensor) -> None:
        self.support, self.signs = support, x.sign() * support
        self.dim, self.size = int(support.sum()), x.numel()
        self.order = torch.argsort(torch.where(support, x.abs(), -1.0), descending=True)[: self.dim]
        self.spectrum = x.abs()[self.order]

    @classmethod
    def of(cls, x: Tensor, zero: float) -> VectorFrame:
        """The frame of a vector whose largest entry is 1 in absolute value."""
        return cls(x, x.abs() > zero * x.abs().max())

    def compose(self, slopes: Tensor) -> Tensor:
        placed = torch.zeros_like(self.signs)
        placed[self.order] = slopes
        return placed * self.signs

    def tangent(self, X: Tensor) -> Tensor:
        return X * self.support

    def normal(self, X: Tensor, radius: float) -> Tensor:
        return (X * ~self.support).clamp(-radius, radius)

    def normal_size(self, X: Tensor) -> float:
        return float((X * ~self.support).abs().max())

    def retract(self, X: Tensor) -> VectorFrame:
        return VectorFrame(X, self.support)

    def random(self, generator: torch.Generator) -> VectorFrame:
        places = torch.randperm(self.size, generator=generator)[: self.dim]
        signs = torch.randint(2, (self.dim,), generator=generator).to(self.spectrum) * 2 - 1
        x = torch.zeros_like(self.signs)
        x[places.to(x.device)] = signs * self.spectrum
        return VectorFrame(x, x != 0)
