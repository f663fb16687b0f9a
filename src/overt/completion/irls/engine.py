"""Iterates of reweighted least squares on observed entries and on dense measurements ``y_i = ⟨A_i, X⟩``."""

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
from overt.completion.problem import root_mean_square
from overt.completion.refit import Limits, refit_entries, refit_measurements
from overt.completion.refit.normal import ReducedSolver, factor_matrix
from overt.completion.result import Completion, Triplet
from overt.completion.tangent import entries_of, leading_triplets
from overt.linalg import svd

_SMALLEST = 1e-12  # ε relative to σ_1 below which an iterate is as exact as double precision makes it
_BREADTH = 4  # q_k is at most this multiple of the limit rank: wider starts cost more and gain nothing
_SETTLED = 1e-9  # relative change of X at which a run has settled
_PATIENCE, _STALL = 12, 0.9  # a run whose ε keeps more than this share over so many steps has stalled
_BEYOND, _BEYOND_GAP = (
    3,
    30.0,
)  # steps with a fall by this factor behind a rank that any data meet: overfitted
_SPARE = 5  # triplets kept beyond the widest q_k
_DENSE_CELLS = 160_000  # m·n up to which iterates are formed and decomposed densely


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

    @property
    def triplet(self) -> Triplet:
        """``(U, s, Vt)``."""
        return self.U, self.s, self.Vt

    def row(self) -> dict[str, Any]:
        """Numbers for the history."""
        return {"eps": self.eps, "proxy": self.rank, "change": self.change, "sigma": self.s[:12].tolist()}


