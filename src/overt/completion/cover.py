"""Rows and columns that together meet a set of positions."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor

Lines = tuple[tuple[int, ...], tuple[int, ...]]


def smallest_cover(rows: Tensor, cols: Tensor, weights: tuple[Tensor, Tensor]) -> Lines:
    """Rows and columns of least total weight that meet all positions; column −1 stands for the whole row.

    A minimum cut: source → row and column → sink with the weights, row → column without limit for each
    position (Kőnig 1931; Ford & Fulkerson 1956).

    Parameters
    ----------
    rows, cols : Tensor of int64, shape (k,)
    weights : (Tensor of int64, shape (m,), Tensor of int64, shape (n,))
        Positive.

    Examples
    --------
    >>> import torch
    >>> from overt.completion.cover import smallest_cover
    >>> ones = torch.ones(4, dtype=torch.long)
    >>> smallest_cover(torch.tensor([0, 1, 2, 3]), torch.tensor([2, 2, 2, 0]), (ones, ones))
    ((3,), (2,))
    """
    i, j = (positions.cpu().numpy() for positions in (rows, cols))
    whole = np.unique(i[j < 0])
    rest = ~np.isin(i, whole)
    if not rest.any():
        return tuple(whole.tolist()), ()
    left, i = np.unique(i[rest], return_inverse=True)
    right, j = np.unique(j[rest], return_inverse=True)
    costs = [side.cpu().numpy()[lines] for side, lines in zip(weights, (left, right), strict=True)]
    a, b = _cut(i, j, *costs)
    return tuple(np.union1d(left[a], whole).tolist()), tuple(right[b].tolist())


def _cut(
    i: NDArray[np.int64], j: NDArray[np.int64], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows and columns a minimum cut separates from the source and the sink."""
    p, q = len(rows), len(cols)
    source, sink = p + q, p + q + 1
    tail = np.concatenate([np.full(p, source), i, p + np.arange(q)])
    head = np.concatenate([np.arange(p), p + j, np.full(q, sink)])
    limit = int(min(rows.sum(), cols.sum())) + 1
    room = np.concatenate([rows, np.full(len(i), limit), cols]).astype(np.int32)
    graph = scipy.sparse.csr_matrix((room, (tail, head)), shape=(p + q + 2, p + q + 2))
    left = graph - maximum_flow(graph, source, sink).flow
    left = (left > 0).astype(np.int32)
    reached = np.zeros(p + q + 2, dtype=bool)
    reached[source] = True
    while True:
        new = (left.T @ reached.astype(np.int32) > 0) & ~reached
        if not new.any():
            return ~reached[:p], reached[p : p + q]
        reached |= new
