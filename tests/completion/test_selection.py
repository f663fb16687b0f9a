"""What data the exact solver gets further attempts on."""

from __future__ import annotations

from typing import Any

import pytest

from overt.completion import Completion
from overt.completion.estimator import selection, solvers
from overt.completion.estimator.selection import select_model
from overt.completion.estimator.solvers import SolverOptions
from overt.problems import matrix_completion


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attempts asked of the exact solver, call by call."""
    asked: list[int] = []
    irls = solvers.irls

    def counted(*args: Any, **options: Any) -> Completion:
        asked.append(options["attempts"])
        return irls(*args, **options)

    monkeypatch.setattr(solvers, "irls", counted)
    return asked


def solved(noise: float, rho: float, condition_number: float = 1.0, seed: int = 0) -> tuple[Any, float]:
    problem = matrix_completion(
        (60, 60),
        rank=3,
        n_observed=round(rho * 3 * 117),
        noise=noise,
        condition_number=condition_number,
        seed=seed,
        min_per_line=3,
    )
    model = select_model(problem, SolverOptions(solver="auto"))
    return model, problem.error(model.completion.W)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_plainly_noisy_data_gets_no_further_attempts(attempts: list[int], noise: float) -> None:
    model, error = solved(noise, rho=4.0)
    assert attempts == [1]
    assert model.solver == "factored"
    assert model.completion.rank == 3
    assert error < noise


def test_exact_data_is_met_at_the_first_attempt(attempts: list[int]) -> None:
    model, error = solved(0.0, rho=1.8)
    assert attempts == [1]
    assert error < 1e-10
    assert model.completion.rank == 3


@pytest.mark.slow
def test_scarce_data_gets_further_attempts(attempts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_STEPS", ((20_000, 6),))  # too few for the first attempt
    model, error = solved(0.0, rho=1.4, condition_number=10.0, seed=1)
    assert attempts == [1, 6]
    assert model.solver == "irls"
    assert error < 1e-8


@pytest.mark.slow
def test_offsets_are_tried_only_where_they_predict_something(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str | None] = []
    score = selection.Trial._score

    def recorded(self: Any, how: str | None) -> Any:
        tried.append(how)
        return score(self, how)

    monkeypatch.setattr(selection.Trial, "_score", recorded)
    solved(0.3, rho=4.0)
    assert "biases" not in tried
