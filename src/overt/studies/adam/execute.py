"""Making one run: a single matrix under a penalty, with one thing changed in its steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt import _rules
from overt import functional as F
from overt.linalg import orthonormal_basis, svd
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.adam.config import AdamConfig
from overt.studies.adam.steps import Stepper
from overt.studies.base import RunContext, RunOutput

CAP = 1.2  # Frobenius norm, over the one that the observations suggest, above which growth costs again
GROWN = 100.0  # a largest entry beyond this many observed ones counts as diverged
RECORDS = 120
RULES = {
    "normalized_nuclear_norm": _rules.normalized_nuclear,
    "participation_ratio": _rules.participation_ratio,
    "effective_rank": _rules.effective_rank,
    "stable_rank": _rules.stable_rank,
    "nuclear_norm": _rules.nuclear,
}


@dataclass(frozen=True)
class Instance:
    """The data at mean square 1, and the mask."""

    problem: CompletionProblem
    observed: Tensor
    values: Tensor
    unit: float

    @property
    def norm(self) -> float:
        """The Frobenius norm that the observations suggest."""
        return math.sqrt(self.observed.numel())


@dataclass(frozen=True)
class Gradient:
    """Both parts of the gradient at a matrix, its decomposition, and the two values."""

    data: Tensor
    penalty: Tensor
    U: Tensor
    S: Tensor
    Vh: Tensor
    loss: float
    value: float


def instance(config: AdamConfig) -> Instance:
    """The seed decides the matrix and the mask."""
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )
    unit = float(problem.y.square().mean().sqrt())
    return Instance(problem, problem.observed, problem.adjoint(problem.y) / unit, unit)


def gradient(W: Tensor, config: AdamConfig, given: Instance) -> Gradient:
    """Mean squared error and weight × functional; beyond the cap the functional grows with ‖W‖_F."""
    miss = (W - given.values) * given.observed
    count = config.n_observed
    U, S, Vh = svd(W)
    value, slopes = RULES[config.functional](S)
    if config.functional != "nuclear_norm":
        cap, norm = CAP * given.norm, torch.linalg.vector_norm(S)
        if norm > cap:
            value, slopes = value * norm / cap, (slopes * norm + value * S / norm) / cap
    factor = config.objective_scale
    return Gradient(
        factor * 2 / count * miss,
        factor * config.weight * (U * slopes) @ Vh,
        U,
        S,
        Vh,
        float(miss.square().sum()) / count,
        float(value),
    )


def leading(S: Tensor) -> int:
    """How many directions count: the participation ratio, which needs no knowledge of the rank."""
    return max(1, math.ceil(float(F.participation_ratio(singular_values=S)) - 1e-9))


def leaving(step: Tensor, at: Gradient) -> dict[str, float]:
    """Shares of a step's energy that turn singular vectors, or leave the leading column and row space."""
    core = at.U.mT @ step @ at.Vh.mT
    total = float(core.square().sum())
    if total == 0:
        return {"turning": math.nan, "outside": math.nan}
    k = leading(at.S)
    return {
        "turning": 1 - float(core.diagonal().square().sum()) / total,
        "outside": 1 - float(core[:k, :k].square().sum()) / total,
    }


@dataclass(frozen=True)
class Parts:
    """The two parts of the optimizer's step and of Adam's, learning rates included."""

    data: Tensor
    penalty: Tensor
    adam_data: Tensor
    adam_penalty: Tensor
    observed: Tensor


def intervene(config: AdamConfig, at: Gradient, parts: Parts) -> tuple[Tensor, Tensor]:
    """The step's two parts after the intervention."""
    data, penalty = parts.data, parts.penalty
    name = config.intervention
    if name == "keep_vectors":
        return data, _diagonal(penalty, at)
    if name == "only_leaving":
        return data, penalty - _diagonal(penalty, at)
    if name == "keep_space":
        return data, _leading_part(penalty, at)
    if name == "keep_space_all":
        return _leading_part(data, at), _leading_part(penalty, at)
    if name == "gradient_direction":
        return data, _of_length(at.penalty, penalty)
    if name == "adam_penalty":
        return data, parts.adam_penalty
    if name == "adam_data":
        return parts.adam_data, penalty
    if name == "adam_length":
        return data, _of_length(at.penalty, parts.adam_penalty)
    if name == "adam_entries":
        seen = parts.observed
        pieces = [_of_length(at.penalty * part, parts.adam_penalty * part) for part in (seen, ~seen)]
        return data, pieces[0] + pieces[1]
    return data, penalty


def _diagonal(step: Tensor, at: Gradient) -> Tensor:
    kept = (at.U.mT @ step @ at.Vh.mT).diagonal()
    return (at.U * kept) @ at.Vh


def _leading_part(step: Tensor, at: Gradient) -> Tensor:
    k = leading(at.S)
    U, Vh = at.U[:, :k], at.Vh[:k]
    return U @ (U.mT @ step @ Vh.mT) @ Vh


def _of_length(direction: Tensor, like: Tensor) -> Tensor:
    size = float(torch.linalg.vector_norm(direction))
    return direction * (float(torch.linalg.vector_norm(like)) / size) if size > 0 else direction