class Engine(ABC):
    """Reweighted least squares on data y (k,) scaled to entries of order one."""

    def __init__(self, y: Tensor, shape: tuple[int, int]) -> None:
        self.shape, self.k = shape, int(y.numel())
        self.share = self.k / (shape[0] * shape[1])  # curvature of the data term in the whole matrix
        self.eps = torch.finfo(y.dtype).eps
        self.scale = root_mean_square(y)
        self.y = y / (self.scale or 1.0)
        self.previous = self.y.new_zeros(0)  # the last iterate, or its spectrum

    @abstractmethod
    def leading(self, values: Tensor, keep: int) -> Triplet:
        """Leading triplets of the adjoint of some values, which is remembered."""

    @abstractmethod
    def solve(self, trusted: Triplet, eps: float, nugget: float, keep: int) -> Triplet:
        """Leading triplets of the next iterate from those above ``eps``; the iterate is remembered."""

    @abstractmethod
    def fit(self, start: Triplet, limits: Limits) -> Completion:
        """Exact refit on the scaled data."""

    def start(self, seed: int | None, keep: int) -> Triplet:
        """Leading triplets of the first iterate: the adjoint of the data, perturbed where a seed is given."""
        values = self.y
        if seed is not None:
            noise = torch.randn(self.k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            values = values + 0.5 * noise.to(values)
        return self.leading(values, keep)

    def step(self, trusted: Triplet, eps: float, nugget: float, keep: int) -> tuple[Triplet, float]:
        """The next iterate's leading triplets, and how far it moved."""
        before = self.previous
        triplets = self.solve(trusted, eps, nugget, keep)
        if before.shape != self.previous.shape:  # a run that began elsewhere
            return triplets, math.inf
        return triplets, float((self.previous - before).norm()) / max(float(self.previous.norm()), 1e-300)

    def refit(
        self, start: Triplet, rank: int, tolerance: float, ridge: float = 0.0, *, thorough: bool = False
    ) -> Completion:
        """Exact refit at ``rank``, on the scaled data; ``thorough`` follows narrow valleys to their end."""
        U, s, Vt = start
        limits = Limits(tolerance, 100, ridge, 10) if thorough else Limits(tolerance, 30, ridge, 4)
        return self.fit((U[:, :rank], s[:rank], Vt[:rank]), limits)

    def iterate(
        self,
        rule: str | int,
        limit: int,
        max_iter: int,
        *,
        p: float = 0.0,
        seed: int | None = None,
        nugget: float = 0.0,
        begin: tuple[Triplet, float] | None = None,
    ) -> Iterator[Iterate]:
        """Iterates under one smoothing rule, from the adjoint of the data or a perturbation of it.

        ``begin`` gives triplets to start from instead, and ε as a share of the smallest of them.
        Weights of the Schatten-p surrogate are those of the log-det surrogate with ``ε (σ/ε)^{1−p/2}`` for σ.
        """
        keep = min(*self.shape, _BREADTH * limit + _SPARE)
        if begin is None:
            U, s, Vt = self.start(seed, keep)
            rank = self._trusted(s, rule, limit)
            eps = float(s[min(rank, len(s) - 1)])
        else:
            (U, s, Vt), share = begin
            rank, eps = len(s), share * float(s[-1])
        floor = math.sqrt(nugget / self.share) / 10
        past: list[float] = []
        beyond = 0
        for index in range(max_iter):
            eps = max(eps, _SMALLEST * float(s[0]), floor)
            t = max(1, int((s > eps * (1 + 1e-6)).sum()))
            weights = eps * (s[:t] / eps).clamp_min(1 + 1e-6) ** (1 - p / 2)
            (U, s, Vt), change = self.step((U[:, :t], weights, Vt[:t]), eps, nugget, keep)
            rank = self._trusted(s, rule, limit)
            if rank < len(s):
                eps = min(eps, float(s[rank]))
            past.append(eps)
            stalled = not nugget and len(past) > _PATIENCE and eps > _STALL * past[-1 - _PATIENCE]
            overfitted = (
                not nugget and limit < rank < len(s) and float(s[rank - 1]) > _BEYOND_GAP * float(s[rank])
            )
            beyond = beyond + 1 if overfitted else 0
            if beyond == _BEYOND:
                rule, rank, eps, beyond, past = "limit", limit, float(s[limit]), 0, []
            settled = change < _SETTLED or eps <= 1e-9 * float(s[0])
            last = settled or stalled or index == max_iter - 1
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
        return self.refit(fit.triplet, fit.rank, 0.0, ridge)

    def finish(self, fit: Completion, began: float, **fields: Any) -> Completion:
        """The result in the units of the data."""
        return replace(fit.scaled(self.scale), seconds=time.perf_counter() - began, **fields)


class EntriesEngine(Engine):
    """Observed entries."""

    def __init__(self, problem: Any) -> None:
        self.entries, y = entries_of(problem)
        super().__init__(y, self.entries.shape)
        self.dense = self.shape[0] * self.shape[1] <= _DENSE_CELLS
        self.solver = ReducedSolver()
        self._rows, self._cols = self.entries.rows.long(), self.entries.cols.long()

    def leading(self, values: Tensor, keep: int) -> Triplet:
        self.solver = ReducedSolver()
        nothing = Completion.zero(values, self.shape)
        return self._triplets(Step(nothing.U, nothing.Vt.mT, values), nothing.U, nothing.Vt.mT, keep)

    def solve(self, trusted: Triplet, eps: float, nugget: float, keep: int) -> Triplet:
        U, s, Vt = trusted
        V = Vt.mT.contiguous()
        done = harmonic_step(self.entries, self.y, U, s, V, eps, self.solver, nugget=nugget)
        return self._triplets(done, U, V, keep)

    def _triplets(self, step: Step, U: Tensor, V: Tensor, keep: int) -> Triplet:
        """Leading triplets of ``A Vᵀ + U Bᵀ + P*(z)``; the iterate or its spectrum is remembered."""
        if self.dense:
            X = self.y.new_zeros(self.shape)
            X[self._rows, self._cols] = step.z
            if U.shape[1]:
                X = X.addmm_(step.A, V.mT).addmm_(U, step.B.mT)
            left, s, right = svd(X)
            self.previous = X
        else:
            L, R = torch.cat([step.A, U], 1), torch.cat([V, step.B], 1)
            start = V if V.shape[1] else None
            left, s, right = leading_triplets(self.entries, L, R, step.z, keep, start=start)
            self.previous = s
        return left[:, :keep], s[:keep], right[:keep]

    def fit(self, start: Triplet, limits: Limits) -> Completion:
        return refit_entries(self.entries, self.y, start, limits)


class SensingEngine(Engine):
    """Dense measurements, scaled so that a unit matrix entry has unit curvature on average.

    Each step solves one k×k kernel system.
    """

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
