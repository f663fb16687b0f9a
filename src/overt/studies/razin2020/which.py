"""R6: of which functional is the solution that a deep network finds the least one?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.completion import nuclear_norm_minimization
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.razin2020.config import RazinConfig
from overt.studies.shared.training_runs import how
from overt.training import Stopping, train

RANK_TOLERANCE = 1e-2
SPIKE = 1e3
SMOOTH = ("effective_rank", "normalized_nuclear_norm", "nuclear_norm")
DESCENT_STEPS = 1500  # with Adam's steps of 2e-3 an entry can move by three times its usual size


class Completed(nn.Module):
    """The matrices that have given entries at the observed places; the open entries are the parameters."""

    def __init__(self, W: Tensor, observed: Tensor) -> None:
        super().__init__()
        self.register_buffer("base", torch.where(observed, W, torch.zeros_like(W)))
        self.register_buffer("places", (~observed).reshape(-1).nonzero()[:, 0])
        self.open = nn.Parameter(W.reshape(-1)[(~observed).reshape(-1)].clone())

    def product(self) -> Tensor:
        """The whole matrix."""
        base, places = self.get_buffer("base"), self.get_buffer("places")
        filled = base.reshape(-1).index_put((places,), self.open)
        return filled.view_as(base)


def run_which(config: RazinConfig, context: RunContext) -> RunOutput:
    """Train a deep network and compare its solution with others of the same data."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )
    model = DeepLinear(
        (config.n,) * (config.depth + 1), scale=config.init_scale, seed=config.seed, dtype=torch.float64
    )
    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=1e-12,
        checkpoint=context.directory / "run.safetensors",
    )
    found = Completed(exact(result.W, problem), problem.observed).product().detach()
    solutions, descents = _others(found, problem)
    # One threshold for all: relative to each one's own largest value a single huge entry would hide the rest.
    threshold = RANK_TOLERANCE * float(F.spectral_norm(found))
    values = {name: measure(W, threshold) for name, W in ({"network": found} | solutions).items()}
    record: dict[str, Any] = {"error": problem.error(found), "values": values, "descents": descents}
    record["excess"] = {
        name: values["network"][name] / min(each[name] for each in values.values()) - 1
        for name in ("rank", *SMOOTH)
    }
    return RunOutput([record | how(result)])


def exact(W: Tensor, problem: CompletionProblem) -> Tensor:
    """W with the observed entries at the observed values."""
    return torch.where(problem.observed, problem.adjoint(problem.y), W)


def measure(W: Tensor, threshold: float = 0.0) -> dict[str, float]:
    """Number of singular values above a threshold, effective rank, normalized and plain nuclear norm."""
    s = F.singular_values(W)
    smooth: dict[str, Callable[..., Tensor]] = {name: getattr(F, name) for name in SMOOTH}
    found = {name: float(function(singular_values=s)) for name, function in smooth.items()}
    return {"rank": float((s > threshold).sum()), **found}


def _others(
    found: Tensor, problem: CompletionProblem
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Other solutions of the same data, and how far each descent went from the network's."""
    assert problem.truth is not None
    spike = found.clone().reshape(-1)
    place = int((~problem.observed).reshape(-1).nonzero()[0])
    spike[place] = SPIKE * found.abs().max()
    solutions = {
        "truth": problem.truth,
        "minimum nuclear norm": exact(nuclear_norm_minimization(problem).W, problem),
        "one huge entry": spike.view_as(found),
    }
    descents: dict[str, dict[str, float]] = {}
    for name in SMOOTH:
        model = Completed(found, problem.observed)
        penalty = SpectralPenalty(model, name, of="product", weight=1.0)
        spikes = Stopping(blow_up=1e6)  # they are what is looked for
        train(model, problem, lr=2e-3, penalty=penalty, max_steps=DESCENT_STEPS, stopping=spikes)
        W = model.product().detach()
        solutions[f"descent on {name}"] = W
        before, after = measure(found)[name], measure(W)[name]
        descents[name] = {
            "drop": 1 - after / before,
            "moved": float(torch.linalg.vector_norm(W - found) / torch.linalg.vector_norm(found)),
        }
    return solutions, descents
