"""What users hold a table in: each kind gives the model of the array with NaN, or is refused in one line."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import sparse

from overt import MatrixCompletion
from overt.completion.estimator.inputs import from_matrix, validated

Array = NDArray[Any]

VALUES = np.outer([1, 2, 3, 4, 1, 2, 3, 4], [1, 2, 3, 1, 2])
MISSING = np.zeros(VALUES.shape, dtype=bool)
MISSING[[0, 3, 5, 7, 6], [1, 2, 0, 4, 3]] = True
X = np.where(MISSING, np.nan, VALUES)
ROWS, COLS = np.nonzero(~MISSING)
NAMES = list("abcde")


def objects(missing: Any = None, kind: Callable[[Any], Any] = int) -> Array:
    """Python objects, ``missing`` in place of what is missing."""
    out = np.empty(X.shape, dtype=object)
    for index in np.ndindex(*X.shape):
        out[index] = missing if MISSING[index] else kind(VALUES[index])
    return out


def decimal(value: Any) -> Decimal:
    return Decimal(int(value))


def masked(dtype: Any, under: Any = 99) -> Any:
    data = np.array(VALUES).astype(dtype)
    data[MISSING] = under
    return np.ma.array(data, mask=MISSING)


def frame(**dtypes: Any) -> pd.DataFrame:
    return pd.DataFrame(X, columns=NAMES).astype(dtypes)


def each(dtype: Any) -> pd.DataFrame:
    return frame(**dict.fromkeys(NAMES, dtype))


def tensor(dtype: torch.dtype = torch.float64, **options: Any) -> torch.Tensor:
    return torch.tensor(X, dtype=dtype, **options)


def coo_tensor() -> torch.Tensor:
    return unchecked(np.stack([ROWS, COLS]), torch.as_tensor(X[ROWS, COLS]), X.shape)


def unchecked(where: Array, stored: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not check invariants
        return torch.sparse_coo_tensor(where, stored, shape)


def twice() -> Any:
    return sparse.coo_array((np.ones(3), ([0, 1, 1], [0, 2, 2])), shape=(3, 3))


def compressed_tensor(kind: str) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that these layouts are new
        return getattr(coo_tensor(), f"to_sparse_{kind}")()


def coo(dtype: Any = float) -> Any:
    return sparse.coo_array((X[ROWS, COLS].astype(dtype), (ROWS, COLS)), shape=X.shape)


def one_column_of(column: Any) -> pd.DataFrame:
    table = frame()
    table["c"] = column
    return table


def polars(**columns: Any) -> pl.DataFrame:
    table = pl.DataFrame(X, schema=NAMES).fill_nan(None)
    return table.with_columns(**columns) if columns else table


SAME: dict[str, Callable[[], Any]] = {
    # arrays
    "float64": lambda: X,
    "float32": lambda: X.astype(np.float32),
    "float16": lambda: X.astype(np.float16),
    "long double": lambda: X.astype(np.longdouble),
    "big endian": lambda: X.astype(">f8"),
    "Fortran order": lambda: np.asfortranarray(X),
    "negative strides": lambda: X[::-1][::-1],
    "read only": lambda: np.broadcast_to(X, (1, *X.shape))[0],
    "np.matrix": lambda: X.view(np.matrix),
    "objects with None": lambda: objects(None),
    "objects with NaN": lambda: objects(np.nan, float),
    "objects with pd.NA": lambda: objects(pd.NA),
    "objects with NaT": lambda: objects(pd.NaT),
    "objects with masked": lambda: objects(np.ma.masked),
    "Decimal": lambda: objects(None, decimal),
    "Decimal NaN": lambda: objects(Decimal("NaN"), decimal),
    "Fraction": lambda: objects(None, lambda value: Fraction(int(value), 1)),
    "NumPy scalars": lambda: objects(None, np.int8),
    "0-d tensors": lambda: objects(None, lambda value: torch.tensor(int(value))),
    # nested lists
    "lists": lambda: X.tolist(),
    "lists with None": lambda: objects(None).tolist(),
    "lists with pd.NA": lambda: objects(pd.NA).tolist(),
    "lists with masked": lambda: objects(np.ma.masked, float).tolist(),
    "tuple of tuples": lambda: tuple(map(tuple, X.tolist())),
    "list of arrays": lambda: list(X),
    "list of masked rows": lambda: list(masked(float)),
    "list of tensors": lambda: list(tensor(torch.bfloat16, requires_grad=True)),
    "list of Series": lambda: [pd.Series(row) for row in objects(pd.NA)],
    # masked arrays
    "masked float64": lambda: masked(np.float64),
    "masked float32": lambda: masked(np.float32),
    "masked float16": lambda: masked(np.float16),
    "masked int64": lambda: masked(np.int64),
    "masked uint8": lambda: masked(np.uint8),
    "NaN under the mask": lambda: masked(float, np.nan),
    "infinity under the mask": lambda: masked(float, np.inf),
    "strings under the mask": lambda: np.ma.array(objects("n/a"), mask=MISSING),
    "NaN outside the mask": lambda: np.ma.array(X, mask=MISSING & (np.arange(5) > 1)),
    "no mask, NaN": lambda: np.ma.array(X),
    "mask of one False": lambda: np.ma.array(X, mask=False),
    "hard mask": lambda: np.ma.array(masked(int), hard_mask=True),
    # pandas
    "frame": lambda: frame(),
    "frame float32": lambda: each("float32"),
    "Int64": lambda: each("Int64"),
    "UInt8": lambda: each("UInt8"),
    "Float64": lambda: each("Float64"),
    "Float32": lambda: each("Float32"),
    "Arrow int64": lambda: each("int64[pyarrow]"),
    "Arrow double": lambda: each("double[pyarrow]"),
    "Arrow decimal": lambda: each(pd.ArrowDtype(pa.decimal128(5, 2))),
    "mixed kinds": lambda: frame(a="Int64", b="float32", c="Float32", d=object),
    "object columns with pd.NA": lambda: pd.DataFrame(objects(pd.NA), columns=NAMES),
    "object columns with None": lambda: pd.DataFrame(objects(None), columns=NAMES, dtype=object),
    "object columns with Decimal": lambda: pd.DataFrame(objects(None, decimal), columns=NAMES),
    "sparse frame": lambda: each(pd.SparseDtype(float, np.nan)),
    "sparse and dense columns": lambda: frame(b=pd.SparseDtype(float, np.nan)),
    "sparse frame that stores all": lambda: pd.DataFrame(
        {name: pd.arrays.SparseArray(X[:, j], fill_value=0) for j, name in enumerate(NAMES)}
    ),
    "columns of numbers": lambda: pd.DataFrame(X, columns=range(5, 10)),
    # Polars and Arrow
    "Polars": lambda: polars(),
    "Polars with NaN": lambda: pl.DataFrame(X, schema=NAMES),
    "Polars integers": lambda: polars().cast(pl.Int16),
    "Polars mixed": lambda: polars(a=pl.col("a").cast(pl.Int8), b=pl.col("b").cast(pl.Float32)),
    "Polars decimals": lambda: polars(a=pl.col("a").cast(pl.Decimal(10, 2))),
    "Polars objects": lambda: polars(a=pl.Series(objects(None)[:, 0].tolist(), dtype=pl.Object)),
    "Arrow table": lambda: pa.Table.from_pandas(each("Int64")),
    "Arrow batch": lambda: pa.RecordBatch.from_pandas(frame()),
    # tensors
    "tensor float64": lambda: tensor(),
    "tensor float32": lambda: tensor(torch.float32),
    "tensor float16": lambda: tensor(torch.float16),
    "tensor bfloat16": lambda: tensor(torch.bfloat16),
    "tensor with gradient": lambda: tensor(requires_grad=True),
    "result of a computation": lambda: tensor(requires_grad=True) * 1.0,
    "transposed tensor": lambda: tensor().T.contiguous().T,
    "sparse COO tensor": coo_tensor,
    "sparse COO tensor with gradient": lambda: coo_tensor().requires_grad_(),
    "sparse COO tensor of bfloat16": lambda: coo_tensor().to(torch.bfloat16),
    "sparse CSR tensor": lambda: compressed_tensor("csr"),
    "sparse CSC tensor": lambda: compressed_tensor("csc"),
    # sparse matrices
    **{
        f"SciPy {kind}": lambda kind=kind: coo().asformat(kind)
        for kind in ("coo", "csr", "csc", "lil", "dok")
    },
    "SciPy int8": lambda: coo(np.int8).tocsr(),
    "SciPy float32": lambda: coo(np.float32),
    "SciPy matrix": lambda: sparse.csr_matrix(coo()),
    "SciPy, NaN stored": lambda: sparse.coo_array(
        (X.ravel(), np.divmod(np.arange(X.size), 5)), shape=X.shape
    ),
}
FULL: dict[str, Callable[[], Any]] = {
    "int64": lambda: VALUES,
    "int8": lambda: VALUES.astype(np.int8),
    "uint64": lambda: VALUES.astype(np.uint64),
    "lists of integers": lambda: VALUES.tolist(),
    "integers beyond int64": lambda: [[value + 2**70 for value in row] for row in VALUES.tolist()],
    "bool": lambda: VALUES > 2,
    "objects of bool": lambda: (VALUES > 2).astype(object),
    "masked, no mask": lambda: np.ma.array(VALUES),
    "frame of bool": lambda: pd.DataFrame(VALUES > 2),
    "frame of bool and int": lambda: (
        pd.DataFrame(VALUES).assign(more=VALUES[:, 0] > 2).set_axis(range(6), axis=1)
    ),
    "nullable boolean": lambda: pd.DataFrame(VALUES > 2).astype("boolean"),
    "Polars bool": lambda: pl.DataFrame(VALUES > 2),
    **{
        f"tensor {name}": lambda name=name: torch.as_tensor(VALUES).to(getattr(torch, name))
        for name in ("int64", "int32", "uint8", "uint16", "bool", "float8_e4m3fn")
    },
}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (lambda: X + 1j, "complex128"),
    "objects of complex": (lambda: objects(None, complex), r"entry \(0, 0\)"),
    "strings": (lambda: X.astype(str), "dtype <U"),
    "bytes": (lambda: X.astype("S"), "dtype .S"),
    "lists with a word": (lambda: [[1.0, "two"], [2.0, 3.0]], "dtype <U"),
    "objects with a word": (lambda: objects("n/a"), r"entry \(0, 1\) .* got a str"),
    "objects with numerals": (lambda: objects(None, str), "got a str"),
    "objects with a list": (lambda: objects([1, 2]), "list"),
    "objects with a dict": (lambda: objects({"a": 1}), "dict"),
    "objects with dates": (lambda: objects(datetime.date(2020, 1, 1)), "date"),
    "objects with datetime64": (lambda: objects(np.datetime64("2020-01-01")), "date"),
    "an integer beyond 1e308": (lambda: [[10**400, 1], [1, None]], "too large"),
    "long double beyond 1e308": (lambda: np.longdouble([["1e4000", "1"]]), "infinity"),
    "signaling NaN": (lambda: objects(Decimal("sNaN")), "NaN"),
    "infinity": (lambda: np.where(MISSING, np.inf, X), "infinity"),
    "infinity outside the mask": (lambda: np.ma.array(np.where(MISSING, np.inf, X), mask=False), "infinity"),
    "datetime64": (lambda: VALUES.astype("datetime64[s]"), "datetime64"),
    "timedelta64": (lambda: VALUES.astype("timedelta64[s]"), "timedelta64"),
    "masked datetime64": (lambda: np.ma.array(VALUES.astype("datetime64[s]"), mask=MISSING), "datetime64"),
    "records": (lambda: np.zeros(5, dtype=[("a", float), ("b", float)]), "dtype"),
    "vector": (lambda: X[:, 0], r"shape \(8,\)"),
    "Series": (lambda: frame()["a"], r"shape \(8,\)"),
    "Polars Series": (lambda: polars()["a"], r"shape \(8,\)"),
    "three dimensions": (lambda: np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
    "3-d tensor": (lambda: torch.zeros(2, 3, 4), r"shape \(2, 3, 4\)"),
    "a number": (lambda: 3.0, r"shape \(\)"),
    "a word": (lambda: "table.csv", "table.csv"),
    "None": (lambda: None, "None"),
    "a generator": (lambda: (row for row in X), "generator"),
    "a dict": (lambda: {"a": [1, 2]}, "{'a'"),
    "a set": (lambda: {1.0, 2.0}, "{1.0"),
    "np.ma.masked": (lambda: np.ma.masked, r"shape \(\)"),
    "ragged lists": (lambda: [[1.0, 2.0], [3.0]], "inhomogeneous"),
    "triplets": (lambda: (ROWS, COLS, X[ROWS, COLS]), "fit_triplets"),
    "no rows": (lambda: np.empty((0, 3)), "0 sample"),
    "no columns": (lambda: np.empty((3, 0)), "0 feature"),
    "empty list": (lambda: [], r"shape \(0,\)"),
    "empty frame": (pd.DataFrame, r"shape=\(0, 0\)"),
    "frame without columns": (lambda: pd.DataFrame(index=range(3)), "0 feature"),
    "all missing": (lambda: np.full((3, 3), np.nan), "no observed entry"),
    "all masked": (lambda: np.ma.array(VALUES, mask=True), "no observed entry"),
    "all null": (lambda: pl.DataFrame({"a": [None, None], "b": [None, None]}), "no observed entry"),
    "empty sparse matrix": (lambda: sparse.csr_array((3, 4)), "no observed entry"),
    "column of words": (lambda: one_column_of(list("abcdefgh")), "column 'c'"),
    "column of numerals": (lambda: one_column_of(list("12345678")), "column 'c'"),
    "string column": (lambda: one_column_of(pd.array(list("12345678"), dtype="string")), "column 'c'"),
    "words among numbers": (lambda: one_column_of([1, 2, "x", 4, 5, 6, 7, 8]), "column 'c'"),
    "categorical": (lambda: one_column_of(pd.Categorical([1, 2] * 4)), "column 'c'.*category"),
    "dates": (lambda: one_column_of(pd.date_range("2020", periods=8)), "column 'c'.*datetime64"),
    "dates with zone": (lambda: one_column_of(pd.date_range("2020", periods=8, tz="UTC")), "column 'c'"),
    "time spans": (lambda: one_column_of(pd.timedelta_range("1s", periods=8)), "column 'c'.*timedelta64"),
    "periods": (lambda: one_column_of(pd.period_range("2020", periods=8)), "column 'c'"),
    "intervals": (lambda: one_column_of(pd.interval_range(0, 8)), "column 'c'"),
    "complex column": (lambda: one_column_of(VALUES[:, 0] + 1j), "column 'c'.*complex128"),
    "column of lists": (lambda: one_column_of([[1, 2]] * 8), "column 'c'"),
    "columns of one name": (lambda: pd.DataFrame(X, columns=list("abbcc")), "several columns are named 'b'"),
    "names of two kinds": (lambda: pd.DataFrame(X, columns=["a", "b", 1, 2, 3]), "'int', 'str'"),
    "a name of two lines": (lambda: pd.DataFrame({"a\nb": list("xyz")}), r"column 'a\\nb'"),
    "sparse frame without zeros": (lambda: each(pd.SparseDtype(float, 1.0)), "fill value 1.0"),
    "frame of a sparse matrix": (lambda: pd.DataFrame.sparse.from_spmatrix(coo()), "fill value 0"),
    "sparse dummies": (lambda: pd.get_dummies(pd.Series(list("aba")), sparse=True), "fill value False"),
    "Polars words": (lambda: polars(c=pl.lit("x")), "column 'c'"),
    "Polars categorical": (lambda: polars(c=pl.lit("x").cast(pl.Categorical)), "column 'c'"),
    "Polars dates": (lambda: polars(c=pl.lit(datetime.date(2020, 1, 1))), "column 'c'.*datetime64"),
    "Polars lists": (lambda: polars(c=pl.concat_list("a", "b")), "column 'c'"),
    "Polars arrays": (lambda: polars(c=pl.concat_arr("a", "b")), "column 'c'"),
    "Polars structs": (lambda: polars(c=pl.struct("a", "b")), "column 'c'"),
    "Polars lazy": (lambda: polars().lazy(), "LazyFrame"),
    "Arrow words": (lambda: pa.table({"a": [1.0, 2.0], "c": ["x", "y"]}), "column 'c'"),
    "complex tensor": (lambda: torch.as_tensor(X + 1j), "complex128"),
    "tensor without data": (lambda: torch.empty(3, 3, device="meta"), "meta"),
    "hybrid sparse tensor": (lambda: torch.eye(3).to_sparse(1), "1 dense dimension"),
    "sparse 3-d tensor": (lambda: torch.zeros(2, 2, 2).to_sparse(), "3 sparse and"),
    "tensor that repeats a position": (
        lambda: unchecked(np.stack([twice().row, twice().col]), torch.ones(3), (3, 3)),
        "more than once",
    ),
    "sparse matrix that repeats a position": (twice, "more than once"),
    "complex sparse matrix": (lambda: coo(complex), "complex128"),
    "too large for singular values": (lambda: X * 1e307, "too large"),
    "too large for float32": (lambda: (X * 1e37).astype(np.float32), "float64"),
    "a matrix of 10¹² rows": (lambda: sparse.coo_array(([1.0], ([10**12], [0]))), "1000000000001 × 1"),
}
if sparse.coo_array(np.ones(4)).ndim == 1:  # a matrix of one row before SciPy 1.13
    REFUSED["a sparse vector"] = (lambda: sparse.coo_array(np.ones(4)), r"shape \(4,\)")


def entries(kind: Any) -> Array:
    """The kind as an array with NaN, by way of the estimator's reader."""
    found = from_matrix(validated(MatrixCompletion(), kind, reset=True))
    out = np.full(found.shape, np.nan)
    out[found.rows, found.cols] = found.values
    return out


