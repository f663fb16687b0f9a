"""S6: linear regression, where the implicit biases are known in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from overt.linalg.decompositions import least_squares
from overt.models import DeepDiagonal
from overt.penalties import VectorPenalty
from overt.problems import RegressionProblem, linear_regression
from overt.studies.base import RunContext, RunOutput
from overt.studies.story.config import StoryConfig
from overt.training import HoldUntilCollapse, train


class Vector(nn.Module):
    """The linear model w itself, started at the given scale."""

    def __init__(self, dim: int, scale: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(scale * torch.randn(dim, generator=generator, dtype=torch.float64))

    def product(self) -> Tensor:
        """``w``, shape (d,)."""
        return self.w


def run_regression(config: StoryConfig, context: RunContext) -> RunOutput:
    """Fit an under-determined regression by plain GD from zero, a deep diagonal network or a penalty."""
    problem = linear_regression(
        config.n, n_samples=config.n_observed, seed=config.seed, nonzeros=config.rank or None
    )
    if config.method == "l1_over_l2":
        W, how = _explicit(config, problem)
    else:
        model: nn.Module
        if config.method == "gd":
            model = Vector(config.n, 0.0, config.seed)
        else:
            model = DeepDiagonal(config.n, config.depth, config.init_scale, dtype=torch.float64)
        result = train(
            model,
            problem,
            optimizer=config.optimizer,
            lr=config.lr,
            max_steps=config.max_steps,
            tolerance=1e-20,
            checkpoint=context.directory / "run.safetensors",
        )
        W, how = result.W, {"status": result.status, "steps": result.steps, "message": result.message}
    return RunOutput([_measure(W, problem) | how])


def _explicit(config: StoryConfig, problem: RegressionProblem) -> tuple[Tensor, dict[str, Any]]:
    """‖w‖₁/‖w‖₂ with Adam at depth 1, held until the coordinates have collapsed, then least squares."""
    model = Vector(config.n, config.init_scale, config.seed)
    penalty = VectorPenalty(model, 1.0, 2.0, weight=config.weight)
    schedule = HoldUntilCollapse(release_steps=0)
    result = train(
        model, problem, lr=config.lr, penalty=penalty, schedule=schedule, max_steps=config.max_steps
    )
    w = result.W
    if schedule.rank is not None:
        support = w.abs().topk(schedule.rank).indices
        w = torch.zeros_like(w)
        w[support] = least_squares(problem.X[:, support], problem.y)
    how = {"status": result.status, "steps": result.steps, "message": result.message}
    return w, how | {"nonzeros": schedule.rank}


def _measure(w: Tensor, problem: RegressionProblem) -> dict[str, Any]:
    minimum = least_squares(problem.X, problem.y)
    l1, l2 = float(w.abs().sum()), float(w.norm())
    return {
        "error": problem.error(w),
        "to_minimum_norm": float((w - minimum).norm() / minimum.norm()),
        "minimum_norm_error": problem.error(minimum),
        "loss": float(problem.loss(w)) / float(problem.y.square().mean()),
        "l1": l1,
        "l2": l2,
        "l1_over_l2": l1 / l2 if l2 > 0 else None,
    }
