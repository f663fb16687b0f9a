"""Making one run: a flow among the greedy algorithm's critical points, or one weight of a penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from overt import SpectralPenalty
from overt import functional as F
from overt.models import DeepLinear
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.li2021.config import Li2021Config
from overt.studies.li2021.glrl import CriticalPoint, critical_points
from overt.training import Stopping, train
from overt.training.gradient_flow import gradient_flow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_END = 1e15  # a time that no flow comes near: it ends by its loss or its steps
_FLOOR = 1e-3  # the learning rate on the path falls to this part of itself


def execute(config: Li2021Config, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
        condition_number=config.condition_number or None,
    )
    points = critical_points(problem, config.rank, epsilon=config.epsilon)
    record: dict[str, Any] = {
        "critical_losses": [point.loss for point in points],
        "critical_gradients": [point.gradient for point in points],
        "critical_errors": [problem.error(point.W) for point in points],
    }
    run = _flow if config.group == "flow" else _penalized
    return run(config, context, problem, points, record)


def _flow(
    config: Li2021Config,
    context: RunContext,
    problem: CompletionProblem,
    points: list[CriticalPoint],
    record: dict[str, Any],
) -> RunOutput:
    model = DeepLinear(
        (config.n,) * (config.depth + 1),
        init=config.init,
        scale=config.init_scale,
        seed=config.seed,
        dtype=torch.float64,
    )

    def watch(t: float, model: nn.Module) -> Array:  # noqa: ARG001
        assert isinstance(model, DeepLinear)
        with torch.no_grad():
            W = model.product()
            s = F.singular_values(W)
            rank = F.effective_rank(singular_values=s)
        return np.concatenate([s.numpy(), [float(rank)], distances(W, points), [problem.error(W)]])

    initial = float(problem.y.square().mean())
    flow = gradient_flow(
        model,
        problem,
        _END,
        fractions=(0.5, 1.0),
        record=watch,
        until_loss=config.until * initial,
        rtol=config.rtol,
        max_steps=config.max_steps,
    )
    context.progress(flow.message)
    rows, n, rank = np.asarray(flow.records), config.n, config.rank
    times, losses, to = np.asarray(flow.times), np.asarray(flow.losses), rows[:, n + 1 : n + 1 + rank]
    nearest = to.argmin(axis=0)
    record |= {
        "status": {"loss": "converged", "end": "budget"}.get(flow.status, flow.status),
        "message": flow.message,
        "steps": flow.n_steps,
        "error": float(rows[-1, -1]),
        "effective_rank": float(rows[-1, n]),
        "excess": float(rows[-1, rank] / rows[-1, 0]),
        "distances": to.min(axis=0).tolist(),
        "nearest_times": times[nearest].tolist(),
        "nearest_losses": losses[nearest].tolist(),
        "next_values": [float(rows[at, r + 1] / rows[at, r]) for r, at in enumerate(nearest)],
        "plateaus": [plateau(times, losses, point.loss, config.near) for point in points[:-1]],
    }
    arrays = {
        "time": times,
        "loss": losses,
        "singular_values": rows[:, : rank + 3],
        "effective_rank": rows[:, n],
        "distances": to,
    }
    return RunOutput([record], arrays)


def _penalized(
    config: Li2021Config,
    context: RunContext,
    problem: CompletionProblem,
    points: list[CriticalPoint],
    record: dict[str, Any],
) -> RunOutput:
    model = DeepLinear((config.n, config.n), scale=config.init_scale, seed=config.seed, dtype=torch.float64)
    rows = []
    for number, weight in enumerate(sorted(config.weights)):
        result = train(
            model,
            problem,
            optimizer=config.optimizer,
            lr=config.lr,
            penalty=SpectralPenalty(model, config.functional, of="product", weight=weight),
            lr_schedule=lambda step: _FLOOR ** (step / config.max_steps),
            max_steps=config.max_steps,
            stopping=Stopping(stall_steps=config.max_steps),
            checkpoint=context.directory / f"run-{number}.safetensors",
        )
        s = F.singular_values(result.W)
        context.progress(f"weight {weight:g}, effective rank {float(F.effective_rank(result.W)):.2f}")
        row = {
            "weight": weight,
            "status": result.status,
            "steps": result.steps,
            "error": problem.error(result.W),
            "loss": float(problem.loss(result.W)),
            "effective_rank": float(F.effective_rank(singular_values=s)),
            "rank": int((s > 1e-2 * s[0]).sum()),
            "singular_values": s[: config.rank + 3].tolist(),
            "distances": distances(result.W, points).tolist(),
        }
        rows.append(record | row)
    return RunOutput(rows)


def distances(W: Tensor, points: list[CriticalPoint]) -> Array:
    """‖W − W_r‖_F / ‖W_r‖_F for each critical point."""
    norm = torch.linalg.vector_norm
    return np.asarray([float(norm(W - point.W) / norm(point.W)) for point in points])


def plateau(times: Array, losses: Array, level: float, near: float) -> float:
    """For how long the loss stays within a relative distance of a level, interpolated between records.

    Examples
    --------
    >>> plateau(np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 1.04, 0.96, 0.1]), 1.0, 0.05) > 1.0
    True
    """
    falling = np.minimum.accumulate(losses)  # under gradient flow the loss falls; rounding may say otherwise
    above, below = level * (1 + near), level * (1 - near)
    enter = np.interp(-above, -falling, times)
    leave = np.interp(-below, -falling, times)
    return float(leave - enter)
