"""Making one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overt.linalg.decompositions import least_squares
from overt.models import DeepDiagonal
from overt.penalties import VectorPenalty
from overt.problems import RegressionProblem, linear_regression
from overt.studies.base import RunContext, RunOutput
from overt.studies.shared.penalized import Coordinates
from overt.studies.shared.training_runs import how
from overt.studies.woodworth2020.bias import Floats, basis_pursuit, minimum_norm, q_minimizer, q_value
from overt.studies.woodworth2020.config import WoodworthConfig
from overt.training import Stopping, TrainResult, train


def execute(config: WoodworthConfig, context: RunContext) -> RunOutput:
    """Fit an under-determined regression by depth or a penalty, and compare it with what theory predicts."""
    problem = linear_regression(
        config.n, n_samples=config.n_observed, seed=config.seed, nonzeros=config.nonzeros or None
    )
    if config.group == "explicit":
        w, result = _penalized(config, problem)
    else:
        result = _implicit(config, problem, context)
        w = result.W
    return RunOutput([_compared(w, problem, config) | how(result)])


def rate(config: WoodworthConfig) -> float:
    """The learning rate; for plain descent over the curvature, which grows with depth and initial weight."""
    if config.optimizer != "gd":
        return config.lr
    growth: float = max(1.0, config.alpha) ** (2 * config.depth - 2) if config.depth > 1 else 1.0
    return config.lr / (config.depth**2 * growth)


def _factor(config: WoodworthConfig) -> Callable[[int], float] | None:
    """Steps of one length for half of the run, then ever shorter ones; plain descent needs none of this."""
    if config.optimizer != "grouprmsprop":
        return None
    half = config.max_steps / 2
    return lambda step: float(10.0 ** (-4 * max(0.0, step / half - 1)))


def _implicit(config: WoodworthConfig, problem: RegressionProblem, context: RunContext) -> TrainResult:
    model: nn.Module
    if config.depth == 1:
        model = Coordinates(torch.zeros(config.n, dtype=torch.float64))
    else:
        model = DeepDiagonal(config.n, config.depth, config.alpha**config.depth, dtype=torch.float64)
    return train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=rate(config),
        max_steps=config.max_steps,
        tolerance=1e-14,
        lr_schedule=_factor(config),
        checkpoint=context.directory / "run.safetensors",
    )


def _penalized(config: WoodworthConfig, problem: RegressionProblem) -> tuple[Tensor, TrainResult]:
    """The penalty with a rate that falls to zero, then least squares on the coordinates that are left.

    The start is the minimum norm solution: near zero a ratio of norms, which does not know the scale, would
    swamp the data.
    """
    model = Coordinates(torch.from_numpy(minimum_norm(problem.X.numpy(), problem.y.numpy())))
    penalty = VectorPenalty(model, config.p, config.q, weight=config.weight)
    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        penalty=penalty,
        max_steps=config.max_steps,
        stopping=Stopping(stall_steps=config.max_steps),
        lr_schedule=lambda step: max(0.0, 1 - step / config.max_steps),
    )
    w = result.W
    kept = (w.abs() > config.threshold * w.abs().max()).nonzero()[:, 0]
    if len(kept) <= problem.n_observed:
        w = torch.zeros_like(w)
        w[kept] = least_squares(problem.X[:, kept], problem.y)
    return w, result


def _compared(w: Tensor, problem: RegressionProblem, config: WoodworthConfig) -> dict[str, Any]:
    X, y, found = problem.X.numpy(), problem.y.numpy(), w.detach().numpy()
    sparse, short = basis_pursuit(X, y), minimum_norm(X, y)
    record: dict[str, Any] = {
        "error": problem.error(w),
        "loss": float(problem.loss(w)) / float(problem.y.square().mean()),
        "to_l1": _distance(found, sparse),
        "to_l2": _distance(found, short),
        "l1_excess": float(np.abs(found).sum() / np.abs(sparse).sum() - 1),
        "l1_error": problem.error(torch.from_numpy(sparse)),
        "l2_error": problem.error(torch.from_numpy(short)),
        "nonzeros": int((np.abs(found) > 1e-3 * np.abs(found).max()).sum()),
    }
    if config.group != "explicit" and config.depth > 1:
        predicted = q_minimizer(X, y, config.alpha, config.depth)
        value = q_value(predicted, config.alpha, config.depth)
        record["to_prediction"] = _distance(found, predicted)
        record["q_excess"] = q_value(found, config.alpha, config.depth) / value - 1 if value > 0 else None
        record["predicted_error"] = problem.error(torch.from_numpy(predicted))
        record["predicted_l1_excess"] = float(np.abs(predicted).sum() / np.abs(sparse).sum() - 1)
    return record


def _distance(w: Floats, reference: Floats) -> float:
    return float(np.linalg.norm(w - reference) / np.linalg.norm(reference))
