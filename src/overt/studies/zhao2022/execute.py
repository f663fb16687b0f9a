"""Making one run."""

from __future__ import annotations

from collections.abc import Callable

from overt.completion import nuclear_norm_minimization, soft_impute
from overt.completion.result import Completion
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.base import RunContext, RunOutput
from overt.studies.shared.penalized import Penalized, train_penalized
from overt.studies.shared.training_runs import summary
from overt.studies.zhao2022.config import ZhaoConfig
from overt.studies.zhao2022.movielens import run_movielens
from overt.studies.zhao2022.optspace import optspace


def execute(config: ZhaoConfig, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    if config.group == "movielens":
        return run_movielens(config, context)
    problem = instance(config)
    if config.method == "train":
        wanted = config.group == "depths"
        record, arrays = train_penalized(problem, setting_of(config), context, trace=wanted)
        return RunOutput([record], arrays)
    solvers: dict[str, Callable[[CompletionProblem], Completion]] = {
        "nuclear_norm": nuclear_norm_minimization,
        "soft_impute": soft_impute,
        "optspace": lambda given: optspace(given, rank=config.rank),
    }
    if config.method not in solvers:
        raise ValueError(f"method {config.method!r} is only for the group movielens")
    found = solvers[config.method](problem)
    record = summary(found.W, problem)
    record |= {"status": "converged" if found.converged else "budget", "message": found.message}
    record |= {"steps": found.n_iter, "seconds": found.seconds}
    return RunOutput([record])


def instance(config: ZhaoConfig) -> CompletionProblem:
    """The completion problem of a run; a line with fewer entries than the rank could not be completed."""
    return matrix_completion(
        (config.n, config.n),
        rank=config.rank,
        n_observed=config.n_observed,
        seed=config.seed,
        min_per_line=config.rank,
    )


def setting_of(config: ZhaoConfig) -> Penalized:
    """What is trained, from the configuration."""
    return Penalized(
        functional=config.functional,
        options=config.options,
        weight=config.weight,
        optimizer=config.optimizer,
        lr=config.lr,
        depth=config.depth,
        activation=config.activation,
        init_scale=config.init_scale,
        max_steps=config.max_steps,
        seed=config.seed,
        norm_cap=config.norm_cap or None,
    )
