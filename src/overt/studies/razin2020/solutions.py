"""The solution that a deep network finds, and other solutions of the same data."""

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
from overt.studies.base import RunContext, Skip
from overt.studies.razin2020.settings import FUNCTIONALS, SMOOTH, WhichConfig
from overt.studies.shared.training_runs import how
from overt.training import Stopping, train

RANK_TOLERANCE = 1e-2
SPIKE = 1e3
STEP = 2e-3  # of Adam: in 1500 steps an entry can move by three times its usual size


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


def compare(config: WhichConfig, context: RunContext) -> dict[str, Any]:
    """Train a deep network and compare its solution with others of the same data."""
    problem, convex, number = _instance(config)
    context.progress(f"rank and nuclear norm differ in draw {number}")
    model = DeepLinear(
        (config.n,) * (config.depth + 1), scale=config.init_scale, seed=config.seed, dtype=torch.float64
    )
    result = train(
        model,
        problem,
        optimizer="gd",
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=1e-9,
        checkpoint=context.directory / "run.safetensors",
    )
    found = Completed(exact(result.W, problem), problem.observed).product().detach()
    solutions, drops = _others(found, problem, config.descent_steps)
    # One threshold for all: relative to each one's own largest value a single huge entry would hide the rest.
    threshold = RANK_TOLERANCE * float(F.spectral_norm(found))
    solutions |= {"minimum nuclear norm": exact(convex, problem), "network": found}
    values = {name: measure(W, threshold) for name, W in solutions.items()}
    excess = {
        name: values["network"][name] / min(each[name] for each in values.values()) - 1
        for name in FUNCTIONALS
    }
    loss = float(problem.loss(result.W)) / float(problem.y.square().mean())
    record = {"draw": number, "error": problem.error(found), "loss": loss, "values": values}
    return how(result) | record | {"drops": drops, "excess": excess}


def _instance(config: WhichConfig) -> tuple[CompletionProblem, Tensor, int]:
    """The first instance on which rank and nuclear norm can be told apart, its convex solution and number."""
    for number in range(config.draws):
        problem = matrix_completion(
            (config.n, config.n),
            rank=config.rank,
            n_observed=config.n_observed,
            seed=config.seed * config.draws + number,
            min_per_line=config.rank,
        )
        W = nuclear_norm_minimization(problem).W
        assert problem.truth is not None
        if float(F.nuclear_norm(W)) < (1 - config.apart) * float(F.nuclear_norm(problem.truth)):
            return problem, W, number
    raise Skip(f"rank and nuclear norm agree in all of {config.draws} instances")


def exact(W: Tensor, problem: CompletionProblem) -> Tensor:
    """W with the observed entries at the observed values."""
    return torch.where(problem.observed, problem.adjoint(problem.y), W)


def measure(W: Tensor, threshold: float = 0.0) -> dict[str, float]:
    """Number of singular values above a threshold, effective rank, normalized and plain nuclear norm."""
    s = F.singular_values(W)
    smooth: dict[str, Callable[..., Tensor]] = {name: getattr(F, _function(name)) for name in SMOOTH}
    found = {name: float(function(singular_values=s)) for name, function in smooth.items()}
    return {"rank": float((s > threshold).sum()), **found}


def _function(name: str) -> str:
    return name.replace(" ", "_")


def _others(
    found: Tensor, problem: CompletionProblem, steps: int
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Other solutions of the same data, and by what part each descent lowered its functional."""
    assert problem.truth is not None
    spike = found.clone().reshape(-1)
    place = int((~problem.observed).reshape(-1).nonzero()[0])
    spike[place] = SPIKE * found.abs().max()
    solutions = {"truth": problem.truth, "one huge entry": spike.view_as(found)}
    drops: dict[str, float] = {}
    for name in SMOOTH:
        model = Completed(found, problem.observed)
        # No floor under the norm: the observed entries keep it from zero.
        penalty = SpectralPenalty(model, _function(name), of="product", weight=1.0)
        spikes = Stopping(blow_up=1e6)  # they are what is looked for
        train(model, problem, lr=STEP, penalty=penalty, max_steps=steps, stopping=spikes)
        W = model.product().detach()
        solutions[f"descent on {name}"] = W
        drops[name] = 1 - measure(W)[name] / measure(found)[name]
    return solutions, drops
