"""Kinds of tables, of low rank and not, from which tests of the estimator draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Generator = np.random.Generator


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