def rate(step: int, max_steps: int) -> float:
    """Factor of the learning rate: 1, and over the last quarter linearly to 0."""
    return min(1.0, 4 * (1 - step / max_steps))


def execute(config: AdamConfig, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    given = instance(config)
    generator = torch.Generator().manual_seed(config.seed + 1_000_003)
    W = config.init_scale * torch.randn(config.n, config.n, generator=generator, dtype=torch.float64)
    turn = _rotation(config, generator)
    own, lent = (
        Stepper(name, config.beta1, config.beta2, config.eps, config.alpha)
        for name in (config.optimizer, "adam")
    )
    rows: list[dict[str, float]] = []
    signs: list[tuple[float, float]] = []
    status, steps = "budget", config.max_steps
    before: Gradient | None = None
    limit = GROWN * float(given.values.abs().max())
    for step in range(config.max_steps):
        at = gradient(W, config, given)
        if before is not None:
            signs.append((at.loss - before.loss, at.value - before.value))
        before = at
        change = _change(config, at, given, own, lent, turn, rate(step, config.max_steps))
        if step % max(1, config.max_steps // RECORDS) == 0:
            rows.append(_row(step, W, at, change, given))
            if step % 500 == 0:
                context.progress(f"step {step}, effective rank {rows[-1]['effective_rank']:.2f}")
        moved = W - change[0] - change[1]
        if not bool(torch.isfinite(moved).all()) or float(moved.abs().max()) > limit:
            status, steps = "diverged", step
            break
        W = moved
    record = _summary(config, W, given, rows, signs) | {"status": status, "steps": steps}
    if status == "diverged":
        record["error"] = math.inf
    names = ("step", "error", "loss", "effective_rank", "turning", "outside", "penalty_turning")
    return RunOutput([record], {name: np.asarray([row[name] for row in rows]) for name in names})


Turn = tuple[Tensor, Tensor] | None


def _rotation(config: AdamConfig, generator: torch.Generator) -> Turn:
    if not config.rotated:
        return None
    draws = torch.randn(2, config.n, config.n, generator=generator, dtype=torch.float64)
    return orthonormal_basis(draws[0]), orthonormal_basis(draws[1])


def _change(
    config: AdamConfig, at: Gradient, given: Instance, own: Stepper, lent: Stepper, turn: Turn, factor: float
) -> tuple[Tensor, Tensor]:
    """What is taken from W, for the data and for the penalty."""

    def split(stepper: Stepper, lr: float) -> tuple[Tensor, Tensor]:
        if turn is None:
            first, second = stepper.split(at.data, at.penalty)
        else:
            left, right = turn
            first, second = stepper.split(left @ at.data @ right.mT, left @ at.penalty @ right.mT)
            first, second = left.mT @ first @ right, left.mT @ second @ right
        return factor * lr * first, factor * lr * second

    if config.intervention == "alternation":
        fit = at.data * (config.n_observed / (2 * config.objective_scale))
        length = factor * config.lr * given.norm
        size = float(torch.linalg.vector_norm(at.penalty))
        return fit, at.penalty * (length / size if size > 0 else 0.0)
    data, penalty = split(own, config.lr)
    needed = config.intervention.startswith("adam_")
    adam_data, adam_penalty = split(lent, config.adam_lr) if needed else (data, penalty)
    return intervene(config, at, Parts(data, penalty, adam_data, adam_penalty, given.observed))


def _row(
    step: int, W: Tensor, at: Gradient, change: tuple[Tensor, Tensor], given: Instance
) -> dict[str, float]:
    return {
        "step": step,
        "error": given.problem.error(W * given.unit),
        "loss": at.loss,
        "effective_rank": float(F.effective_rank(singular_values=at.S)),
        **leaving(change[0] + change[1], at),
        "penalty_turning": leaving(change[1], at)["turning"],
    }


def _summary(
    config: AdamConfig,
    W: Tensor,
    given: Instance,
    rows: list[dict[str, float]],
    signs: list[tuple[float, float]],
) -> dict[str, Any]:
    """The end, and what the steps were like until the spectrum had its final shape."""
    S = F.singular_values(W)
    early = [row for row in rows if row["effective_rank"] > config.rank + 0.5] or rows
    against = [a * b < 0 for a, b in signs]
    return {
        "error": given.problem.error(W * given.unit),
        "effective_rank": float(F.effective_rank(singular_values=S)),
        "loss": rows[-1]["loss"],
        "largest_entry": float(W.abs().max() / given.values.abs().max()),
        "turning": _mean(row["turning"] for row in early),
        "outside": _mean(row["outside"] for row in early),
        "penalty_turning": _mean(row["penalty_turning"] for row in early),
        "against": sum(against) / max(1, len(against)),
        "switches": sum(a[0] * b[0] < 0 for a, b in pairwise(signs)) / max(1, len(signs) - 1),
    }


def _mean(values: Any) -> float:
    found = [value for value in values if not math.isnan(value)]
    return sum(found) / len(found) if found else math.nan
