"""Any table: of every kind, type, unit, shape and pattern of what is missing.

What is filled in is finite and near what was observed, observed entries stay, nothing wrong is called exact,
no well observed column is far worse than its mean, and neither units nor the order of lines matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_corpus import IN_PARTS, NOT_LOW_RANK, Array, Generator, low

from overt import MatrixCompletion
from overt.completion.bayes import Data
from overt.completion.estimator.layout import Layout

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:the observed entries", "ignore:.*hold no"
)
KINDS = NOT_LOW_RANK | IN_PARTS | {"rank one": lambda g, m, n: low(g, m, n, 1), "rank two": low}
PATTERNS: dict[str, Callable[[Generator, Array], Array]] = {
    "random": lambda g, X: g.random(X.shape) < g.uniform(0.05, 0.7),
    "uneven": lambda g, X: (
        g.random(X.shape) < g.beta(0.5, 0.5, size=(len(X), 1)) * g.beta(2, 1, size=X.shape[1])
    ),
    "one in each row": lambda g, X: np.arange(X.shape[1]) != g.integers(X.shape[1], size=(len(X), 1)),
    "dropouts": lambda g, X: np.arange(X.shape[1]) >= g.integers(1, X.shape[1] + 1, size=(len(X), 1)),
    "a block": lambda g, X: (g.random((len(X), 1)) < 0.6) & (g.random(X.shape[1]) < 0.6),
    "large values": lambda g, X: np.quantile(X, g.uniform(0.3, 0.9), axis=0) < X,
}
BY_CHANCE = ("random", "uneven")  # patterns under which the column means are unbiased
ROUNDING = {"float64": 1e-4, "float32": 1e-2, "float16": 0.3}  # error of what is exact, in column sizes
WELL_OBSERVED = 5
SECONDS = 60.0  # of the processor: a hang, not a slow machine


@dataclass(frozen=True)
class Drawn:
    """A table as numbers of its type, what is hidden in it, and the size of its columns."""

    X: Array
    hidden: Array
    pattern: str
    seed: int

    @property
    def observed(self) -> Array:
        return np.where(self.hidden, self.X.dtype.type(np.nan), self.X)

    @property
    def size(self) -> Array:
        top = np.abs(self.X.astype(float)).max(0)
        spread = (self.X.astype(float) / np.where(top > 0, top, 1)).std(0) * top
        return np.where(spread > 1e-6 * top, spread, np.where(top > 0, top, 1.0))


def drawn(kind: str, pattern: str, unit: str, dtype: str, seed: int) -> Drawn:
    g = np.random.default_rng(seed)
    X = np.asarray(KINDS[kind](g, int(g.integers(5, 60)), int(g.integers(4, 22))), float)
    if unit == "of the table":
        X = X * 10.0 ** g.uniform(-100, 100)
    elif unit == "of each column":
        X = X * 10.0 ** g.uniform(-12, 12, size=X.shape[1]) * g.choice([-1, 1], size=X.shape[1])
    with np.errstate(over="ignore"):
        cast = X.astype(dtype)
    if np.isfinite(cast).all() and ((cast == 0) == (X == 0)).all():
        X = cast
    hidden = PATTERNS[pattern](g, X)
    for line in hidden[hidden.all(1)]:
        line[g.integers(len(line))] = False
    hidden[hidden.all(1), 0] = False
    return Drawn(X, hidden, pattern, seed)


def fitted(X: Array) -> MatrixCompletion:
    return MatrixCompletion(certify=False, random_state=0).fit(X)


tables = st.builds(
    drawn,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(PATTERNS)),
    st.sampled_from(["as it is", "of the table", "of each column"]),
    st.sampled_from(["float64", "float32", "float16"]),
    st.integers(0, 2**32 - 1),
)


def check(table: Drawn) -> None:
    """All that holds for any table."""
    started = time.process_time()
    est = fitted(table.observed)
    assert time.process_time() - started < SECONDS
    filled = np.asarray(est.fit_transform(table.observed), float)
    assert np.isfinite(filled).all()
    assert (filled[~table.hidden] == table.X[~table.hidden]).all()
    rows, cols = np.nonzero(table.hidden)
    if not rows.size:
        return
    truth = table.X[rows, cols].astype(float)
    values, std = (part.astype(float) for part in est.predict(rows, cols, return_std=True))
    bounds = est.predict_interval(rows, cols)
    assert np.isfinite([values, std, *bounds]).all()
    assert (std >= 0).all()
    assert (bounds[0] <= bounds[1]).all()
    size = table.size[cols]
    error, certain = (values - truth) / size, std == 0
    if table.pattern != "large values":  # nothing can tell a matrix from one that differs where it is large
        assert np.abs(error[certain]).max(initial=0) < ROUNDING[str(table.X.dtype)], est.message_
    if table.pattern in BY_CHANCE:
        no_worse_than_the_means(table, values)


def no_worse_than_the_means(table: Drawn, values: Array) -> None:
    """Well observed columns are not worse than their means by more than chance explains."""
    rows, cols = np.nonzero(table.hidden)
    observed = table.observed.astype(float)
    for j in np.unique(cols[(~table.hidden).sum(0)[cols] >= WELL_OBSERVED]):
        here, mean = cols == j, np.nanmean(observed[:, j])
        truth, size = table.X[rows[here], j].astype(float), table.size[j]
        ours, means = (values[here] - truth) / size, (mean - truth) / size
        doubt = 2 * np.sqrt(np.square(ours - means).sum())
        allowed = 0.1 * np.square(ours).sum() + 4 * doubt + ROUNDING[str(table.X.dtype)] ** 2
        assert np.square(ours).sum() - np.square(means).sum() <= allowed, f"column {j}"


@pytest.mark.slow
@settings(max_examples=8)
@given(tables)
def test_any_table_is_completed_by_finite_numbers_near_its_own(table: Drawn) -> None:
    check(table)


# Tables that once were filled with zeros, with the values of another column, or beyond all bounds.
FOUND = [
    ("noise far from zero", "uneven", "of each column", "float64", 23),
    ("random walks", "random", "of each column", "float32", 31),
    ("one-hot blocks", "one in each row", "of each column", "float64", 9),
    ("a clock in nanoseconds", "one in each row", "of the table", "float32", 50),
    ("rank one", "uneven", "of each column", "float64", 52),
    ("rank two", "random", "of each column", "float32", 55),
    ("low rank beside noise", "dropouts", "of each column", "float32", 0),
    ("constants", "random", "of each column", "float64", 80),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", FOUND, ids=lambda case: case[0])
def test_tables_in_which_faults_were_found(case: tuple[str, str, str, str, int]) -> None:
    check(drawn(*case))


@pytest.mark.parametrize("solver", ["auto", "bayes"])
def test_a_small_column_is_not_lost_beside_a_huge_one(solver: str) -> None:
    """Sums and singular vectors in the table's units hold no column 16 orders below the largest."""
    g = np.random.default_rng(0)
    X = np.concatenate([1.7e18 + 1e9 * g.normal(size=(40, 1)), 0.5 + 1e-3 * g.normal(size=(40, 5))], 1)
    hidden = g.random(X.shape) < 0.2
    est = MatrixCompletion(solver, certify=False).fit(np.where(hidden, np.nan, X))
    rows, cols = np.nonzero(hidden)
    values, std = est.predict(rows, cols, return_std=True)
    small = cols > 0
    assert np.abs(values[small] - 0.5).max() < 0.01
    assert ((std[small] > 2e-4) & (std[small] < 5e-3)).all()
    assert np.abs(values[~small] - 1.7e18).max() < 1e10


