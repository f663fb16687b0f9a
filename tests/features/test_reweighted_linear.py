"""Around a linear learner, `reweighted` is iteratively reweighted least squares for P_p."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import overt
from overt import functional as F

N, D, K, RIDGE = 40, 6, 8, 5.0


def instance(seed=0, rank=2, outputs=K):
    random = np.random.default_rng(seed)
    W = random.standard_normal((D, rank)) @ random.standard_normal((rank, outputs))
    X = random.standard_normal((N, D))
    return X, X @ W + random.standard_normal((N, outputs))


def ridge(X, Y):
    """Minimizes ‖XW − Y‖² + λ‖W‖², from the normal equations; W maps inputs, y = x W."""
    W = torch.as_tensor(np.linalg.solve(X.T @ X + RIDGE * np.eye(X.shape[1]), X.T @ Y))
    model = torch.nn.Linear(*W.shape, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(W.T)
    return model


def rounds_of(fit, X, Y, basis, depth, rounds):
    """End-to-end coefficients (D, K) of each round, whatever their errors, from fits that are recorded."""
    inputs, fits = [], []

    def recorded(Z, T):
        fits.append(fit(Z, T))
        inputs.append(Z)
        return fits[-1]

    falling = iter(range(100, 0, -1))  # so that no path ends early

    def loss(outputs, y):
        return torch.full((len(y),), float(next(falling)))

    overt.reweighted(recorded, X, Y, basis, depth, rounds=rounds, validation=(X, Y), loss=loss)
    roots = [np.linalg.lstsq(X, Z, rcond=None)[0] for Z in inputs]
    with torch.no_grad():
        return [root @ model.weight.numpy().T for root, model in zip(roots, fits, strict=True)]


def irls_step(X, Y, W, p, basis):
    """argmin ‖XV − Y‖² + λ c tr(Vᵀ M^{p/2 − 1} V), M = W Wᵀ (its diagonal), c = tr M^{1 − p/2} / d."""
    M = W @ W.T
    if basis == "identity":
        M = np.diag(np.diag(M))
    values, vectors = np.linalg.eigh(M)
    weights = vectors @ np.diag(values ** (p / 2 - 1)) @ vectors.T
    c = (values ** (1 - p / 2)).sum() / D
    return np.linalg.solve(X.T @ X + RIDGE * c * weights, X.T @ Y)


@pytest.mark.parametrize("basis", ["eigen", "identity"])
@pytest.mark.parametrize("depth", [1.5, 2, 3])
def test_a_round_of_ridge_regression_is_a_step_of_irls(basis, depth):
    X, Y = instance()
    found = rounds_of(ridge, X, Y, basis, depth, rounds=3)
    assert len(found) == 4
    for before, after in pairwise(found):
        step = irls_step(X, Y, before, 2 / depth, basis)
        assert np.abs(step - before).max() > 1e-4
        np.testing.assert_allclose(after, step, rtol=0, atol=1e-8 * np.abs(step).max())


@pytest.mark.parametrize("basis", ["eigen", "identity"])
def test_the_weights_majorize_the_functional(basis):
    """tr(Vᵀ w V) with w = (p/2) M^{p/2 − 1} has the slope of P_p at V = W, and is above it elsewhere."""
    p, W = 2 / 3, torch.as_tensor(instance(1)[1][:D], dtype=torch.float64).requires_grad_()

    def cost(V):
        return F.schatten_norm(V, p=p) ** p if basis == "eigen" else V.norm(dim=1).pow(p).sum()

    M = (W @ W.T).detach()
    root = overt.features.reweighting_root(M, 1 - p / 2, basis)
    scale = torch.trace(torch.linalg.matrix_power(root, 2)) / D
    assert abs(float(scale) - 1) < 1e-12
    powers = torch.linalg.eigvalsh(M) if basis == "eigen" else M.diagonal()
    c = powers.pow(1 - p / 2).sum() / D
    w = p / 2 * torch.linalg.inv(root @ root) / c
    (slope,) = torch.autograd.grad(cost(W), W)
    torch.testing.assert_close(2 * w @ W.detach(), slope, rtol=1e-7, atol=1e-8)
    base = cost(W.detach()) - torch.trace(W.detach().T @ w @ W.detach())
    for seed in range(20):
        V = W.detach() + torch.randn(W.shape, generator=torch.Generator().manual_seed(seed)).double()
        assert cost(V) <= torch.trace(V.T @ w @ V) + base + 1e-9


def test_rounds_find_the_rank():
    X, Y = instance(2)
    found = rounds_of(ridge, X, Y, "eigen", 4, rounds=30)
    ranks = [overt.measures.Spectrum(torch.linalg.svdvals(torch.as_tensor(W))).effective_rank for W in found]
    assert ranks[0] > 2.5
    assert ranks[-1] < 2.05


def test_an_estimator_and_a_network_of_the_same_learner_agree():
    X, Y = instance(3)
    options = {"basis": "eigen", "depth": 3, "rounds": 3, "refit": False}
    one = overt.reweighted(Ridge(alpha=RIDGE, fit_intercept=False), X, Y, **options)
    other = overt.reweighted(ridge, X, Y, **options)
    assert one.n_iter_ == other.n_iter_
    assert [p.round for p in one.path_] == [p.round for p in other.path_]
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(one.M_, other.M_, rtol=1e-5, atol=1e-5)


def test_infinite_depth_is_the_limit():
    X, Y = instance(4)
    limit = rounds_of(ridge, X, Y, "identity", math.inf, rounds=2)
    near = rounds_of(ridge, X, Y, "identity", 1e9, rounds=2)
    for a, b in zip(limit, near, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
