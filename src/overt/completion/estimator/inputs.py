"""Observed entries from arrays with NaN, sparse matrices and triplets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor

from overt._utils.checks import check_numbers, check_sizes, message
from overt.problems import CompletionProblem


@dataclass(frozen=True)
class Observations:
    """Observed entries of a matrix as vectors (k,), each position once; the values are finite."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: NDArray[np.float64]
    shape: tuple[int, int]

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


@dataclass(frozen=True)
class Compressed:
    """A completion problem over the rows and columns that hold an observation, in units of their RMS.

    ``kept_rows[i]`` is the caller's row of the problem's row i; ``empty_rows`` are the others.
    """

    problem: CompletionProblem
    scale: float
    kept_rows: Tensor
    kept_cols: Tensor
    empty_rows: Tensor
    empty_cols: Tensor
    shape: tuple[int, int]


def compress(observations: Observations, device: torch.device | str | None = None) -> Compressed:
    """Leave out empty rows and columns and divide by the root mean square.

    Raises
    ------
    ValueError
        If nothing is observed.
    """
    if not observations.n_observed:
        raise ValueError("X: no observed entry, every entry is missing; give at least one")
    rows, cols, values = observations.tensors(device)
    kept_rows, inner_rows = torch.unique(rows, return_inverse=True)
    kept_cols, inner_cols = torch.unique(cols, return_inverse=True)
    scale = observations.scale
    y = values / scale if scale > 0 else values
    inner = (kept_rows.numel(), kept_cols.numel())
    problem = CompletionProblem(inner_rows, inner_cols, y, inner, name="estimator input")
    m, n = observations.shape
    empty_rows = (torch.bincount(rows, minlength=m) == 0).nonzero()[:, 0]
    empty_cols = (torch.bincount(cols, minlength=n) == 0).nonzero()[:, 0]
    return Compressed(problem, scale or 1.0, kept_rows, kept_cols, empty_rows, empty_cols, (m, n))


def validated(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """X, checked by scikit-learn for an estimator; ``reset`` says that this is a fit.

    A fit refuses a tuple of three vectors: they are triplets, though they could be read as three rows.
    """
    if reset and isinstance(X, tuple) and len(X) == 3 and all(np.ndim(part) == 1 for part in X):
        raise ValueError(
            "X is a tuple of three vectors; for triplets call fit_triplets(rows, cols, values, shape=(m, n)) "
            "and for a matrix of three rows pass np.stack(X)"
        )
    return validate_data(
        estimator,
        X.detach().cpu().numpy() if isinstance(X, Tensor) else X,
        reset=reset,
        accept_sparse=["csr", "csc", "coo"],
        dtype=[np.float64, np.float32],
        ensure_all_finite="allow-nan",
    )


def from_matrix(X: Any) -> Observations:
    """Observations of a validated array (NaN: unobserved) or sparse matrix (stored entries are observed)."""
    if sparse.issparse(X):
        coo = X.tocoo()
        rows, cols, values = coo.row, coo.col, np.asarray(coo.data, dtype=np.float64)
        seen = ~np.isnan(values)
        rows, cols, values = rows[seen], cols[seen], values[seen]
    else:
        X = np.asarray(X)
        rows, cols = np.nonzero(~np.isnan(X))
        values = np.asarray(X[rows, cols], dtype=np.float64)
    shape = (int(X.shape[0]), int(X.shape[1]))
    return Observations(rows.astype(np.int64), cols.astype(np.int64), values, shape)


def from_triplets(rows: Any, cols: Any, values: Any, shape: tuple[int, int] | None = None) -> Observations:
    """Observations from three equally long vectors.

    Parameters
    ----------
    rows, cols : array-like of int
        Positions from 0; no position twice.
    values : array-like of float
        NaN entries are left out.
    shape : (int, int), optional
        By default one more than the largest row and column.

    Raises
    ------
    TypeError
        If the positions are not whole numbers, the values not real, or the shape is none.
    ValueError
        If lengths differ, a position lies outside ``shape`` or comes twice, or a value is infinite.
    """
    rows, cols = positions(rows, "rows"), positions(cols, "cols")
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"values must be real numbers, got dtype {values.dtype}")
    values = values.astype(np.float64)
    if not rows.shape == cols.shape == values.shape or rows.ndim != 1:
        raise ValueError(
            "rows, cols and values must be vectors of one length, got shapes "
            f"{rows.shape}, {cols.shape} and {values.shape}"
        )
    if np.isinf(values).any():
        raise ValueError("values: infinity; leave unobserved entries out instead")
    seen = ~np.isnan(values)
    rows, cols, values = rows[seen], cols[seen], values[seen]
    if not values.size:
        raise ValueError("values: no entry is observed, they are empty or NaN throughout; give at least one")
    if shape is None:
        shape = (int(rows.max()) + 1, int(cols.max()) + 1)
    m, n = check_sizes(shape, "shape", length=2)
    positions(rows, "rows", m), positions(cols, "cols", n)
    flat = np.sort(rows * n + cols)
    twice = flat[1:][flat[1:] == flat[:-1]]
    if twice.size:
        first = divmod(int(twice[0]), n)
        count = np.unique(twice).size
        raise ValueError(
            f"rows, cols: {count} position(s) come more than once, first {first}; merge them first"
        )
    return Observations(rows, cols, values, (m, n))


def positions(index: Any, name: str, size: int | None = None) -> NDArray[np.int64]:
    """``index`` as positions from 0 up to ``size``.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If one lies outside.
    """
    array = np.atleast_1d(np.asarray(index))
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be whole numbers, got dtype {array.dtype}; number other ids first")
    if array.size and (array.min() < 0 or (size is not None and array.max() >= size)):
        top = "" if size is None else f" {size - 1}"
        raise ValueError(f"{name} must lie in 0 …{top}, got {array.min()} … {array.max()}")
    return array.astype(np.int64)


def clip_bounds(clip: Any, observations: Observations) -> tuple[float, float] | None:
    """The bounds that an estimator's parameter ``clip`` asks for."""
    if clip is None:
        return None
    if clip == "observed":
        return float(observations.values.min()), float(observations.values.max())
    expected = "(low, high) with low < high, 'observed' or None"
    bounds = check_numbers(clip, "clip", finite=False, remedy=f"give {expected}")
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ValueError(message("clip", expected, clip))
    return bounds[0], bounds[1]
