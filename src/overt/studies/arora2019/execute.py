"""Making one run of the study of Arora, Cohen, Hu & Luo (2019)."""

from __future__ import annotations

from overt.completion import nuclear_norm_minimization
from overt.studies.arora2019.config import Arora2019Config
from overt.studies.arora2019.dynamics import run_flow
from overt.studies.arora2019.instance import instance, network
from overt.studies.arora2019.records import measured
from overt.studies.base import RunContext, RunOutput
from overt.studies.shared.training_runs import how, teller, trace_arrays
from overt.training import Recording, train


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
        recording=Recording(per_decade=20, leading=config.leading),
        checkpoint=context.directory / "run.safetensors",
        callback=teller(context),
    )
    return RunOutput([measured(result.W, problem) | how(result)], trace_arrays(result.trace))
