"""Real numbers out of what users hold them in: arrays, masked arrays, tensors, data frames, nested lists.

Everything becomes a NumPy array with NaN where an entry is missing, or a SciPy sparse matrix. What holds no
real numbers is refused in one line.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overt._utils.checks import kind_of, message

__all__ = ["as_array", "is_frame", "mask_of", "read_numbers"]

_REAL = "fiub"  # kinds of NumPy's real numbers
_MISSING = {"NAType", "NaTType", "MaskedConstant"}  # pandas.NA, pandas.NaT and numpy.ma.masked, by type
_PLAIN = {float, int, bool, type(None)}  # which NumPy itself reads as numbers, None as NaN
_ENCODE = "convert or encode it first"


def read_numbers(values: Any, name: str) -> Any:
    """The real numbers in ``values``, with NaN where one is missing, or a sparse matrix of them.

    Missing are NaN, None, ``pandas.NA``, null and what a mask covers. Of a data frame whose columns are all
    sparse, of a sparse tensor and of a sparse matrix exactly the stored entries are there. Strings are no
    numbers, whatever they spell.

    Parameters
    ----------
    values : array-like, masked array, tensor, data frame of pandas, Polars or Arrow, or sparse matrix
    name : str
        The argument that messages name.

    Returns
    -------
    ndarray of floats, integers or bools, or sparse matrix

    Raises
    ------
    TypeError
        If it holds something else than numbers.
    ValueError
        If numbers are complex, as scikit-learn has it, or too large, rows have different lengths, columns one
        name, or a sparse frame leaves out zeros.
    """
    if isinstance(values, Tensor):
        return _from_tensor(values, name)
    if hasattr(values, "tocoo"):  # of SciPy, which is not imported to read anything else
        _check_kind(values.dtype, name)
        return values
    if is_frame(values):
        return _from_frame(values, name)
    if hasattr(values, "iloc"):
        return _from_column(values, name)
    if isinstance(values, (list, tuple)):
        inner = (Tensor, np.ma.MaskedArray)
        values = [read_numbers(part, name) if isinstance(part, inner) else part for part in values]
    return _from_array(values, name)


def is_frame(X: Any) -> bool:
    """Whether X is a data frame, which has columns of their own kinds: of pandas, Polars or Arrow."""
    return (hasattr(X, "iloc") and hasattr(X, "columns")) or any(
        hasattr(X, columns) for columns in ("iter_columns", "itercolumns")
    )


def _check_kind(dtype: Any, name: str) -> None:
    if dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported, got dtype {dtype}; pass real numbers")
    if dtype.kind not in _REAL:
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}; {_ENCODE}")


def as_array(values: Any, name: str) -> NDArray[Any]:
    """``np.asarray(values)``, what is under a mask included; a ValueError of one line where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: converting a masked element", UserWarning)
            return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        remedy = "give numbers, in rows of equal length"
        raise ValueError(f"{name}: {str(error).splitlines()[0]}; {remedy}") from error


def mask_of(values: Any) -> Any:
    """The mask of a masked array, False for all others."""
    return np.ma.getmask(values) if isinstance(values, np.ma.MaskedArray) else np.False_


def _from_array(values: Any, name: str) -> NDArray[Any]:
    array, mask = as_array(values, name), mask_of(values)
    if array.ndim == 0 and array.dtype.kind not in _REAL + "c":
        expected = "an array, a tensor, a data frame, a sparse matrix or nested lists of numbers"
        raise TypeError(message(name, expected, values))
    if array.dtype.kind == "O":
        return _from_objects(array, np.broadcast_to(mask, array.shape), name)
    _check_kind(array.dtype, name)
    if not np.any(mask):
        return array
    return np.where(mask, np.nan, array)


def _from_objects(array: NDArray[Any], mask: NDArray[np.bool_], name: str) -> NDArray[np.float64]:
    out = np.full(array.shape, np.nan)
    if set(map(type, array[~mask].tolist())) <= _PLAIN:
        with contextlib.suppress(OverflowError):
            out[~mask] = array[~mask]
            return out
    for index in zip(*np.nonzero(~mask), strict=True):
        value = array[index]
        if value is None or type(value).__name__ in _MISSING:
            continue
        where = name if ": column" in name else f"{name}: entry {tuple(map(int, index))}"
        if isinstance(value, (str, bytes, complex, np.complexfloating)):
            raise TypeError(f"{where} must be a real number or missing, got {kind_of(value)}; {_ENCODE}")
        try:
            out[index] = float(value)
        except TypeError as error:
            raise TypeError(f"{where}: {error}; {_ENCODE}") from error
        except (OverflowError, ValueError) as error:
            raise ValueError(f"{where}: {error}; leave it out or make it NaN") from error
    return out


