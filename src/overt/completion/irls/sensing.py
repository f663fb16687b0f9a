"""Reweighted least squares for dense measurement maps ``y_i = ⟨A_i, X⟩``: a k×k kernel system a step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from overt.completion.irls.engine import Engine
from overt.completion.refit import Limits
from overt.completion.refit.normal import factor_matrix
from overt.completion.refit.sensing import refit_measurements
from overt.completion.result import Completion, Triplet
from overt.linalg import svd


class SensingEngine(Engine):
    """Dense measurements, scaled so that a unit matrix entry has unit curvature on average."""

    def __init__(self, problem: Any) -> None:
        m, n = (int(size) for size in problem.shape)
        super().__init__(problem.y.detach(), (m, n))
        A = problem.A.detach().reshape(self.k, m, n)
        unit = float(A.square().sum()) / (m * n)  # mean diagonal of AᵀA
        self.gain = (unit * m * n / max(self.k, 1)) ** 0.5 or 1.0
        self.A = A / self.gain
        self.previous = self.y.new_zeros(m, n)

    def leading(self, values: Tensor, keep: int) -> Triplet:
        return self._triplets(torch.einsum("k,kmn->mn", values, self.A), keep)

    def solve(self, trusted: Triplet, eps: float, nugget: float, keep: int) -> Triplet:
        U, s, Vt = trusted
        weights = (s / eps).square() - 1.0
        left = (self.A @ (Vt.mT * weights.sqrt())).flatten(1)
        right = (self.A.mT @ (U * weights.sqrt())).flatten(1)
        flat = self.A.flatten(1)
        kernel = flat @ flat.mT
        kernel.addmm_(left, left.mT, alpha=0.5).addmm_(right, right.mT, alpha=0.5)
        kernel.diagonal().add_(nugget / eps**2)
        z = torch.cholesky_solve(self.y[:, None], factor_matrix(kernel))[:, 0]
        Z = torch.einsum("k,kmn->mn", z, self.A)
        return self._triplets(Z + 0.5 * (U * weights) @ (U.mT @ Z) + 0.5 * (Z @ Vt.mT * weights) @ Vt, keep)

    def _triplets(self, X: Tensor, keep: int) -> Triplet:
        self.previous = X
        U, s, Vt = svd(X)
        return U[:, :keep], s[:keep], Vt[:keep]

    def fit(self, start: Triplet, limits: Limits) -> Completion:
        return refit_measurements(self.A, self.y, start, limits)

    def finish(self, fit: Completion, began: float, **fields: Any) -> Completion:
        return super().finish(fit, began, **fields).scaled(1.0 / self.gain)
