"""What is measured of a flow, and of a penalty's path, among the greedy algorithm's critical points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from overt import functional as F
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.li2021.glrl import CriticalPoint, critical_points
from overt.studies.li2021.settings import FlowsConfig, InstanceConfig
from overt.studies.shared.penalized import scale_of
from overt.studies.shared.recovery import refit_record
from overt.studies.shared.stationarity import relative_gradient
from overt.training import Stopping, train
from overt.training.gradient_flow import gradient_flow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from overt.studies.li2021.settings import PathConfig

    Array = NDArray[np.float64]

_END = 1e15  # a time that no flow comes near: it ends by its loss or its steps


def instance(config: InstanceConfig) -> tuple[CompletionProblem, list[CriticalPoint], dict[str, Any]]:
    """The problem, its critical points, and what is recorded of them."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
        condition_number=config.condition_number or None,
    )
    points = critical_points(problem, config.rank, epsilon=config.epsilon)
    record = {
        "critical_losses": [point.loss for point in points],
        "critical_gradients": [point.gradient for point in points],
        "critical_errors": [problem.error(point.W) for point in points],
    }
    return problem, points, record


def follow(config: FlowsConfig, context: RunContext) -> RunOutput:
    """Gradient flow, and how near it comes to each point."""
    problem, points, record = instance(config)
    sizes = (config.n,) * (config.depth + 1)
    model = DeepLinear(
        sizes, init=config.init, scale=config.init_scale, seed=config.seed, dtype=torch.float64
    )

    def watch(t: float, model: nn.Module) -> Array:  # noqa: ARG001
        assert isinstance(model, DeepLinear)
        with torch.no_grad():
            W = model.product()
            return np.concatenate([F.singular_values(W).numpy(), distances(W, points)])

    flow = gradient_flow(
        model,
        problem,
        _END,
        fractions=(0.5, 1.0),
        record=watch,
        until_loss=config.until * float(problem.y.square().mean()),
        rtol=config.rtol,
        max_steps=config.max_steps,
    )
    context.progress(flow.message)
    rows, n, rank = np.asarray(flow.records), config.n, config.rank
    times, losses, to = np.asarray(flow.times), np.asarray(flow.losses), rows[:, n:]
    nearest = to.argmin(axis=0)
    record |= refit_record(model.product().detach(), problem)
    record |= {
        "status": {"loss": "converged", "end": "budget"}.get(flow.status, flow.status),
        "message": flow.message,
        "steps": flow.n_steps,
        "excess": float(rows[-1, rank] / rows[-1, 0]),
        "distances": to.min(axis=0).tolist(),
        "nearest_times": times[nearest].tolist(),
        "nearest_losses": losses[nearest].tolist(),
        "plateaus": [plateau(times, losses, point.loss, config.near) for point in points[:-1]],
    }
    arrays = {"time": times, "loss": losses, "singular_values": rows[:, : min(rank + 3, n)], "distances": to}
    return RunOutput([record], arrays)


def climb(config: PathConfig, context: RunContext) -> RunOutput:
    """Adam at depth 1, at one weight after another, the smallest first; one record for each."""
    problem, points, shared = instance(config)
    model = DeepLinear((config.n, config.n), scale=config.init_scale, seed=config.seed, dtype=torch.float64)
    rows, size = [], scale_of(problem)
    for number, weight in enumerate(config.weights):
        penalty = None
        if weight > 0:
            penalty = SpectralPenalty(
                model,
                config.functional,
                of="product",
                weight=weight,
                norm_floor=0.1 * size,
                norm_cap=1.2 * size,
            )
        result = train(
            model,
            problem,
            optimizer="adam",
            lr=config.lr,
            penalty=penalty,
            lr_schedule=lambda step: max(0.0, 1 - step / config.max_steps),
            max_steps=config.max_steps,
            tolerance=1e-14,
            stopping=Stopping(stall_steps=config.max_steps),
            checkpoint=context.directory / f"run-{number}.safetensors",
        )
        W, s = result.W, F.singular_values(result.W)
        context.progress(f"weight {weight:g}, effective rank {float(F.effective_rank(W)):.2f}")
        left = relative_gradient(
            W,
            problem.loss,
            None if penalty is None else penalty.penalty,
            unit=float(problem.y.square().mean()),
        )
        row = {
            "weight": weight,
            "status": result.status,
            "steps": result.steps,
            "loss": float(problem.loss(W)),
            "relative_gradient": left,
            "effective_rank": float(F.effective_rank(singular_values=s)),
            "numerical_rank": int((s > 1e-2 * s[0]).sum()),
            "distances": distances(W, points).tolist(),
        }
        rows.append(shared | refit_record(W, problem) | row)
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
