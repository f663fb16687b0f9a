"""An order of the rows and folds that do not depend on how rows came or in which units columns are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["folds_of", "settled"]


def settled(X: Tensor, Y: Tensor, random: np.random.RandomState) -> NDArray[np.int64]:
    """A random order of the rows that depends on what they hold, not on the order in which they came.

    Any stretch of it stands for all rows.
    """
    order = _ordered(X, Y)
    return order[random.permutation(len(order))]


def folds_of(X: Tensor, Y: Tensor, count: int, random: np.random.RandomState) -> Tensor:
    """A fold for each row: rows next to each other in order of the target are dealt to different ones."""
    order = _ordered(X, Y)
    n = len(order)
    folds = np.empty(n, dtype=np.int64)
    folds[order] = np.concatenate([random.permutation(count) for _ in range(-(-n // count))])[:n]
    return torch.as_tensor(folds).to(X.device)


def _ordered(X: Tensor, Y: Tensor) -> NDArray[np.int64]:
    """Rows in order of their targets, then of their norms."""
    keys = [X.double().square().sum(1), *reversed(Y.double().unbind(1))]
    found: NDArray[np.int64] = np.lexsort([key.cpu().numpy() for key in keys])
    return found
