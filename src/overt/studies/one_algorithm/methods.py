"""The four forms on one instance, each with the same refit: what a run of either part makes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field

from overt import functional as F
from overt.completion import irls
from overt.features.linear import linear_feature_machine
from overt.problems import matrix_sensing
from overt.studies.base import RunContext, StudyConfig
from overt.studies.shared.completion_runs import Arm, Problem, instance, trained
from overt.studies.shared.recovery import refit_record

__all__ = [
    "MACHINES",
    "NETWORKS",
    "RATES",
    "SOLVERS",
    "WEIGHTS",
    "WORDS",
    "FormConfig",
    "arm_of",
    "instance_of",
    "solve",
    "summarized",
]

Form = Literal[
    "irls",
    "irls told",
    "machine 1",
    "machine 2",
    "machine 3",
    "machine 4",
    "depth 2",
    "depth 3",
    "depth 4",
    "penalty",
    "weight 0",
]
MACHINES = ("machine 2", "machine 3", "machine 4")
NETWORKS = ("depth 2", "depth 3", "depth 4")
SOLVERS = ("irls told", "irls", *MACHINES, "machine 1")
RATES = {"depth": (1e-2, 3e-3), "penalty": (2e-2, 2e-2), "weight 0": (2e-2, 2e-2)}
WEIGHTS = (1e-2, 3e-3)
ITERATIONS = 1_000  # of a feature machine, at most
FIT = 1e-6  # a relative loss at which a network without a penalty has fitted the data
WORDS = {
    "irls told": "IRLS, told the rank",
    "irls": "IRLS",
    "machine 1": "feature machine, α = 0",
    "machine 2": "feature machine, α = 1/2",
    "machine 3": "feature machine, α = 2/3",
    "machine 4": "feature machine, α = 3/4",
    "depth 2": "network of depth 2",
    "depth 3": "network of depth 3",
    "depth 4": "network of depth 4",
    "penalty": "one layer, penalty",
    "weight 0": "one layer, weight 0",
}


class FormConfig(StudyConfig):
    """One form on one instance, an n×n matrix of low rank.

    Attributes
    ----------
    problem : {"completion", "sensing"}
        Entries, or inner products with Gaussian matrices.
    rho : float
        Observations for each degree of freedom of the matrix, |Ω| / (r (2n − r)).
    method : str
        "irls", which finds the rank by itself, or is told it; "machine L", the linear feature machine with
        α = 1 − 1/L; "depth L", a deep linear network under Adam; "penalty", one layer with the normalized
        nuclear norm under Adam; "weight 0", the same without it.
    setting : int
        0 or 1: which of a network's two learning rates, or of the penalty's two weights.
    max_steps : int
        Of training.
    """

    problem: Literal["completion", "sensing"] = "completion"
    n: int = Field(default=30, ge=4)
    rank: int = Field(default=2, ge=1)
    rho: float = Field(default=2.0, gt=0)
    method: Form = "irls"
    setting: int = Field(default=0, ge=0, le=1)
    max_steps: int = Field(default=6_000, ge=1)

    @property
    def n_observed(self) -> int:
        """Numbers that are observed."""
        return round(self.rho * self.rank * (2 * self.n - self.rank))

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return WEIGHTS[self.setting] if self.method == "penalty" else 0.0

    @property
    def depth(self) -> int:
        """Layers of a network."""
        return int(self.method.removeprefix("depth ")) if self.method in NETWORKS else 1

    @property
    def lr(self) -> float:
        """Of Adam."""
        return RATES.get(self.method, RATES["depth"])[self.setting]


def solve(config: FormConfig, context: RunContext) -> dict[str, Any]:
    """The record of one form: how it ended, the effective rank, and the errors before and after the refit."""
    problem = instance_of(config)
    W, record = _solved(config, problem) if config.method in SOLVERS else _trained(config, problem, context)
    return record | summarized(W, problem) | refit_record(W, problem)


def summarized(W: torch.Tensor, problem: Problem) -> dict[str, float]:
    """The effective rank and the relative loss of a matrix."""
    loss = float(problem.loss(W)) / float(problem.y.square().mean())
    return {"effective_rank": float(F.effective_rank(W)), "loss": loss}


def arm_of(config: FormConfig) -> Arm:
    """What is trained: a network's form."""
    return Arm(config.seed, config.depth, config.weight, lr=config.lr, max_steps=config.max_steps)


def instance_of(config: FormConfig) -> Problem:
    """The matrix and what is observed of it."""
    if config.problem == "completion":
        return instance(config.n, config.rank, config.n_observed, config.seed)
    shape = (config.n, config.n)
    return matrix_sensing(shape, rank=config.rank, n_measurements=config.n_observed, seed=config.seed)


def _solved(config: FormConfig, problem: Problem) -> tuple[torch.Tensor, dict[str, Any]]:
    """A machine that has not settled has used up its rounds; IRLS without an exact fit has given up."""
    found: Any
    if config.method.startswith("machine"):
        depth = float(config.method.removeprefix("machine "))
        found, otherwise = linear_feature_machine(problem, depth, max_iter=ITERATIONS), "budget"
    else:
        rank: str | int = config.rank if config.method == "irls told" else "participation_ratio"
        found, otherwise = irls(problem, rank_proxy=rank), "stopped"
    status = "converged" if found.converged else otherwise
    return found.W, {"status": status, "steps": found.n_iter, "seconds": found.seconds}


def _trained(
    config: FormConfig, problem: Problem, context: RunContext
) -> tuple[torch.Tensor, dict[str, Any]]:
    result, left = trained(problem, arm_of(config), context)
    return result.W, {"status": result.status, "steps": result.steps, "seconds": result.seconds, **left}
