"""Iterates of reweighted least squares: one engine for observed entries, its interface shared with sensing."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overt.completion.irls_proxy import rank_proxy
from overt.completion.irls_step import harmonic_step
from overt.completion.refit import refit_entries
from overt.completion.refit_normal import ReducedSolver
from overt.completion.result import Completion
from overt.completion.tangent_entries import entries_of

_SMALLEST = 1e-12  # ε relative to σ_1 below which an iterate is as exact as double precision makes it
_SETTLED = 1e-9  # relative change of X at which a run has settled


@dataclass
class Iterate:
    """One iterate by its spectrum; ``last`` marks the end of a run."""

    U: Tensor
    s: Tensor
    Vt: Tensor
    eps: float
    rank: int
    change: float
    last: bool = False

    def row(self) -> dict[str, Any]:
        """Numbers for the history."""
        return {"eps": self.eps, "proxy": self.rank, "change": self.change, "sigma": self.s[:12].tolist()}


class Engine(ABC):
    """Reweighted least squares on data scaled to entries of order one."""

    shape: tuple[int, int]
    k: int
    share: float  # k / (m n): curvature of the data term in the whole matrix
    scale: float  # unit of y
    eps: float  # machine epsilon
    settle: float = _SETTLED
    breadth: int = 1000

    @abstractmethod
    def start(self) -> Tensor:
        """The first iterate: the adjoint of the data (dense)."""

    @abstractmethod
    def step(self, U: Tensor, s: Tensor, Vt: Tensor, eps: float, nugget: float) -> Tensor:
        """The next iterate (dense) from the t triplets above ``eps``."""

    @abstractmethod
    def refit(self, iterate: Iterate, rank: int, tolerance: float, ridge: float = 0.0) -> Completion:
        """Exact refit at ``rank`` from an iterate, on the scaled data."""

    def iterate(
        self, rule: str | int, limit: int, max_iter: int, seed: int | None, nugget: float = 0.0
    ) -> Iterator[Iterate]:
        """Iterates under one smoothing rule, from the adjoint of the data or a perturbation of it."""
        self.solver = ReducedSolver()
        X = self.start()
        if seed is not None:
            noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            X = X + 0.5 * float(X.norm()) / math.sqrt(X.numel()) * noise.to(X)
        U, s, Vt = torch.linalg.svd(X, full_matrices=False)
        rank = self._trusted(s, rule, limit)
        eps = float(s[min(rank, len(s) - 1)])
        floor = math.sqrt(nugget / self.share) / 10
        for index in range(max_iter):
            top = float(s[0])
            eps = max(eps, _SMALLEST * top, floor)
            t = max(1, int((s > eps * (1 + 1e-6)).sum()))
            previous, X = X, self.step(U[:, :t], s[:t].clamp_min(eps * (1 + 1e-6)), Vt[:t], eps, nugget)
            change = float((X - previous).norm()) / max(float(X.norm()), 1e-300)
            U, s, Vt = torch.linalg.svd(X, full_matrices=False)
            rank = self._trusted(s, rule, limit)
            if rank < len(s):
                eps = min(eps, float(s[rank]))
            last = change < self.settle or eps <= 1e-9 * float(s[0]) or index == max_iter - 1
            yield Iterate(U, s, Vt, eps, rank, change, last)
            if last:
                return

    def _trusted(self, s: Tensor, rule: str | int, limit: int) -> int:
        if rule == "limit":
            return limit
        value = rank_proxy(s, rule)
        return value if isinstance(rule, int) else max(min(value, self.breadth * limit), limit)

    def finish(
        self, fit: Completion, converged: bool, steps: int, history: list[Any], message: str, began: float
    ) -> Completion:
        """The result in the units of the data."""
        return replace(
            fit.scaled(self.scale),
            converged=converged,
            n_iter=steps,
            history=history,
            message=message,
            seconds=time.perf_counter() - began,
        )

    def zero(self, message: str, began: float) -> Completion:
        """The zero matrix."""
        m, n = self.shape
        y = self.start()
        empty = Completion(y.new_zeros(m, 0), y.new_zeros(0), y.new_zeros(0, n), residual=0.0)
        return replace(empty, message=message, seconds=time.perf_counter() - began)


class EntriesEngine(Engine):
    """Observed entries."""

    def __init__(self, problem: Any) -> None:
        self.entries, y = entries_of(problem)
        self.shape, self.k = self.entries.shape, self.entries.k
        self.share = self.k / (self.shape[0] * self.shape[1])
        self.eps = torch.finfo(y.dtype).eps
        self.scale = _rms(y)
        self.y = y / (self.scale or 1.0)
        self._rows, self._cols = self.entries.rows.long(), self.entries.cols.long()

    def start(self) -> Tensor:
        X = self.y.new_zeros(self.shape)
        X[self._rows, self._cols] = self.y
        return X

    def step(self, U: Tensor, s: Tensor, Vt: Tensor, eps: float, nugget: float) -> Tensor:
        V = Vt.mT.contiguous()
        done = harmonic_step(self.entries, self.y, U, s, V, eps, self.solver, nugget=nugget)
        X = done.A @ Vt + U @ done.B.mT
        X[self._rows, self._cols] += done.z
        return X

    def refit(self, iterate: Iterate, rank: int, tolerance: float, ridge: float = 0.0) -> Completion:
        return refit_entries(
            self.entries,
            self.y,
            iterate.U[:, :rank],
            iterate.s[:rank],
            iterate.Vt[:rank],
            tolerance,
            max_iter=30,
            ridge=ridge,
            patience=4,
        )


def _rms(y: Tensor) -> float:
    """Root mean square, safe against overflow and underflow of the squares."""
    top = float(y.abs().max()) if y.numel() else 0.0
    return top * float((y / top).square().mean().sqrt()) if top > 0 else 0.0
