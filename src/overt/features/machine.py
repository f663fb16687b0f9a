"""A kernel model of multiplied inputs: predictions and gradients, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from overt.features.kernels import KernelName, kernel_values, multiplied, similarities, slopes, typical
from overt.features.ridge import solve

__all__ = ["Machine", "Stack", "blocks", "fit_machine"]

_ENTRIES = 2**23  # of a block of kernel values, or of products of coefficients and centres


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of n rows so that each has a bounded number of entries, ``width`` in a row."""
    step = max(1, _ENTRIES // max(1, width))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


@dataclass(frozen=True)
class Machine:
    """f(x) = offset + Σ_j a_j k(Tᵀx, v_j).

    ``root`` is T (None, a vector or a matrix), ``centres`` (m, r) are multiplied already, ``coefficients``
    (m, k), ``scale`` is the bandwidth L and ``ridge`` what was added to the kernel matrix. ``normal`` is the
    matrix K_mn K_nm + r K_mm where the centres are some of the training inputs, and None where they are all.
    """

    kernel: KernelName
    root: Tensor | None
    centres: Tensor
    coefficients: Tensor
    offset: Tensor
    scale: float
    ridge: float
    normal: Tensor | None = None

    def predict(self, X: Tensor) -> Tensor:
        """Predictions, shape (n, k)."""
        out = X.new_empty(len(X), self.coefficients.shape[1])
        for part in blocks(len(X), len(self.centres)):
            similar = similarities(multiplied(X[part], self.root), self.centres, self.kernel)
            out[part] = kernel_values(similar, self.kernel, self.scale) @ self.coefficients
        return out + self.offset

    def gradients(self, X: Tensor) -> Tensor:
        """Gradients of the outputs by the inputs, shape (n, k, d); rows of X are few enough for one block."""
        U, A, V = multiplied(X, self.root), self.coefficients, self.centres
        if self.kernel == "linear":
            found = (A.mT @ V / self.scale**2).expand(len(X), -1, -1)
        else:
            W = slopes(similarities(U, V, self.kernel), self.kernel, self.scale)
            pulled = torch.cat([W @ (a[:, :, None] * V[:, None]).flatten(1) for a in self._outputs()], 1)
            found = pulled.reshape(len(X), A.shape[1], V.shape[1]) - (W @ A)[:, :, None] * U[:, None]
        if self.root is None:
            return found
        return found * self.root if self.root.ndim == 1 else found @ self.root.mT

    def _outputs(self) -> list[Tensor]:
        """Coefficients of as many outputs at a time as products with the centres have room for."""
        step = max(1, _ENTRIES // max(1, self.centres.numel()))
        return [self.coefficients[:, i : i + step] for i in range(0, self.coefficients.shape[1], step)]


def fit_machine(
    X: Tensor, Y: Tensor, kernel: KernelName, root: Tensor | None, bandwidth: float, ridge: float
) -> Machine:
    """Kernel ridge regression on all rows, with a bandwidth in units of the median distance."""
    U, offset = multiplied(X, root), Y.mean(0)
    similar = similarities(U, U, kernel)
    scale = bandwidth * typical(similar, kernel)
    A, ridge = solve(kernel_values(similar, kernel, scale), Y - offset, ridge)
    return Machine(kernel, root, U, A, offset, scale, ridge)


@dataclass(frozen=True)
class Stack:
    """A weighted sum of machines, and ``offset`` (k,) besides; the weights sum to one, or there are none."""

    machines: tuple[Machine, ...]
    weights: tuple[float, ...]
    offset: Tensor

    @property
    def width(self) -> int:
        """Entries for each row that a block of gradients needs."""
        most = max((len(machine.centres) for machine in self.machines), default=1)
        return max(most, 1)

    def predict(self, X: Tensor) -> Tensor:
        """Predictions, shape (n, k)."""
        total = self.offset.expand(len(X), -1)
        for weight, machine in zip(self.weights, self.machines, strict=True):
            total = total + weight * machine.predict(X)
        return total

    def gradients(self, X: Tensor) -> Tensor:
        """Gradients, shape (n, k, d)."""
        total = X.new_zeros(len(X), len(self.offset), X.shape[1])
        for weight, machine in zip(self.weights, self.machines, strict=True):
            total += weight * machine.gradients(X)
        return total