@pytest.mark.slow
@settings(max_examples=3)
@given(st.sampled_from(sorted(KINDS)), st.sampled_from(BY_CHANCE), st.integers(0, 2**32 - 1))
def test_the_order_of_lines_moves_answers_by_less_than_their_doubt(
    kind: str, pattern: str, seed: int
) -> None:
    """Draws differ, and so may the entries held out: by less than the standard deviations, all in all."""
    table = drawn(kind, pattern, "as it is", "float64", seed)
    if not table.hidden.any():
        return
    g = np.random.default_rng(seed)
    rows, cols = g.permutation(len(table.X)), g.permutation(table.X.shape[1])
    everywhere = np.indices(table.X.shape)
    values, std = fitted(table.observed).predict(*everywhere, return_std=True)
    other = np.empty_like(values)
    other[np.ix_(rows, cols)] = fitted(table.observed[rows][:, cols]).predict(*everywhere)
    moved = ((other - values) / table.size)[table.hidden]
    doubt = (std / table.size)[table.hidden]
    assert np.sqrt(np.square(moved).mean()) <= np.sqrt(np.square(doubt).mean()) + 1e-4


@pytest.mark.parametrize("seed", range(8))
def test_a_very_sparse_matrix_in_one_unit_is_taken_to_have_one(seed: int) -> None:
    """Though half of its columns hold a single entry, and some of these are tiny."""
    g = np.random.default_rng(seed)
    at = g.choice(5000 * 5000, 6000, replace=False)
    layout = Layout.of(Data(at // 5000, at % 5000, g.normal(size=6000), (5000, 5000)))
    assert not layout.by_column
