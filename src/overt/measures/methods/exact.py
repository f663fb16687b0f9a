"""M = E[JᵀJ] from all outputs of all inputs."""

from __future__ import annotations

from typing import Any

import torch

from overt.linalg import Basis, RowStack, svd
from overt.linalg.row_stack import LARGEST_SQUARE
from overt.measures.methods.moments import Moments, values_with_errors
from overt.networks.jacobian import jacobian_blocks, require_finite_rows
from overt.networks.passes import Passes, wide_dtype


def exact_diagonal(passes: Passes, basis: Basis, errors_over: str = "data") -> dict[str, Any]:
    """√diag(U M U*) and, if the inputs are a sample, its standard errors."""
    moments = Moments()
    for x, y, rows in passes:
        power = torch.zeros(len(x), basis.size, dtype=wide_dtype(x.device), device=x.device)
        for block in jacobian_blocks(rows, x, y):
            power += basis.power(block).sum(1)
        require_finite_rows(power)
        moments.add(power)
    variance = moments.variance_of_mean() if errors_over == "data" else None
    values, stderr = values_with_errors(moments.mean, variance)
    return {
        "values": values,
        "stderr": stderr,
        "covers": "data" if stderr is not None else "",
        "n_samples": moments.count,
    }


def exact_eigen(passes: Passes, memory_budget: int) -> dict[str, Any]:
    """Singular values of the stacked Jacobians over √n, and the factor diag(σ) Vᵀ of M."""
    size = passes.input_size
    stack = RowStack(size, row_limit(size, passes.dtype, memory_budget), lossless=True)
    _require_room(stack, passes.least * passes.outputs)
    count = 0
    for x, y, rows in passes:
        count += len(x)
        _require_room(stack, count * passes.outputs)
        for block in jacobian_blocks(rows, x, y):
            require_finite_rows(block)
            stack.append(block.flatten(0, 1).flatten(1))
    _, S, Vh = svd(stack.rows() / count**0.5)
    return {"values": S, "factor": S[:, None] * Vh, "n_samples": count}


def _require_room(stack: RowStack, rows: int) -> None:
    """ValueError if a stack cannot keep so many rows, before the passes that they take."""
    if rows > stack.most:
        raise ValueError(
            f"memory_budget: outputs × inputs make {rows} rows of {stack.columns} entries or more, and the "
            f"exact eigenvalues need all of them, of which there is room for {stack.most}; use measure(..., "
            f"method='sketch'), fewer inputs, or, where they have up to {LARGEST_SQUARE} entries, a larger "
            "memory_budget"
        )


def row_limit(size: int, dtype: torch.dtype, memory_budget: int) -> int:
    """Rows that may be kept: no more than half of the budget holds, or a decomposition can use."""
    affordable = memory_budget // (2 * size * max(4, dtype.itemsize))
    useful = max(8 * size, 65536) if size <= LARGEST_SQUARE else LARGEST_SQUARE
    return int(max(2, min(affordable, useful)))
