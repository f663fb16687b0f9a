"""Basin hopping near the information limit: out of a spurious minimum into the next, until one fits exactly.

Each hop leaves the last minimum in one of two ways. Lines are weighted by exp(N(0, 1)), which keeps the rank,
and the weights fade out while the factors are refitted; or reweighted least squares is restarted at the
minimum with its smoothing at 0.05–1 times the smallest singular value, which melts the directions below. A
minimum is accepted if its residual is not much larger than the last one's (threshold acceptance; Dueck &
Scheuer 1990; basin hopping: Wales & Doye 1997). Hops are made on the core that peeling leaves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from overt._utils.seeds import normal
from overt.completion.irls.engine import EntriesEngine
from overt.completion.peeling import peel
from overt.completion.refit import Limits, refit, refit_entries
from overt.completion.result import Completion, Triplet
from overt.linalg import orthonormal_basis

_HOPS = 200
_ACCEPTED = 1.3  # residual over the last one's up to which a minimum is accepted
_RESTART = 30  # hops without a better minimum after which the search returns to the best
_FADING = (1.0, 0.5, 0.25)  # exponents of the weights, one after the other
_STEPS = 12  # of reweighted least squares in a hop


def hop(
    problem: Any,
    start: Completion,
    rank: int,
    *,
    tolerance: float | None = None,
    hops: int = _HOPS,
    seed: int = 0,
) -> Completion:
    """A fit of exactly the given rank, reached from ``start`` by basin hopping.

    Parameters
    ----------
    problem : CompletionProblem
    start : Completion
        Any fit; its singular vectors begin the search.
    rank : int
    tolerance : float, optional
        Relative residual that counts as exact; ``100 eps`` by default.
    hops : int
        Hops at most.
    seed : int

    Returns
    -------
    Completion
        The best fit; ``converged`` says whether it is exact.
    """
    peeled = peel(problem, rank)
    core = problem if peeled is None else peeled.core
    engine = EntriesEngine(core)
    tolerance = 100 * engine.eps if tolerance is None else tolerance
    generator = torch.Generator().manual_seed(seed)
    first = start.triplet
    if peeled is not None:
        first = first[0][peeled.rows], first[1], first[2][:, peeled.cols]
    last = best = _settled(engine, _padded(first, rank, generator), tolerance)
    waited, count = 0, 0
    while not best.converged and count < hops:
        count, waited = count + 1, waited + 1
        if waited > _RESTART:
            last, waited = best, 0
        leave = _weighted if count % 2 else _melted
        found = _settled(engine, leave(engine, last, generator), tolerance)
        if found.residual < 0.999 * best.residual:
            best, waited = found, 0
        if found.residual <= _ACCEPTED * last.residual:
            last = found
    found = best.scaled(engine.scale)
    if peeled is not None:
        found = refit(problem, *peeled.extended(found), rank=rank, tolerance=tolerance)
    message = f"{'exact' if found.converged else 'no exact fit'} at rank {rank} after {count} hops"
    return replace(found, n_iter=count, history=[], message=message)


def _settled(engine: EntriesEngine, point: Triplet, tolerance: float) -> Completion:
    """The minimum that a refit leads to."""
    found = engine.fit(point, Limits(tolerance, 40, 0.0, 5))
    if not found.converged and found.residual < 1e-4:
        found = engine.fit(found.triplet, Limits(tolerance, 100, 0.0, 10))
    return found


def _padded(point: Triplet, rank: int, generator: torch.Generator) -> Triplet:
    """Orthonormal triplets of the given rank, with random directions where there are fewer."""
    U, s, Vt = point
    more = max(0, rank - len(s))
    U = torch.cat([U[:, :rank], normal(len(U), more, generator=generator).to(U)], 1)
    V = torch.cat([Vt[:rank].mT, normal(Vt.shape[1], more, generator=generator).to(Vt)], 1)
    s = torch.cat([s[:rank], s.new_full((more,), 0.1 * float(s[-1]) if len(s) else 1.0)])
    return orthonormal_basis(U), s, orthonormal_basis(V).mT


def _weighted(engine: EntriesEngine, last: Completion, generator: torch.Generator) -> Triplet:
    """Refits with line weights D, E that fade out: ``D X E`` has the rank of X and entries ``D y E``."""
    entries = engine.entries
    logs = [normal(size, generator=generator).to(engine.y) for size in engine.shape]
    V, s = last.Vt.mT, last.singular_values
    for power in _FADING:
        left, right = (torch.exp(power * log / 2) for log in logs)
        y = engine.y * left.index_select(0, entries.rows) * right.index_select(0, entries.cols)
        start = last.U, s, orthonormal_basis(V * right[:, None]).mT
        found = refit_entries(entries, y, start, Limits(1e-14, 6, 0.0, patience=6))
        V = found.Vt.mT / right[:, None]
    return last.U, s, orthonormal_basis(V).mT


def _melted(engine: EntriesEngine, last: Completion, generator: torch.Generator) -> Triplet:
    """Steps of reweighted least squares from the last minimum, with ε below its smallest singular value."""
    share, rank = float(torch.empty(()).uniform_(0.05, 1.0, generator=generator)), last.rank
    *_, iterate = engine.iterate(rank, rank, _STEPS, begin=(last.triplet, share))
    U, s, Vt = iterate.triplet
    return U[:, :rank], s[:rank], Vt[:rank]
