"""The explicit route: exact recovery, no blow-up, units, and what it says where it fails."""

from __future__ import annotations

import sys

import pytest
import torch

from overt.completion import explicit, explicit_run
from overt.completion.problem import normalized_problem
from overt.problems import CompletionProblem, SensingProblem, matrix_completion, matrix_sensing
from overt.training import HoldUntilCollapse


def relative(A, B):
    return float((A - B).norm() / B.norm())


def with_values(problem, y, truth=None):
    return CompletionProblem(problem.rows, problem.cols, y, problem.shape, truth=truth)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_recovers_exactly_at_the_true_rank(seed):
    problem = matrix_completion((30, 30), rank=2, n_observed=350, seed=seed, min_per_line=2)
    found = explicit(problem, seed=seed)
    assert found.converged
    assert found.rank == 2
    assert problem.error(found.W) < 1e-10
    assert found.residual < 1e-12
    assert torch.allclose(found.U.mT @ found.U, torch.eye(2, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "rank"), [((24, 16), 1), ((14, 30), 2), ((20, 20), 3)])
def test_other_shapes_and_ranks(shape, rank):
    m, n = shape
    problem = matrix_completion(shape, rank=rank, n_observed=int(0.7 * m * n), seed=0, min_per_line=rank)
    found = explicit(problem)
    assert found.shape == shape
    assert found.rank == rank
    assert problem.error(found.W) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rho", "seed", "early_refit"),
    [
        (1.0, 0, True),
        (1.0, 1, False),
        (1.1, 2, True),
        (1.3, 3, True),
        (1.6, 4, False),
        (2.0, 5, True),
        (3.0, 6, True),
    ],
)
def test_never_a_huge_entry_however_few_observations(rho, seed, early_refit):
    """Down to as many observations as a matrix of rank 2 has degrees of freedom."""
    n, r = 30, 2
    problem = matrix_completion((n, n), rank=r, n_observed=round(rho * r * (2 * n - r)), seed=seed)
    run = explicit_run(problem, seed=seed, max_steps=1200, early_refit=early_refit)
    for W in (run.completion.W, run.penalized):
        assert float(W.abs().max()) <= 100 * problem.max_abs_observed
    assert run.completion.message


@pytest.mark.slow
def test_matrix_sensing():
    problem = matrix_sensing((14, 12), rank=1, n_measurements=90, seed=0)
    found = explicit(problem)
    assert found.rank == 1
    assert problem.error(found.W) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e-200])
def test_units_of_the_data_do_not_matter(factor):
    problem = matrix_completion((20, 20), rank=1, n_observed=200, seed=3)
    plain = explicit(problem)
    scaled = explicit(with_values(problem, problem.y * factor))
    assert scaled.rank == plain.rank == 1
    assert relative(scaled.W / factor, plain.W) < 1e-8


@pytest.mark.slow
def test_units_of_measurements_do_not_matter():
    problem = matrix_sensing((12, 10), rank=1, n_measurements=80, seed=1)
    scaled = explicit(SensingProblem(problem.A * 1e3, problem.y * 1e5, problem.shape))
    assert relative(scaled.W / 100, problem.truth) < 1e-8


@pytest.mark.slow
def test_a_penalized_matrix_scales_with_the_data():
    """Before any refit too, and also where the run has not converged.

    By a power of two, which rounds nothing: Adam amplifies a rounding error by ten orders in 150 steps.
    """
    problem = matrix_completion((20, 20), rank=2, n_observed=150, seed=0)
    options = {"max_steps": 150, "early_refit": False, "final_refit": False}
    plain = explicit_run(problem, **options)
    scaled = explicit_run(with_values(problem, problem.y * 2.0**20), **options)
    assert relative(scaled.penalized / 2.0**20, plain.penalized) < 1e-8


def test_normalized_problems_have_unit_mean_square():
    problem = matrix_completion((20, 15), rank=2, n_observed=150, seed=0)
    scaled, unit = normalized_problem(problem)
    assert float(scaled.y.square().mean()) == pytest.approx(1.0)
    assert relative(scaled.truth * unit, problem.truth) < 1e-15
    sensing = matrix_sensing((10, 10), rank=1, n_measurements=60, seed=0)
    scaled, unit = normalized_problem(sensing)
    assert float(scaled.y.square().mean()) == pytest.approx(1.0)
    assert relative(scaled.measure(sensing.truth / unit), scaled.y) < 1e-12


