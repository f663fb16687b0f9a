"""SoftImpute against the regularized nuclear norm solver, and its choice of weight."""

from __future__ import annotations

import math

import pytest
import torch

from overt.completion import Completion, nuclear_norm_minimization, soft_impute
from overt.completion.convex import proximal_steps
from overt.completion.convex.soft_impute import weight_max
from overt.problems import CompletionProblem, matrix_completion


@pytest.fixture(params=["dense", "block"])
def either_step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with the formed matrix and matrix-free."""
    if request.param == "block":
        monkeypatch.setattr(proximal_steps, "_DENSE_SIDE", 0)
    return str(request.param)


def noisy(seed: int = 0, noise: float = 0.1) -> CompletionProblem:
    return matrix_completion((40, 30), rank=2, n_observed=600, seed=seed, noise=noise)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_equals_the_regularized_problem(either_step: str, weight: float) -> None:
    problem = noisy()
    found = soft_impute(problem, weight=weight, tolerance=1e-7)
    reference = nuclear_norm_minimization(problem, weight=weight, tolerance=1e-9)
    assert found.converged
    torch.testing.assert_close(found.W, reference.W, atol=2e-3, rtol=0)


def test_optimality_conditions(either_step: str) -> None:
    problem, weight = noisy(), 2.0
    found = soft_impute(problem, weight=weight, tolerance=1e-8, max_iter=2000)
    gradient = problem.adjoint(problem.y - problem.measure(found.W)) / weight
    assert float(torch.linalg.matrix_norm(gradient, 2)) < 1 + 1e-3
    torch.testing.assert_close(gradient @ found.Vt.mT, found.U, atol=1e-2, rtol=0)


def test_zero_from_weight_max_on(either_step: str) -> None:
    problem = noisy()
    largest = weight_max(problem)
    assert largest == pytest.approx(float(torch.linalg.matrix_norm(problem.adjoint(problem.y), 2)), rel=1e-4)
    assert soft_impute(problem, weight=1.001 * largest).rank == 0
    assert soft_impute(problem, weight=0.9 * largest).rank > 0


@pytest.mark.slow
def test_chosen_weight_is_near_the_best_of_its_path() -> None:
    problem = noisy()
    found = soft_impute(problem)
    path, final = found.history[:-1], found.history[-1]
    assert found.converged
    assert final["heldout_rmse"] == min(row["heldout_rmse"] for row in path)
    weights = [row["weight"] for row in path]
    assert weights == sorted(weights, reverse=True)
    errors = [problem.error(soft_impute(problem, weight=weight).W) for weight in weights]
    assert problem.error(found.W) <= 1.15 * min(errors)


def test_nearly_exact_data_drives_the_weight_to_the_end_of_the_path() -> None:
    problem = matrix_completion((40, 40), rank=1, n_observed=800, seed=0)
    found = soft_impute(problem)
    assert found.history[-1]["weight"] < 2e-3 * weight_max(problem)
    assert problem.error(found.W) < 5e-3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_answer() -> None:
    assert torch.equal(soft_impute(noisy(), seed=4).W, soft_impute(noisy(), seed=4).W)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-100, 1e-12, 1e12, 1e100])
def test_scales_with_the_data(scale: float) -> None:
    problem = noisy()
    scaled = CompletionProblem(problem.rows, problem.cols, problem.y * scale, problem.shape)
    torch.testing.assert_close(soft_impute(scaled).W / scale, soft_impute(problem).W, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_float32_stays_float32(either_step: str) -> None:
    problem = matrix_completion((40, 30), rank=2, n_observed=600, seed=0, noise=0.1, dtype=torch.float32)
    found = soft_impute(problem, tolerance=1e-4)
    assert found.converged
    assert found.W.dtype == torch.float32


@pytest.mark.parametrize("n_observed", [1, 2, 3])
def test_hardly_any_observation(n_observed: int) -> None:
    problem = CompletionProblem(
        torch.arange(n_observed), torch.arange(n_observed), torch.ones(n_observed), (5, 4)
    )
    found = soft_impute(problem)
    assert bool(torch.isfinite(found.W).all())
    assert math.isnan(found.history[-1]["heldout_rmse"])


@pytest.mark.parametrize("n_observed", [2, 39, 400])
def test_a_single_line_cannot_choose_the_weight(n_observed: int) -> None:
    index = torch.arange(n_observed)
    y = 1.0 + index.double() / n_observed
    found = soft_impute(CompletionProblem(torch.zeros_like(index), index, y, (1, n_observed + 1)))
    assert "too few to choose" in found.message
    assert math.isnan(found.history[-1]["heldout_rmse"])
    assert found.converged
    torch.testing.assert_close(found.W[0, :-1], y, rtol=2e-3, atol=0)


@pytest.mark.parametrize(("k", "chosen"), [(36, False), (48, True)])
def test_ten_held_out_entries_choose_the_weight(k: int, chosen: bool) -> None:
    found = soft_impute(matrix_completion((8, 8), rank=1, n_observed=k, seed=0, noise=0.1, min_per_line=2))
    assert ("too few to choose" in found.message) != chosen
    assert math.isnan(found.history[-1]["heldout_rmse"]) != chosen
    assert found.converged


def test_all_zero_observations() -> None:
    zeros = CompletionProblem(torch.arange(3), torch.arange(3), torch.zeros(3), (3, 4))
    found = soft_impute(zeros)
    assert (found.rank, found.converged) == (0, True)
    assert torch.equal(found.W, torch.zeros(3, 4))


def test_max_rank_bounds_the_rank_and_is_reported(either_step: str) -> None:
    found = soft_impute(noisy(), weight=0.05, max_rank=3, max_iter=20)
    assert found.rank <= 3
    assert "max_rank=3" in found.message


def test_says_when_it_has_not_converged() -> None:
    found = soft_impute(noisy(), weight=0.1, max_iter=2, tolerance=1e-9)
    assert not found.converged
    assert "raise max_iter" in found.message


def test_callback_sees_usable_iterates() -> None:
    seen: list[Completion] = []
    soft_impute(noisy(), callback=seen.append)
    assert len(seen) > 3
    assert all(state.shape == (40, 30) and not state.converged for state in seen)