def untouched(kind: Any) -> Any:
    """A copy to compare with, of kinds that can be."""
    return kind.copy() if isinstance(kind, (np.ndarray, pd.DataFrame)) else None


def test_the_corpus_is_large() -> None:
    assert min(len(SAME) + len(FULL), len(REFUSED)) >= 60


@pytest.mark.parametrize("name", SAME)
def test_exactly_what_is_not_missing_is_observed(name: str) -> None:
    kind = SAME[name]()
    before = untouched(kind)
    np.testing.assert_array_equal(entries(kind), X)
    if before is not None:
        pd.testing.assert_frame_equal(pd.DataFrame(before), pd.DataFrame(kind))


@pytest.mark.parametrize("name", FULL)
def test_kinds_that_know_no_missing_are_observed_throughout(name: str) -> None:
    kind = FULL[name]()
    shown = np.asarray(kind.float() if isinstance(kind, torch.Tensor) else kind).astype(float)
    np.testing.assert_array_equal(entries(kind), shown)


@pytest.fixture(scope="module")
def plain() -> tuple[MatrixCompletion, Array]:
    est = MatrixCompletion()
    return est, est.fit_transform(X)


@pytest.mark.parametrize("name", SAME)
def test_each_kind_gives_the_model_of_the_plain_array(
    name: str, plain: tuple[MatrixCompletion, Array]
) -> None:
    reference, completed = plain
    kind = SAME[name]()
    est = MatrixCompletion()
    np.testing.assert_allclose(np.asarray(est.fit_transform(kind)), completed, rtol=1e-5)
    close = {"rtol": 1e-5 if est.U_.dtype == np.float32 else 1e-9}
    rows, cols = np.nonzero(MISSING)
    np.testing.assert_allclose(est.predict(rows, cols), completed[rows, cols], **close)
    np.testing.assert_allclose(est.transform(kind), reference.transform(X), **close)
    if not sparse.issparse(kind):
        np.testing.assert_allclose(est.predict(kind), reference.predict(X), **close)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        MatrixCompletion().fit(make())
    said = str(caught.value)
    assert "\n" not in said
    assert "X" in said
    assert len(said) < 450


