"""RFMRegressor: what it reads off the predictor, uncertainty, many rows, degenerate data, wrong input."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import overt
from overt import MatrixCompletion, RFMRegressor
from overt.features import agop, fitting

SCALES = np.array([1.0, 10.0, 0.1, 1.0, 1e3])


def product(n=90, d=5, seed=0, noise=0.05):
    g = np.random.default_rng(seed)
    Z = g.normal(size=(n, d))
    y = Z[:, 0] * Z[:, 1] + noise * g.normal(size=n)
    return Z * SCALES[:d], y


@pytest.fixture(scope="module")
def case():
    X, y = product()
    return X, y, RFMRegressor().fit(X, y)


def test_m_is_what_measure_measures(case):
    X, _, est = case
    measured = overt.measure(est.to_torch(), torch.as_tensor(X)).values.square().numpy()
    values = np.linalg.eigvalsh(est.M_)[::-1]
    np.testing.assert_allclose(values, measured, rtol=1e-6, atol=1e-9 * values[0])
    diagonal = overt.measure(est.to_torch(), torch.as_tensor(X), basis="identity").values.square().numpy()
    np.testing.assert_allclose(np.diag(est.M_), diagonal, rtol=1e-6)


def test_m_of_several_outputs_is_in_their_units():
    X, y = product(60)
    est = RFMRegressor().fit(X, np.c_[100 * y, X[:, 2]])
    measured = overt.measure(est.to_torch(), torch.as_tensor(X)).values.square().numpy()
    np.testing.assert_allclose(np.linalg.eigvalsh(est.M_)[::-1], measured, rtol=1e-6, atol=1e-8 * measured[0])


def test_the_module_predicts_what_the_estimator_predicts(case):
    est = case[2]
    new = product(40, seed=1)[0]
    found = est.to_torch()(torch.as_tensor(new)).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, est.predict(new), atol=1e-6)


def test_what_is_read_off(case):
    X, _, est = case
    assert est.n_iter_ == max(m.round for m in est.path_ if m.weight > 0) > 0
    assert sum(m.weight for m in est.path_) == pytest.approx(1)
    assert est.importances_.sum() == pytest.approx(1)
    assert set(np.argsort(-est.importances_)[:2]) == {0, 1}
    r = int(np.ceil(est.rank_))
    assert est.subspace_.shape == (r, 5)
    np.testing.assert_allclose(est.subspace_ @ est.subspace_.T, np.eye(r), atol=1e-8)
    assert np.all(np.diff(est.subspace_shares_) <= 1e-12)
    assert 0 < est.subspace_shares_.sum() <= 1 + 1e-12
    standard = est.M_ * np.outer(X.std(0), X.std(0))
    np.testing.assert_allclose(np.diag(standard) / np.trace(standard), est.importances_, rtol=1e-6)
    assert {m.kernel for m in est.path_} == {"laplace", "gaussian", "linear"}
    assert {m.basis for m in est.path_} == {"none", "screen", "eigen", "identity"}
    assert len(str(est.path_).splitlines()) == len(est.path_) + 1


def test_pickles_and_repeats(case):
    X, y, est = case
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X))  # noqa: S301
    np.testing.assert_array_equal(RFMRegressor().fit(X, y).predict(X), est.predict(X))
    generators = (np.random.default_rng(3), np.random.default_rng(3))
    first, second = (RFMRegressor(random_state=g).fit(X, y).predict(X) for g in generators)
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_standard_deviations_are_calibrated(noise):
    X, y = product(200, noise=noise)
    new, target = product(1000, seed=1, noise=noise)
    mean, std = RFMRegressor().fit(X, y).predict(new, return_std=True)
    z = (mean - target) / std
    assert mean.shape == std.shape == (1000,)
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.6
    far = RFMRegressor().fit(X, y).predict(new[:1] + 1e6, return_std=True)[1]
    assert far > std.max()


def test_pictures(case):
    pytest.importorskip("matplotlib").use("Agg")
    est = case[2]
    bars = est.plot(most=3)
    assert [text.get_text() for text in bars.get_yticklabels()][::-1][:2] in (["x0", "x1"], ["x1", "x0"])
    errors = est.plot(kind="path")
    assert len(errors.lines) == 4
    with pytest.raises(ValueError, match="kind must be"):
        est.plot(kind="all")


# ---- many rows, many columns -----------------------------------------------------------------------------


@pytest.mark.parametrize(("exact", "centers"), [(200, 2000), (100, 150)])
def test_more_rows_than_the_paths_take(monkeypatch, exact, centers):
    """Paths on some rows, models on all: exactly, or with some rows as centres."""
    X, y = product(180)
    new, target = product(500, seed=1, noise=0)
    whole = RFMRegressor().fit(X, y).predict(new)
    monkeypatch.setattr(fitting, "PATH_ROWS", 90)
    monkeypatch.setattr(fitting, "EXACT_ROWS", exact)
    est = RFMRegressor(max_centers=centers).fit(X, y)
    found, std = est.predict(new, return_std=True)
    assert np.mean((found - target) ** 2) < 3 * np.mean((whole - target) ** 2) + 0.01
    assert np.mean((found - target) ** 2) < 0.1
    assert 0.3 < np.sqrt(np.mean(((found - target) / std) ** 2)) < 2
    rows = torch.as_tensor(X).to(next(iter(est.to_torch().buffers())).dtype)
    measured = overt.measure(est.to_torch(), rows).values.square().numpy()
    np.testing.assert_allclose(np.linalg.eigvalsh(est.M_)[::-1], measured, rtol=1e-2, atol=1e-3 * measured[0])


def test_single_precision_is_close(monkeypatch):
    """Of the paths, then of the models, too."""
    X, y = product(120)
    new, target = product(300, seed=1, noise=0)
    double = np.mean((RFMRegressor().fit(X, y).predict(new) - target) ** 2)
    monkeypatch.setattr(fitting, "DOUBLE_ROWS", 0)
    paths = RFMRegressor().fit(X, y)
    monkeypatch.setattr(fitting, "EXACT_ROWS", 0)
    models = RFMRegressor().fit(X, y)
    for est, dtype in ((paths, torch.float64), (models, torch.float32)):
        module = est.to_torch()
        assert next(iter(module.buffers())).dtype == dtype
        assert np.mean((est.predict(new) - target) ** 2) < 1.5 * double + 0.01
        measured = overt.measure(module, torch.as_tensor(X).to(dtype)).values.square().numpy()
        np.testing.assert_allclose(np.trace(est.M_), measured.sum(), rtol=1e-3)


def test_more_columns_than_m_is_formed_for(monkeypatch):
    """M keeps its factor's rows; as many rows as gradients are exact."""
    monkeypatch.setattr(agop, "MOST_COLUMNS", 70)
    g = np.random.default_rng(0)
    X = g.normal(size=(60, 100))
    est = RFMRegressor().fit(X, X[:, 0] ** 2)
    assert est.M_factor_.shape[0] <= 70
    measured = overt.measure(est.to_torch(), torch.as_tensor(X)).values.square().numpy()
    np.testing.assert_allclose(np.trace(est.M_), measured.sum(), rtol=1e-6)
    monkeypatch.setattr(agop, "MOST_COLUMNS", 40)
    mixed = RFMRegressor().fit(X, X[:, 0] ** 2)
    assert mixed.M_factor_.shape == (40, 100)


