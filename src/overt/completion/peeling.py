"""Peeling: lines that a rank leaves no check in are taken off, the core is solved, and they are put back.

A row with at most r entries says nothing about the factors of the columns it crosses: some row factor meets
its entries whatever these are. Without it other lines become as short, and so on in a cascade. Near the
information limit a core remains that holds all the checks, is smaller, and is sampled better.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from overt.completion.null_space import line_grams
from overt.completion.result import Completion, Triplet
from overt.completion.tangent import Entries
from overt.linalg import Factored, svd

_ZERO = 1e-20  # squared singular values of a line's factors below this share of the largest are zero


@dataclass(frozen=True, eq=False)
class Peeled:
    """A core problem, where its lines lie, and the layers that were taken off, in order.

    Each layer is ``(turned, lines, across)``: rows (columns where ``turned``), and the columns (rows) that
    were there when they were taken off, as bool.
    """

    core: Any
    rows: Tensor
    cols: Tensor
    layers: list[tuple[bool, Tensor, Tensor]]
    problem: Any

    def extended(self, found: Completion) -> Triplet:
        """A completion of the core extended to all lines: each meets its entries, the last layer first."""
        (m, n), r, y = self.problem.shape, found.rank, self.problem.y
        root = found.singular_values.sqrt()
        U, V = y.new_zeros(m, r), y.new_zeros(n, r)
        U[self.rows], V[self.cols] = found.U * root, found.Vt.mT * root
        rows, cols = self.problem.rows, self.problem.cols
        for turned, lines, across in reversed(self.layers):
            if turned:
                V[lines] = _met(lines, across, cols, rows, y, U)
            else:
                U[lines] = _met(lines, across, rows, cols, y, V)
        return svd(Factored(U, V))


def peel(problem: Any, rank: int) -> Peeled | None:
    """Take off lines with at most ``rank`` entries until none is left; None if there is none, or no core."""
    rows, cols = problem.rows, problem.cols
    m, n = problem.shape
    alive = [torch.ones(size, dtype=torch.bool, device=rows.device) for size in (m, n)]
    layers: list[tuple[bool, Tensor, Tensor]] = []
    idle = 0
    while idle < 2:
        for turned, (own, other) in enumerate(((rows, cols), (cols, rows))):
            held = alive[turned][own] & alive[1 - turned][other]
            counts = torch.bincount(own[held], minlength=len(alive[turned]))
            short = alive[turned] & (counts <= rank)
            idle = 0 if bool(short.any()) else idle + 1
            if not idle:
                layers.append((bool(turned), short.nonzero()[:, 0], alive[1 - turned].clone()))
                alive[turned] = alive[turned] & ~short
    kept = [side.nonzero()[:, 0] for side in alive]
    if not layers or min(map(len, kept)) <= rank:
        return None
    held = alive[0][rows] & alive[1][cols]
    at = [side.long().cumsum(0) - 1 for side in alive]
    core = SimpleNamespace(
        rows=at[0][rows[held]],
        cols=at[1][cols[held]],
        y=problem.y[held],
        shape=(len(kept[0]), len(kept[1])),
    )
    return Peeled(core, kept[0], kept[1], layers, problem)


def _met(lines: Tensor, across: Tensor, own: Tensor, other: Tensor, y: Tensor, V: Tensor) -> Tensor:
    """The smallest factors of some lines that meet their entries in the lines ``across``."""
    at = torch.full((int(own.max()) + 1,), -1, dtype=torch.long, device=own.device)
    at[lines] = torch.arange(len(lines), device=own.device)
    held = (at[own] >= 0) & across[other]
    if not bool(held.any()):
        return V.new_zeros(len(lines), V.shape[1])
    entries = Entries(at[own[held]], other[held], (len(lines), V.shape[0]), y.dtype)
    return line_grams(entries, V, _ZERO).solve(entries.times(entries.sort(y[held]), V))