def _from_tensor(X: Tensor, name: str) -> Any:
    if X.is_complex():
        raise ValueError(f"{name}: Complex data not supported, got dtype {X.dtype}; pass real numbers")
    X = X.detach()
    try:
        if X.is_floating_point() and X.dtype != torch.float32:
            X = X.double()  # NumPy knows no bfloat16
        if X.layout is torch.strided:
            return X.cpu().numpy()
        from scipy import sparse

        coo: Tensor = X.to_sparse_coo()  # type: ignore[no-untyped-call]
        if coo.dim() == 2 and not coo.dense_dim():
            index, stored = coo._indices().cpu().numpy(), coo._values().cpu().numpy()
            return sparse.coo_array((stored, tuple(index)), shape=tuple(X.shape))
    except (RuntimeError, TypeError, NotImplementedError) as error:
        line = str(error).splitlines()[0]
        raise TypeError(f"{name}: a tensor that cannot be read ({line}); pass a plain one") from error
    raise ValueError(
        f"{name} must be a matrix of numbers where it is sparse, got a tensor of {coo.sparse_dim()} sparse "
        f"and {coo.dense_dim()} dense dimensions; pass a plain one"
    )


# ---- data frames -----------------------------------------------------------------------------------------


def _from_frame(X: Any, name: str) -> Any:
    labels = list(X.column_names if hasattr(X, "column_names") else X.columns)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"{name}: several columns are named {twice!r:.60}; give each a name of its own")
    dtypes = set(X.dtypes) if hasattr(X, "iloc") else set()
    if len(dtypes) == 1 and all(isinstance(one, np.dtype) and one.kind in _REAL for one in dtypes):
        return X.to_numpy()
    columns = [
        (f"{name}: column {str(label)!r:.60}", column)
        for label, column in zip(labels, _columns(X), strict=True)
    ]
    shape = (len(X), len(columns))
    stored = [_stored(column, label) for label, column in columns if _is_sparse(column)]
    if columns and len(stored) == len(columns):
        from scipy import sparse

        rows = np.concatenate([index for index, _ in stored])
        cols = np.repeat(np.arange(len(stored)), [index.size for index, _ in stored])
        values = np.concatenate([entries for _, entries in stored])
        return sparse.coo_array((values, (rows, cols)), shape=shape)
    parts = [_from_column(column, label) for label, column in columns]
    out = np.empty(shape, np.result_type(*parts) if parts else np.float64, order="F")
    for j, part in enumerate(parts):
        out[:, j] = part
    return out


def _columns(X: Any) -> Any:
    if hasattr(X, "iloc"):
        return (column for _, column in X.items())  # pandas
    return X.iter_columns() if hasattr(X, "iter_columns") else X.itercolumns()  # Polars, Arrow


def _from_column(column: Any, name: str) -> NDArray[Any]:
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "name", "") == "category":
        raise TypeError(f"{name} must hold real numbers, got dtype category; {_ENCODE}")
    own = hasattr(column, "iloc") and not isinstance(dtype, np.dtype)
    if own and getattr(dtype, "kind", "O") in _REAL:
        inner = getattr(dtype, "numpy_dtype", np.dtype(np.float64))
        kept = inner if inner.kind == "f" else np.float64
        return np.asarray(column.to_numpy(dtype=kept, na_value=np.nan))
    array = _from_array(column, name)
    if array.ndim != 1:
        raise TypeError(f"{name} must hold one number a row, got arrays of shape {array.shape[1:]}")
    return array


def _is_sparse(column: Any) -> bool:
    return hasattr(getattr(column, "dtype", None), "fill_value") and hasattr(column, "iloc")


def _stored(column: Any, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions and values of the entries that a sparse column stores."""
    _check_kind(column.dtype, name)
    index, fill = column.array.sp_index, column.dtype.fill_value
    if index.npoints < index.length and not fill != fill:
        raise ValueError(
            f"{name} is sparse with fill value {fill}, so an entry of {fill} may be a value or missing; pass "
            "X.astype(float) if it is a value, X.sparse.to_coo() if only stored entries are observed"
        )
    return index.to_int_index().indices, column.array.sp_values
