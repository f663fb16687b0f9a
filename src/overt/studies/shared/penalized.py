"""What the studies of explicit penalties train: networks, and vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from overt.models import DeepLinear
from overt.problems import CompletionProblem, SensingProblem

__all__ = ["OPTIONS", "Coordinates", "ReluNetwork", "network", "scale_of"]

# Weight decay is a penalty of its own: Muon goes without. AdamW keeps it, for it is what AdamW is.
OPTIONS: dict[str, dict[str, float]] = {"muon": {"weight_decay": 0.0}}


class ReluNetwork(DeepLinear):
    """The layers of a deep linear network with max(·, 0) between them, applied to the identity matrix.

    Its end-to-end matrix is W_N max(… max(W_2 max(W_1, 0), 0) …, 0), so that at depth 1 it is W_1 itself.
    """

    def product(self) -> Tensor:
        """The end-to-end matrix, of shape (n_N, n_0)."""
        first, *rest = self.weights
        product: Tensor = first
        for weight in rest:
            product = weight @ product.relu()
        return product

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to x of shape (..., n_0)."""
        first, *rest = self.weights
        x = x @ first.mT
        for weight in rest:
            x = x.relu() @ weight.mT
        return x


class Coordinates(nn.Module):
    """The linear functional w itself."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start)

    def product(self) -> Tensor:
        """``w``, shape (d,)."""
        return self.w


def network(shape: tuple[int, int], depth: int, activation: str, init_scale: float, seed: int) -> DeepLinear:
    """A network of full width, ``linear`` or ``relu``, in double precision."""
    m, n = shape
    kind = ReluNetwork if activation == "relu" else DeepLinear
    sizes = (n, *(min(m, n),) * (depth - 1), m)
    return kind(sizes, scale=init_scale, seed=seed, dtype=torch.float64)


def scale_of(problem: CompletionProblem | SensingProblem) -> float:
    """The Frobenius norm that the observations suggest: √(mn) times their root mean square.

    Measurement matrices have entries of variance 1/(mn), as those of `matrix_sensing`.
    """
    m, n = problem.shape
    return math.sqrt(m * n * float(problem.y.square().mean()))
