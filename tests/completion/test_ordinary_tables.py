"""Tables of many kinds, whose columns are exact, noisy or unrelated: nothing wrong is called exact.

An entry whose standard deviation is zero is claimed to be exact. On a table that is not of low rank, or only
in parts, such entries must be right, and no column may be far worse than its mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from table_corpus import IN_PARTS, NOT_LOW_RANK, Array, Generator

from overt import MatrixCompletion

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:the observed entries", "ignore:.*hold no"
    ),
]


SHAPES = [(60, 10), (25, 20)]


def masks(X: Array, g: Generator) -> Iterator[Array]:
    """Entries hidden at random, and where another column is large; two are left in each line."""
    order = np.argsort(np.argsort(X[:, -1] + 1e-9 * g.random(len(X))))
    share = np.where(order < len(X) // 2, 0.1, 0.6)[:, None] * np.ones(X.shape[1])
    share[:, -1] = 0
    for chance in (np.full(X.shape, 0.3), share):
        hidden = g.random(X.shape) < chance
        for lines, own in ((hidden, X.shape[1]), (hidden.T, X.shape[0])):
            for line in lines:
                line[g.permutation(own)[:2]] = False
        yield hidden


def check(X: Array, hidden: Array) -> None:
    """Complete X and check what is claimed."""
    est = MatrixCompletion(certify=False).fit(np.where(hidden, np.nan, X))
    at = np.nonzero(hidden)
    values, std = est.predict(*at, return_std=True)
    size = np.abs(X).max(0).clip(1e-300)
    unit = np.where(X.std(0) > 1e-12 * size, X.std(0), size)[at[1]]
    error = (values - X[at]) / unit
    claimed = std == 0
    assert np.abs(error[claimed]).max(initial=0) < 1e-4, est.message_
    means = np.nanmean(np.where(hidden, np.nan, X), 0)
    gap, square = (values - means[at[1]]) / unit, np.square(error)
    worse = square - np.square((means[at[1]] - X[at]) / unit)
    for j in np.unique(at[1]):
        here = at[1] == j
        doubt = 2 * np.sqrt(np.square(gap[here]).sum())  # of the sum, since the hidden values spread by one
        allowed = 0.1 * square[here].sum() + 4 * doubt + 1e-9
        assert worse[here].sum() <= allowed, f"column {j}: {est.message_}"
    assert worse.sum() <= 0.05 * square.sum() + 3 * 2 * np.sqrt(np.square(gap).sum()) + 1e-9


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [*NOT_LOW_RANK, *IN_PARTS])
def test_nothing_wrong_is_called_exact_and_no_column_is_far_worse_than_its_mean(
    name: str, shape: tuple[int, int]
) -> None:
    g = np.random.default_rng(7)
    X = (NOT_LOW_RANK | IN_PARTS)[name](g, *shape)
    for hidden in masks(X, g):
        check(X, hidden)
