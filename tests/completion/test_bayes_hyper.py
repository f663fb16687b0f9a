"""Draws of hyperparameters and of the link against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse, stats

from overt.completion.bayes.hyper import gamma_levels, gamma_shape, normal_wishart
from overt.completion.bayes.link import Link, who_rated_what

Array = NDArray[Any]


def close(found: Array, expected: Array, draws: Array) -> None:
    """Means of ``draws`` (k, …) within five standard errors of what is expected, in each entry."""
    doubt = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(found - expected) < 5 * doubt + 1e-12).all(), (found, expected, doubt)


@pytest.mark.slow
def test_normal_wishart_has_the_posteriors_moments() -> None:
    """E Λ = (d + n) S⁻¹, E μ = n x̄/(n + 2), and √(n + 2) (μ − E μ) has precision Λ."""
    g, n, d = np.random.default_rng(0), 6, 3
    X = (g.normal(size=(n, d)) @ g.normal(size=(d, d)) + 1).astype(np.float32)
    centred = X.astype(float) - X.mean(0)
    S = np.eye(d) + centred.T @ centred + 2 * n / (n + 2) * np.outer(X.mean(0), X.mean(0))
    drawn = [normal_wishart(X, g, X[:0]) for _ in range(4000)]
    means, precisions = (np.stack(parts) for parts in zip(*drawn, strict=True))
    close(precisions.mean(0), (d + n) * np.linalg.inv(S), precisions)
    expected = n * X.mean(0) / (n + 2)
    close(means.mean(0), expected, means)
    V = np.linalg.inv(S)
    square = np.stack([(P - (d + n) * V) ** 2 for P in precisions])
    close(square.mean(0), (d + n) * (V**2 + np.outer(np.diag(V), np.diag(V))), square)
    distance = np.array([(n + 2) * (m - expected) @ P @ (m - expected) for m, P in drawn])
    assert stats.kstest(distance, stats.chi2(d).cdf).pvalue > 1e-3


@pytest.mark.slow
def test_normal_wishart_of_no_line_is_the_prior() -> None:
    """As far as one can ask: a line at zero counts for one degree of freedom and no scatter."""
    g = np.random.default_rng(1)
    precisions = np.stack([normal_wishart(np.zeros((1, 2)), g, np.zeros((0, 2)))[1] for _ in range(4000)])
    close(precisions.mean(0), 3 * np.eye(2), precisions)


def test_noise_levels_have_the_posteriors_distribution() -> None:
    g = np.random.default_rng(2)
    sizes, misfit = np.array([0, 4, 40]), np.array([0.0, 9.0, 10.0])
    draws = np.stack([gamma_levels(3.0, sizes, misfit, 1.5, g) for _ in range(3000)])
    for j in range(3):
        law = stats.gamma(3 + sizes[j] / 2, scale=1 / (3 + 1.5 * misfit[j] / 2))
        assert stats.kstest(draws[:, j], law.cdf).pvalue > 1e-3


def test_noise_levels_keep_within_bounds() -> None:
    g = np.random.default_rng(3)
    levels = gamma_levels(5.0, np.full(2, 10), np.array([0.0, 1e9]), 1e3, g)
    assert levels[1] == 0.05
    assert gamma_levels(0.2, np.array([10**6]), np.array([0.0]), 1.0, g).tolist() == [20.0]


@pytest.mark.parametrize("shape", [0.5, 2.0, 20.0, 200.0])
def test_the_shape_of_noise_levels_is_the_most_likely_one(shape: float) -> None:
    levels = np.random.default_rng(4).gamma(shape, 1 / shape, size=4000)
    found = gamma_shape(levels)

    def likelihood(a: float) -> float:
        return float(stats.gamma(a, scale=1 / a).logpdf(levels).sum())

    assert likelihood(found) > max(likelihood(found * 1.01), likelihood(found / 1.01))
    assert found == pytest.approx(shape, rel=0.1)


def test_equal_noise_levels_have_the_largest_shape() -> None:
    assert gamma_shape(np.ones(5)) == pytest.approx(300, rel=0.01) or gamma_shape(np.ones(5)) > 100


# ---- the link ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_link_draws_the_exact_posterior_of_its_coefficients() -> None:
    """B = (FᵀF + λI)⁻¹ Fᵀ R on average, with covariance Λ⁻¹ ⊗ (FᵀF + λI)⁻¹."""
    g, lines, count, d = np.random.default_rng(5), 12, 4, 2
    F = g.normal(size=(lines, count))
    root = np.array([[1.5, 0.0], [0.7, 0.6]])
    precision, residual = root @ root.T, g.normal(size=(lines, d)).astype(np.float32)
    link, draws = Link(sparse.csr_matrix(F), d), []
    for _ in range(2500):
        link._ridge = 2.0  # itself drawn after B
        fitted = link.draw(residual, precision, g)
        draws.append(np.linalg.lstsq(F, fitted.astype(float), rcond=None)[0])
    B = np.stack(draws)
    A = np.linalg.inv(F.T @ F + 2 * np.eye(count))
    mean = A @ F.T @ residual
    assert np.abs(B.mean(0) - mean).max() < 0.03 * np.abs(mean).max() + 5 * B.std() / 50
    flat = (B - B.mean(0)).reshape(len(B), -1)
    expected = np.kron(A, np.linalg.inv(precision))
    np.testing.assert_allclose(flat.T @ flat / len(B), expected, atol=0.1 * expected.max())


@pytest.mark.slow
def test_the_links_ridge_follows_from_its_coefficients() -> None:
    """λ ~ Γ(1 + FD/2, 1 + tr(B Λ Bᵀ)/2): of small coefficients it is large."""
    g = np.random.default_rng(6)
    F = sparse.csr_matrix(g.normal(size=(400, 3)))
    B = np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    residual = (F @ B + 0.01 * g.normal(size=(400, 2))).astype(np.float32)
    precision, link, ridges = 1e4 * np.eye(2), Link(F, 2), []
    for _ in range(2000):
        fitted = link.draw(residual, precision, g)
        ridges.append(link._ridge)
    np.testing.assert_allclose(fitted, F @ B, atol=0.05)
    law = stats.gamma(1 + 3, scale=1 / (1 + 0.5 * 1e4 * (B**2).sum()))
    assert stats.kstest(ridges, law.cdf).pvalue > 1e-3


def test_features_of_the_mask_have_lines_of_length_one() -> None:
    rows, cols = np.array([0, 0, 0, 2]), np.array([0, 1, 3, 3])
    by_row, by_column = who_rated_what(rows, cols, (3, 4))
    expected = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, np.sqrt(3)]]) / np.sqrt(3)
    np.testing.assert_allclose(by_row.toarray(), expected, rtol=1e-6)
    np.testing.assert_allclose(np.square(by_column.toarray()).sum(1), [1, 1, 0, 1], rtol=1e-6)
    assert by_column.shape == (4, 3)
