"""Iterates of reweighted least squares on observed entries, and the interface shared with sensing."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from overt.completion.irls.proxy import rank_proxy
from overt.completion.irls.step import Step, harmonic_step
from overt.completion.refit import refit_entries
from overt.completion.refit.normal import ReducedSolver
from overt.completion.result import Completion
from overt.completion.tangent.entries import entries_of
from overt.completion.tangent.svd import leading_triplets
from overt.linalg import svd

_SMALLEST = 1e-12  # ε relative to σ_1 below which an iterate is as exact as double precision makes it
_BREADTH = 4  # q_k is at most this multiple of the limit rank: wider starts cost more and gain nothing
_SETTLED = 1e-9  # relative change of X at which a run has settled

_SPARE = 5  # triplets kept beyond the widest q_k
_DENSE_CELLS = 160_000  # m·n up to which iterates are formed and decomposed densely

Triplets = tuple[Tensor, Tensor, Tensor]


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
    y: Tensor  # scaled

    @abstractmethod
    def start(self, seed: int | None, keep: int) -> Triplets:
        """Leading triplets of the first iterate: the adjoint of the data, perturbed where a seed is given."""

    @abstractmethod
    def step(self, trusted: Triplets, eps: float, nugget: float, keep: int) -> tuple[Triplets, float]:
        """Leading triplets of the next iterate from those above ``eps``, and how far it moved."""

    @abstractmethod
    def refit(self, iterate: Iterate, rank: int, tolerance: float, ridge: float = 0.0) -> Completion:
        """Exact refit at ``rank`` from an iterate, on the scaled data."""

    def iterate(
        self,
        rule: str | int,
        limit: int,
        max_iter: int,
        *,
        p: float = 0.0,
        seed: int | None = None,
        nugget: float = 0.0,
    ) -> Iterator[Iterate]:
        """Iterates under one smoothing rule, from the adjoint of the data or a perturbation of it.

        Weights of the Schatten-p surrogate are those of the log-det surrogate with ``ε (σ/ε)^{1−p/2}`` for σ.
        """
        keep = min(*self.shape, _BREADTH * limit + _SPARE)
        U, s, Vt = self.start(seed, keep)
        rank = self._trusted(s, rule, limit)
        eps = float(s[min(rank, len(s) - 1)])
        floor = math.sqrt(nugget / self.share) / 10
        for index in range(max_iter):
            eps = max(eps, _SMALLEST * float(s[0]), floor)
            t = max(1, int((s > eps * (1 + 1e-6)).sum()))
            weights = eps * (s[:t] / eps).clamp_min(1 + 1e-6) ** (1 - p / 2)
            (U, s, Vt), change = self.step((U[:, :t], weights, Vt[:t]), eps, nugget, keep)
            rank = self._trusted(s, rule, limit)
            if rank < len(s):
                eps = min(eps, float(s[rank]))
            last = change < _SETTLED or eps <= 1e-9 * float(s[0]) or index == max_iter - 1
            yield Iterate(U, s, Vt, eps, rank, change, last)
            if last:
                return

    def _trusted(self, s: Tensor, rule: str | int, limit: int) -> int:
        if rule == "limit":
            return limit
        value = rank_proxy(s, rule)
        return value if isinstance(rule, int) else max(min(value, _BREADTH * limit), limit)

    def tame(self, fit: Completion) -> Completion:
        """A fit that failed, refitted with a ridge of the size of its misfit, so that it cannot blow up."""
        level = max(fit.residual, 1e-6)  # the data has root mean square 1
        ridge = level * math.sqrt(self.share) * (math.sqrt(self.shape[0]) + math.sqrt(self.shape[1])) / 2
        start = Iterate(fit.U, fit.singular_values, fit.Vt, 0.0, fit.rank, 0.0)
        return replace(self.refit(start, fit.rank, 0.0, ridge=ridge), converged=False)

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
        y = self.y
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

        self.dense = self.shape[0] * self.shape[1] <= _DENSE_CELLS
        self.previous: Tensor = self.y.new_zeros(0)
        self.solver = ReducedSolver()

    def start(self, seed: int | None, keep: int) -> Triplets:
        self.solver = ReducedSolver()
        values = self.y
        if seed is not None:
            noise = torch.randn(self.k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            values = values + 0.5 * noise.to(values)
        m, n = self.shape
        return self._triplets(Step(values.new_zeros(m, 0), values.new_zeros(n, 0), values), None, None, keep)

    def step(self, trusted: Triplets, eps: float, nugget: float, keep: int) -> tuple[Triplets, float]:
        U, s, Vt = trusted
        V = Vt.mT.contiguous()
        done = harmonic_step(self.entries, self.y, U, s, V, eps, self.solver, nugget=nugget)
        before = self.previous
        triplets = self._triplets(done, U, V, keep)
        return triplets, float((self.previous - before).norm()) / max(float(self.previous.norm()), 1e-300)

    def _triplets(self, step: Step, U: Tensor | None, V: Tensor | None, keep: int) -> Triplets:
        """Leading triplets of ``A Vᵀ + U Bᵀ + P*(z)``; the iterate or its spectrum is remembered."""
        if self.dense:
            X = self.y.new_zeros(self.shape)
            X[self._rows, self._cols] = step.z
            if U is not None and V is not None:
                X = X.addmm_(step.A, V.mT).addmm_(U, step.B.mT)
            left, s, right = svd(X)
            self.previous = X
        else:
            L = step.A if U is None else torch.cat([step.A, U], 1)
            R = step.B if V is None else torch.cat([V, step.B], 1)
            left, s, right = leading_triplets(self.entries, L, R, step.z, keep, start=V)
            self.previous = s
        return left[:, :keep], s[:keep], right[:keep]

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
