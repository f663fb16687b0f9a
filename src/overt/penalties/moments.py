"""Running averages of M = E[JᵀJ] in a basis, and the reweighting that they give.

Each holds M̄ = Σ_t μ-weighted means of g gᵀ, where g = J(x)ᵀ v, and answers two questions: the value of
P_p(M̄ + εI), and the quadratic form gᵀ W g with W = (p/2)(M̄ + εI)^{p/2−1}, whose mean over g is tr(W M).
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from overt.linalg import Basis, eigh

__all__ = ["BasisMoments", "DenseMoments", "Moments", "SketchMoments"]


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
        self.updates += 1
        return min(self.momentum, past / (past + 1))

    @abstractmethod
    def update(self, g: Tensor) -> None:
        """Take in a batch g (n, D) of vector–Jacobian products, without gradient."""

    @abstractmethod
    def form(self, g: Tensor) -> Tensor:
        """gᵀ W g for each row of g (n, D), differentiable in g, shape (n,)."""

    @abstractmethod
    def value(self) -> Tensor:
        """P_p(M̄ + εI) = Σ (m̄_i + ε)^{p/2}, without gradient."""

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


class BasisMoments(Moments):
    """The diagonal of M̄ in a fixed orthonormal basis: D numbers, one transform for each product."""

    diagonal: Tensor

    def __init__(self, basis: Basis, p: float, floor: float, momentum: float) -> None:
        super().__init__(basis.size, p, floor, momentum)
        self.basis = basis
        self.register_buffer("diagonal", torch.zeros(basis.size))

    def update(self, g: Tensor) -> None:
        keep = self._keep()
        new = self._powers(g).mean(0)
        self.diagonal = keep * self.diagonal.to(new) + (1 - keep) * new

    def form(self, g: Tensor) -> Tensor:
        weights = self._power(self.diagonal + self._epsilon(self.trace()))
        return self._powers(g) @ weights

    def value(self) -> Tensor:
        return (self.diagonal + self._epsilon(self.trace())).pow(self.p / 2).sum()

    def trace(self) -> Tensor:
        return self.diagonal.sum()

    def spectrum(self) -> Tensor:
        return self.diagonal.sqrt()

    def _powers(self, g: Tensor) -> Tensor:
        return self.basis.power(g.reshape(len(g), *self.basis.shape))


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

    def update(self, g: Tensor) -> None:
        past = int(self.updates)
        keep = self._keep()
        self.matrix = keep * self.matrix.to(g) + (1 - keep) * (g.mT @ g / len(g))
        if past % self.refresh == 0 or past < self.refresh:
            eigenvalues, self.eigenvectors = eigh(self.matrix)
            self.eigenvalues = eigenvalues.clamp_min(0)

    def form(self, g: Tensor) -> Tensor:
        weights = self._power(self.eigenvalues + self._epsilon(self.trace()))
        return (g @ self.eigenvectors).square() @ weights

    def value(self) -> Tensor:
        return (self.eigenvalues + self._epsilon(self.trace())).pow(self.p / 2).sum()

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

    def update(self, g: Tensor) -> None:
        keep = self._keep()
        old = (keep * self.values.to(g)).sqrt().unsqueeze(-1) * self.vectors.to(g)
        rows = torch.cat([old, g * ((1 - keep) / len(g)) ** 0.5])
        squares, mix = eigh(rows @ rows.mT)
        kept = min(self.rank, self.size, int((squares > squares[0] * 1e-6).sum()))
        outside = keep * self.rest.to(g) * (self.size - len(self.values))
        self.values = squares[:kept]
        self.vectors = (mix[:, :kept] / self.values.clamp_min(1e-30).sqrt()).mT @ rows
        cut = squares[kept:].clamp_min(0).sum()
        self.rest = (outside + cut) / max(self.size - kept, 1)

    def form(self, g: Tensor) -> Tensor:
        epsilon = self._epsilon(self.trace())
        base = self._power(self.rest + epsilon)
        more = self._power(self.values + epsilon) - base
        return base * g.square().sum(-1) + (g @ self.vectors.mT).square() @ more

    def value(self) -> Tensor:
        epsilon = self._epsilon(self.trace())
        outside = (self.size - len(self.values)) * (self.rest + epsilon).pow(self.p / 2)
        return (self.values + epsilon).pow(self.p / 2).sum() + outside

    def trace(self) -> Tensor:
        return self.values.sum() + self.rest * (self.size - len(self.values))

    def spectrum(self) -> Tensor:
        return self.values.clamp_min(0).sqrt()
