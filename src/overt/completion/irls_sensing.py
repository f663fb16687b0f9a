"""Reweighted least squares for dense measurement maps ``y_i = ⟨A_i, X⟩``: a k×k kernel system a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overt.completion.irls_engine import Engine, Iterate, _rms
from overt.completion.refit import refit
from overt.completion.refit_normal import factor_matrix
from overt.completion.result import Completion


class SensingEngine(Engine):
    """Dense measurements, scaled so that a unit matrix entry has unit curvature on average."""

    def __init__(self, problem: Any) -> None:
        m, n = (int(size) for size in problem.shape)
        y = problem.y.detach()
        self.shape, self.k = (m, n), int(y.numel())
        self.A = problem.A.detach().reshape(self.k, m, n)
        unit = float(self.A.square().sum()) / (m * n)  # mean diagonal of AᵀA
        self.gain = (unit * m * n / max(self.k, 1)) ** 0.5 or 1.0
        self.A = self.A / self.gain
        self.share = self.k / (m * n)
        self.eps = torch.finfo(y.dtype).eps
        self.scale = _rms(y)
        self.y = y / (self.scale or 1.0)

    def start(self) -> Tensor:
        return torch.einsum("k,kmn->mn", self.y, self.A)

    def step(self, U: Tensor, s: Tensor, Vt: Tensor, eps: float, nugget: float) -> Tensor:
        weights = (s / eps).square() - 1.0
        left, right = self.A @ (Vt.mT * weights.sqrt()), self.A.mT @ (U * weights.sqrt())
        flat = self.A.reshape(self.k, -1)
        kernel = flat @ flat.mT
        kernel.addmm_(left.reshape(self.k, -1), left.reshape(self.k, -1).mT, alpha=0.5)
        kernel.addmm_(right.reshape(self.k, -1), right.reshape(self.k, -1).mT, alpha=0.5)
        kernel.diagonal().add_(nugget / eps**2)
        z = torch.cholesky_solve(self.y[:, None], factor_matrix(kernel))[:, 0]
        Z = torch.einsum("k,kmn->mn", z, self.A)
        return Z + 0.5 * (U * weights) @ (U.mT @ Z) + 0.5 * (Z @ Vt.mT * weights) @ Vt

    def refit(self, iterate: Iterate, rank: int, tolerance: float, ridge: float = 0.0) -> Completion:
        scaled = SimpleNamespace(A=self.A, y=self.y, shape=self.shape)
        return refit(
            scaled,
            iterate.U[:, :rank],
            iterate.s[:rank],
            iterate.Vt[:rank],
            tolerance=tolerance,
            max_iter=30,
            ridge=ridge,
            patience=4,
        )

    def finish(
        self, fit: Completion, converged: bool, steps: int, history: list[Any], message: str, began: float
    ) -> Completion:
        done = super().finish(fit, converged, steps, history, message, began)
        return done.scaled(1.0 / self.gain)
