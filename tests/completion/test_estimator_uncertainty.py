"""Standard deviations, intervals and samples of MatrixCompletion; side information; arguments of these."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from table_corpus import low as low_rank

from overt import MatrixCompletion
from overt.completion.estimator.selected import column_mean
from overt.problems import CompletionProblem

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:the observed entries"
)


def two_way(
    seed: int, m: int = 50, n: int = 12, noise: float = 0.5, share: float = 0.4
) -> tuple[Array, Array]:
    """A matrix of rank two with offsets and noise, and a mask of what is hidden."""
    g = np.random.default_rng(seed)
    X = g.normal(size=(m, 2)) @ g.normal(size=(2, n)) + g.normal(size=(m, 1)) + 3 * g.normal(size=n)
    X += noise * g.uniform(0.5, 1.5, n) * g.normal(size=(m, n))
    return X, g.random((m, n)) < share


def fitted(X: Array, hidden: Array, solver: str = "bayes", **options: Any) -> MatrixCompletion:
    return MatrixCompletion(solver, certify=False, **options).fit(np.where(hidden, np.nan, X))


@pytest.fixture(scope="module")
def noisy() -> tuple[MatrixCompletion, Array, Array]:
    X, hidden = two_way(0)
    return fitted(X, hidden), X, hidden


@pytest.fixture(scope="module")
def exact() -> tuple[MatrixCompletion, Array]:
    g = np.random.default_rng(1)
    X = g.normal(size=(30, 2)) @ g.normal(size=(2, 20))
    return fitted(X, g.random(X.shape) < 0.3, "auto"), X


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_nine_intervals_of_ten_hold_what_was_hidden(noise: float) -> None:
    held, normalized = [], []
    for seed in range(6):
        X, hidden = two_way(seed, noise=noise)
        est, at = fitted(X, hidden), np.nonzero(hidden)
        low, high = est.predict_interval(*at)
        held += ((low <= X[hidden]) & (X[hidden] <= high)).tolist()
        mean, std = est.predict(*at, return_std=True)
        normalized += ((mean - X[hidden]) / std).tolist()
    assert 0.85 <= np.mean(held) <= 0.95
    assert np.std(normalized) == pytest.approx(1, abs=0.2)


def test_intervals_are_nested_and_hold_the_prediction(noisy: Any) -> None:
    est, _, hidden = noisy
    at = np.nonzero(hidden)
    levels = [0.01, 0.3, 0.5, 0.9, 0.99]
    bounds = [est.predict_interval(*at, level=level) for level in levels]
    for (low, high), (wider_low, wider_high) in pairwise(bounds):
        assert (wider_low <= low).all()
        assert (low <= high).all()
        assert (high <= wider_high).all()
    low, high = bounds[3]
    value = est.predict(*at)
    assert ((low <= value) & (value <= high)).all()


def test_standard_deviations_are_positive_and_of_the_size_of_the_error(noisy: Any) -> None:
    est, X, hidden = noisy
    value, std = est.predict(*np.nonzero(hidden), return_std=True)
    assert (std > 0).all()
    assert np.sqrt(np.mean((value - X[hidden]) ** 2)) == pytest.approx(np.sqrt(np.mean(std**2)), rel=0.25)
    assert est.predict([[0, 1]], [[2, 3]], return_std=True)[1].shape == (1, 2)


def test_what_is_determined_has_no_spread(exact: Any) -> None:
    est, X = exact
    at = np.indices(X.shape).reshape(2, -1)
    value, std = est.predict(*at, return_std=True)
    assert (std == 0).all()
    for bound in est.predict_interval(*at):
        np.testing.assert_array_equal(bound, value)
    np.testing.assert_allclose(est.sample(2), [X, X], atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["nuclear", "soft_impute"])
def test_other_solvers_answer_by_their_held_out_error(solver: str) -> None:
    g = np.random.default_rng(0)
    X = low_rank(g, 30, 20) + 0.1 * g.normal(size=(30, 20))
    est = fitted(X, g.random(X.shape) < 0.3, solver=solver)
    assert est.solver_ == solver
    value, std = est.predict([0, 1], [2, 3], return_std=True)
    np.testing.assert_allclose(std, est.heldout_error_)
    low, high = est.predict_interval([0, 1], [2, 3], level=0.6826895)
    np.testing.assert_allclose(low, value - std, rtol=1e-6)
    np.testing.assert_allclose(high, value + std, rtol=1e-6)
    assert est.sample(3, [0, 1], [2, 3]).shape == (3, 2)


def test_column_means_are_as_sure_as_their_columns_are_narrow() -> None:
    g = np.random.default_rng(0)
    X = g.normal(size=(50, 3)) * [1.0, 1e-6, 1e6]
    rows, cols = np.nonzero(g.random(X.shape) < 0.7)
    problem = CompletionProblem(*map(torch.as_tensor, (rows, cols, X[rows, cols])), X.shape)
    noise = column_mean(problem).column_noise
    for j in range(3):
        seen = X[rows[cols == j], j]
        assert noise is not None
        assert noise[j] == pytest.approx(seen.std(ddof=1) * np.sqrt(1 + 1 / len(seen)))


def test_samples_keep_what_was_observed(noisy: Any) -> None:
    est, X, hidden = noisy
    drawn = est.sample(4, random_state=0)
    assert drawn.shape == (4, *X.shape)
    np.testing.assert_array_equal(drawn[:, ~hidden], np.tile(X[~hidden], (4, 1)))
    assert (drawn[0][hidden] != drawn[1][hidden]).all()


def test_samples_are_repeated_by_their_random_state(noisy: Any) -> None:
    est = noisy[0]
    for state in (0, 7):
        first, second = est.sample(2, random_state=state), est.sample(2, random_state=state)
        np.testing.assert_array_equal(first, second)
    assert (est.sample(1, [0], [0], random_state=0) != est.sample(1, [0], [0], random_state=1)).all()
    generator = np.random.default_rng(0)
    assert (
        est.sample(1, [0], [0], random_state=generator) != est.sample(1, [0], [0], random_state=generator)
    ).all()
    legacy = [est.sample(1, [0], [0], random_state=np.random.RandomState(3)) for _ in range(2)]
    np.testing.assert_array_equal(*legacy)


@pytest.mark.slow
def test_samples_have_the_moments_that_are_predicted(noisy: Any) -> None:
    est, _, hidden = noisy
    at = np.nonzero(hidden)
    value, std = est.predict(*at, return_std=True)
    drawn = est.sample(800, *at, random_state=0)
    inside = np.abs(value - np.clip(drawn, drawn.min(), drawn.max()).mean(0)) < 0.35 * std
    assert inside.mean() > 0.95
    assert np.median(drawn.std(0) / std) == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_an_empty_row_is_the_least_sure() -> None:
    X, hidden = two_way(4)
    hidden[3] = True
    with pytest.warns(UserWarning, match="hold no observation"):
        est = fitted(X, hidden)
    _, std = est.predict(*np.indices(X.shape), return_std=True)
    assert np.isfinite(std).all()
    assert np.mean(std[3] > np.median(np.delete(std, 3, 0), 0)) > 0.8


@pytest.mark.slow
def test_keep_observed_holds_for_samples_too(noisy: Any) -> None:
    _, X, hidden = noisy
    est = fitted(X, hidden, keep_observed=False)
    assert (est.sample(1)[0][~hidden] != X[~hidden]).all()


@pytest.mark.slow
def test_clip_bounds_intervals_and_samples() -> None:
    X, hidden = two_way(5)
    est, at = fitted(X, hidden, clip=(-1.0, 2.0)), np.nonzero(hidden)
    for values in (*est.predict_interval(*at), est.sample(3, *at)):
        assert values.min() >= -1
        assert values.max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("far", "unit"), [(1e9, 1.0), (1.7e18, 1e9)], ids=["numbers", "a clock"])
def test_columns_far_from_zero_are_as_sure_as_others(far: float, unit: float) -> None:
    X, hidden = two_way(3)
    Y = X.copy()
    Y[:, 2] = far + unit * X[:, 2]
    at = tuple(part[np.nonzero(hidden)[1] == 2] for part in np.nonzero(hidden))
    value, std = fitted(Y, hidden).predict(*at, return_std=True)
    expected, doubt = fitted(X, hidden).predict(*at, return_std=True)
    assert (np.abs((value - far) / unit - expected) < doubt).all()
    np.testing.assert_allclose(std.mean() / unit, doubt.mean(), rtol=0.25)


# ---- side information --------------------------------------------------------------------------------------


def cold(seed: int = 0, m: int = 80, n: int = 30) -> tuple[Array, Array, Array]:
    """Ratings by features of the rows; the first ten rows hold one entry each."""
    g = np.random.default_rng(seed)
    F = g.normal(size=(m, 3))
    X = F @ g.normal(size=(3, n)) + 0.3 * g.normal(size=(m, n))
    hidden = g.random(X.shape) < 0.5
    hidden[:10] = True
    hidden[np.arange(10), np.arange(10)] = False
    return X, hidden, F


def error_of(est: MatrixCompletion, X: Array, where: Array) -> float:
    return float(np.sqrt(np.mean((est.predict(*np.nonzero(where)) - X[where]) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
def test_features_help_lines_that_hold_next_to_nothing(turned: bool) -> None:
    X, hidden, F = cold()
    where = hidden & (np.arange(80) < 10)[:, None]
    if turned:
        X, hidden, where = X.T, hidden.T, where.T
    seen = np.where(hidden, np.nan, X)
    plain = MatrixCompletion("bayes", certify=False).fit(seen)
    name = "column_features" if turned else "row_features"
    helped = MatrixCompletion("bayes", certify=False).fit(seen, **{name: F})
    assert error_of(helped, X, where) < 0.6 * error_of(plain, X, where)
    assert "side information" in helped.message_


@pytest.mark.slow
def test_features_of_no_use_do_no_harm() -> None:
    X, hidden, _ = cold()
    seen, F = np.where(hidden, np.nan, X), np.random.default_rng(9).normal(size=(80, 5))
    plain, given = (
        MatrixCompletion("bayes", certify=False).fit(seen),
        MatrixCompletion("bayes", certify=False),
    )
    given.fit(seen, row_features=F)
    assert error_of(given, X, hidden) < 1.1 * error_of(plain, X, hidden)


@pytest.mark.slow
@pytest.mark.parametrize("implicit", [True, "auto"])
def test_who_rated_what_helps_where_the_mask_tells(implicit: Any) -> None:
    """Users rate what they like: the mask shows the taste that a few ratings hide in noise."""
    g = np.random.default_rng(0)
    taste = g.normal(size=(300, 2)) @ g.normal(size=(2, 100))
    rated = g.random(taste.shape) < 0.16 / (1 + np.exp(-2 * taste))
    rated[np.arange(300), g.integers(100, size=300)] = True
    hidden = rated & (g.random(taste.shape) < 0.2)
    X, (rows, cols) = taste + g.normal(size=taste.shape), np.nonzero(rated & ~hidden)
    errors = {}
    for how in (False, implicit):
        est = MatrixCompletion("bayes", certify=False, implicit=how)
        errors[how] = error_of(est.fit_triplets(rows, cols, X[rows, cols], X.shape), taste, hidden)
    assert errors[implicit] < 0.93 * errors[False]


@pytest.mark.slow
def test_the_best_quality_is_no_worse() -> None:
    ratios = []
    for seed in range(3):
        X, hidden = two_way(seed, m=60, noise=0.8)
        standard, best = (fitted(X, hidden, quality=quality) for quality in ("standard", "best"))
        ratios.append(error_of(best, X, hidden) / error_of(standard, X, hidden))
        low, high = best.predict_interval(*np.nonzero(hidden))
        assert 0.8 < np.mean((low <= X[hidden]) & (X[hidden] <= high)) < 0.98
    assert np.mean(ratios) < 1.02


# ---- arguments ---------------------------------------------------------------------------------------------

WRONG = {
    "return_std": [
        lambda e: e.predict([0], [0], return_std=1),
        lambda e: e.predict([0], [0], return_std="yes"),
    ],
    "cols": [lambda e: e.predict(np.zeros((1, 12)), return_std=True)],
    "level": [
        lambda e, v=v: e.predict_interval([0], [0], v) for v in (0, 1, -0.1, 90, np.nan, "0.9", None, True)
    ],
    "n_samples": [lambda e, v=v: e.sample(v) for v in (0, -1, 1.5, "3", True, None)],
    "rows": [
        lambda e: e.sample(1, [0]),
        lambda e: e.sample(1, None, [0]),
        lambda e: e.sample(1, [50], [0]),
        lambda e: e.predict_interval([0.5], [0]),
        lambda e: e.predict_interval([0, 1], [0]),
    ],
    "row_features": [
        lambda e, F=F: MatrixCompletion().fit(np.eye(4), row_features=F)
        for F in (np.ones(4), np.ones((3, 2)), np.ones((4, 0)), [["a"]] * 4, np.full((4, 1), np.nan), 3)
    ],
    "column_features": [lambda e: MatrixCompletion().fit(np.eye(4), column_features=np.ones((5, 2)))],
    "implicit": [lambda e, v=v: MatrixCompletion(implicit=v).fit(np.eye(4)) for v in ("yes", 2, None)],
    "quality": [lambda e, v=v: MatrixCompletion(quality=v).fit(np.eye(4)) for v in ("good", 1, None, True)],
    "effort": [lambda e, v=v: MatrixCompletion(effort=v).fit(np.eye(4)) for v in ("low", 2, None, True)],
}


@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in WRONG.items() for call in calls])
def test_wrong_arguments_are_refused_in_one_line(name: str, call: Any, noisy: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name) as caught:
        call(noisy[0])
    assert "\n" not in str(caught.value)
