"""Reweighted least squares for dense measurement maps ``y_i = ⟨A_i, X⟩``: a k×k kernel system a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overt.completion.irls.engine import Engine, Iterate, Triplets, _rms
from overt.completion.refit import refit
from overt.completion.refit.normal import factor_matrix
from overt.completion.result import Completion
from overt.linalg import svd


class SensingEngine(Engine):
    """Dense measurements, scaled so that a unit matrix entry has unit curvature on average."""

    def __init__(self, problem: Any) -> None:
        m, n = (int(size) for size in problem.shape)
        y = problem.y.detach()
        self.shape, self.k = (m, n), int(y.numel())
        self.A = problem.A.detach().reshape(self.k, m, n)
        unit = float(self.A.square().sum()) / (m * n)  # mean diagonal of AᵀA
        if self.k and unit == 0.0:
            raise ValueError(
                "problem.A: all measurement matrices are zero; they say nothing about the matrix"
            )
        self.gain = (unit * m * n / max(self.k, 1)) ** 0.5 or 1.0
        self.A = self.A / self.gain
        self.share = self.k / (m * n)
        self.eps = torch.finfo(y.dtype).eps
        self.scale = _rms(y)
        self.y = y / (self.scale or 1.0)

        self.previous = torch.zeros(m, n, dtype=y.dtype, device=y.device)

    def start(self, seed: int | None, keep: int) -> Triplets:
        values = self.y
        if seed is not None:
            noise = torch.randn(self.k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            values = values + 0.5 * noise.to(values)
        return self._triplets(torch.einsum("k,kmn->mn", values, self.A), keep)

    def step(self, trusted: Triplets, eps: float, nugget: float, keep: int) -> tuple[Triplets, float]:
        U, s, Vt = trusted
        weights = (s / eps).square() - 1.0
        left, right = self.A @ (Vt.mT * weights.sqrt()), self.A.mT @ (U * weights.sqrt())
        flat = self.A.reshape(self.k, -1)
        kernel = flat @ flat.mT
        kernel.addmm_(left.reshape(self.k, -1), left.reshape(self.k, -1).mT, alpha=0.5)
        kernel.addmm_(right.reshape(self.k, -1), right.reshape(self.k, -1).mT, alpha=0.5)
        kernel.diagonal().add_(nugget / eps**2)
        z = torch.cholesky_solve(self.y[:, None], factor_matrix(kernel))[:, 0]
        Z = torch.einsum("k,kmn->mn", z, self.A)
        before = self.previous
        triplets = self._triplets(
            Z + 0.5 * (U * weights) @ (U.mT @ Z) + 0.5 * (Z @ Vt.mT * weights) @ Vt, keep
        )
        return triplets, float((self.previous - before).norm()) / max(float(self.previous.norm()), 1e-300)

    def _triplets(self, X: Tensor, keep: int) -> Triplets:
        self.previous = X
        U, s, Vt = svd(X)
        return U[:, :keep], s[:keep], Vt[:keep]

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
