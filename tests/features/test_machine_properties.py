"""What must not matter: units of columns, order of rows and columns, scale and shift of the target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overt import RFMClassifier, RFMRegressor

pytestmark = pytest.mark.slow

NEW = np.random.default_rng(99).normal(size=(20, 4))


def data(seed, n=36):
    g = np.random.default_rng(seed)
    X = g.normal(size=(n, 4))
    return X, X[:, 0] * X[:, 1] + 0.3 * X[:, 2] + 0.1 * g.normal(size=n)


SEEDS = st.integers(0, 5)
EXPONENTS = st.lists(st.integers(-40, 40), min_size=4, max_size=4)
FEW = settings(max_examples=6, deadline=None, derandomize=True)


@FEW
@given(SEEDS, EXPONENTS, st.lists(st.floats(-100, 100), min_size=4, max_size=4))
def test_units_and_shifts_of_columns(seed, exponents, shifts):
    X, y = data(seed)
    units = 2.0 ** np.array(exponents)
    shifts = np.array(shifts) * units
    plain, scaled = RFMRegressor().fit(X, y), RFMRegressor().fit(X * units + shifts, y)
    np.testing.assert_allclose(scaled.predict(NEW * units + shifts), plain.predict(NEW), atol=1e-5)
    np.testing.assert_allclose(scaled.importances_, plain.importances_, atol=1e-5)
    turned = scaled.M_ * np.outer(units, units)
    np.testing.assert_allclose(turned, plain.M_, atol=1e-5 * np.abs(plain.M_).max())


@FEW
@given(SEEDS, st.randoms(use_true_random=False))
def test_order_of_rows_and_columns(seed, random):
    X, y = data(seed)
    rows, cols = random.sample(range(len(X)), len(X)), random.sample(range(4), 4)
    plain, moved = RFMRegressor().fit(X, y), RFMRegressor().fit(X[rows][:, cols], y[rows])
    np.testing.assert_allclose(moved.predict(NEW[:, cols]), plain.predict(NEW), atol=1e-5)
    np.testing.assert_allclose(moved.importances_, plain.importances_[cols], atol=1e-5)


@FEW
@given(SEEDS, st.integers(-40, 40), st.floats(-100, 100), st.booleans())
def test_units_of_the_target(seed, exponent, shift, negative):
    X, y = data(seed)
    unit = 2.0**exponent * (-1 if negative else 1)
    plain = RFMRegressor().fit(X, y).predict(NEW)
    scaled = RFMRegressor().fit(X, unit * (y + shift)).predict(NEW) / unit - shift
    if not negative:  # the order of targets decides the folds
        np.testing.assert_allclose(scaled, plain, atol=1e-5)
    else:
        assert np.corrcoef(scaled, plain)[0, 1] > 0.8


@FEW
@given(SEEDS)
def test_names_of_classes(seed):
    X, y = data(seed)
    first = RFMClassifier().fit(X, y > 0).predict_proba(NEW)
    second = RFMClassifier().fit(X, np.where(y > 0, "b", "a")).predict_proba(NEW)
    np.testing.assert_allclose(first, second, atol=1e-8)
