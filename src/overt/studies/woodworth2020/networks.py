"""What the parts share: training without a penalty, and the distances to what theory predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overt.models import DeepDiagonal
from overt.problems import RegressionProblem
from overt.studies.base import RunContext
from overt.studies.shared.penalized import Coordinates
from overt.studies.shared.training_runs import how
from overt.studies.woodworth2020.bias import Floats, basis_pursuit, minimum_norm
from overt.training import TrainResult, train


def descend(
    problem: RegressionProblem, depth: int, alpha: float, max_steps: int, context: RunContext
) -> TrainResult:
    """Gradient descent on w = u^D − v^D from u = v = α; depth 1 is w itself, from zero.

    Plain gradient descent spends its time on the plateau near zero, which is as long as α^{2−D}. From small
    weights steps of one length are taken instead, which follow the same flow at unit speed; their length
    falls by four decades over the second half of the run. Where α is not small such steps are too long beside
    the weights; the rate of plain descent is the inverse of the curvature, D² max(1, α)^{2D−2}.
    """
    d = problem.X.shape[1]
    model: nn.Module
    if depth == 1:
        model = Coordinates(torch.zeros(d, dtype=torch.float64))
    else:
        model = DeepDiagonal(d, depth, alpha**depth, dtype=torch.float64)
    unit_speed = depth > 1 and alpha <= (0.01 if depth == 2 else 0.1)
    half = max_steps / 2
    growth = max(1.0, alpha) ** (2 * depth - 2) if depth > 1 else 1.0
    return train(
        model,
        problem,
        optimizer="grouprmsprop" if unit_speed else "gd",
        lr=1e-2 if unit_speed else 5e-2 / (depth**2 * growth),
        max_steps=max_steps,
        tolerance=1e-14,
        lr_schedule=(lambda step: float(10.0 ** (-4 * max(0.0, step / half - 1)))) if unit_speed else None,
        checkpoint=context.directory / "run.safetensors",
    )


def compared(w: Tensor, problem: RegressionProblem, result: TrainResult) -> dict[str, Any]:
    """Errors, fit, and distances to the minimizers of ℓ1 and ℓ2."""
    X, y, found = problem.X.numpy(), problem.y.numpy(), w.detach().numpy()
    sparse, short = basis_pursuit(X, y), minimum_norm(X, y)
    return how(result) | {
        "error": problem.error(w),
        "loss": float(problem.loss(w)) / float(problem.y.square().mean()),
        "to_l1": distance(found, sparse),
        "to_l2": distance(found, short),
        "l1_excess": float(np.abs(found).sum() / np.abs(sparse).sum() - 1),
        "l1_error": problem.error(torch.from_numpy(sparse)),
        "l2_error": problem.error(torch.from_numpy(short)),
        "nonzeros": int((np.abs(found) > 1e-3 * np.abs(found).max()).sum()),
    }


def distance(w: Floats, reference: Floats) -> float:
    """‖w − reference‖ / ‖reference‖."""
    return float(np.linalg.norm(w - reference) / np.linalg.norm(reference))
