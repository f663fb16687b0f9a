"""What the parts share: instances, networks, gradient descent, and what is recorded of a matrix."""

from __future__ import annotations

from typing import Any, Literal

import torch

from overt import functional as F
from overt.completion import nuclear_norm_minimization
from overt.models import DeepLinear
from overt.problems import CompletionProblem, SensingProblem, matrix_completion, matrix_sensing
from overt.studies.base import RunContext
from overt.studies.shared.recovery import refit_record
from overt.studies.shared.training_runs import how, teller
from overt.training import train

Problem = CompletionProblem | SensingProblem
Init = Literal["gaussian", "orthogonal", "identity", "balanced"]

RATES = {"completion": {2: 10.0, 3: 5.0, 4: 3.0}, "sensing": {2: 8.0, 3: 4.0, 4: 2.0}}  # at n = 100, rank 5


def instance(
    kind: Literal["completion", "sensing"], n: int, rank: int, n_observed: int, seed: int
) -> Problem:
    """The problem of a run: its seed decides the matrix, and what is seen of it.

    Masks that leave a row or column with fewer entries than the rank are redrawn: nothing could complete it.
    """
    if kind == "sensing":
        return matrix_sensing((n, n), rank=rank, n_measurements=n_observed, seed=seed)
    return matrix_completion((n, n), rank=rank, n_observed=n_observed, seed=seed, min_per_line=rank)


def network(
    depth: int, shape: tuple[int, ...], init: Init, scale: float, width: int, seed: int
) -> DeepLinear:
    """A network at its start; its hidden layers are as wide as the smaller side where ``width`` is 0."""
    m, n = shape
    sizes = (n, *(width or min(m, n),) * (depth - 1), m)
    return DeepLinear(sizes, init=init, scale=scale, seed=seed, dtype=torch.float64)


def rate(kind: str, depth: int, n: int, rank: int) -> float:
    """The learning rate: the largest of a few that trained without oscillation on one pilot instance.

    The curvature goes as σ^{2−2/N}/n², and σ as n/√rank.
    """
    flatter = min(1.0, rank / 5) ** (1 - 1 / depth)
    return float(f"{RATES[kind][depth] * (n / 100) ** (2 / depth) * flatter:.2g}")


def descend(
    problem: Problem,
    depth: int,
    scale: float,
    *,
    rank: int,
    max_steps: int,
    tolerance: float,
    seed: int,
    context: RunContext,
) -> dict[str, Any]:
    """Plain gradient descent on a network of full width, without a penalty; the record of its end.

    The authors train by a GroupRMSprop of rate 1e-3 for up to a million steps, to a mean squared residual of
    1e-6. Plain descent comes to the same residual in thousands of steps. ``scale`` is the standard deviation
    of the entries of W at the start; their s = 1e-3 at n = 100 is 1e-4 here.
    """
    kind = "completion" if isinstance(problem, CompletionProblem) else "sensing"
    result = train(
        network(depth, problem.shape, "gaussian", scale, 0, seed),
        problem,
        optimizer="gd",
        lr=rate(kind, depth, problem.shape[0], rank),
        max_steps=max_steps,
        tolerance=tolerance,
        checkpoint=context.directory / "run.safetensors",
        callback=teller(context),
    )
    return how(result) | measured(result.W, problem)


def minimum_nuclear_norm(problem: Problem) -> dict[str, Any]:
    """The record of the convex baseline."""
    found = nuclear_norm_minimization(problem, max_iter=20_000)
    status = "converged" if found.converged else "budget"
    record = {"status": status, "message": found.message, "steps": found.n_iter, "seconds": found.seconds}
    return record | measured(found.W, problem)


def measured(W: torch.Tensor, problem: Problem) -> dict[str, Any]:
    """Fit, norms and effective rank of W, the truth's beside them, and errors before and after the refit."""
    truth = problem.truth
    assert truth is not None
    with torch.no_grad():
        s, target = F.singular_values(W), F.singular_values(truth)
    return refit_record(W, problem) | {
        "loss": float(problem.loss(W)) / float(problem.y.square().mean()),
        "effective_rank": float(F.effective_rank(singular_values=s)),
        "nuclear_norm": float(s.sum()),
        "true_effective_rank": float(F.effective_rank(singular_values=target)),
        "true_nuclear_norm": float(target.sum()),
    }
