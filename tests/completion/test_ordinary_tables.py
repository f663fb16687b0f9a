"""Tables of many kinds, whose columns are exact, noisy or unrelated: nothing wrong is called exact.

An entry whose standard deviation is zero is claimed to be exact. On a table that is not of low rank, or only
in parts, such entries must be right, and no column may be far worse than its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from overt import MatrixCompletion

Array = NDArray[Any]
Generator = np.random.Generator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:the observed entries", "ignore:.*hold no"
    ),
]


def low(g: Generator, m: int, n: int, r: int = 2) -> Array:
    return np.asarray(g.normal(size=(m, r)) @ g.normal(size=(r, n)))


def noisy(g: Generator, m: int, n: int, r: int = 2) -> Array:
    return low(g, m, n, r) + 0.4 * g.normal(size=(m, n))


def one_hot(g: Generator, m: int, levels: int) -> Array:
    return np.eye(levels)[g.integers(levels, size=m)]


def beside(*parts: Array) -> Array:
    return np.concatenate(parts, 1)


def time(m: int) -> Array:
    return np.linspace(0, 1, m)[:, None]


def counts(g: Generator, m: int, n: int) -> Array:
    return g.poisson(np.exp(0.5 * low(g, m, n, 1) + 1)).astype(float)


def walk(g: Generator, m: int, n: int) -> Array:
    return np.cumsum(g.normal(size=(m, n)), 0)


def with_total(X: Array) -> Array:
    """Parts and their sum in the last column: of rank n − 1."""
    return beside(X, X.sum(1, keepdims=True))


NOT_LOW_RANK: dict[str, Callable[[Generator, int, int], Array]] = {
    "noise": lambda g, m, n: g.normal(size=(m, n)),
    "noise far from zero": lambda g, m, n: 1000 + g.normal(size=(m, n)),
    "uniform": lambda g, m, n: g.random((m, n)),
    "heavy tails": lambda g, m, n: g.standard_cauchy((m, n)),
    "permutations": lambda g, m, n: np.stack([g.permutation(m) for _ in range(n)], 1).astype(float),
    "ranks within rows": lambda g, m, n: np.argsort(noisy(g, m, n), 1).astype(float),
    "low rank and noise": noisy,
    "low rank and little noise": lambda g, m, n: low(g, m, n) + 0.01 * g.normal(size=(m, n)),
    "low rank and heavy tails": lambda g, m, n: low(g, m, n) + 0.1 * g.standard_t(1.5, size=(m, n)),
    "offsets and noise": lambda g, m, n: (
        5 * g.normal(size=(m, 1)) + 5 * g.normal(size=n) + g.normal(size=(m, n))
    ),
    "0 and 1": lambda g, m, n: (noisy(g, m, n) > 0).astype(float),
    "0 and 1 by chance": lambda g, m, n: (g.random((m, n)) < 0.5).astype(float),
    "rare ones": lambda g, m, n: (g.random((m, n)) < 0.08).astype(float),
    "nearly always one": lambda g, m, n: (g.random((m, n)) < 0.95).astype(float),
    "signs": lambda g, m, n: np.sign(noisy(g, m, n)),
    "questionnaire": lambda g, m, n: np.round(noisy(g, m, n, 1) + 3).clip(1, 5),
    "five levels by chance": lambda g, m, n: g.integers(5, size=(m, n)).astype(float),
    "counts": counts,
    "rare counts": lambda g, m, n: g.poisson(0.2, size=(m, n)).astype(float),
    "large counts": lambda g, m, n: g.poisson(1e6, size=(m, n)).astype(float),
    "rounded low rank": lambda g, m, n: np.round(low(g, m, n), 1),
    "amounts in cents": lambda g, m, n: np.round(np.exp(noisy(g, m, n)) * 100) / 100,
    "skewed": lambda g, m, n: np.exp(noisy(g, m, n)),
    "one-hot blocks": lambda g, m, n: beside(*(one_hot(g, m, n // 3) for _ in range(3))),
    "one-hot and measurements": lambda g, m, n: beside(one_hot(g, m, n // 2), noisy(g, m, n - n // 2)),
    "squares": lambda g, m, n: np.square(noisy(g, m, n)),
    "maxima": lambda g, m, n: np.maximum(low(g, m, n), low(g, m, n)),
    "products of columns": lambda g, m, n: beside(
        (A := g.normal(size=(m, n - n // 2))), A[:, : n // 2] * np.roll(A, 1, 1)[:, : n // 2]
    ),
    "distances": lambda g, m, n: np.abs(g.random((m, 1)) - g.random(n)),
    "distances in the plane": lambda g, m, n: np.linalg.norm(g.random((m, 1, 2)) - g.random((n, 2)), axis=2),
    "random walks": walk,
    "clock and noise": lambda g, m, n: time(m) + 0.1 * g.normal(size=(m, n)),
    "shifted waves": lambda g, m, n: np.sign(np.sin(20 * (time(m) + g.random(n)))),
    "steps": lambda g, m, n: (time(m) > g.random(n)).astype(float),
    "parts and a total": lambda g, m, n: with_total(g.random((m, n - 1))),
    "counts and a total": lambda g, m, n: with_total(counts(g, m, n - 1)),
    "shares": lambda g, m, n: g.dirichlet(np.ones(n), m),
    "duplicated columns": lambda g, m, n: beside(
        (A := noisy(g, m, n - n // 2)), A[:, : n // 2] * np.linspace(-3, 3.5, n // 2) + 7
    ),
    "column numbers": lambda g, m, n: beside(np.arange(m)[:, None] * 1.0, noisy(g, m, n - 1)),
    "constant and noise": lambda g, m, n: beside(np.full((m, 2), 5.0), g.normal(size=(m, n - 2))),
    "zero and noise": lambda g, m, n: beside(np.zeros((m, 2)), g.normal(size=(m, n - 2))),
    "mixed units": lambda g, m, n: noisy(g, m, n) * np.geomspace(1e-4, 1e4, n),
    "a clock in nanoseconds": lambda g, m, n: beside(1.7e18 + 1e9 * noisy(g, m, 1), noisy(g, m, n - 1)),
    "a huge column": lambda g, m, n: noisy(g, m, n) * np.r_[1e9, np.ones(n - 1)],
    "two groups of rows": lambda g, m, n: np.where(time(m) < 0.5, 0, 100) + g.normal(size=(m, n)),
    "block of low rank in noise": lambda g, m, n: np.where(
        time(m) < 0.5, low(g, m, n, 1), g.normal(size=(m, n))
    ),
}
IN_PARTS: dict[str, Callable[[Generator, int, int], Array]] = {
    "low rank beside noise": lambda g, m, n: beside(low(g, m, n - 3, 1), g.normal(size=(m, 3))),
    "low rank beside one column of noise": lambda g, m, n: beside(low(g, m, n - 1, 1), g.normal(size=(m, 1))),
    "constant beside low rank": lambda g, m, n: beside(np.full((m, 1), 5.0), low(g, m, n - 1, 1)),
    "constants": lambda g, m, n: np.ones((m, 1)) * g.normal(size=n),
    "low rank, one row of noise": lambda g, m, n: np.r_[low(g, m - 1, n, 1), g.normal(size=(1, n))],
    "two blocks": lambda g, m, n: np.where(
        (time(m) < 0.5) == (np.arange(n) < n // 2), low(g, m, n, 1), g.normal(size=(m, n))
    ),
}
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
