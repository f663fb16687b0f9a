"""Ridge-regularized factors of growing rank against the best that an oracle could choose."""

from __future__ import annotations

import pytest
import torch

from overt.completion import Completion, factored, refit
from overt.completion.factored.path import noise_norm, split_observations
from overt.completion.tangent import Entries
from overt.problems import CompletionProblem, matrix_completion


def oracle(problem: CompletionProblem, rank: int) -> float:
    """Error of the fit that is told the rank, the truth as a start, and the best ridge."""
    assert problem.truth is not None
    start = Completion.from_dense(problem.truth)
    ridges = (0.0, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0)
    fits = [refit(problem, start, rank=rank, ridge=ridge, max_iter=25) for ridge in ridges]
    return min(problem.error(fit.factored) for fit in fits)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.56])
@pytest.mark.parametrize("shape", [(60, 60), (40, 90)])
def test_within_a_quarter_of_the_oracle(shape: tuple[int, int], noise: float) -> None:
    problem = matrix_completion(shape, rank=3, n_observed=1200, seed=1, noise=noise)
    found = factored(problem)
    assert problem.error(found.factored) <= 1.25 * oracle(problem, 3)
    assert found.rank == 3


@pytest.mark.slow
@pytest.mark.parametrize("condition_number", [1.0, 10.0])
def test_exact_data_is_completed_to_machine_precision(condition_number: float) -> None:
    problem = matrix_completion((60, 50), rank=4, n_observed=1500, seed=0, condition_number=condition_number)
    found = factored(problem)
    assert found.converged
    assert found.rank == 4
    assert problem.error(found.factored) < 1e-10


def test_pure_noise_gets_no_rank_or_a_worthless_one() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randperm(1600, generator=generator)[:800]
    y = torch.randn(800, generator=generator, dtype=torch.float64)
    found = factored(CompletionProblem(flat // 40, flat % 40, y, (40, 40)))
    assert float(found.W.square().mean().sqrt()) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-100, 1e12, 1e100])
def test_scales_with_the_data(scale: float) -> None:
    problem = matrix_completion((30, 30), rank=2, n_observed=500, seed=0, noise=0.1)
    scaled = CompletionProblem(problem.rows, problem.cols, problem.y * scale, problem.shape)
    torch.testing.assert_close(factored(scaled).W / scale, factored(problem).W, rtol=1e-5, atol=1e-5)


def test_told_rank_and_ridge_skip_the_choice() -> None:
    problem = matrix_completion((30, 30), rank=2, n_observed=500, seed=0)
    found = factored(problem, rank=2, ridge=0.0)
    assert found.rank == 2
    assert problem.error(found.factored) < 1e-8


@pytest.mark.slow
def test_callback_sees_only_improvements() -> None:
    problem = matrix_completion((30, 30), rank=2, n_observed=500, seed=0, noise=0.1)
    seen: list[Completion] = []
    found = factored(problem, callback=seen.append)
    assert seen
    assert not any(state.converged for state in seen)
    best = min(row["heldout_rmse"] for row in found.history)
    assert best <= 1.01 * min(row["heldout_rmse"] for row in found.history if row["rank"] == found.rank)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_hardly_any_observation(k: int) -> None:
    problem = CompletionProblem(torch.arange(k), torch.arange(k), torch.ones(k).double(), (4, 5))
    assert bool(torch.isfinite(factored(problem).W).all())


def test_zero_observations_give_zero() -> None:
    zeros = CompletionProblem(torch.arange(3), torch.arange(3), torch.zeros(3), (3, 4))
    assert factored(zeros).rank == 0


def test_noise_norm_is_the_size_of_noise_on_the_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randperm(200 * 100, generator=generator)[:8000]
    noise = torch.zeros(200 * 100, dtype=torch.float64)
    noise[flat] = torch.randn(8000, generator=generator, dtype=torch.float64)
    entries = Entries(flat // 100, flat % 100, (200, 100), torch.float64)
    measured = float(torch.linalg.matrix_norm(noise.view(200, 100), 2))
    assert noise_norm(entries, 1.0) == pytest.approx(measured, rel=0.1)


def test_split_keeps_and_holds_out_everything_once() -> None:
    split = split_observations(50, 0.2, seed=3)
    assert split is not None
    assert sorted(torch.cat(split).tolist()) == list(range(50))
    assert split[1].numel() == 10
    assert split_observations(1, 0.5, seed=0) is None
