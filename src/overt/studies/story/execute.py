"""Making one run of the story."""

from __future__ import annotations

from collections.abc import Callable

import torch

from overt import functional as F
from overt.completion import explicit_run, irls, nuclear_norm_minimization, soft_impute
from overt.completion.result import Completion
from overt.models import DeepLinear
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.shared.training_runs import how, summary, teller, trace_arrays
from overt.studies.story.config import StoryConfig
from overt.studies.story.cost import race
from overt.studies.story.real import run_movielens, run_photograph
from overt.studies.story.regression import run_regression
from overt.training import HoldUntilCollapse, Recording, train

DTYPE = torch.float64
# Weight decay is a penalty of its own; optimizers that have it by default go without, except AdamW.
OPTIONS: dict[str, dict[str, float]] = {"muon": {"weight_decay": 0.0}}


def execute(config: StoryConfig, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    special: dict[str, Callable[[StoryConfig, RunContext], RunOutput]] = {
        "regression": run_regression,
        "photograph": run_photograph,
        "movielens": run_movielens,
        "cost": race,
    }
    return special.get(config.group, run_completion)(config, context)


def instance(config: StoryConfig) -> CompletionProblem:
    """The completion problem of a run: its seed decides the matrix and the mask.

    Masks that leave a row or column with fewer entries than the rank are redrawn: nothing could complete it.
    """
    return matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )


def run_completion(config: StoryConfig, context: RunContext) -> RunOutput:
    """Complete a seeded low-rank matrix by the configured method."""
    problem = instance(config)
    if config.method == "deep":
        return _deep(config, problem, context)
    if config.method == "explicit":
        return _explicit(config, problem, context)
    solvers: dict[str, Callable[[CompletionProblem], Completion]] = {
        "nuclear_norm": nuclear_norm_minimization,
        "soft_impute": soft_impute,
        "irls": irls,
    }
    found = solvers[config.method](problem)
    record = summary(found.W, problem)
    record |= {"status": "converged" if found.converged else "budget", "message": found.message}
    record |= {"steps": found.n_iter, "seconds": found.seconds}
    return RunOutput([record])


def _deep(config: StoryConfig, problem: CompletionProblem, context: RunContext) -> RunOutput:
    model = DeepLinear(
        (config.n,) * (config.depth + 1), scale=config.init_scale, seed=config.seed, dtype=DTYPE
    )
    result = train(
        model,
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=1e-9,
        recording=Recording(per_decade=20),
        checkpoint=context.directory / "run.safetensors",
        callback=teller(context),
    )
    record = summary(result.W, problem) | how(result)
    return RunOutput([record], trace_arrays(result.trace))


def _explicit(config: StoryConfig, problem: CompletionProblem, context: RunContext) -> RunOutput:
    run = explicit_run(
        problem,
        functional=config.functional,
        weight=config.weight,
        optimizer=config.optimizer,
        optimizer_options=OPTIONS.get(config.optimizer),
        lr=config.lr,
        init_scale=config.init_scale,
        norm_floor=config.norm_floor or None,
        seed=config.seed,
        max_steps=config.max_steps,
        early_refit=config.early_refit,
        schedule=HoldUntilCollapse(release_steps=1000 if config.group == "portrait" else 100),
        recording=Recording(per_decade=40 if config.group == "portrait" else 20),
        callback=teller(context),
    )
    found: Completion = run.completion
    record = summary(found.W, problem) | how(run.training)
    record |= {
        "status": "converged" if found.converged else run.training.status,
        "message": found.message,
        "penalized_error": problem.error(run.penalized),
        "penalized_effective_rank": float(F.effective_rank(run.penalized)),
        "collapsed_at": run.collapsed_at,
        "accepted_at": run.accepted_at,
    }
    return RunOutput([record], trace_arrays(run.training.trace))
