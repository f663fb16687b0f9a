"""One run of the part on explicit penalties: choose settings on pilot seeds, then judge them on others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.claims.evidence import number
from overt.studies.proxies.config import PILOT, PenaltyConfig
from overt.studies.proxies.functionals import PROXIES, gradient_norm
from overt.studies.shared.penalized import Penalized, train_penalized

KEPT = (
    "error",
    "rank",
    "effective_rank",
    "true_effective_rank",
    "loss",
    "status",
    "steps",
    "seconds",
    "hits",
)


@dataclass(frozen=True)
class Try:
    """One training: what it is for, and its settings."""

    stage: str
    seed: int
    lr: float
    weight: float
    init_scale: float


def execute(config: PenaltyConfig, context: RunContext) -> RunOutput:
    """Tune over the grid on pilot seeds, judge the chosen setting, and walk along its windows.

    A grid of a single setting needs no tuning.
    """
    grid = list(product(config.rates, config.weights))
    records = [] if len(grid) == 1 else [_train(config, one, context) for one in tuning(config)]
    lr, weight = chosen(records) if records else grid[0]
    records += [_train(config, one, context) for one in judged(config, lr, weight)]
    return RunOutput(records)


def tuning(config: PenaltyConfig) -> Iterator[Try]:
    """The whole grid on each pilot seed."""
    for lr, weight, place in product(config.rates, config.weights, range(config.pilot_seeds)):
        yield Try("tuning", config.seed + PILOT + place, lr, weight, config.init_scale)


def judged(config: PenaltyConfig, lr: float, weight: float) -> Iterator[Try]:
    """The chosen setting on the judged seeds, then weights and initializations around it."""
    for place in range(config.judged_seeds):
        yield Try("judged", config.seed + place, lr, weight, config.init_scale)
    for place in range(config.window_seeds):
        for other in config.window_weights:
            yield Try("weight", config.seed + place, lr, other, config.init_scale)
        for scale in config.window_scales:
            yield Try("init", config.seed + place, lr, weight, scale)


def chosen(records: list[dict[str, Any]]) -> tuple[float, float]:
    """The learning rate and weight with the smallest geometric mean error on the pilot seeds."""
    totals: dict[tuple[float, float], float] = {}
    for record in records:
        key = (float(record["lr"]), float(record["weight"]))
        totals[key] = totals.get(key, 0.0) + math.log(max(number(record["error"]), 1e-16))
    return min(sorted(totals), key=lambda key: totals[key])


def unit(config: PenaltyConfig, problem: CompletionProblem) -> float:
    """The factor of the proxy at weight 1: both gradients are then of one size where training starts."""
    zero = torch.zeros(problem.shape, dtype=problem.y.dtype, requires_grad=True)
    problem.loss(zero).backward()  # type: ignore[no-untyped-call]
    assert zero.grad is not None
    filled = problem.y.new_zeros(problem.shape).index_put((problem.rows, problem.cols), problem.y)
    return float(zero.grad.norm()) / gradient_norm(PROXIES[config.proxy], filled, config.rank)


def _train(config: PenaltyConfig, one: Try, context: RunContext) -> dict[str, Any]:
    context.progress(f"{one.stage}, seed {one.seed}, lr {one.lr:g}, weight {one.weight:g}")
    problem = matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=one.seed,
        min_per_line=config.rank,
    )
    proxy = PROXIES[config.proxy]
    functional, options = proxy.bound(config.rank)
    setting = Penalized(
        functional=functional,
        options=options,
        weight=one.weight * unit(config, problem),
        optimizer=config.optimizer,
        lr=one.lr,
        depth=config.depth,
        activation="linear",
        init_scale=one.init_scale,
        max_steps=config.max_steps,
        seed=one.seed,
        scale_invariant=proxy.scale_invariant,
        norm_cap=config.norm_cap or None,
    )
    name = f"{one.stage}-{one.seed}-{one.lr:g}-{one.weight:g}-{one.init_scale:g}"
    record, _ = train_penalized(problem, setting, context, checkpoint=name)
    return {
        "stage": one.stage,
        "seed": one.seed,
        "lr": one.lr,
        "weight": one.weight,
        "init_scale": one.init_scale,
        **{key: record.get(key) for key in KEPT},
    }


__all__ = ["chosen", "execute", "judged", "tuning", "unit"]
