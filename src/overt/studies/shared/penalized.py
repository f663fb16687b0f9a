"""One penalized training, as the studies of explicit penalties make it: a network, a functional, a record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.penalties.spectral import SCALE_INVARIANT
from overt.problems import CompletionProblem
from overt.studies.base import RunContext
from overt.studies.shared.training_runs import how, summary, teller, trace_arrays
from overt.training import Recording, train

__all__ = ["Coordinates", "Penalized", "ReluNetwork", "network", "scale_of", "train_penalized"]

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


@dataclass(frozen=True)
class Penalized:
    """What is trained, and how.

    Attributes
    ----------
    functional : str or callable
        A name in ``overt.functional``, or a function of one matrix.
    options : dict
        Further arguments of a named functional.
    scale_invariant : bool
        Whether a callable does not depend on the scale, so that ``norm_cap`` is for it, too.
    norm_cap : float or None
        Of scale-invariant functionals, in units of the norm that the observations suggest; None for no guard.
    """

    functional: str | Callable[[Tensor], Tensor]
    options: dict[str, Any]
    weight: float
    optimizer: str
    lr: float
    depth: int
    activation: str
    init_scale: float
    max_steps: int
    seed: int
    scale_invariant: bool = False
    norm_cap: float | None = None


def network(shape: tuple[int, int], setting: Penalized) -> DeepLinear:
    """The network of a setting, full width, in double precision."""
    m, n = shape
    kind = ReluNetwork if setting.activation == "relu" else DeepLinear
    sizes = (n, *(min(m, n),) * (setting.depth - 1), m)
    return kind(sizes, scale=setting.init_scale, seed=setting.seed, dtype=torch.float64)


def scale_of(problem: CompletionProblem) -> float:
    """The Frobenius norm that the observations suggest: √(mn) times their root mean square."""
    m, n = problem.shape
    return math.sqrt(m * n * float(problem.y.square().mean()))


def train_penalized(
    problem: CompletionProblem,
    setting: Penalized,
    context: RunContext,
    *,
    trace: bool = False,
    checkpoint: str = "run",
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train with a constant weight to the end of the budget; return the record and, if asked, the trace.

    A run that trains several times gives each training its own ``checkpoint``, so that it can be resumed.
    """
    model = network(problem.shape, setting)
    result = train(
        model,
        problem,
        optimizer=setting.optimizer,
        optimizer_options=OPTIONS.get(setting.optimizer),
        lr=setting.lr,
        penalty=_penalty(problem, model, setting) if setting.weight > 0 else None,
        max_steps=setting.max_steps,
        tolerance=1e-14,
        recording=Recording(per_decade=20 if trace else 2, error_targets=(0.1, 0.05, 0.01)),
        checkpoint=context.directory / f"{checkpoint}.safetensors",
        callback=teller(context),
    )
    record = summary(result.W, problem) | how(result)
    truth = problem.truth
    if truth is not None:
        record["true_effective_rank"] = float(F.effective_rank(truth))
    return record, trace_arrays(result.trace) if trace else {}


def _penalty(problem: CompletionProblem, model: DeepLinear, setting: Penalized) -> SpectralPenalty:
    named = isinstance(setting.functional, str) and setting.functional in SCALE_INVARIANT
    capped = setting.norm_cap is not None and (named or setting.scale_invariant)
    return SpectralPenalty(
        model,
        setting.functional,
        of="product",
        weight=setting.weight,
        options=setting.options or None,
        norm_cap=setting.norm_cap * scale_of(problem) if capped and setting.norm_cap is not None else None,
    )
