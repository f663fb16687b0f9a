"""Triplets as a dense matrix with missing entries."""

import numpy as np

LARGEST = 2_000_000  # entries of a dense matrix


def dense(rows, cols, values, shape):
    """The matrix with nan at the missing entries."""
    X = np.full(shape, np.nan)
    X[rows, cols] = values
    return X


def too_large(shape, columns=None):
    """Whether a method that needs all entries, or one regression for each column, should not be run."""
    if shape[0] * shape[1] > LARGEST or (columns is not None and shape[1] > columns):
        return True, f"a dense matrix of shape {shape[0]}×{shape[1]}"
    return False, None
