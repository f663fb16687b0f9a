"""Making one run of the study of Arora, Cohen, Hu & Luo (2019)."""

from __future__ import annotations

import torch

from overt.completion import nuclear_norm_minimization
from overt.models import DeepLinear
from overt.problems import CompletionProblem, SensingProblem, matrix_completion, matrix_sensing
from overt.studies.arora2019.config import Arora2019Config
from overt.studies.arora2019.dynamics import run_flow
from overt.studies.arora2019.records import measured
from overt.studies.base import RunContext, RunOutput
from overt.studies.training_runs import how, teller, trace_arrays
from overt.training import train


def execute(config: Arora2019Config, context: RunContext) -> RunOutput:
    """Make the run that a configuration describes."""
    if config.method == "flow":
        return run_flow(config, context)
    problem = instance(config)
    if config.method == "nuclear_norm":
        found = nuclear_norm_minimization(problem)
        record = measured(found.W, problem)
        record |= {"status": "converged" if found.converged else "budget", "message": found.message}
        return RunOutput([record | {"steps": found.n_iter, "seconds": found.seconds}])
    result = train(
        network(config, problem.shape),
        problem,
        optimizer=config.optimizer,
        lr=config.lr,
        max_steps=config.max_steps,
        tolerance=config.tolerance,
        record_per_decade=20,
        leading=config.leading,
        checkpoint=context.directory / "run.safetensors",
        callback=teller(context),
    )
    return RunOutput([measured(result.W, problem) | how(result)], trace_arrays(result.trace))


def instance(config: Arora2019Config) -> CompletionProblem | SensingProblem:
    """The problem of a run: its seed decides the matrix, and what is seen of it.

    Masks that leave a row or column with fewer entries than the rank are redrawn: nothing could complete it.
    """
    shape = (config.n, config.n)
    if config.group == "sensing":
        return matrix_sensing(shape, rank=config.rank, n_measurements=config.n_observed, seed=config.seed)
    return matrix_completion(
        shape, rank=config.rank, n_observed=config.n_observed, seed=config.seed, min_per_line=config.rank
    )


def network(config: Arora2019Config, shape: tuple[int, ...]) -> DeepLinear:
    """The network of a run, at its start; the hidden layers are as wide as the smaller side by default."""
    m, n = shape
    width = config.width or min(m, n)
    sizes = (n, *(width,) * (config.depth - 1), m)
    return DeepLinear(sizes, init=config.init, scale=config.init_scale, seed=config.seed, dtype=torch.float64)
