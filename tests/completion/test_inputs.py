"""Observed entries out of arrays, sparse matrices and triplets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from overt.completion.estimator.inputs import Observations, compress, from_matrix, from_triplets


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
        ([0], [0], [1j], None, TypeError, "real numbers"),
        ([0], [0], [np.inf], None, ValueError, "infinity"),
        ([0], [0], [np.nan], None, ValueError, "no entry"),
        ([], [], [], None, ValueError, "no entry"),
        ([-1], [0], [1.0], (2, 2), ValueError, r"rows must lie in 0 …, got -1"),
        ([0], [2], [1.0], (2, 2), ValueError, r"cols must lie in 0 … 1"),
        ([0, 0], [1, 1], [1.0, 2.0], None, ValueError, r"first \(0, 1\)"),
        ([0], [0], [1.0], (0, 1), ValueError, "shape must be a tuple of 2 integers"),
        ([0], [0], [1.0], 3, TypeError, "shape must be a tuple of 2 integers"),
    ],
)
def test_bad_triplets_are_refused(
    rows: Any, cols: Any, values: Any, shape: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        from_triplets(rows, cols, values, shape)


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
