"""MatrixCompletion on values near the ends of floating point: finite and in proportion, or refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from overt import MatrixCompletion

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*hold no observation",
    "ignore:the observed entries",
)


def table(noise: float = 0.0, m: int = 12, n: int = 8) -> Array:
    """A matrix of rank one and noise, a quarter missing."""
    g = np.random.default_rng(0)
    X = np.outer(g.uniform(1, 2, m), g.uniform(1, 2, n)) + noise * g.normal(size=(m, n))
    X[g.random(X.shape) < 0.25] = np.nan
    return np.asarray(X)


def numbers_of(est: MatrixCompletion, X: Array) -> dict[str, Array]:
    """All that an estimator says in the units of X."""
    found = {name: getattr(est, f"{name}_") for name in ("singular_values", "offset", "row_offsets")}
    found |= {name: getattr(est, f"{name}_") for name in ("column_offsets", "noise_std", "heldout_error")}
    found |= {"transform": est.transform(X), "predict": est.predict(X)}
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.integers(-1020, 1005), st.sampled_from([0.0, 0.1]))
def test_a_power_of_two_changes_nothing_but_the_unit(power: int, noise: float) -> None:
    """Up to rounding where values are denormal, below 2^-1022."""
    X = table(noise)
    scaled, tiny = np.ldexp(X, power), 64 * np.finfo(float).smallest_subnormal
    expected = numbers_of(MatrixCompletion(noise=noise).fit(X), X)
    found = numbers_of(MatrixCompletion(noise=float(np.ldexp(noise, power))).fit(scaled), scaled)
    for name, value in found.items():
        atol = tiny + np.ldexp(1e-9, power)
        np.testing.assert_allclose(value, np.ldexp(expected[name], power), rtol=1e-6, atol=atol, err_msg=name)


def answer_or_refusal(ask: Callable[[], Any]) -> tuple[Any, str]:
    """What was answered, or the line of the refusal."""
    try:
        return ask(), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("value", [1.7e308, 1e306, -1.7e308])
@pytest.mark.parametrize("triplets", [False, True])
def test_values_whose_norm_overflows_are_refused(value: float, triplets: bool) -> None:
    X = table()
    X[0, 0] = value
    est = MatrixCompletion()
    with pytest.raises(ValueError, match=r"values up to 1.* are too large for float64") as caught:
        est.fit_triplets(*np.nonzero(~np.isnan(X)), X[~np.isnan(X)]) if triplets else est.fit(X)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_single_precision_has_its_own_limit() -> None:
    X = table() * 1e36
    with pytest.raises(ValueError, match="pass float64"):
        MatrixCompletion().fit(X.astype(np.float32))
    assert np.isfinite(MatrixCompletion().fit_transform(X)).all()
    completed = MatrixCompletion().fit_transform((table() * 1e33).astype(np.float32))
    assert completed.dtype == np.float32
    np.testing.assert_allclose(completed, MatrixCompletion().fit_transform(table()) * 1e33, rtol=1e-5)


@pytest.mark.parametrize("unit", [1.0, 1e-300])
def test_new_rows_beyond_all_bounds_are_finite_or_refused(unit: float) -> None:
    X = table()
    est = MatrixCompletion().fit(X * unit)
    for size in (1e200, 1e300, 8e307):
        for ask, name in ((est.transform, "X"), (est.predict, "rows")):
            values, refusal = answer_or_refusal(lambda ask=ask, size=size: ask(X / 4 * size))
            if refusal:
                assert size / unit >= 1e300
                assert refusal.startswith(f"{name}: values up to")
                assert "\n" not in refusal
            else:
                assert np.isfinite(values).all()


def test_predictions_beyond_single_precision_are_its_largest_number() -> None:
    X = np.outer(np.arange(1.0, 9.0), [1.0, 100.0, 2.0]).astype(np.float32)
    X[0, 1] = X[3, 0] = np.nan
    est, new = MatrixCompletion().fit(X), np.float32([[3e37, np.nan, 6e37]])
    for values in (est.transform(new), est.predict(new)):
        assert values[0, 1] == np.finfo(np.float32).max
    with pytest.raises(ValueError, match=r"X: values up to 1e\+39 are too large"):
        est.transform([[1e39, np.nan, 2.0]])


def units(size: int, orders: float) -> Array:
    return np.random.default_rng(1).permutation(10 ** np.linspace(-orders, orders, size))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rows", "columns"), [(0, 250), (250, 0), (120, 120)], ids=["columns", "rows", "both"]
)
def test_units_five_hundred_orders_apart_stay_finite(rows: float, columns: float, noise: float) -> None:
    X = table(noise) * units(12, rows)[:, None] * units(8, columns)
    est = MatrixCompletion().fit(X)
    for values in (est.transform(X), est.predict(X), est.U_, est.singular_values_, est.Vt_):
        assert np.isfinite(values).all()


@pytest.mark.slow
def test_a_denormal_column_among_others_stays_finite() -> None:
    X = table()
    X[:, 3] *= 1e-320
    assert np.isfinite(MatrixCompletion().fit_transform(X)).all()


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements={"allow_infinity": False},
    )
)
def test_any_numbers_are_completed_by_finite_ones_or_refused(X: Array) -> None:
    est = MatrixCompletion()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        completed, refusal = answer_or_refusal(lambda: est.fit_transform(X))
        if refusal:
            assert "\n" not in refusal
            assert "too large" in refusal or "no observed entry" in refusal
            return
        for values in (completed, est.transform(X), est.predict(X), est.singular_values_):
            assert np.isfinite(values).all()
        assert completed.dtype == X.dtype
        seen = ~np.isnan(X)
        np.testing.assert_array_equal(completed[seen], X[seen])


TYPES: dict[str, Callable[[Array], Any]] = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "bfloat16": lambda X: torch.as_tensor(X).bfloat16(),
}
LARGEST = {name: float(torch.finfo(getattr(torch, name)).max) for name in TYPES}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(TYPES)),
    st.one_of(st.floats(-300, 308.25), st.floats(-5, 0).map(lambda below: ("top", below))),
    st.sampled_from(["auto", "irls", "bayes", "soft_impute", "nuclear"]),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_all_answers_are_finite_at_any_scale_or_the_values_are_refused(
    kind: str, scale: Any, solver: str, noise: float
) -> None:
    """Scales in decades from 1e-300, or counted from the type's largest number down."""
    X = table(noise)
    size = LARGEST[kind] * 10 ** scale[1] if isinstance(scale, tuple) else min(10.0**scale, LARGEST[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = TYPES[kind](X / np.nanmax(np.abs(X)) * size)
        est, refusal = answer_or_refusal(lambda: MatrixCompletion(solver).fit(values))
        if refusal:
            assert "too large" in refusal or "infinity" in refusal
            assert size > LARGEST[kind] / 1e6
            return
        rows, cols = np.indices(X.shape).reshape(2, -1)
        answers = {
            "predict": est.predict(rows, cols),
            "std": est.predict(rows, cols, return_std=True)[1],
            "interval": est.predict_interval(rows, cols, level=1 - 1e-12),
            "sample": est.sample(3, rows, cols),
            "transform": est.transform(values),
            "singular values": est.singular_values_,
            "offsets": est.column_offsets_,
        }
        for name, answer in answers.items():
            assert np.isfinite(np.asarray(answer)).all(), name
        errors = [est.heldout_error_, *est.heldout_interval_, est.baseline_error_, est.noise_std_]
        assert not np.isinf(errors).any()
