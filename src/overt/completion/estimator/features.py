"""Features of rows and columns that users give as side information."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from torch import Tensor

from overt._utils.readers import read_numbers
from overt.completion.estimator.units import Compressed

Matrix: TypeAlias = sparse.csr_matrix


def side_features(
    compressed: Compressed, row_features: Any, column_features: Any
) -> tuple[Matrix | None, Matrix | None]:
    """Features of the kept rows and columns, each of mean square one where it is not zero.

    Raises
    ------
    TypeError
        If features are no numbers.
    ValueError
        If they are no matrix with a row for each line, or hold NaN or infinity.
    """
    m, n = compressed.shape
    return (
        _features(row_features, "row_features", m, compressed.kept_rows),
        _features(column_features, "column_features", n, compressed.kept_cols),
    )


def _features(given: Any, name: str, lines: int, kept: Tensor) -> Matrix | None:
    if given is None:
        return None
    numbers = read_numbers(given, name)
    if numbers.ndim != 2 or numbers.shape[0] != lines or not numbers.shape[1]:
        what = name.split("_")[0]
        raise ValueError(
            f"{name} must have the shape ({lines}, features), a line for each {what}, got {numbers.shape}"
        )
    F = sparse.csr_matrix(numbers, dtype=np.float64)
    if not np.isfinite(F.data).all():
        raise ValueError(f"{name} must be finite and complete, got NaN or infinity; fill it first")
    F = F[kept.cpu().numpy()]
    top = np.asarray(abs(F).max(0).todense()).ravel()
    safe = np.where(top > 0, top, 1.0)
    F = F @ sparse.diags(1 / safe)
    size = np.sqrt(np.asarray(F.multiply(F).mean(0)).ravel())
    scaled: Matrix = (F @ sparse.diags(1 / np.where(size > 0, size, 1.0))).tocsr()
    return scaled
