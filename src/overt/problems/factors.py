"""Entries and norms of factored matrices, without forming the product."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from overt.linalg import Factored, qr

_BLOCK = 2**24  # entries of the dense matrix looked at at once
_GATHER = 2**22  # numbers gathered from a factor at once: 32 MiB in double precision


def frobenius(W: Factored) -> float:
    """‖U Vᵀ‖_F from the triangular factors of U (m, r) and V (n, r).

    Unlike tr(UᵀU VᵀV) this loses no digits when the columns nearly cancel.
    """
    return float(torch.linalg.matrix_norm(qr(W.U)[1] @ qr(W.V)[1].mT))


def distance(W: Tensor | Factored, truth: Factored) -> float:
    """‖W − truth‖_F for W (m, n) dense, read in row blocks, or factored."""
    if isinstance(W, Factored):
        return frobenius(W - truth)
    m, n = truth.shape
    step = max(1, _BLOCK // n)
    pieces = ((W[i : i + step], truth.U[i : i + step]) for i in range(0, m, step))
    return math.hypot(*(float(torch.linalg.vector_norm(rows - U @ truth.V.mT)) for rows, U in pieces))


def entries_of(W: Factored, rows: Tensor, cols: Tensor) -> Tensor:
    """Entries of W at (rows, cols), gathered in pieces of bounded size."""
    step = max(1, _GATHER // max(1, W.U.shape[1]))
    pieces = [
        (W.U.index_select(0, rows[i : i + step]) * W.V.index_select(0, cols[i : i + step])).sum(-1)
        for i in range(0, rows.numel(), step)
    ]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]
