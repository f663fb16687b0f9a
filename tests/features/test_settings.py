"""Closed-form leave-one-out, errors on other rows, ridges, weights and folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from overt.features.folds import folds_of, settled
from overt.features.kernels import kernel_values, similarities
from overt.features.members import Member, Path
from overt.features.ridge import Screened, Trial, choose, ridge_factor, solve
from overt.features.stacking import simplex_weights, stack_weights


def problem(n=25, k=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 3, dtype=torch.float64, generator=g)
    Y = torch.randn(n, k, dtype=torch.float64, generator=g)
    return X, Y - Y.mean(0)


def kernel_of(X, Z, kernel="laplace", scale=1.3):
    return kernel_values(similarities(X, Z, kernel), kernel, scale)


RIDGES = torch.tensor([1e-4, 1e-1, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("kernel", ["laplace", "gaussian", "linear"])
def test_leave_one_out_is_what_refits_give(kernel):
    X, Y = problem()
    K = kernel_of(X, X, kernel)
    found = Screened(K, Y, RIDGES).leave_one_out()
    for ridge, error in zip(RIDGES, found, strict=True):
        squares = []
        for i in range(len(X)):
            rest = torch.arange(len(X)) != i
            shifted = K[rest][:, rest] + ridge * torch.eye(len(X) - 1, dtype=torch.float64)
            squares.append((K[i, rest] @ torch.linalg.solve(shifted, Y[rest]) - Y[i]).square())
        assert float(error) == pytest.approx(float(torch.stack(squares).mean(0).sum()), rel=1e-6)


def test_errors_on_other_rows_are_what_fits_give():
    X, Y = problem()
    Z, T = problem(10, seed=1)
    found = Screened(kernel_of(X, X), Y, RIDGES).errors(kernel_of(Z, X), T)
    for ridge, error in zip(RIDGES, found, strict=True):
        A, taken = solve(kernel_of(X, X), Y, float(ridge))
        assert taken == ridge
        assert float(error) == pytest.approx(
            float((kernel_of(Z, X) @ A - T).square().mean(0).sum()), rel=1e-8
        )


def test_a_ridge_grows_until_the_matrix_is_positive():
    L, ridge = ridge_factor(torch.ones(4, 4) - 1e-3 * torch.eye(4), 1e-5)
    assert ridge >= 1e-3
    torch.testing.assert_close(L @ L.mT, torch.ones(4, 4) + (ridge - 1e-3) * torch.eye(4))


def test_settings_suit_the_target():
    """Noise asks for a large ridge, a smooth target without noise for a small one."""
    X, noise = problem(80, 1)
    smooth = X[:, :1].sin()
    assert choose([Trial(X, smooth)], "gaussian").ridge < 1e-4
    assert choose([Trial(X, noise)], "gaussian").ridge > 1e-2
    other, target = problem(60, 1, seed=3)
    found = choose([Trial(X, smooth, other, other[:, :1].sin())], "gaussian")
    assert found.ridge < 1e-4
    assert found.error < 1e-4
    assert choose([Trial(X, noise, other, target)], "laplace").ridge == 1


# ---- weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_best_of_the_simplex(seed, monkeypatch):
    monkeypatch.setattr("overt.features.stacking._SMALLEST", 0.0)
    g = torch.Generator().manual_seed(seed)
    R = torch.randn(5, 40, 1, dtype=torch.float64, generator=g) + torch.rand(5, 1, 1, generator=g).double()
    found = simplex_weights(R)
    G = (R[..., 0] @ R[..., 0].mT).numpy()
    oracle = minimize(
        lambda w: w @ G @ w,
        np.full(5, 0.2),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert found @ G @ found == pytest.approx(oracle.fun, rel=1e-5)


def test_members_of_little_weight_are_left_out():
    g = torch.Generator().manual_seed(0)
    R = torch.randn(12, 2000, 1, dtype=torch.float64, generator=g)
    R[1:] *= 10  # each has a hundredth of the first one's weight
    assert np.count_nonzero(simplex_weights(R)) == 1


def members(rounds):
    return [Member("laplace", "eigen" if r else "none", r, 1.0, 0.1, 1.0) for r in rounds]


@pytest.mark.parametrize(("better", "structure"), [(0.5, True), (0.98, False)])
def test_kernel_ridge_is_left_only_for_a_clear_gain(better, structure):
    g = torch.Generator().manual_seed(1)
    Y = torch.zeros(100, 1, dtype=torch.float64)
    plain = torch.randn(100, 1, dtype=torch.float64, generator=g)
    noise = torch.randn(100, 1, dtype=torch.float64, generator=g)
    other = better * plain + 0.3 * noise
    weights = stack_weights(members([0, 1]), torch.stack([plain, other]), Y)
    assert (weights[1] > 0) == structure
    assert weights.sum() == pytest.approx(1)


def test_perfect_members_have_weights():
    Y = torch.zeros(10, 1, dtype=torch.float64)
    weights = stack_weights(members([0, 0, 1]), torch.zeros(3, 10, 1, dtype=torch.float64), Y)
    assert weights.sum() == pytest.approx(1)
    assert weights[2] == 0


def test_a_path_prints_as_a_table():
    lines = str(Path(members([0, 3]))).splitlines()
    assert len(lines) == 3
    assert lines[2].split()[:3] == ["laplace", "eigen", "3"]


# ---- folds -----------------------------------------------------------------------------------------------


def test_folds_follow_the_rows_and_balance_the_target():
    X, Y = problem(90)
    Y[:, 0] = torch.repeat_interleave(torch.arange(3.0), 30)
    folds = folds_of(X, Y, 3, np.random.RandomState(0))
    for label in range(3):
        assert torch.bincount(folds[Y[:, 0] == label]).tolist() == [10, 10, 10]
    order = torch.randperm(90, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(folds_of(X[order], Y[order], 3, np.random.RandomState(0)), folds[order])
    first, again = (settled(*pair, np.random.RandomState(5)) for pair in ((X, Y), (X[order], Y[order])))
    torch.testing.assert_close(X[first], X[order][again])
