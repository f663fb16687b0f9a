"""Which model data get: exact, noisy, or the solver that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from overt.completion import Completion
from overt.completion.estimator import exact, selection
from overt.completion.estimator.selected import Selected
from overt.completion.estimator.selection import select_model
from overt.completion.estimator.solvers import SolverOptions
from overt.problems import CompletionProblem, matrix_completion


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attempts asked of the exact solver, call by call."""
    asked: list[int] = []
    irls = exact.irls

    def counted(*args: Any, **options: Any) -> Completion:
        asked.append(options["attempts"])
        return irls(*args, **options)

    monkeypatch.setattr(exact, "irls", counted)
    return asked


def instance(noise: float, rho: float, condition_number: float = 1.0, seed: int = 0) -> CompletionProblem:
    return matrix_completion(
        (60, 60),
        rank=3,
        n_observed=round(rho * 3 * 117),
        noise=noise,
        condition_number=condition_number,
        seed=seed,
        min_per_line=3,
    )


def solved(noise: float, rho: float, **options: Any) -> tuple[Selected, float]:
    problem = instance(noise, rho, **options)
    model = select_model(problem, SolverOptions(solver="auto"))
    W = model.completion.W + model.offsets.dense()
    return model, problem.error(W)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_noisy_data_gets_the_noisy_model(attempts: list[int], noise: float) -> None:
    model, error = solved(noise, rho=4.0)
    assert len(attempts) == 1
    assert model.solver == "bayes"
    assert model.predictive is not None
    assert error < noise


def test_exact_data_gets_the_exact_one(attempts: list[int]) -> None:
    model, error = solved(0.0, rho=1.8)
    assert len(attempts) == 1
    assert (model.solver, model.completion.rank) == ("irls", 3)
    assert error < 1e-10
    assert model.predictive is None


@pytest.mark.slow
def test_scarce_data_gets_more_attempts(attempts: list[int]) -> None:
    model, error = solved(0.0, rho=1.4, condition_number=10.0, seed=1)
    solved(0.3, rho=4.0)
    assert attempts[0] > attempts[-1]
    assert model.solver == "irls"
    assert error < 1e-8


@pytest.mark.slow
def test_known_noise_and_the_noisy_solver_leave_no_room_for_exactness(attempts: list[int]) -> None:
    problem = instance(0.0, rho=4.0)
    for options in (SolverOptions(solver="bayes"), SolverOptions(solver="auto", noise_std=0.1)):
        assert select_model(problem, options).solver == "bayes"
    assert attempts == []


@pytest.mark.slow
def test_offsets_are_tried_only_where_they_predict_something(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str | None] = []
    score = selection.Trial._score

    def recorded(self: Any, how: str | None) -> Any:
        tried.append(how)
        return score(self, how)

    monkeypatch.setattr(selection.Trial, "_score", recorded)
    select_model(instance(0.3, rho=4.0), SolverOptions(solver="soft_impute"))
    assert tried == [None]
