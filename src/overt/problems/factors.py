"""Entries and norms of U Vᵀ, without forming the product."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt.linalg import Factored, qr
from overt.problems.base import factors_of

__all__ = ["distance", "entries_of", "frobenius"]

_BLOCK = 2**24  # entries of the dense matrix looked at at once
_GATHER = 2**22  # numbers gathered from a factor at once: 32 MiB in double precision


def frobenius(U: Tensor, V: Tensor) -> float:
    """‖U Vᵀ‖_F from the triangular factors of U (m, r) and V (n, r).

    Unlike tr(UᵀU VᵀV) this loses no digits when the columns nearly cancel.
    """
    return float(torch.linalg.matrix_norm(qr(U)[1] @ qr(V)[1].mT))


def distance(W: Tensor | Factored, U: Tensor, V: Tensor) -> float:
    """‖W − U Vᵀ‖_F for W dense (m, n), read in row blocks, or factored.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    shape = (U.shape[0], V.shape[0])
    if tuple(W.shape) != shape:
        raise ValueError(f"W must have shape {shape}, got {tuple(W.shape)}")
    factors = factors_of(W)
    if factors is not None:
        left, right = factors
        return frobenius(torch.cat([left, U], 1), torch.cat([right, -V], 1))
    assert isinstance(W, Tensor)
    step = max(1, _BLOCK // shape[1])
    return math.hypot(
        *(
            float(torch.linalg.vector_norm(W[i : i + step] - U[i : i + step] @ V.mT))
            for i in range(0, shape[0], step)
        )
    )


def entries_of(U: Tensor, V: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """(U Vᵀ)[rows, cols], gathered in pieces of bounded size."""
    step = max(1, _GATHER // max(1, U.shape[1]))
    pieces = [
        (U.index_select(0, rows[i : i + step]) * V.index_select(0, cols[i : i + step])).sum(-1)
        for i in range(0, rows.numel(), step)
    ]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
