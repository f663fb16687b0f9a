"""The common refit, and the distance of a run from standing still."""

from __future__ import annotations

import pytest
import torch

from overt import functional as F
from overt.problems import matrix_completion
from overt.studies.shared.recovery import gap_rank, refit_record
from overt.studies.shared.stationarity import relative_gradient


@pytest.fixture(scope="module")
def problem():
    return matrix_completion((20, 20), rank=2, n_observed=250, seed=0, min_per_line=4)


@pytest.mark.parametrize(
    ("values", "degrees", "expected"),
    [
        ((9.0, 7.0, 0.2, 0.1), 100, 2),
        ((9.0, 7.0, 0.2, 1e-12), 100, 2),  # what is below a thousandth of the largest opens no gap
        ((9.0, 7.0, 0.5, 1e-12), 100, 3),
        ((9.0, 1e-9, 1e-15, 0.0), 100, 1),
        ((9.0, 8.0, 7.0, 1e-9), 100, 3),
        ((9.0, 8.0, 7.0, 1e-9), 12, 2),  # three are more than the data determine
    ],
)
def test_gap_rank(values, degrees, expected):
    assert gap_rank(torch.tensor(values, dtype=torch.float64), degrees, (4, 4)) == expected


def test_a_noisy_answer_of_the_right_gap_becomes_exact(problem):
    W = problem.truth + 0.05 * torch.randn(
        20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    record = refit_record(W, problem)
    assert record["rank"] == 2
    assert record["refitted"]
    assert record["error"] < 1e-9 < record["raw_error"]


def test_where_the_refit_misses_the_data_nothing_changes(problem):
    one = torch.linalg.svd(problem.truth)
    W = one.S[0] * torch.outer(one.U[:, 0], one.Vh[0])  # of rank one
    record = refit_record(W, problem)
    assert not record["refitted"]
    assert record["error"] == record["raw_error"] > 0.1
    assert refit_record(torch.zeros(20, 20, dtype=torch.float64), problem)["rank"] == 0


def unit(problem):
    return float(problem.y.square().mean())


def test_the_truth_is_stationary_without_a_penalty_and_a_saddle_is_not(problem):
    assert relative_gradient(problem.truth, problem.loss, None, unit=unit(problem)) < 1e-9
    found = torch.linalg.svd(problem.truth)
    W = problem.truth * 0
    for _ in range(400):  # the best matrix of rank one: stationary along its tangent space
        U, S, Vh = torch.linalg.svd(W - 100 * _gradient(problem, W))
        W = S[0] * torch.outer(U[:, 0], Vh[0])
    assert float(found.S[1]) > 1e-2
    assert relative_gradient(W, problem.loss, None, unit=unit(problem)) > 0.05


def _gradient(problem, W):
    W = W.clone().requires_grad_(True)
    return torch.autograd.grad(problem.loss(W), W)[0]


def test_a_minimum_of_loss_and_nuclear_norm_is_stationary(problem):
    weight = 1e-2

    def penalty(W):
        return weight * F.nuclear_norm(W)

    W = torch.zeros(20, 20, dtype=torch.float64)
    step = len(problem.y) / 2
    for _ in range(3000):
        U, S, Vh = torch.linalg.svd(W - step * _gradient(problem, W), full_matrices=False)
        W = U @ torch.diag((S - step * weight).clamp_min(0)) @ Vh
    assert relative_gradient(W, problem.loss, penalty, unit=unit(problem)) < 1e-6
    far = W + 0.2 * torch.eye(20, dtype=torch.float64)
    assert relative_gradient(far, problem.loss, penalty, unit=unit(problem)) > 1e-2
    assert relative_gradient(0.9 * W, problem.loss, penalty, unit=unit(problem)) > 1e-2


@pytest.mark.parametrize("weight", [0.1, 0.3])
def test_a_lasso_solution_is_stationary(weight):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(30, 8, dtype=torch.float64, generator=generator)
    y = X[:, 0] - 2 * X[:, 3]

    def loss(w):
        return (X @ w - y).square().mean()

    w = torch.zeros(8, dtype=torch.float64)
    step = 30 / (2 * float(torch.linalg.matrix_norm(X, 2)) ** 2)
    for _ in range(5000):
        w = w - step * 2 * X.mT @ (X @ w - y) / 30
        w = w.sign() * (w.abs() - step * weight).clamp_min(0)
    extra = lambda v: weight * v.abs().sum()  # noqa: E731
    assert relative_gradient(w, loss, extra, unit=float(y.square().mean())) < 1e-8
    assert relative_gradient(w + 0.05, loss, extra, unit=float(y.square().mean())) > 1e-2


def test_what_is_negligible_does_not_bias_the_rest():
    """A ratio of norms sums over all singular values: many at the border would change its slope along W."""
    torch.manual_seed(0)
    W = torch.randn(60, 2, dtype=torch.float64) @ torch.randn(2, 60, dtype=torch.float64)
    at = W.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(F.normalized_nuclear_norm(at), at)
    left = relative_gradient(W, lambda V: -(slope * V).sum(), F.normalized_nuclear_norm, unit=1.0)
    assert left < 1e-9


@pytest.mark.parametrize(("slope", "rests"), [(0.6, True), (0.4, False), (-0.6, False)])
def test_a_run_may_rest_where_a_guard_on_the_norm_begins_to_act(slope, rests):
    """The loss pulls half the norm outwards; the guard holds if its slope is more than that."""
    generator = torch.Generator().manual_seed(2)
    W = torch.randn(20, 3, dtype=torch.float64, generator=generator) @ torch.ones(3, 20, dtype=torch.float64)
    norm = W.norm()

    def loss(V):
        return (V - 1.5 * W).square().sum() / 2

    def guard(V):
        return slope * norm * (V.norm() - norm).clamp_min(0) + norm**2

    left = relative_gradient(W, loss, guard, unit=1.0)
    assert left < 1e-9 if rests else left > 0.05