def test_heldout_values_are_scaled_with_the_rest():
    heldout = (torch.tensor([0]), torch.tensor([1]), torch.tensor([4.0], dtype=torch.float64))
    rows, y = torch.tensor([0, 1, 2]), torch.tensor([2.0, -2.0, 2.0], dtype=torch.float64)
    scaled, unit = normalized_problem(CompletionProblem(rows, rows, y, (3, 3), heldout=heldout))
    assert unit == pytest.approx(2.0)
    assert scaled.heldout[2].item() == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_zero_observations_are_completed_by_zero(kind):
    if kind == "completion":
        problem = matrix_completion((10, 10), rank=1, n_observed=50, seed=0)
        zero = with_values(problem, torch.zeros_like(problem.y))
    else:
        problem = matrix_sensing((6, 6), rank=1, n_measurements=20, seed=0)
        zero = SensingProblem(problem.A, torch.zeros_like(problem.y), problem.shape)
    run = explicit_run(zero)
    assert (run.completion.rank, run.completion.converged, run.completion.residual) == (0, True, 0.0)
    assert "all observations are zero" in run.completion.message
    assert run.completion.W.shape == run.penalized.shape == zero.shape
    assert not explicit(zero).W.any()


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "k"), [((1, 1), 1), ((1, 5), 5), ((4, 1), 4), ((1, 5), 3)])
def test_a_single_line_is_certain_only_where_nothing_is_missing(shape, k):
    y = torch.arange(1.0, k + 1, dtype=torch.float64)
    index = torch.arange(k)
    found = explicit(CompletionProblem(index // shape[1], index % shape[1], y, shape))
    assert found.rank == 1
    assert found.converged == (k == shape[0] * shape[1])
    assert "a single row or column has rank 1" in found.message
    assert torch.allclose(found.W.reshape(-1)[:k], y, atol=1e-6)


@pytest.mark.slow
def test_noise():
    """With noise of 1 % nothing fits exactly: no early refit may be accepted, and the last one must be."""
    problem = matrix_completion((30, 30), rank=2, n_observed=450, seed=0, noise=0.01, min_per_line=2)
    run = explicit_run(problem)
    assert run.accepted_at is None
    assert run.collapsed_at is not None
    assert run.completion.rank == 2
    assert run.completion.converged
    assert 0.001 < problem.error(run.completion.W) < problem.error(run.penalized) < 0.02
    assert 0.003 < run.completion.residual < 0.02


@pytest.mark.slow
def test_without_early_refits_the_weight_is_held_until_the_collapse_and_then_released():
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0, min_per_line=2)
    schedule = HoldUntilCollapse(release_steps=150)
    run = explicit_run(problem, early_refit=False, schedule=schedule)
    assert run.accepted_at is None
    assert schedule.rank == run.completion.rank == 1
    assert run.collapsed_at == schedule.collapsed_at
    assert run.training.steps == run.collapsed_at + 150
    for row in run.training.trace:
        assert row["weight"] == (1e-2 if row["step"] < run.collapsed_at else 0.0) or (
            row["step"] == run.collapsed_at
        )
    assert f"collapsed to rank 1 at step {run.collapsed_at}" in run.completion.message
    assert problem.error(run.completion.W) < 1e-10 < problem.error(run.penalized)


@pytest.mark.slow
def test_a_refit_may_be_left_out():
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0, min_per_line=2)
    run = explicit_run(problem, early_refit=False, final_refit=False)
    assert run.collapsed_at is not None
    assert torch.allclose(run.completion.W, run.penalized)
    assert 1e-10 < problem.error(run.penalized) < 0.05


@pytest.mark.slow
def test_an_early_refit_is_accepted_only_when_exact_and_ends_the_run():
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0, min_per_line=2)
    run = explicit_run(problem)
    assert run.accepted_at == run.training.steps
    assert run.collapsed_at is None
    tried = [row["early_refit"] for row in run.completion.history if "early_refit" in row]
    assert tried[-1]["residual"] < 1e-12 or tried[-2]["residual"] < 1e-12
    assert run.completion.n_iter == run.training.steps


