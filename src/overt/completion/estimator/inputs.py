"""Observed entries from matrices with missing entries and from triplets, and the bounds of predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from torch import Tensor

from overt._utils.checks import check_number, check_sizes, is_integer, message
from overt._utils.estimators import read_table
from overt._utils.readers import as_array, mask_of, read_numbers

_LINES, _LINES_PER_ENTRY = 1_000_000, 100  # rows and columns that a fit is given room for
_HEADROOM = 1e3  # room above the norm of the observations: predictions may exceed these, and are summed
_FROM_IDS = "number raw ids from 0 with np.unique(ids, return_inverse=True)[1]"


@dataclass(frozen=True)
class Observations:
    """Observed entries of a matrix as vectors (k,), each position once; the values are finite.

    ``dtype`` is the precision in which they came and results are given, float32 or float64.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]
    shape: tuple[int, int]
    dtype: Any = np.float64

    @property
    def n_observed(self) -> int:
        """Number of entries."""
        return int(self.values.shape[0])

    @property
    def scale(self) -> float:
        """Root mean square of the values without over- or underflow; 0 if all are zero."""
        top = float(np.abs(self.values).max(initial=0.0))
        if top == 0.0:
            return 0.0
        return max(top * float(np.sqrt(np.mean((self.values / top) ** 2))), 5e-324)

    def tensors(self, device: torch.device | str | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and values as tensors."""
        parts = (self.rows, self.cols, self.values)
        rows, cols, values = (torch.as_tensor(np.ascontiguousarray(part)).to(device) for part in parts)
        return rows, cols, values


def validated(estimator: BaseEstimator, X: Any, *, reset: bool, name: str = "X") -> Any:
    """X as an array with NaN where an entry is missing, or as a sparse matrix; float32 or float64.

    Number and names of the columns are compared with the estimator's, or with ``reset``, in a fit, set. A fit
    refuses a tuple of three vectors: they are triplets, though they could be read as three rows.
    """
    if reset and isinstance(X, tuple) and len(X) == 3 and all(np.ndim(part) == 1 for part in X):
        raise ValueError(
            "X is a tuple of three vectors; for triplets call fit_triplets(rows, cols, values, shape=(m, n)) "
            "and for a matrix of three rows pass np.stack(X)"
        )
    remedy = "" if reset else ", or give cols to predict"
    return read_table(estimator, X, reset=reset, name=name, accept_sparse=True, remedy=remedy)


def from_matrix(X: Any, *, fitting: bool = False) -> Observations:
    """Observations of a validated array (NaN: unobserved) or sparse matrix (stored entries are observed).

    Raises
    ------
    ValueError
        If a sparse matrix stores a position twice or, where a model is to be fitted, its shape is too large
        for so few entries, or the values are too large for their singular values.
    """
    shape = (int(X.shape[0]), int(X.shape[1]))
    if sparse.issparse(X):
        coo = X.tocoo()
        rows, cols, values = coo.row, coo.col, np.asarray(coo.data, dtype=np.float64)
        if not getattr(X, "has_canonical_format", False):
            _check_once(rows, cols, shape, "X: ", "call X.sum_duplicates() if their sum is meant")
        seen = ~np.isnan(values)
        rows, cols, values = rows[seen], cols[seen], values[seen]
    else:
        X = np.asarray(X)
        rows, cols = np.nonzero(~np.isnan(X))
        values = np.asarray(X[rows, cols], dtype=np.float64)
    if fitting:
        _check_lines(shape, values.size, ("X", "X"))
        _check_size(values, shape, X.dtype, "X")
    return Observations(rows.astype(np.int64), cols.astype(np.int64), values, shape, X.dtype)


def from_triplets(rows: Any, cols: Any, values: Any, shape: tuple[int, int] | None = None) -> Observations:
    """Observations from three equally long vectors.

    Parameters
    ----------
    rows, cols : array-like of int
        Positions from 0; no position twice.
    values : array-like of float
        Entries are left out whose value is NaN or None, or of which a mask covers any part.
    shape : (int, int), optional
        By default one more than the largest row and column.

    Raises
    ------
    TypeError
        If the positions are not whole numbers, the values no numbers, or the shape is none.
    ValueError
        If lengths differ, a position lies outside ``shape`` or comes twice, a value is complex, infinite or
        too large for the singular values, or the shape is too large for so few entries, as with raw ids.
    """
    masks = mask_of(rows), mask_of(cols)
    rows, cols = (part.filled(0) if isinstance(part, np.ma.MaskedArray) else part for part in (rows, cols))
    rows, cols, values = positions(rows, "rows"), positions(cols, "cols"), read_numbers(values, "values")
    if not rows.shape == cols.shape == values.shape or rows.ndim != 1:
        raise ValueError(
            "rows, cols and values must be vectors of one length, got shapes "
            f"{rows.shape}, {cols.shape} and {values.shape}"
        )
    dtype = np.dtype(np.float32 if values.dtype == np.float32 else np.float64)
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise ValueError("values: infinity; leave unobserved entries out instead")
    seen = ~(np.isnan(values) | masks[0] | masks[1])
    rows, cols, values = rows[seen], cols[seen], values[seen]
    if not values.size:
        raise ValueError("values: no entry is observed, they are empty or NaN throughout; give at least one")
    names = ("rows", "cols") if shape is None else ("shape", "shape")
    if shape is None:
        shape = (int(rows.max()) + 1, int(cols.max()) + 1)
    m, n = check_sizes(shape, "shape", length=2)
    positions(rows, "rows", m), positions(cols, "cols", n)
    _check_once(rows, cols, (m, n), "rows, cols: ", "merge them first")
    _check_lines((m, n), values.size, names)
    _check_size(values, (m, n), dtype, "values")
    return Observations(rows, cols, values, (m, n), dtype)


def _check_once(
    rows: NDArray[Any], cols: NDArray[Any], shape: tuple[int, int], name: str, remedy: str
) -> None:
    """Refuse positions that come more than once."""
    if shape[0] * shape[1] < 2**63:
        flat = np.sort(rows.astype(np.int64) * shape[1] + cols)
        again = flat[1:][flat[1:] == flat[:-1]]
        twice = np.stack(np.divmod(np.unique(again), shape[1]))
    else:
        order = np.lexsort((cols, rows))
        pairs = np.stack([rows[order], cols[order]])
        twice = np.unique(pairs[:, 1:][:, (pairs[:, 1:] == pairs[:, :-1]).all(0)], axis=1)
    if twice.size:
        first = tuple(map(int, twice[:, 0]))
        raise ValueError(f"{name}{twice.shape[1]} position(s) come more than once, first {first}; {remedy}")


def _check_lines(shape: tuple[int, int], k: int, names: tuple[str, str]) -> None:
    """Refuse a shape for whose rows or columns there is no memory to speak of, given so few entries."""
    for size, name in zip(shape, names, strict=True):
        if size > _LINES + _LINES_PER_ENTRY * k:
            raise ValueError(
                f"{name}: {shape[0]} × {shape[1]} is too large for {k} observed entries; {_FROM_IDS}"
            )


def _check_size(values: NDArray[np.float64], shape: tuple[int, int], dtype: Any, name: str) -> None:
    """Refuse values whose singular values or predictions might overflow in the precision of the results."""
    top = float(np.abs(values).max(initial=0.0))
    if top / float(np.finfo(dtype).max) * _HEADROOM * math.sqrt(shape[0] * shape[1]) > 1:
        wider = "pass float64, or " if dtype == np.float32 else ""
        raise ValueError(
            f"{name}: values up to {top:.3g} are too large for {dtype}, in which singular values of a "
            f"{shape[0]} × {shape[1]} matrix may overflow; {wider}divide by a power of ten first"
        )


def positions(index: Any, name: str, size: int | None = None) -> NDArray[np.int64]:
    """``index`` as positions from 0 up to ``size``.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If one lies outside, or is masked.
    """
    if np.any(mask_of(index)):
        raise ValueError(f"{name}: some positions are masked; leave them out")
    if isinstance(index, Tensor):
        index = read_numbers(index, name)
    array = np.atleast_1d(as_array(index, name))
    if array.dtype == object:
        other = next((item for item in array.flat if not is_integer(item)), None)
        if other is not None or None in array:
            raise TypeError(message(name, "whole numbers", other, _FROM_IDS))
    elif array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, got dtype {array.dtype}; {_FROM_IDS}")
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= (2**63 if size is None else size):
            top = "" if size is None else f" {size - 1}"
            raise ValueError(f"{name} must lie in 0 …{top}, got {low} … {high}")
    return array.astype(np.int64)


def clip_bounds(clip: Any, observations: Observations) -> tuple[float, float] | None:
    """The bounds that an estimator's parameter ``clip`` asks for; infinite where it gives None for one."""
    if clip is None:
        return None
    if isinstance(clip, str):
        return float(observations.values.min()), float(observations.values.max())
    expected = "(low, high) with low < high, None for an end without bound, 'observed' or None"
    if len(clip) != 2:
        raise ValueError(message("clip", expected, clip))
    open_ends = zip(clip, (-math.inf, math.inf), strict=True)
    low, high = (
        end if bound is None else check_number(bound, "clip", finite=False, remedy=f"give {expected}")
        for bound, end in open_ends
    )
    if not low < high:
        raise ValueError(message("clip", expected, clip))
    return low, high
