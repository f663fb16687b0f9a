"""What sampling leaves: the mean of a matrix, and the predictive distribution of its entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from overt.completion.bayes import accumulate
from overt.completion.bayes.accumulate import MatrixMean
from overt.completion.bayes.posterior import Draw, Predictive, kept_draws

Array = NDArray[Any]


def pairs(
    count: int = 40, m: int = 30, n: int = 20, r: int = 3, noise: float = 1e-3
) -> list[tuple[Array, Array]]:
    """Factors around common ones, as a chain leaves them."""
    g = np.random.default_rng(0)
    left, right = g.normal(size=(m, r)), g.normal(size=(n, r))
    return [
        (left + noise * g.normal(size=(m, r)), right + noise * g.normal(size=(n, r))) for _ in range(count)
    ]


def dense(point: tuple[Array, Array, Array]) -> Array:
    U, s, Vt = point
    return np.asarray((U * s) @ Vt)


@pytest.mark.parametrize("large", [False, True])
def test_the_mean_of_a_matrix_is_that_of_the_products(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "_DENSE_CELLS", 10 if large else 10**6)
    drawn, mean = pairs(), MatrixMean((30, 20), keep=6)
    for left, right in drawn:
        mean.add(left, right)
    assert mean.count == 40
    expected = np.mean([left @ right.T for left, right in drawn], 0)
    U, s, Vt = mean.triplet(np.full(20, 1e-9))
    left_out = s[0] * np.sqrt(accumulate._GRAM_ROUNDING / 30) if large else 1e-5
    np.testing.assert_allclose(dense((U, s, Vt)), expected, atol=left_out)
    np.testing.assert_allclose(U.T @ U, np.eye(len(s)), atol=1e-6)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(len(s)), atol=1e-6)
    assert (np.diff(s) <= 0).all()


def test_a_large_mean_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many products are added: 8 r columns at most between two compressions."""
    monkeypatch.setattr(accumulate, "_DENSE_CELLS", 10)
    mean = MatrixMean((30, 20), keep=3)
    for left, right in pairs(100):
        mean.add(left, right)
        assert sum(part.shape[1] for part in mean._left) <= 8 * 3 + 3


