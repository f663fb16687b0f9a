"""What any table may be: degenerate columns, few rows, all dtypes and layouts, names, huge and tiny units."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression

import overt
from overt import RFMClassifier, RFMRegressor
from overt.features.differences import refuse_jumps

G = np.random.default_rng(0)
X = G.normal(size=(40, 4))
Y = X[:, 0] * X[:, 1] + 0.1 * X[:, 2]
WORDS = np.where(Y > 0, "up", "down")
COLUMNS = np.c_[Y, X[:, 2]]


KERNEL = KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1)


def regressor(X, y):
    return RFMRegressor(max_rounds=1).fit(X, y)


def classifier(X, y):
    return RFMClassifier(max_rounds=1).fit(X, y)


def loop(X, y):
    return overt.reweighted(KERNEL, X, y, "identity", rounds=1, refit=False)


def classes(X, y):
    return overt.reweighted(LogisticRegression(), X, y, "identity", rounds=1, refit=False)


LEARNERS = {
    "regressor": (regressor, Y),
    "regressor of two": (regressor, COLUMNS),
    "classifier": (classifier, WORDS),
    "loop": (loop, Y),
    "loop of two": (loop, COLUMNS),
    "loop of classes": (classes, WORDS),
}
each = pytest.mark.parametrize("name", LEARNERS)


def outputs(found, X):
    """Numbers that a fit predicts."""
    if hasattr(found, "predict_proba"):
        return found.predict_proba(X)
    if hasattr(getattr(found, "model", None), "predict_proba"):
        return found.model.predict_proba(np.asarray(found.transform(X)))
    return np.asarray(found.predict(X))


# ---- the same numbers in another form --------------------------------------------------------------------

WHOLE = np.round(3 * X)
FORMS = {
    "Fortran order": np.asfortranarray,
    "strides": lambda A: np.repeat(A, 2, axis=0)[::2],
    "negative strides": lambda A: A[::-1].copy()[::-1],
    "read-only": lambda A: np.require(A.copy(), requirements="W").view(),
    "big-endian": lambda A: A.astype(">f8"),
    "long double": lambda A: A.astype(np.longdouble),
    "integers": lambda A: A.astype(np.int16),
    "lists": lambda A: A.tolist(),
    "objects": lambda A: A.astype(object),
    "frame": pd.DataFrame,
    "nullable frame": lambda A: pd.DataFrame(A).astype("Float64"),
    "integer frame": lambda A: pd.DataFrame(A).astype("Int64"),
    "masked": lambda A: np.ma.array(A, mask=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@each
def test_the_same_numbers_give_the_same_fit(name, form):
    fit, y = LEARNERS[name]
    expected = outputs(fit(WHOLE, y), WHOLE)
    found = fit(FORMS[form](WHOLE), y)
    np.testing.assert_allclose(outputs(found, FORMS[form](WHOLE)), expected, atol=1e-9)


@pytest.mark.parametrize(
    "form", ["big-endian", "long double", "negative strides", "masked", "nullable frame"]
)
def test_targets_in_another_form(form):
    y = np.round(3 * COLUMNS)
    np.testing.assert_allclose(outputs(loop(X, FORMS[form](y)), X), outputs(loop(X, y), X), atol=1e-9)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int8, np.int64, ">i4", bool, object, "Int64", "category"]
)
def test_labels_of_any_dtype(dtype):
    labels = (Y > 0).astype(int)
    other = (
        pd.Series(labels).astype(dtype)
        if isinstance(dtype, str) and dtype[0] != ">"
        else labels.astype(dtype)
    )
    np.testing.assert_allclose(outputs(classes(X, other), X), outputs(classes(X, labels), X), atol=1e-9)
    if dtype not in ("Int64", object):
        np.testing.assert_allclose(outputs(classifier(X, other), X), outputs(classifier(X, labels), X))


@pytest.mark.slow
@each
def test_single_precision_is_nearly_the_same(name):
    fit, y = LEARNERS[name]
    single = X.astype(np.float32)
    np.testing.assert_allclose(outputs(fit(single, y), single), outputs(fit(X, y), X), atol=1e-4)


@each
def test_sparse_tables_are_refused(name):
    fit, y = LEARNERS[name]
    with pytest.raises(TypeError, match=r"X must be .*dense.*toarray") as caught:
        fit(sparse.csr_array(X), y)
    assert "\n" not in str(caught.value)


# ---- degenerate columns and few rows ---------------------------------------------------------------------


@pytest.mark.slow
@each
def test_constant_columns_change_nothing(name):
    fit, y = LEARNERS[name]
    more = np.c_[X, np.full(40, 7.0), np.zeros(40)]
    found = fit(more, y)
    if "loop" not in name:  # its weights have as many squares as there are columns
        np.testing.assert_allclose(outputs(found, more), outputs(fit(X, y), X), atol=1e-6)
    diagonal = np.asarray(found.M_) if np.ndim(found.M_) == 1 else np.diag(found.M_)
    if "classes" not in name:  # a linear model puts some of its offset on a constant
        np.testing.assert_allclose(diagonal[4:], 0, atol=1e-9 * diagonal.max())


@pytest.mark.slow
@each
def test_a_column_twice_is_as_important_twice(name):
    fit, y = LEARNERS[name]
    twice = np.c_[X, X]
    found = fit(twice, y)
    assert np.isfinite(outputs(found, twice)).all()
    diagonal = np.asarray(found.M_) if np.ndim(found.M_) == 1 else np.diag(found.M_)
    np.testing.assert_allclose(diagonal[:4], diagonal[4:], rtol=1e-3, atol=1e-6 * diagonal.max())


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 10))
@each
def test_few_rows(name, n):
    """They are fitted, or refused in one line that says so."""
    fit, y = LEARNERS[name]
    least = 4 if "loop" in name else 1
    if n < least:
        with pytest.raises(ValueError, match="leaves fewer than two to fit; give more"):
            fit(X[:n], y[:n])
        return
    assert set(y[:3]) == {"up", "down"} if y is WORDS else True
    assert np.isfinite(outputs(fit(X[:n], y[:n]), X)).all()


@pytest.mark.parametrize("fit", [classifier, classes])
def test_a_class_of_one_row(fit):
    """It is never the one that a fold's fit has not seen, or its probabilities count as zero."""
    labels = np.array(["rare", *WORDS[1:]])
    probabilities = outputs(fit(X, labels), X)
    assert probabilities.shape == (40, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_row_is_not_held_out(seed):
    labels = np.array(["a"] * 39 + ["b"])
    found = overt.reweighted(LogisticRegression(), X, labels, depth=1, seed=seed, refit=False)
    assert found.model.classes_.tolist() == ["a", "b"]


# ---- units -----------------------------------------------------------------------------------------------

UNITS = [1e-300, 1e-200, 1e200, 1e300]


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("fit", [regressor, classifier])
def test_feature_machines_take_any_unit(fit, unit):
    y = Y if fit is regressor else WORDS
    columns = np.array([unit, 1, 1 / unit, 1e-100])
    plain, scaled = fit(X, y), fit(X * columns, y)
    np.testing.assert_allclose(outputs(scaled, X * columns), outputs(plain, X), atol=1e-6)
    np.testing.assert_allclose(scaled.importances_, plain.importances_, atol=1e-6)
    if fit is regressor:
        many = regressor(X, COLUMNS * [unit, 1])
        mean, std = many.predict(X, return_std=True)
        expected = regressor(X, COLUMNS).predict(X, return_std=True)
        np.testing.assert_allclose(mean / [unit, 1], expected[0], atol=1e-6)
        np.testing.assert_allclose(std / [unit, 1], expected[1], atol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_loops_refuse_units_whose_squares_overflow(unit, convert):
    """M would be zero, which says that the learner is constant, or infinite, that it diverges."""
    for inputs, y, name in ((X * [1, 1, unit, 1], Y, "X"), (X, Y * unit, "y")):
        with pytest.raises(ValueError, match=rf"{name}: columns have sizes of .*standardize") as caught:
            loop(convert(inputs), convert(y))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", [1e-70, 1e-20, 1e20, 1e70])
def test_loops_follow_units(unit):
    plain, scaled = loop(X, Y), loop(X, Y * unit)
    np.testing.assert_allclose(outputs(scaled, X) / unit, outputs(plain, X), atol=1e-6)
    assert scaled.rank_ == pytest.approx(plain.rank_, rel=1e-3)


def test_jumps_are_seen_in_any_unit():
    for unit in (1e-60, 1.0, 1e60):
        with pytest.raises(ValueError, match="the predictions jump"):
            refuse_jumps(lambda x, u=unit: u * np.sign(x[:, :1]), X, 2 * unit, unit, np.random.default_rng(0))


# ---- as objects ------------------------------------------------------------------------------------------


@pytest.mark.slow
@each
def test_fits_are_copied_and_pickled(name):
    fit, y = LEARNERS[name]
    found = fit(X, y)
    expected = outputs(found, X)
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):  # noqa: S301
        np.testing.assert_array_equal(outputs(other, X), expected)
        np.testing.assert_array_equal(other.M_, found.M_)


@pytest.mark.parametrize("kind", [RFMRegressor, RFMClassifier])
def test_clones_are_not_fitted_and_names_go_with_the_frame(kind):
    y = Y if kind is RFMRegressor else WORDS
    frame = pd.DataFrame(X, columns=list("abcd"))
    est = kind(max_rounds=1, max_centers=100, random_state=3).fit(frame, y)
    assert est.feature_names_in_.tolist() == list("abcd")
    other = clone(est)
    assert other.get_params() == est.get_params()
    assert not hasattr(other, "M_factor_")
    assert not hasattr(est.fit(X, y), "feature_names_in_")
    with pytest.raises(TypeError, match="sample_weight"):
        est.fit(X, y, sample_weight=np.ones(40))


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, 3])
def test_labels_of_two_kinds_are_refused(gap):
    with pytest.raises((TypeError, ValueError), match=r"^y") as caught:
        classifier(X, np.array([*WORDS[1:], gap], dtype=object))
    assert "\n" not in str(caught.value)
    if not isinstance(gap, int):
        with pytest.raises(ValueError, match="1 of 40 targets are NaN"):
            classes(X, np.array([*WORDS[1:], gap], dtype=object))
