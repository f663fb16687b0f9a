"""Observed entries out of arrays, sparse matrices and triplets; positions, bounds, seeds and devices."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from overt import MatrixCompletion, MatrixSensing
from overt._utils.estimators import seed_of
from overt.completion.estimator.inputs import (
    Observations,
    clip_bounds,
    from_matrix,
    from_triplets,
    positions,
)
from overt.completion.estimator.units import compress


def test_nan_marks_what_is_missing() -> None:
    X = np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, 4.0]])
    found = from_matrix(X)
    assert found.shape == (2, 3)
    assert sorted(zip(found.rows, found.cols, found.values, strict=True)) == [
        (0, 0, 1.0),
        (0, 2, 0.0),
        (1, 2, 4.0),
    ]


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil"])
def test_stored_zeros_of_a_sparse_matrix_are_observed(kind: str) -> None:
    coo = sparse.coo_array((np.array([0.0, 2.0, np.nan]), ([0, 1, 1], [1, 0, 1])), shape=(2, 3))
    found = from_matrix(coo.asformat(kind))
    expected = {(0, 1): 0.0, (1, 0): 2.0}
    assert dict(zip(zip(found.rows, found.cols, strict=True), found.values, strict=True)) == expected


def test_triplets() -> None:
    found = from_triplets([2, 0], [1, 3], [5, 7])
    assert found.shape == (3, 4)
    assert found.values.dtype == np.float64
    assert from_triplets([0, 1], [0, 0], [1.0, np.nan], shape=(5, 2)).n_observed == 1


@pytest.mark.parametrize(
    ("rows", "cols", "values", "shape", "error", "match"),
    [
        ([0], [0, 1], [1.0], None, ValueError, "one length"),
        ([0.5], [0], [1.0], None, TypeError, "rows must be whole"),
        (["a"], [0], [1.0], None, TypeError, "rows must be whole"),
        ([0], [0], ["x"], None, TypeError, "real numbers"),
        ([0], [0], [1j], None, ValueError, "values: Complex data"),
        ([0], [0], [np.inf], None, ValueError, "infinity"),
        ([0], [0], [np.nan], None, ValueError, "no entry"),
        ([], [], [], None, ValueError, "no entry"),
        ([-1], [0], [1.0], (2, 2), ValueError, r"rows must lie in 0 …, got -1"),
        ([0], [2], [1.0], (2, 2), ValueError, r"cols must lie in 0 … 1"),
        ([0, 0], [1, 1], [1.0, 2.0], None, ValueError, r"first \(0, 1\)"),
        ([0], [0], [1.0], (0, 1), ValueError, "shape must be a tuple of 2 integers"),
        ([0], [0], [1.0], 3, TypeError, "shape must be a tuple of 2 integers"),
        ([0, 1], [0, 1], [[1.0, 2.0]], None, ValueError, "one length"),
        ([[0]], [[0]], [[1.0]], None, ValueError, "one length"),
        ([0], [0], 1.0, None, ValueError, "one length"),
        ([0], [0], None, None, TypeError, "values must be .* got None"),
        ([0], [0], map(float, [1]), None, TypeError, "values must be .* got a map"),
        ((i for i in [0]), [0], [1.0], None, TypeError, "rows must be whole numbers, got a generator"),
        ([True], [0], [1.0], None, TypeError, "rows must be whole numbers, got dtype bool"),
        ([1.0], [0], [1.0], None, TypeError, "rows must be whole numbers, got dtype float64"),
        ([None], [0], [1.0], None, TypeError, "rows must be whole numbers, got None"),
        (pd.array([0, None]), [0, 0], [1.0, 2.0], None, TypeError, "rows must be whole numbers"),
        ([0], [0], pd.Series(pd.to_datetime(["2020"])), None, TypeError, "values must hold real numbers"),
        ([0], [0], pd.Series([3], dtype="category"), None, TypeError, "values must hold real .* category"),
        ([10**20], [0], [1.0], None, ValueError, "rows must lie in 0"),
        (np.array([2**63], np.uint64), [0], [1.0], None, ValueError, "rows must lie in 0"),
        ([0], [0], np.ma.array([1.0], mask=True), None, ValueError, "no entry"),
        (np.ma.array([0], mask=True), [0], [1.0], None, ValueError, "no entry"),
    ],
)
def test_bad_triplets_are_refused(
    rows: Any, cols: Any, values: Any, shape: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        from_triplets(rows, cols, values, shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "cols", "values"),
    [
        ([0, 2, 1], [1, 0, 1], [5, 7, None]),
        ([0, 2, 1], [1, 0, 1], [5, 7, pd.NA]),
        ([0, 2, 1], [1, 0, 1], [Decimal(5), Decimal(7), Decimal("NaN")]),
        ([0, 2, 1], [1, 0, 1], pd.array([5, 7, None])),
        ([0, 2, 1], [1, 0, 1], pd.Series([5, 7, None], dtype="float32", index=[7, 8, 9])),
        ([0, 2, 1], [1, 0, 1], pl.Series([5, 7, None])),
        ([0, 2, 1], [1, 0, 1], torch.tensor([5, 7, math.nan], dtype=torch.bfloat16, requires_grad=True)),
        ([0, 2, 1], [1, 0, 1], np.ma.array([5, 7, 9], mask=[0, 0, 1])),
        (np.ma.array([0, 2, -9], mask=[0, 0, 1]), [1, 0, 1], [5, 7, 9]),
        ([0, 2, 1], np.ma.array([1, 0, 10**12], mask=[0, 0, 1]), [5, 7, 9]),
        (pd.array([0, 2, 1]), pd.Series([1, 0, 1], dtype="category"), [5, 7, math.nan]),
        (torch.tensor([0, 2, 1]), torch.tensor([1, 0, 1], dtype=torch.uint8), [5, 7, math.nan]),
        (np.array([0, 2, 1], dtype=object), np.array([1, 0, 1], dtype=">i2"), [5, 7, math.nan]),
        (range(0, 4, 2), pl.Series([1, 0]), (5, 7)),
    ],
)
def test_triplets_of_every_kind(rows: Any, cols: Any, values: Any) -> None:
    found = from_triplets(rows, cols, values, (3, 2))
    assert list(zip(found.rows, found.cols, found.values, strict=True)) == [(0, 1, 5.0), (2, 0, 7.0)]
    assert found.dtype == (np.float32 if getattr(values, "dtype", "") == "float32" else np.float64)


# ---- raw ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "cols", "shape", "name"),
    [
        ([10**12, 0], [0, 1], None, "rows"),
        ([0, 1], [10**12, 1], None, "cols"),
        ([10**12, 0], [10**12, 1], None, "rows"),
        ([0, 1], [0, 1], (10**12, 10**12), "shape"),
        ([2**62, 2**62 + 1], [2**62, 2**62 + 1], (2**63 - 1, 2**63 - 1), "shape"),
    ],
)
def test_raw_ids_are_refused_with_the_remedy(rows: Any, cols: Any, shape: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: .* × .* is too large for 2 .*return_inverse") as caught:
        MatrixCompletion().fit_triplets(rows, cols, [1.0, 2.0], shape=shape)
    assert "\n" not in str(caught.value)


def test_the_remedy_works() -> None:
    g = np.random.default_rng(0)
    users, items = g.integers(0, 2**62, 12), g.integers(0, 2**62, 8)
    i, j = np.nonzero(g.random((12, 8)) < 0.7)
    rows = np.unique(users[i], return_inverse=True)[1]
    cols = np.unique(items[j], return_inverse=True)[1]
    est = MatrixCompletion().fit_triplets(rows, cols, (rows + 1.0) * (cols + 1.0))
    np.testing.assert_allclose(est.predict(rows, cols), (rows + 1.0) * (cols + 1.0))


def test_positions_whose_product_overflows_are_told_apart() -> None:
    """With 2⁶⁴ entries, row·n + column is the same for both."""
    rows, cols, size = [0, 2**31], [5, 5], 2**33
    with pytest.raises(ValueError, match=r"^shape: .* too large"):
        from_triplets(rows, cols, [1.0, 2.0], (size, size))
    with pytest.raises(ValueError, match=rf"1 position\(s\) come more than once, first \({2**31}, 5\)"):
        from_triplets([*rows, 2**31], [*cols, 5], [1.0, 2.0, 3.0], (size, size))


def test_a_million_lines_need_no_entries() -> None:
    assert from_triplets([10**6 - 1], [0], [1.0]).shape == (10**6, 1)
    assert from_matrix(sparse.coo_array(([1.0], ([2 * 10**9], [0])))).n_observed == 1  # new rows, no fit


@pytest.mark.parametrize(
    ("index", "error", "match"),
    [
        ([True, False], TypeError, "rows must be whole numbers, got dtype bool"),
        (np.ones((2, 2), dtype=bool), TypeError, "dtype bool"),
        (torch.tensor([True]), TypeError, "dtype bool"),
        (torch.tensor([1.0], dtype=torch.bfloat16), TypeError, "dtype float"),
        ([1.0, 2.0], TypeError, "dtype float64"),
        ([[1], [2, 3]], ValueError, "rows: .*inhomogeneous"),
        ("3", TypeError, "dtype <U1"),
        (None, TypeError, "got None"),
        ({1, 2}, TypeError, "got {1, 2}"),
        (pd.Timestamp("2020"), TypeError, "Timestamp"),
        (np.ma.array([0, 1], mask=[1, 0]), ValueError, "masked"),
        (np.ma.masked, ValueError, "masked"),
        ([0, 5], ValueError, r"lie in 0 … 4, got 0 … 5"),
        ([-1], ValueError, r"lie in 0 … 4, got -1 … -1"),
        (np.array([-1]), ValueError, "lie in 0"),
    ],
)
def test_positions_that_are_none_are_refused(index: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        positions(index, "rows", 5)
    assert "\n" not in str(caught.value)
    assert "rows" in str(caught.value)


def test_positions_of_every_kind() -> None:
    kinds = (
        2,
        [2],
        (2,),
        np.int8(2),
        np.array(2),
        torch.tensor(2),
        pd.Index([2]),
        np.ma.array([2]),
        range(2, 3),
    )
    for kind in kinds:
        assert positions(kind, "rows", 3).tolist() == [2]
    assert positions([], "rows", 3).shape == (0,)
    assert positions([[0], [1]], "rows", 3).shape == (2, 1)


@given(st.floats(min_value=-300, max_value=300))
def test_scale_neither_over_nor_underflows(exponent: float) -> None:
    values = np.array([3.0, -4.0]) * 10.0**exponent
    found = Observations(np.array([0, 1]), np.array([0, 1]), values, (2, 2))
    assert found.scale == pytest.approx(np.sqrt(12.5) * 10.0**exponent)


def test_compression_drops_empty_lines_and_scales() -> None:
    X = np.full((5, 4), np.nan)
    X[1, 2], X[3, 0] = 6.0, 8.0
    found = compress(from_matrix(X))
    assert found.problem.shape == (2, 2)
    assert found.scale == pytest.approx(np.sqrt(50))
    assert float(found.problem.y.square().mean()) == pytest.approx(1)
    assert (found.kept_rows.tolist(), found.kept_cols.tolist()) == ([1, 3], [0, 2])
    assert (found.empty_rows.tolist(), found.empty_cols.tolist()) == ([0, 2, 4], [1, 3])


def test_nothing_observed_is_refused() -> None:
    with pytest.raises(ValueError, match="no observed entry"):
        compress(from_matrix(np.full((2, 2), np.nan)))


def test_all_zero_keeps_scale_one() -> None:
    assert compress(from_matrix(np.zeros((2, 2)))).scale == 1.0


# ---- parameters ------------------------------------------------------------------------------------------

X = np.outer(np.arange(1.0, 9.0), [1.0, -2.0, 3.0, -1.0, 2.0])
MISSING = np.zeros(X.shape, dtype=bool)
MISSING[[0, 3, 5, 7], [0, 1, 2, 3]] = True
HOLES = np.where(MISSING, np.nan, X)


def some() -> Observations:
    return from_matrix(HOLES)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (None, None),
        ((0, None), (0.0, math.inf)),
        ([None, 5], (-math.inf, 5.0)),
        ((None, None), (-math.inf, math.inf)),
        ((np.float32(0.5), np.int8(3)), (0.5, 3.0)),
        ((-math.inf, 1), (-math.inf, 1.0)),
        ("observed", (float(np.nanmin(HOLES)), float(np.nanmax(HOLES)))),
    ],
)
def test_bounds_of_predictions(clip: Any, expected: Any) -> None:
    assert clip_bounds(clip, some()) == expected


@pytest.mark.parametrize(
    ("clip", "error"),
    [
        ((math.nan, 1), ValueError),
        ((None, math.nan), ValueError),
        ((2, 1), ValueError),
        ((1, 1), ValueError),
        ((0, 1, 2), ValueError),
        ((), ValueError),
        ((None,), ValueError),
        (("0", 1), TypeError),
        ((True, 2), TypeError),
        ((1j, None), TypeError),
        (((0, 1), 2), TypeError),
        (5, ValueError),
        ("both", ValueError),
        ({0, 1}, ValueError),
        (np.array([0, 1]), ValueError),
    ],
)
def test_bounds_that_are_none_are_refused(clip: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="clip") as caught:
        MatrixCompletion(clip=clip).fit(HOLES)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_one_sided_bounds_bound_one_side() -> None:
    filled = X[MISSING]
    for dtype in (np.float64, np.float32):
        for clip in ((0, None), (None, 0), (None, 1e300), (-1e300, None), (None, None)):
            est = MatrixCompletion(clip=clip).fit(HOLES.astype(dtype))
            low, high = (math.inf * (-1) ** (k + 1) if end is None else end for k, end in enumerate(clip))
            expected = np.clip(filled, low, high)
            np.testing.assert_allclose(est.transform(HOLES.astype(dtype))[MISSING], expected, atol=1e-3)
            np.testing.assert_allclose(est.predict(*np.nonzero(MISSING)), expected, atol=1e-3)


def test_seeds_of_every_kind() -> None:
    assert seed_of(7) == seed_of(np.int64(7)) == 7
    for kind in (np.random.RandomState, np.random.default_rng):
        first, again = kind(5), kind(5)
        assert seed_of(first) == seed_of(again)
        assert seed_of(first) != seed_of(kind(5))
    assert len({seed_of(None) for _ in range(5)}) == 5
    np.random.seed(0)  # noqa: NPY002  (None is NumPy's global state)
    one = seed_of(None)
    np.random.seed(0)  # noqa: NPY002
    assert seed_of(None) == one


@pytest.mark.parametrize("state", [None, 0, np.random.RandomState(1), np.random.default_rng(1), 2**63 - 1])
def test_any_random_state_fits(state: Any) -> None:
    est = clone(MatrixCompletion(random_state=state)).fit(HOLES)
    np.testing.assert_allclose(est.predict(*np.nonzero(MISSING)), X[MISSING], rtol=1e-6)


@pytest.mark.parametrize("state", [-1, 2**63, 1.5, "0", True, torch.Generator(), [1]])
@pytest.mark.parametrize("estimator", [MatrixCompletion, MatrixSensing])
def test_no_other_random_state_fits(state: Any, estimator: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="random_state") as caught:
        estimator(random_state=state).fit(HOLES, HOLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["depth", "noise", "heldout", "max_rank", "max_iter", "tolerance"])
@pytest.mark.parametrize("estimator", [MatrixCompletion, MatrixSensing])
def test_true_is_no_number(name: str, estimator: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{name}.* must be .* [gG]ot True"):
        estimator(**{name: True}).fit(HOLES, HOLES)


ABSENT = ["nonsense", "meta", "", "cuda:-1", "cpu:x", 0, 1.5, True]
ABSENT += [] if torch.cuda.is_available() else ["cuda", "cuda:7", torch.device("cuda")]
ABSENT += ["mps"]  # knows no double precision


@pytest.mark.parametrize("device", ABSENT)
@pytest.mark.parametrize("estimator", [MatrixCompletion, MatrixSensing])
def test_a_device_that_is_not_there_is_refused(device: Any, estimator: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="device") as caught:
        estimator(device=device).fit(HOLES, HOLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", [None, "cpu", "cpu:0", torch.device("cpu")])
def test_a_device_that_is_there_computes(device: Any) -> None:
    est = clone(MatrixCompletion(device=device)).fit(HOLES)
    np.testing.assert_allclose(est.predict(*np.nonzero(MISSING)), X[MISSING], rtol=1e-6)


@pytest.mark.parametrize("y", [None, list("abcdefgh"), np.arange(3), object()])
def test_y_is_ignored(y: Any) -> None:
    assert MatrixCompletion().fit(HOLES, y).rank_ == 1


def test_a_fit_that_was_refused_is_no_fit() -> None:
    from sklearn.exceptions import NotFittedError

    est = MatrixCompletion()
    with pytest.raises(ValueError, match="no observed entry"):
        est.fit(np.full((3, 2), np.nan))
    for ask in (lambda: est.predict([0], [0]), lambda: est.transform(X), lambda: est.predict(X)):
        with pytest.raises(NotFittedError):
            ask()