# ---- degenerate data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "y"),
    [
        pytest.param(np.ones((1, 3)), np.array([2.0]), id="one row"),
        pytest.param(np.ones((9, 3)), np.arange(9.0), id="constant inputs"),
        pytest.param(np.random.default_rng(0).normal(size=(9, 2)), np.full(9, 7.0), id="constant target"),
    ],
)
def test_nothing_to_learn_from_gives_the_mean(X, y):
    est = RFMRegressor().fit(X, y)
    mean, std = est.predict(X, return_std=True)
    np.testing.assert_allclose(mean, y.mean())
    assert np.isfinite(std).all()
    assert est.n_iter_ == 0
    assert est.rank_ == 0
    assert len(est.path_) == 0
    assert not est.M_.any()
    assert not est.importances_.any()


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_few_rows(n):
    X, y = product(n)
    assert np.isfinite(RFMRegressor().fit(X, y).predict(X)).all()


def test_one_column_constant_columns_and_equal_rows():
    x = np.repeat(np.linspace(-2, 2, 30), 3)
    X = np.c_[np.full(90, 1e9), x, np.zeros(90)]
    est = RFMRegressor().fit(X, np.sin(2 * x))
    np.testing.assert_allclose(est.predict(X), np.sin(2 * x), atol=0.02)
    np.testing.assert_allclose(est.importances_, [0, 1, 0], atol=1e-12)
    alone = RFMRegressor().fit(x[:, None], np.sin(2 * x))
    np.testing.assert_allclose(alone.predict(x[:, None]), np.sin(2 * x), atol=0.02)