def test_single_precision_is_made_orthonormal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graded columns, rows in several parts: a Gram matrix in float32 was off by 0.1."""
    monkeypatch.setattr(accumulate, "_ROWS", 100)
    g = np.random.default_rng(0)
    Q, R = np.linalg.qr(g.normal(size=(350, 12)))[0], np.linalg.qr(g.normal(size=(12, 12)))[0]
    X = ((Q * np.logspace(0, -3.4, 12)) @ R).astype(np.float32)
    basis = X.astype(np.float64) @ accumulate._orthonormalizer(X)
    assert basis.shape == (350, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-6)


@pytest.mark.parametrize("negligible", [1e-5, 0.05, 0.5])
def test_what_is_left_out_of_the_mean_is_negligible_in_each_column(negligible: float) -> None:
    g = np.random.default_rng(1)
    left, right = g.normal(size=(30, 8)) * 0.3 ** np.arange(8), g.normal(size=(20, 8))
    bound, mean = negligible * g.uniform(0.5, 1, 20), MatrixMean((30, 20), keep=8)
    mean.add(left, right)
    point = mean.triplet(bound / accumulate._NEGLIGIBLE)
    change = np.sqrt(np.mean((dense(point) - left @ right.T) ** 2, 0))
    assert (change <= bound * (1 + 1e-9) + 1e-12).all()
    whole = mean.triplet(np.zeros(20))
    if len(point[1]) < len(whole[1]):  # and one singular value less would not be
        rank = len(point[1]) - 1
        fewer = dense(tuple(part[..., :rank] if k < 2 else part[:rank] for k, part in enumerate(whole)))
        assert (np.sqrt(np.mean((fewer - left @ right.T) ** 2, 0)) > bound).any()


def test_a_mean_of_zero_has_rank_zero() -> None:
    mean = MatrixMean((4, 3), keep=2)
    mean.add(np.zeros((4, 2)), np.zeros((3, 2)))
    assert mean.triplet(np.full(3, 0.1))[1].size == 0


# ---- the predictive distribution ---------------------------------------------------------------------------

ROWS, COLS = np.array([0, 1, 2, 2]), np.array([0, 1, 0, 2])


def predictive(weights: Array | None = None, draws: int = 5) -> Predictive:
    g = np.random.default_rng(3)
    made = [
        Draw(g.normal(size=(3, 2)), g.normal(size=(3, 2)), g.uniform(0.1, 1, 3), g.uniform(0.1, 1, 3))
        for _ in range(draws)
    ]
    return Predictive(tuple(made), weights)


def mixtures(one: Predictive) -> list[tuple[Array, Array]]:
    """Means and standard deviations of the parts at each position."""
    found = []
    for i, j in zip(ROWS, COLS, strict=True):
        means = np.array([d.left[i] @ d.right[j] for d in one.draws])
        found.append((means, np.array([d.row_std[i] * d.col_std[j] for d in one.draws])))
    return found


WEIGHTS = [None, np.array([0.5, 0.2, 0.2, 0.1, 0.0])]


@pytest.mark.parametrize("weights", WEIGHTS, ids=["alike", "weighted"])
def test_moments_are_those_of_the_mixture(weights: Array | None) -> None:
    one = predictive(weights)
    mean, std = one.moments(ROWS, COLS)
    for k, (means, stds) in enumerate(mixtures(one)):
        assert mean[k] == pytest.approx(np.average(means, weights=weights))
        square = np.average(means**2 + stds**2, weights=weights)
        assert std[k] == pytest.approx(np.sqrt(square - mean[k] ** 2))


@pytest.mark.parametrize("weights", WEIGHTS, ids=["alike", "weighted"])
@pytest.mark.parametrize("level", [0.02, 0.5, 0.9, 0.999])
def test_intervals_are_quantiles_of_the_mixture(weights: Array | None, level: float) -> None:
    one = predictive(weights)
    for bound, share in zip(one.interval(ROWS, COLS, level), ((1 - level) / 2, (1 + level) / 2), strict=True):
        for k, (means, stds) in enumerate(mixtures(one)):
            below = np.average(stats.norm(means, stds).cdf(bound[k]), weights=weights)
            assert below == pytest.approx(share, abs=1e-5)


@pytest.mark.slow
def test_samples_follow_the_mixture() -> None:
    one = predictive(WEIGHTS[1])
    drawn = one.sample(ROWS, COLS, 3000, np.random.default_rng(4))
    assert drawn.shape == (3000, 4)
    for k, (means, stds) in enumerate(mixtures(one)):

        def below(x: Array, means: Array = means, stds: Array = stds) -> Array:
            return np.average(stats.norm(means, stds).cdf(x[:, None]), axis=1, weights=WEIGHTS[1])

        assert stats.kstest(drawn[:, k], below).pvalue > 1e-3


def test_samples_of_one_draw_are_correlated_as_its_factors_are() -> None:
    """Entries of one sample share a draw: their common part is the draw's, not that of each entry alone."""
    sure = [Draw(np.full((2, 1), v), np.ones((2, 1)), np.zeros(2), np.ones(2)) for v in (-1.0, 1.0)]
    drawn = Predictive(tuple(sure)).sample(np.array([0, 1]), np.array([0, 1]), 50, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    assert set(drawn[:, 0]) == {-1.0, 1.0}


def test_a_draw_turned_is_that_of_the_transposed_matrix() -> None:
    draw = predictive().draws[0]
    for one, other in zip(draw.at(ROWS, COLS), draw.turned().at(COLS, ROWS), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {part.dtype for part in vars(draw.single()).values()} == {np.dtype(np.float32)}


def test_memory_bounds_the_number_of_draws() -> None:
    assert kept_draws((100, 50), 5) > 20
    counts = [kept_draws((10**k, 10**k), 20) for k in range(2, 9)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 4
