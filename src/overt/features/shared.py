"""M of the last dimensions of inputs, summed over the others: never the matrix of whole inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from overt.features.weighting import moment
from overt.networks.guard import measuring
from overt.networks.jacobian import jacobian_blocks, require_finite_rows
from overt.networks.passes import Passes
from overt.networks.probes import Probing
from overt.networks.target import Target

_BUDGET = 2**30  # bytes of one pass, as for overt.measure


def shared_moment(
    model: Any,
    X: Tensor,
    basis: str,
    shape: tuple[int, ...],
    *,
    outputs: str,
    probes: int | None,
    max_samples: int | None,
    seed: int,
) -> Tensor:
    """E Σ_t J_tᵀJ_t over inputs (n, …, *shape), J_t the Jacobian by part t of an input; float64, on the CPU.

    By all outputs, or by random vector–Jacobian products, ``probes`` of each input. Inputs may be far larger
    than the eigenbasis of whole ones allows: a sequence of embeddings takes one e × e matrix.

    Raises
    ------
    TypeError, ValueError
        As for :func:`overt.measure`.
    """
    target = Target(model, outputs)  # type: ignore[arg-type]
    total, count = torch.zeros(()), 0
    with measuring(target.model):
        passes = Passes(target, X, memory_budget=_BUDGET, vectors=probes or 0, max_samples=max_samples)
        probing = None if probes is None else Probing(passes.outputs, probes, seed)
        for x, y, rows in passes:
            count += len(x)
            if probing is None:
                blocks = jacobian_blocks(rows, x, y)
            else:
                blocks = (draw[:, None] * probing.weight**0.5 for draw in probing.draws(x, y))
            for block in blocks:
                require_finite_rows(block)
                total = total + moment(block.flatten(0, 1).cpu(), basis, shape)
    return total / count