@pytest.mark.parametrize("unit", [1e-200, 1e-20, 1e20, 1e200])
def test_huge_and_small_units(unit):
    X, y = product(50)
    est = RFMRegressor(max_rounds=1)
    plain = est.fit(X, y).predict(X)
    np.testing.assert_allclose(est.fit(X * unit, y).predict(X * unit), plain, atol=1e-4)
    np.testing.assert_allclose(est.fit(X, y * unit).predict(X) / unit, plain, atol=1e-4)


# ---- inputs ----------------------------------------------------------------------------------------------


def test_frames_keep_their_names():
    X, y = product(40)
    frame = pd.DataFrame(X, columns=list("abcde"))
    est = RFMRegressor(max_rounds=1).fit(frame, y)
    assert list(est.feature_names_in_) == list("abcde")
    expected = est.predict(frame)
    np.testing.assert_array_equal(est.predict(pl.DataFrame(frame.to_dict("list"))), expected)
    with pytest.raises(ValueError, match="feature names"):
        est.predict(frame.rename(columns={"a": "z"}))


def test_missing_entries_are_filled_in_a_pipeline():
    X, y = product(60)
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    with pytest.raises(ValueError, match=r"X must not hold NaN.*MatrixCompletion") as refusal:
        RFMRegressor().fit(holes, y)
    assert "\n" not in str(refusal.value)
    steps = make_pipeline(MatrixCompletion(), StandardScaler(), RFMRegressor(max_rounds=1))
    assert np.isfinite(steps.fit(holes, y).predict(holes)).all()


X, Y = product(12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RFMRegressor().fit(pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}), [1, 2]), "X"),
        (lambda: RFMRegressor().fit(pd.DataFrame({"a": pd.Categorical(["x", "y"])}), [1, 2]), "X"),
        (lambda: RFMRegressor().fit(X, Y[:5]), "y must have 12 rows"),
        (lambda: RFMRegressor().fit(X, None), "y must be given"),
        (lambda: RFMRegressor().fit(X, np.where(Y > 0, np.inf, Y)), "y must be finite"),
        (lambda: RFMRegressor().fit(X, ["a"] * 12), "y"),
        (lambda: RFMRegressor().fit(X[:, 0], Y), "X must be a matrix"),
        (lambda: RFMRegressor().fit(np.where(X > 0, np.inf, X), Y), "X must be finite"),
        (lambda: RFMRegressor(max_rounds=-1).fit(X, Y), "max_rounds"),
        (lambda: RFMRegressor(max_rounds=True).fit(X, Y), "max_rounds"),
        (lambda: RFMRegressor(max_centers=0).fit(X, Y), "max_centers"),
        (lambda: RFMRegressor(device="moon").fit(X, Y), "device"),
        (lambda: RFMRegressor(random_state="now").fit(X, Y), "random_state"),
        (lambda: RFMRegressor(max_rounds=0).fit(X, Y).predict(X, return_std="yes"), "return_std"),
    ],
)
def test_wrong_input_is_named_in_one_line(call, words):
    with pytest.raises((TypeError, ValueError), match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)
