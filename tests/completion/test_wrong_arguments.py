"""Each solver refuses wrong problems and options by name: TypeError for a wrong kind, else ValueError."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from overt.completion import (
    Completion,
    certificate,
    explicit,
    irls,
    nuclear_norm_minimization,
    refit,
    soft_impute,
)
from overt.completion.convex import weight_max
from overt.problems import SensingProblem, linear_regression, matrix_completion, matrix_sensing

PROBLEM = matrix_completion((8, 6), rank=1, n_observed=30, seed=0)
TRUTH = Completion.from_dense(PROBLEM.truth)
Solver = Callable[..., Any]
SOLVERS: dict[str, Solver] = {
    "irls": irls,
    "explicit": explicit,
    "nuclear_norm_minimization": nuclear_norm_minimization,
    "soft_impute": soft_impute,
    "refit": partial(refit, start=TRUTH),
    "certificate": partial(certificate, completion=TRUTH),
}

# What each option is: refused are all values of another kind, and those of the kind that are out of range.
POSITIVE = ([0, -1], ["3", [3]])
COUNT = ([0, -1], [1.5, "3", True])
STEPS = ([-1], [1.5, "3", True])
SHARE = ([0, 1, -0.1, math.nan], ["0.1", None])
LEVEL = ([-1.0, math.nan, math.inf], ["0.1", [1.0]])
WEIGHT = ([0.0, -1.0, math.nan, math.inf], ["0.1", [1.0]])
SEED = ([-1, 2**63], [0.5, "one", None])
CALL: tuple[list[Any], list[Any]] = ([], [3, "print"])
FLAG: tuple[list[Any], list[Any]] = ([], [1, "no", None])
OPTIONS: dict[str, dict[str, tuple[list[Any], list[Any]]]] = {
    "irls": {
        "rank_proxy": (["nuclear", "rnak", 0, -2], []),
        "noise_std": LEVEL,
        "max_rank": COUNT,
        "max_iter": COUNT,
        "tolerance": LEVEL,
        "attempts": COUNT,
        "seed": SEED,
        "callback": CALL,
    },
    "explicit": {
        "functional": (["nuclear"], [3]),
        "weight": ([-1.0, math.nan], ["0.1"]),
        "optimizer": (["adamm"], []),
        "lr": ([0.0, -1.0, math.nan], ["0.1"]),
        "init_scale": WEIGHT,
        "norm_cap": WEIGHT,
        "norm_floor": WEIGHT,
        "seed": SEED,
        "max_steps": STEPS,
        "max_seconds": ([-1.0], ["3"]),
        "early_refit": FLAG,
        "final_refit": FLAG,
        "schedule": ([], [3, "hold"]),
        "callback": CALL,
    },
    "nuclear_norm_minimization": {
        "noise_level": LEVEL,
        "weight": WEIGHT,
        "max_iter": COUNT,
        "tolerance": WEIGHT,
        "check_every": COUNT,
        "callback": CALL,
    },
    "soft_impute": {
        "weight": WEIGHT,
        "heldout": SHARE,
        "n_weights": COUNT,
        "smallest": SHARE,
        "max_rank": COUNT,
        "max_iter": COUNT,
        "tolerance": WEIGHT,
        "seed": SEED,
        "callback": CALL,
    },
    "refit": {
        "rank": ([0, 7, -1], [1.5, "3", True]),
        "tolerance": LEVEL,
        "max_iter": STEPS,
        "ridge": LEVEL,
        "patience": COUNT,
    },
    "certificate": {"tolerance": LEVEL, "max_inner": COUNT},
}
CASES = [
    pytest.param(solver, option, value, error, id=f"{solver}-{option}={value!r}")
    for solver, options in OPTIONS.items()
    for option, kinds in options.items()
    for values, error in zip(kinds, (ValueError, TypeError), strict=True)
    for value in values
]


@pytest.mark.parametrize(("solver", "option", "value", "error"), CASES)
def test_options_are_refused_by_name(solver: str, option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"(?<!\w){option}\b") as raised:
        SOLVERS[solver](PROBLEM, **{option: value})
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="noise_level or weight, not both"):
        nuclear_norm_minimization(PROBLEM, weight=1.0, noise_level=1.0)


@pytest.mark.parametrize("solver", [*SOLVERS.values(), weight_max], ids=[*SOLVERS, "weight_max"])
@pytest.mark.parametrize(
    "problem",
    [3, None, torch.ones(3, 3), linear_regression(4, n_samples=3, seed=0)],
    ids=["number", "nothing", "tensor", "regression"],
)
def test_other_things_than_matrix_problems_are_refused(solver: Solver, problem: Any) -> None:
    with pytest.raises(TypeError, match="problem must be a CompletionProblem"):
        solver(problem)


@pytest.mark.parametrize("solver", [soft_impute, weight_max])
def test_solvers_of_entries_refuse_measurements_with_the_way_out(solver: Solver) -> None:
    with pytest.raises(TypeError, match=r"got SensingProblem.*use irls or nuclear_norm_minimization"):
        solver(matrix_sensing((8, 6), rank=1, n_measurements=40, seed=0))


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "explicit"])
def test_data_that_is_not_finite_is_refused(name: str) -> None:
    fields = {"rows": PROBLEM.rows, "cols": PROBLEM.cols, "shape": PROBLEM.shape}
    with pytest.raises(ValueError, match=r"problem.y: 30 of 30 entries are NaN or infinite"):
        SOLVERS[name](SimpleNamespace(y=PROBLEM.y * math.nan, **fields))


def test_the_explicit_route_needs_the_methods_of_a_problem() -> None:
    fields = {"rows": PROBLEM.rows, "cols": PROBLEM.cols, "shape": PROBLEM.shape, "y": PROBLEM.y}
    with pytest.raises(TypeError, match="problem must be a CompletionProblem or a SensingProblem"):
        explicit(SimpleNamespace(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["irls", "explicit", "nuclear_norm_minimization", "refit", "certificate"])
def test_zero_measurement_matrices_are_refused(name: str) -> None:
    y = torch.ones(4, dtype=torch.float64)
    with pytest.raises(ValueError, match="measurement matrices are zero"):
        SOLVERS[name](SensingProblem(torch.zeros(4, 48, dtype=torch.float64), y, (8, 6)))


def test_the_certificate_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(TypeError, match="completion must be a Completion, got a Tensor"):
        certificate(PROBLEM, PROBLEM.truth)  # type: ignore[arg-type]


def test_refit_from_a_plain_matrix() -> None:
    problem = matrix_completion((20, 15), rank=2, n_observed=200, seed=0)
    assert problem.truth is not None
    near = problem.truth + 0.01 * torch.ones_like(problem.truth)
    assert problem.error(refit(problem, near, rank=2).W) < 1e-10
    assert refit(problem, problem.truth).rank == 2
    sensing = matrix_sensing((8, 6), rank=1, n_measurements=40, seed=0)
    assert sensing.truth is not None
    assert sensing.error(refit(sensing, sensing.truth + 0.01, rank=1).W) < 1e-10
    with pytest.raises(ValueError, match="start must have the shape"):
        refit(problem, near.mT, rank=2)


@pytest.mark.parametrize("start", [0, None, torch.ones(20), "truth"])
def test_refit_refuses_what_is_no_start(start: Any) -> None:
    with pytest.raises(TypeError, match="start must be a Completion"):
        refit(PROBLEM, start)
    with pytest.raises(TypeError, match="left singular vectors"):
        refit(PROBLEM, 0, torch.ones(1), torch.ones(1, 6))  # type: ignore[arg-type]
