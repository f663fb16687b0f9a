"""One training for all arms of a comparison: any depth, with or without a penalty, and one refit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.penalties.spectral import SCALE_INVARIANT
from overt.problems import CompletionProblem, SensingProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput, StudyConfig
from overt.studies.shared.penalized import OPTIONS, network, scale_of
from overt.studies.shared.recovery import refit_record
from overt.studies.shared.stationarity import relative_gradient
from overt.studies.shared.training_runs import how, summary, teller, trace_arrays
from overt.training import Recording, Stopping, TrainResult, train

__all__ = ["Arm", "completed", "instance", "model_of", "penalty_of", "run_arm", "train_arm", "trained"]

CAP = 1.2  # of scale-invariant penalties, in units of the norm that the observations suggest
Problem = CompletionProblem | SensingProblem
HELD = 0.5  # the part of a run over which the learning rate is held before it falls to zero


@dataclass(frozen=True)
class Arm:
    """What is trained, and how: a network without a penalty (weight 0), or with a functional of its product.

    ``norm_floor`` is the guard of scale-invariant penalties near zero (docs/penalties.md), in units of the
    norm that the observations suggest; 0 is no guard, as Zhao (2022) published it.
    """

    seed: int
    depth: int = 1
    weight: float = 0.0
    optimizer: str = "adam"
    lr: float = 1e-2
    max_steps: int = 5_000
    functional: str = "normalized_nuclear_norm"
    options: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "linear"
    init_scale: float = 1e-3
    norm_floor: float = 0.1


def instance(n: int, rank: int, n_observed: int, seed: int) -> CompletionProblem:
    """A random n×n matrix, its entries drawn until each line has as many as the rank.

    A line with fewer could not be completed by any method.
    """
    return matrix_completion((n, n), rank=rank, n_observed=n_observed, seed=seed, min_per_line=rank)


def completed(W: torch.Tensor, problem: CompletionProblem) -> dict[str, Any]:
    """What every arm is judged by: norms and fit, the error as it is, and the one after the common refit."""
    return summary(W, problem) | refit_record(W, problem)


def model_of(problem: Problem, arm: Arm) -> DeepLinear:
    """The network of an arm."""
    return network(problem.shape, arm.depth, arm.activation, arm.init_scale, arm.seed)


def penalty_of(model: torch.nn.Module, problem: Problem, arm: Arm) -> SpectralPenalty | None:
    """The penalty with its guards; None at weight zero."""
    if arm.weight == 0:
        return None
    unit = scale_of(problem) if arm.functional in SCALE_INVARIANT else 0.0
    return SpectralPenalty(
        model,
        arm.functional,
        of="product",
        weight=arm.weight,
        options=dict(arm.options) or None,
        norm_cap=CAP * unit or None,
        norm_floor=arm.norm_floor * unit or None,
    )


def trained(
    problem: Problem, arm: Arm, context: RunContext, *, trace: bool = False
) -> tuple[TrainResult, dict[str, float]]:
    """Train at a constant weight to the end of the budget.

    The learning rate is held over the first half of the steps and then falls to zero, so that an optimizer
    whose steps do not shrink by themselves comes to rest, too.

    Returns
    -------
    result, left : TrainResult, dict
        For a penalty ``left`` holds ``relative_gradient``, see `overt.studies.shared.stationarity`.
    """
    model = model_of(problem, arm)
    penalty = penalty_of(model, problem, arm)
    result = train(
        model,
        problem,
        optimizer=arm.optimizer,
        optimizer_options=OPTIONS.get(arm.optimizer),
        lr=arm.lr,
        penalty=penalty,
        max_steps=arm.max_steps,
        tolerance=1e-12,
        stopping=Stopping(stall_steps=arm.max_steps),
        lr_schedule=lambda step: min(1.0, (1 - step / arm.max_steps) / (1 - HELD)),
        recording=Recording(per_decade=20 if trace else 2, error_targets=()),
        checkpoint=context.directory / "run.safetensors",
        callback=teller(context),
    )
    if penalty is None:
        return result, {}
    unit = float(problem.y.square().mean())
    left = relative_gradient(result.W, problem.loss, penalty.penalty, unit=unit)
    return result, {"relative_gradient": left}


def train_arm(
    problem: CompletionProblem, arm: Arm, context: RunContext, *, trace: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train as `trained` does, and refit.

    Returns
    -------
    record, arrays : dict, dict
        The record of `completed`, how training ended, and what was left; the trace if asked for.
    """
    result, left = trained(problem, arm, context, trace=trace)
    record = how(result) | completed(result.W, problem) | left
    record.pop("hits")
    return record, trace_arrays(result.trace) if trace else {}


def run_arm(config: StudyConfig, context: RunContext, **further: Any) -> RunOutput:
    """Train the arm that a configuration's attributes describe, on the matrix that they describe, and refit.

    What an `Arm` has and the configuration has not is ``further``, or as it is by default.
    """
    given: Any = config
    problem = instance(given.n, given.rank, given.n_observed, given.seed)
    names = [one.name for one in fields(Arm) if hasattr(given, one.name)]
    described = {name: getattr(given, name) for name in names}
    return RunOutput([train_arm(problem, Arm(**described | further), context)[0]])
