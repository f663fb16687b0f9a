"""Tables and targets as the estimators take them, and the units in which they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from overt._utils.estimators import read_table
from overt._utils.readers import read_numbers

__all__ = ["Units", "table", "targets", "units_of"]

_FILL = "fill them first: make_pipeline(overt.MatrixCompletion(), ...) does"
_ENTRIES = 2**22
_FAR = 1e15  # standard deviations from the mean, beyond which single precision would overflow


def table(estimator: BaseEstimator, X: Any, *, reset: bool) -> NDArray[Any]:
    """X as finite numbers, shape (n, d); number and names of the columns are set in a fit, else compared.

    Raises
    ------
    TypeError
        If X is sparse, or a column holds something else than numbers.
    ValueError
        If X is no matrix, is empty, or holds NaN or infinity.
    """
    found: NDArray[Any] = read_table(estimator, X, reset=reset)
    missing = int(np.isnan(found).sum())
    if missing:
        raise ValueError(f"X must not hold NaN, got {missing} of {found.size} entries missing; {_FILL}")
    return found


def targets(y: Any, n: int) -> NDArray[np.float64]:
    """y as finite numbers, shape (n,) or (n, k).

    Raises
    ------
    TypeError, ValueError
        If y is missing or has another length, or holds something else than finite numbers.
    """
    numbers = np.asarray(read_numbers(y, "y"))
    if numbers.ndim not in (1, 2) or 0 in numbers.shape:
        raise ValueError(f"y must have shape (n,) or (n, k), got {numbers.shape}; one target for each row")
    if len(numbers) != n:
        raise ValueError(f"y must have {n} rows as X, got inconsistent numbers of samples: {len(numbers)}")
    found = numbers.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError("y must be finite, got NaN or infinity; leave such rows out")
    return found


@dataclass(frozen=True)
class Units:
    """Columns as (X / top − mean) · factor: no square over- or underflows; constant columns become zero."""

    top: NDArray[np.float64]
    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    def standardized(self, X: NDArray[Any], dtype: Any = np.float64) -> NDArray[Any]:
        """X in these units."""
        out = np.empty(X.shape, dtype)
        for rows in _parts(X):
            with np.errstate(over="ignore", invalid="ignore"):
                found = (X[rows] / self.top - self.mean) * self.factor
            out[rows] = np.clip(np.nan_to_num(found, nan=0.0), -_FAR, _FAR)
        return out

    def restored(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse, for columns that vary; the constant itself for the others."""
        spread = np.divide(1.0, self.factor, out=np.zeros_like(self.factor), where=self.factor > 0)
        found: NDArray[np.float64] = (Z * spread + self.mean) * self.top
        return found

    @property
    def slope(self) -> NDArray[np.float64]:
        """Derivative of a standardized column by the column."""
        return self.factor / self.top

    @property
    def spread(self) -> NDArray[np.float64]:
        """Derivative of a column by the standardized column; 0 for constants."""
        return np.divide(self.top, self.factor, out=np.zeros_like(self.factor), where=self.factor > 0)


def units_of(X: NDArray[Any], *, together: bool = False) -> Units:
    """Zero mean and unit variance for each column; ``together`` divides all by one number."""
    top = np.max([np.abs(X[rows]).max(0) for rows in _parts(X)], axis=0).astype(np.float64)
    largest = (top > 0).astype(np.float64)  # of a scaled column
    top = np.where(top > 0, top, 1.0)
    if together:
        largest, top = largest * top / top.max(), np.full_like(top, top.max())
    mean = sum((X[rows] / top).sum(0) for rows in _parts(X)) / len(X)
    squares = sum(np.square(X[rows] / top - mean).sum(0) for rows in _parts(X))
    std = np.sqrt(squares / len(X))
    varies = std > 1e-13 * largest
    if together:
        std = np.full_like(std, np.sqrt(np.mean(np.square(std))))
    factor = np.divide(1.0, std, out=np.zeros_like(std), where=varies & (std > 0))
    return Units(top, mean, factor)


def _parts(X: NDArray[Any]) -> list[slice]:
    """Stretches of rows of which a copy takes little memory."""
    step = max(1, _ENTRIES // X.shape[1])
    return [slice(i, i + step) for i in range(0, len(X), step)]
