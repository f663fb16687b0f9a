"""Standard deviations of predictions, from the posterior of the kernel model that has most weight.

Kernel ridge regression is the posterior mean of a Gaussian process with noise variance r; the variance of a
new observation is s² (k(x,x) − k_xᵀ(K + rI)⁻¹k_x + r) (Rasmussen & Williams 2006, eq. 2.26; with centres,
the projected process of their chapter 8). s² is set by the out-of-fold residuals of the whole stack, so that
it holds the price of choosing M, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from overt.features.kernels import kernel_diagonal, kernel_values, multiplied, similarities
from overt.features.machine import Machine, Stack, blocks
from overt.features.ridge import ridge_factor
from overt.linalg.cholesky import lower_solve

__all__ = ["standard_deviations"]

_JUDGED = 1000  # rows on which s² is set


class _Posterior:
    """Variances of one machine, in units of s²."""

    def __init__(self, machine: Machine) -> None:
        self.machine, V = machine, machine.centres
        self.K = kernel_values(similarities(V, V, machine.kernel), machine.kernel, machine.scale)
        self.all = machine.normal is None
        self.L, self.ridge = ridge_factor(self.K, machine.ridge if self.all else self._jitter(self.K))
        if machine.normal is not None:
            self.ridge = machine.ridge
            self.N = ridge_factor(machine.normal.double(), self._jitter(machine.normal))[0]

    @staticmethod
    def _jitter(A: Tensor) -> float:
        return float(A.diagonal().mean()) * torch.finfo(A.dtype).eps

    def new(self, X: Tensor) -> Tensor:
        """Variance of a new observation at each row, shape (n,)."""
        machine, out = self.machine, X.new_empty(len(X))
        for part in blocks(len(X), len(machine.centres)):
            U = multiplied(X[part], machine.root)
            K = kernel_values(similarities(U, machine.centres, machine.kernel), machine.kernel, machine.scale)
            variance = kernel_diagonal(U, machine.kernel, machine.scale)
            variance = (variance - lower_solve(self.L, K.mT).square().sum(0)).clamp_min(0)
            if not self.all:
                variance = variance + self.ridge * lower_solve(self.N, K.mT.double()).square().sum(0).to(K)
            out[part] = variance + self.ridge
        return out

    def left_out(self, count: int) -> Tensor:
        """Variance at the first training inputs when each is left out, or in place where centres are few."""
        if not self.all:
            inner = self.K[:, :count].double()
            return self.ridge * lower_solve(self.N, inner).square().sum(0).to(self.K) + self.ridge
        chosen = torch.eye(len(self.L), count, dtype=self.L.dtype, device=self.L.device)
        return 1 / lower_solve(self.L, chosen).square().sum(0)


def standard_deviations(stack: Stack, X: Tensor, residuals: Tensor) -> Tensor:
    """Standard deviations of new observations at X (n, d), shape (n, k).

    Parameters
    ----------
    stack : Stack
    X : Tensor, shape (n, d)
    residuals : Tensor, shape (rows, k)
        Out-of-fold residuals of the first training inputs, in the order of the centres.
    """
    if not stack.machines:
        return residuals.square().mean(0).sqrt().expand(len(X), -1)
    leading = max(range(len(stack.weights)), key=stack.weights.__getitem__)
    posterior = _Posterior(stack.machines[leading])
    count = min(_JUDGED, len(residuals), len(stack.machines[leading].centres))
    judged = posterior.left_out(count)
    squares = (residuals[:count].square() / judged[:, None]).mean(0)
    return (posterior.new(X)[:, None] * squares).sqrt()
