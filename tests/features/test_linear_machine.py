"""The linear feature machine: its fit against the normal equations, the depth dial, recovery, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from overt.features import reweighting_root
from overt.features.linear import linear_feature_machine, minimum_norm
from overt.problems import linear_regression, matrix_completion, matrix_sensing


def completion(k=90, rank=1, n=12, seed=0):
    return matrix_completion((n, n), rank=rank, n_observed=k, seed=seed, min_per_line=rank)


def sensing(k=60, rank=1, n=10, seed=0):
    return matrix_sensing((n, n), rank=rank, n_measurements=k, seed=seed)


def weighted_norm(W, M, alpha):
    """tr(W M^{−α} Wᵀ)."""
    values, vectors = torch.linalg.eigh(M)
    return float(((W @ vectors).square() / values**alpha).sum())


@pytest.mark.parametrize("problem", [completion(), sensing()], ids=["completion", "sensing"])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_a_fit_has_the_least_weighted_norm(problem, alpha):
    """No step that keeps the data met lowers tr(W M^{−α} Wᵀ)."""
    g = torch.Generator().manual_seed(1)
    n = problem.shape[1]
    G = torch.randn(n, n, generator=g, dtype=torch.float64)
    M = G @ G.mT + torch.eye(n)
    W = minimum_norm(problem, reweighting_root(M, alpha))
    assert float(problem.loss(W)) < 1e-20
    least = weighted_norm(W, M, alpha)
    A = torch.stack([problem.adjoint(one).flatten() for one in torch.eye(problem.n_observed).double()])
    free = torch.linalg.svd(A)[2][problem.n_observed :]
    for _ in range(10):
        step = (torch.randn(len(free), generator=g, dtype=torch.float64) @ free).view(problem.shape)
        assert weighted_norm(W + 1e-2 * step, M, alpha) > least


@pytest.mark.parametrize("problem", [completion(), sensing()], ids=["completion", "sensing"])
def test_depth_one_is_the_minimum_norm(problem):
    found = linear_feature_machine(problem, 1)
    A = torch.stack([problem.adjoint(one).flatten() for one in torch.eye(problem.n_observed).double()])
    torch.testing.assert_close(found.W.flatten(), torch.linalg.pinv(A) @ problem.y)
    assert (found.n_iter, found.converged) == (1, True)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_a_matrix_of_rank_one_is_found(depth):
    for problem in (completion(), sensing()):
        found = linear_feature_machine(problem, depth)
        assert problem.error(found.W) < 1e-5
        torch.testing.assert_close(found.M, found.W.mT @ found.W)
        assert problem.error(linear_feature_machine(problem, 1).W) > 0.1


@pytest.mark.parametrize("depth", [2, 3, math.inf])
@pytest.mark.parametrize("make", [completion, sensing])
def test_it_settles_on_one_matrix_in_either_precision(make, depth):
    """Its tolerance is below the rounding of single precision, in which it would never be met."""
    double = linear_feature_machine(make(), depth)
    problem = make().to(dtype=torch.float32)
    single = linear_feature_machine(problem, depth)
    assert double.converged
    assert single.converged
    assert single.W.dtype == single.M.dtype == torch.float32
    torch.testing.assert_close(single.W.double(), double.W, rtol=0, atol=1e-5 * float(double.W.abs().max()))
    assert problem.error(single.W) < 1e-5


def test_a_budget_is_kept():
    found = linear_feature_machine(completion(), 2, max_iter=3)
    assert (found.n_iter, found.converged) == (3, False)


def test_lines_without_entries_are_zero():
    problem = matrix_completion((6, 40), rank=1, n_observed=30, seed=0)
    empty = set(range(6)) - set(problem.rows.tolist())
    found = linear_feature_machine(problem, 2, max_iter=5).W
    assert torch.isfinite(found).all()
    assert all(not found[row].any() for row in empty)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="problem must be a CompletionProblem"):
        linear_feature_machine(linear_regression(5, n_samples=3, seed=0))
    with pytest.raises(ValueError, match="depth"):
        linear_feature_machine(completion(), 0.5)
    with pytest.raises(ValueError, match="decay"):
        linear_feature_machine(completion(), decay=1.0)