def test_a_budget_too_small_is_said_with_advice():
    problem = matrix_completion((30, 30), rank=2, n_observed=350, seed=0)
    found = explicit(problem, max_steps=20)
    assert not found.converged
    assert found.n_iter == 20
    assert "raise max_steps" in found.message
    assert found.residual > 1e-3
    assert torch.isfinite(found.W).all()


@pytest.mark.slow
def test_too_few_observations_do_not_pass_for_an_answer():
    """Fewer observations than degrees of freedom of any rank: whatever fits exactly means nothing."""
    problem = matrix_completion((30, 30), rank=2, n_observed=50, seed=0)
    run = explicit_run(problem, max_steps=400)
    assert run.accepted_at is None


@pytest.mark.slow
def test_nuclear_norm_has_no_cap():
    problem = matrix_completion((20, 20), rank=1, n_observed=300, seed=0)
    run = explicit_run(problem, functional="nuclear_norm", weight=1e-3, max_steps=800, early_refit=False)
    assert problem.error(run.penalized) < 0.3
    without = explicit_run(
        problem, functional="nuclear_norm", weight=1e-3, max_steps=800, early_refit=False, norm_cap=None
    )
    assert torch.equal(run.penalized, without.penalized)


@pytest.mark.slow
def test_above_the_cap_growth_costs():
    """From a start far above the cap the capped penalty, the default, shrinks the norm; without it, less."""
    problem = matrix_completion((20, 20), rank=1, n_observed=100, seed=0)
    shared = {"max_steps": 100, "early_refit": False, "init_scale": 3.0, "weight": 1.0}
    norms = [
        float(explicit_run(problem, **shared, **cap).penalized.norm())
        for cap in ({}, {"norm_cap": 1.2}, {"norm_cap": None})
    ]
    assert norms[0] == norms[1] < 0.95 * norms[2]


@pytest.mark.slow
def test_an_exact_refit_that_blows_up_is_not_accepted(monkeypatch):
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0)
    module = sys.modules["overt.completion.explicit"]  # the attribute of that name is the function
    monkeypatch.setattr(module, "within_bounds", lambda problem, fit: False)
    run = explicit_run(problem, max_steps=400)
    assert run.accepted_at is None
    assert any("early_refit" in row for row in run.completion.history)
    assert not run.completion.converged


def test_without_a_cap_easy_problems_are_solved_too():
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0)
    found = explicit(problem, norm_cap=None)
    assert problem.error(found.W) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("functional", "options"),
    [
        ("normalized_schatten_norm", {"p": 0.7, "q": 2.0}),
        ("effective_rank", None),
        ("log_det", {"eps": 1e-2}),
    ],
)
def test_other_functionals(functional, options):
    problem = matrix_completion((20, 20), rank=1, n_observed=250, seed=0)
    found = explicit(problem, functional=functional, functional_options=options, max_steps=3000)
    assert problem.error(found.W) < 1e-10


def test_a_callback_sees_each_step_and_may_stop():
    problem = matrix_completion((20, 20), rank=2, n_observed=200, seed=0)
    seen = []

    def tell(state):
        seen.append(state.step)
        return state.step >= 50

    run = explicit_run(problem, callback=tell)
    assert seen == sorted(seen)
    assert seen[-1] == run.training.steps
    assert 50 <= run.training.steps < 100
    assert run.training.status == "stopped"
    assert not run.completion.converged


@pytest.mark.slow
def test_the_same_seed_gives_the_same_matrix():
    problem = matrix_completion((15, 15), rank=1, n_observed=120, seed=0)
    one, two, other = (explicit_run(problem, seed=s, max_steps=60).penalized for s in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_dtype_follows_the_observations():
    problem = matrix_completion((15, 15), rank=1, n_observed=150, seed=0).to(dtype=torch.float32)
    found = explicit(problem)
    assert found.W.dtype == torch.float32
    assert problem.error(found.W) < 1e-4
