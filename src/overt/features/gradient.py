"""What the final model is sensitive to: M in the input's units, its rank, leading directions and diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt import functional as F
from overt.features.agop import agop
from overt.features.inputs import Units
from overt.features.machine import Stack

__all__ = ["Sensitivity", "sensitivity"]


@dataclass(frozen=True)
class Sensitivity:
    """Read off M of the model.

    ``factor`` (q, d) has M = factorᵀ factor in the units of inputs and outputs. The rest is of standardized
    inputs, so that it does not depend on units: effective rank, orthonormal ``directions`` (r, d), their
    ``shares`` of the trace of M, and the share of each column.
    """

    factor: NDArray[np.float64]
    rank: float
    directions: NDArray[np.float64]
    shares: NDArray[np.float64]
    importances: NDArray[np.float64]


def sensitivity(stack: Stack, X: Tensor, inputs: Units, outputs: Units) -> Sensitivity:
    """M of a stack of standardized inputs X (n, d), in the units of the table and the targets."""
    spread = torch.as_tensor(outputs.spread).to(X)
    unit = float(spread.max()) if bool(spread.max() > 0) else 1.0
    rows = agop(stack, X, outputs=spread / unit).factor().double().cpu()
    d = X.shape[1]
    total = float(rows.square().sum())
    if not total > 0:
        nothing = np.zeros(0)
        return Sensitivity(np.zeros((1, d)), 0.0, np.zeros((0, d)), nothing, np.zeros(d))
    lengths = rows.norm(dim=1)
    rank = float(F.effective_rank(singular_values=lengths))
    count = max(1, min(len(rows), int(np.ceil(rank - 1e-9)), int((lengths > 0).sum())))
    directions = rows[:count] / lengths[:count, None]
    with np.errstate(over="ignore"):
        factor = rows.numpy() * inputs.slope * unit
    shares = (lengths[:count].square() / total).numpy()
    return Sensitivity(factor, rank, directions.numpy(), shares, (rows.square().sum(0) / total).numpy())
