"""Solvers refuse what is no matrix problem, and refit what is no start, in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from overt.completion import (
    Completion,
    certificate,
    explicit,
    factored,
    irls,
    nuclear_norm_minimization,
    refit,
    soft_impute,
)
from overt.problems import SensingProblem, linear_regression, matrix_completion, matrix_sensing

SOLVERS = [explicit, factored, irls, nuclear_norm_minimization, soft_impute]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", [3, None, torch.ones(3, 3), linear_regression(4, n_samples=3, seed=0)])
def test_other_things_than_matrix_problems_are_refused(solver: Any, problem: Any) -> None:
    with pytest.raises(TypeError, match="problem must be a CompletionProblem"):
        solver(problem)


def test_factored_refuses_what_has_no_positions() -> None:
    sensing = matrix_sensing((8, 6), rank=1, n_measurements=40, seed=0)
    with pytest.raises(TypeError, match="got SensingProblem"):
        factored(sensing)


def test_the_certificate_refuses_what_it_cannot_judge() -> None:
    problem = matrix_completion((20, 15), rank=2, n_observed=200, seed=0)
    assert problem.truth is not None
    found = Completion.from_dense(problem.truth)
    with pytest.raises(TypeError, match="problem must be a CompletionProblem"):
        certificate(3, found)
    with pytest.raises(TypeError, match="completion must be a Completion; got Tensor"):
        certificate(problem, problem.truth)  # type: ignore[arg-type]


def test_refit_refuses_them_too() -> None:
    with pytest.raises(TypeError, match="problem must be a CompletionProblem"):
        refit(3, torch.ones(3, 3))


@pytest.mark.parametrize("solver", [explicit, irls])
def test_zero_measurement_matrices_are_refused(solver: Any) -> None:
    y = torch.ones(4, dtype=torch.float64)
    with pytest.raises(ValueError, match="measurement matrices are zero"):
        solver(SensingProblem(torch.zeros(4, 9, dtype=torch.float64), y, (3, 3)))


def test_refit_from_a_plain_matrix() -> None:
    problem = matrix_completion((20, 15), rank=2, n_observed=200, seed=0)
    assert problem.truth is not None
    near = problem.truth + 0.01 * torch.ones_like(problem.truth)
    assert problem.error(refit(problem, near, rank=2).W) < 1e-10
    assert refit(problem, problem.truth).rank == 2
    sensing = matrix_sensing((8, 6), rank=1, n_measurements=40, seed=0)
    assert sensing.truth is not None
    assert sensing.error(refit(sensing, sensing.truth + 0.01, rank=1).W) < 1e-10
    with pytest.raises(ValueError, match="start has shape"):
        refit(problem, near.mT, rank=2)


@pytest.mark.parametrize("start", [0, None, torch.ones(20), "truth"])
def test_refit_refuses_what_is_no_start(start: Any) -> None:
    problem = matrix_completion((20, 15), rank=2, n_observed=200, seed=0)
    with pytest.raises(TypeError, match="start must be a Completion"):
        refit(problem, start)
    with pytest.raises(TypeError, match="left singular vectors"):
        refit(problem, 0, torch.ones(1), torch.ones(1, 15))  # type: ignore[arg-type]
