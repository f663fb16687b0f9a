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
from overt.features.nystroem import whitener
from overt.features.ridge import ridge_factor
from overt.linalg.cholesky import lower_solve

__all__ = ["standard_deviations"]

_JUDGED = 1000  # rows on which s² is set


class _Posterior:
    """Variances of one machine, in units of s²."""

    def __init__(self, machine: Machine) -> None:
        self.machine, V = machine, machine.centres
        self.ridge, self.kept = machine.ridge, None
        if machine.normal is None:
            self.L, self.ridge = ridge_factor(self._values(V), machine.ridge)
        else:
            self.turn = whitener(V, machine.kernel, machine.scale).mT
            self.kept = ridge_factor(machine.normal, machine.ridge)[0]

    def _values(self, U: Tensor) -> Tensor:
        machine = self.machine
        similar = similarities(U, machine.centres, machine.kernel)
        return kernel_values(similar, machine.kernel, machine.scale)

    def _explained(self, K: Tensor) -> tuple[Tensor, Tensor]:
        """What the training inputs explain of k(x, x), and how unsure that part is."""
        if self.kept is None:
            explained = lower_solve(self.L, K.mT).square().sum(0)
            return explained, torch.zeros_like(explained)
        rows = K.double() @ self.turn
        unsure = self.ridge * lower_solve(self.kept, rows.mT).square().sum(0)
        return rows.square().sum(1).to(K), unsure.to(K)

    def new(self, X: Tensor) -> Tensor:
        """Variance of a new observation at each row, shape (n,)."""
        machine, out = self.machine, X.new_empty(len(X))
        for part in blocks(len(X), len(machine.centres)):
            U = multiplied(X[part], machine.root)
            explained, unsure = self._explained(self._values(U))
            open_part = (kernel_diagonal(U, machine.kernel, machine.scale) - explained).clamp_min(0)
            out[part] = open_part + unsure + self.ridge
        return out

    def left_out(self, count: int) -> Tensor:
        """Variance at the first training inputs: when each is left out, or in place where centres are few."""
        if self.kept is not None:
            return self._explained(self._values(self.machine.centres[:count]))[1] + self.ridge
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