@pytest.mark.parametrize("name", ["vector", "complex", "column of words", "a generator", "strings"])
def test_predict_names_its_own_argument(name: str, plain: tuple[MatrixCompletion, Array]) -> None:
    with pytest.raises((TypeError, ValueError), match="rows") as caught:
        plain[0].predict(REFUSED[name][0]())
    assert "\n" not in str(caught.value)


def test_results_have_the_precision_of_the_input() -> None:
    for name, dtype in {"float32": "f4", "tensor float32": "f4", "Float32": "f4", "float16": "f8"}.items():
        assert MatrixCompletion().fit(SAME[name]()).U_.dtype == dtype, name


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    ),
    st.integers(0, 2**36 - 1),
)
def test_a_mask_and_nan_are_one(values: Array, bits: int) -> None:
    mask = np.array([bits >> k & 1 for k in range(values.size)], dtype=bool).reshape(values.shape)
    if values.dtype.kind == "f":
        values = np.where(np.isinf(values), 0, values)
    expected = np.where(mask, np.nan, values.astype(float))
    np.testing.assert_array_equal(entries(np.ma.array(values, mask=mask)), expected)
    np.testing.assert_array_equal(entries(pd.DataFrame(values).mask(mask)), expected)
    np.testing.assert_array_equal(
        entries(sparse.coo_array(expected)), np.where(expected == 0, np.nan, expected)
    )
    shown = np.where(mask, None, values.astype(object))
    np.testing.assert_array_equal(entries(shown.tolist()), expected)
