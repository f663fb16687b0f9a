"""S8: what each route costs, all of them in one process on the same instance, alone on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from overt.completion import explicit_run, irls
from overt.models import DeepLinear
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.story.config import ROUTES, StoryConfig
from overt.training import Recording, train

TARGETS = (1e-2, 1e-4)
LIMIT = 5.0  # seconds for a setting while none has reached the target yet

# What a deep network is tuned over. A setting is given up once it has taken as long as the fastest so far.
DEEP_QUICK = [(3, "gd", 5.0), (4, "gd", 3.0), (4, "adam", 1e-3)]
_RATES: dict[str, dict[int, tuple[float, ...]]] = {
    "gd": {2: (30.0,), 3: (5.0, 10.0), 4: (3.0, 6.0), 5: (3.0,)},
    "momentum": {3: (0.5, 1.0), 4: (0.3, 0.6)},
    "adam": {2: (1e-3,), 3: (3e-4, 1e-3), 4: (3e-4, 1e-3, 3e-3), 5: (1e-3,)},
    "rmsprop": {3: (1e-4,), 4: (1e-4,)},
    "grouprmsprop": {3: (1e-3,), 4: (1e-3,)},
}
DEEP_FULL = [
    (depth, name, lr) for name, rates in _RATES.items() for depth, values in rates.items() for lr in values
]


def race(config: StoryConfig, context: RunContext) -> RunOutput:
    """Run every route to error 1e-4 on one instance; one record each: seconds and steps to each target."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        problem = matrix_completion(
            (config.n, config.n),
            rank=config.rank,
            n_observed=config.n_observed,
            seed=config.seed,
            min_per_line=config.rank,
        )
        return RunOutput(
            [*_explicit_routes(config, problem, context), *_deep_routes(config, problem, context)]
        )
    finally:
        torch.set_num_threads(threads)


def _explicit_routes(
    config: StoryConfig, problem: CompletionProblem, context: RunContext
) -> list[dict[str, Any]]:
    tiny = matrix_completion((20, 20), rank=1, n_observed=200, seed=0)
    irls(tiny)  # the first calls pay for imports
    explicit_run(tiny, max_steps=1)
    records = [
        _direct(ROUTES[0], lambda: explicit_run(problem, seed=config.seed).completion, problem),
        _direct(ROUTES[1], lambda: irls(problem), problem),
    ]
    if not config.quick:
        context.progress("explicit, as published")
        weight = 0.02 if config.n_observed >= 2000 else 0.005
        run = explicit_run(
            problem,
            weight=weight,
            lr=1e-3,
            norm_cap=None,
            norm_floor=None,
            early_refit=False,
            final_refit=False,
            seed=config.seed,
            max_steps=20_000,
            recording=Recording(error_targets=TARGETS),
        )
        records.append(_hits("explicit, as published", run.training, problem))
    return records


def _direct(name: str, solve: Callable[[], Any], problem: CompletionProblem) -> dict[str, Any]:
    """A route that has the answer only at its end: the time of the whole call."""
    start = time.perf_counter()
    found = solve()
    seconds = time.perf_counter() - start
    error = problem.error(found.W)
    record: dict[str, Any] = {"route": name, "error": error, "rank": found.rank, "total_seconds": seconds}
    for target in TARGETS:
        reached = error <= target
        record |= {
            f"seconds_{target:g}": seconds if reached else None,
            f"steps_{target:g}": found.n_iter if reached else None,
        }
    return record


def _hits(name: str, result: Any, problem: CompletionProblem) -> dict[str, Any]:
    record: dict[str, Any] = {"route": name, "error": problem.error(result.W), "rank": None}
    record["total_seconds"] = result.seconds
    for target in TARGETS:
        step, seconds = result.hits.get(target, (None, None))
        record |= {f"seconds_{target:g}": seconds, f"steps_{target:g}": step}
    return record


def _deep_routes(
    config: StoryConfig, problem: CompletionProblem, context: RunContext
) -> list[dict[str, Any]]:
    budget = LIMIT
    records = []
    for depth, optimizer, lr in DEEP_QUICK if config.quick else DEEP_FULL:
        name = f"depth {depth}, {optimizer}, lr {lr:g}"
        context.progress(name)
        model = DeepLinear(
            (config.n,) * (depth + 1), scale=config.init_scale, seed=config.seed, dtype=torch.float64
        )
        result = train(
            model,
            problem,
            optimizer=optimizer,
            lr=lr,
            max_steps=1_000_000,
            max_seconds=budget,
            tolerance=1e-14,
            recording=Recording(per_decade=2, check_every=10, error_targets=TARGETS),
            callback=lambda state: state.loss >= 0 and problem.error(state.W) <= TARGETS[-1],
        )
        record = _hits(name, result, problem) | {"depth": depth, "optimizer": optimizer, "lr": lr}
        reached = record[f"seconds_{TARGETS[-1]:g}"]
        if reached is not None:
            budget = min(budget, reached)
        records.append(record | {"status": result.status})
    return records
