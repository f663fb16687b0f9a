"""Running averages of M = E[JᵀJ] in a basis, and the reweighting that they give.

Each holds M̄ = Σ_t μ-weighted means of g gᵀ, where g = J(x)ᵀ v, and answers two questions: the value of
P_p(M̄), and the quadratic form gᵀ W g with W = (p/2)(M̄ + εI)^{p/2−1}, whose mean over g is tr(W M).
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from overt.linalg import Basis, eigh

DENSE_UP_TO = 256
"""Number of entries of an input up to which the eigen basis keeps M̄ as a matrix."""


class Moments(nn.Module):
    """What the reweighting of a Jacobian penalty rests on.

    Parameters
    ----------
    size
        Number D of entries of an input.
    p, floor, momentum
        The exponent; ε as a multiple of tr(M̄)/D; the weight of the past in a running average.
    """

    updates: Tensor

    def __init__(self, size: int, p: float, floor: float, momentum: float) -> None:
        super().__init__()
        self.size = size
        self.p = p
        self.floor = floor
        self.momentum = momentum
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def _keep(self) -> float:
        """The share of the past in the next average; the first updates are averaged plainly."""
        past = int(self.updates)
        self.updates = self.updates + 1
        return min(self.momentum, past / (past + 1))

    def fork(self) -> Moments:
        """Averages that begin as these are; what they take in is their own."""
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        return other

    def follow(self, seen: Tensor) -> None:
        """Move to the device and dtype of a batch, which loaded averages need not have."""
        held = next(b for b in self._buffers.values() if b is not None and b.is_floating_point())
        if held.device != seen.device or held.dtype != seen.dtype:
            self.to(device=seen.device, dtype=seen.dtype)

    def make_room(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        """Give the averages the shapes of those that are about to be loaded."""
        for name in list(self._buffers):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, torch.zeros_like(stored))

    def cut_off(self) -> Tensor:
        """Share of tr M̄ outside of the directions that are kept."""
        return torch.zeros_like(self.trace())

    def seen(self, g: Tensor) -> Tensor:
        """What the other methods take for vector–Jacobian products g (n, D) in rows, differentiable in g."""
        return g

    @abstractmethod
    def update(self, seen: Tensor) -> None:
        """Take in a batch, without gradient."""

    @abstractmethod
    def form(self, seen: Tensor) -> Tensor:
        """gᵀ W g for each row, shape (n,)."""

    def mass(self, seen: Tensor) -> Tensor:
        """‖U g‖² for each row, shape (n,): its mean over g is the trace of M in the basis."""
        return seen.square().sum(-1)

    @abstractmethod
    def value(self) -> Tensor:
        """(2/p) tr(W M̄) = Σ m̄_i (m̄_i + ε)^{p/2−1}, which tends to P_p(M̄) from below as ε does to 0.

        Without gradient. An m̄_i ≫ ε counts m̄_i^{p/2}, to the order of ε/m̄_i; an m̄_i ≪ ε next to nothing,
        so that unused directions, or rounding errors in their place, do not add up to a value of their own.
        """

    @abstractmethod
    def trace(self) -> Tensor:
        """tr M̄, without gradient."""

    @abstractmethod
    def spectrum(self) -> Tensor:
        """√ of the diagonal of M̄ in the basis, or of its eigenvalues: singular-value-like."""

    def _epsilon(self, trace: Tensor) -> Tensor:
        # The second term keeps a model without any sensitivity away from 0 to a negative power.
        return self.floor * trace / self.size + math.sqrt(torch.finfo(trace.dtype).tiny)

    def _power(self, eigenvalues: Tensor) -> Tensor:
        weights: Tensor = (self.p / 2) * eigenvalues.pow(self.p / 2 - 1)
        return weights

    def _counted(self, eigenvalues: Tensor, epsilon: Tensor) -> Tensor:
        return eigenvalues * (eigenvalues + epsilon).pow(self.p / 2 - 1)


class BasisMoments(Moments):
    """The diagonal of M̄ in a fixed orthonormal basis: D numbers, one transform for each product."""

    diagonal: Tensor

    def __init__(self, basis: Basis, p: float, floor: float, momentum: float) -> None:
        super().__init__(basis.size, p, floor, momentum)
        self.basis = basis
        self.register_buffer("diagonal", torch.zeros(basis.size))

    def seen(self, g: Tensor) -> Tensor:
        return self.basis.power(g.reshape(len(g), *self.basis.shape))

    def update(self, seen: Tensor) -> None:
        keep = self._keep()
        new = seen.mean(0)
        self.diagonal = keep * self.diagonal + (1 - keep) * new

    def form(self, seen: Tensor) -> Tensor:
        return seen @ self._power(self.diagonal + self._epsilon(self.trace()))

    def mass(self, seen: Tensor) -> Tensor:
        return seen.sum(-1)

    def value(self) -> Tensor:
        return self._counted(self.diagonal, self._epsilon(self.trace())).sum()

    def trace(self) -> Tensor:
        return self.diagonal.sum()

    def spectrum(self) -> Tensor:
        return self.diagonal.sqrt()


class DenseMoments(Moments):
    """M̄ as a D×D matrix with its eigendecomposition, renewed every few updates: for small inputs."""

    matrix: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __init__(self, size: int, p: float, floor: float, momentum: float, refresh: int) -> None:
        super().__init__(size, p, floor, momentum)
        self.refresh = refresh
        self.register_buffer("matrix", torch.zeros(size, size))
        self.register_buffer("eigenvalues", torch.zeros(size))
        self.register_buffer("eigenvectors", torch.eye(size))

    def fork(self) -> DenseMoments:
        other = cast(DenseMoments, super().fork())
        other.refresh = 1  # the eigendecomposition is of what it takes in
        return other

    def update(self, seen: Tensor) -> None:
        past = int(self.updates)
        keep = self._keep()
        self.matrix = keep * self.matrix + (1 - keep) * (seen.mT @ seen / len(seen))
        if past % self.refresh == 0 or past < self.refresh:
            eigenvalues, self.eigenvectors = eigh(self.matrix)
            self.eigenvalues = eigenvalues.clamp_min(0)

    def form(self, seen: Tensor) -> Tensor:
        weights = self._power(self.eigenvalues + self._epsilon(self.trace()))
        return (seen @ self.eigenvectors).square() @ weights

    def value(self) -> Tensor:
        return self._counted(self.eigenvalues, self._epsilon(self.trace())).sum()

    def trace(self) -> Tensor:
        return self.matrix.diagonal().sum()

    def spectrum(self) -> Tensor:
        return self.eigenvalues.sqrt()


class SketchMoments(Moments):
    """M̄ ≈ Q diag(s) Qᵀ + ρ (I − QQᵀ) with a few directions Q: for inputs too large for a D×D matrix.

    What is cut off is spread evenly over the complement, so that the trace is kept. Renewing the directions
    costs one eigendecomposition of a (k+n)×(k+n) Gram matrix for n products.
    """

    vectors: Tensor
    values: Tensor
    rest: Tensor

    def __init__(self, size: int, p: float, floor: float, momentum: float, rank: int) -> None:
        super().__init__(size, p, floor, momentum)
        self.rank = rank
        self.register_buffer("vectors", torch.zeros(0, size))
        self.register_buffer("values", torch.zeros(0))
        self.register_buffer("rest", torch.zeros(()))

    def update(self, seen: Tensor) -> None:
        keep = self._keep()
        old = (keep * self.values).sqrt().unsqueeze(-1) * self.vectors
        rows = torch.cat([old, seen * ((1 - keep) / len(seen)) ** 0.5])
        # In float64: single precision would leave nothing of the smallest squares that are kept.
        squares, mix = (part.to(rows.dtype) for part in eigh(rows.double() @ rows.double().mT))
        kept = min(self.rank, self.size, int((squares > squares[0] * 1e-6).sum()))
        outside = keep * self.rest * (self.size - len(self.values))
        self.values = squares[:kept]
        self.vectors = (mix[:, :kept] / self.values.clamp_min(1e-30).sqrt()).mT @ rows
        cut = squares[kept:].clamp_min(0).sum()
        self.rest = (outside + cut) / max(self.size - kept, 1)

    def form(self, seen: Tensor) -> Tensor:
        epsilon = self._epsilon(self.trace())
        base = self._power(self.rest + epsilon)
        more = self._power(self.values + epsilon) - base
        return base * self.mass(seen) + (seen @ self.vectors.mT).square() @ more

    def value(self) -> Tensor:
        epsilon = self._epsilon(self.trace())
        outside = (self.size - len(self.values)) * self._counted(self.rest, epsilon)
        return self._counted(self.values, epsilon).sum() + outside

    def trace(self) -> Tensor:
        return self.values.sum() + self.rest * (self.size - len(self.values))

    def spectrum(self) -> Tensor:
        return self.values.clamp_min(0).sqrt()

    def cut_off(self) -> Tensor:
        return self.rest * (self.size - len(self.values)) / self.trace().clamp_min(1e-30)


def eigen_moments(
    size: int, p: float, floor: float, momentum: float, *, rank: int, refresh: int
) -> DenseMoments | SketchMoments:
    """Averages in the eigen basis: M̄ as a matrix for small inputs, a few of its directions for large ones."""
    if size <= DENSE_UP_TO:
        return DenseMoments(size, p, floor, momentum, refresh)
    return SketchMoments(size, p, floor, momentum, rank)
