"""What MatrixCompletion promises on ordinary tables, column by column."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overt import MatrixCompletion
from overt.completion import Completion, refit
from overt.problems import CompletionProblem, matrix_completion

Array = NDArray[Any]
Generator = np.random.Generator

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*hold no observation",
    "ignore:the observed entries",
)


def factors(g: Generator, m: int, n: int, r: int = 3, noise: float = 0.4) -> Array:
    return np.asarray(g.normal(size=(m, r)) @ g.normal(size=(r, n)) + noise * g.normal(size=(m, n)))


def unrelated(g: Generator, m: int, n: int) -> Array:
    X = factors(g, m, n)
    X[:, : n // 3] = 50 + 8 * g.normal(size=(m, n // 3))
    return X


def with_constants(g: Generator, m: int, n: int) -> Array:
    X = factors(g, m, n)
    X[:, 1], X[:, n - 1] = 5.0, 0.0
    return X


def mixed(g: Generator, m: int, n: int) -> Array:
    """Measurements, levels, yes or no, amounts, in units of their own."""
    X = factors(g, m, n) * np.geomspace(1e-3, 1e3, n) + np.linspace(-5, 100, n)
    X[:, 0] = factors(g, m, 1, 1)[:, 0] > 0
    X[:, 1] = np.round(2 * X[:, 2] / X[:, 2].std())
    X[:, 3] = np.exp(factors(g, m, 1, 1)[:, 0])
    return X


def duplicated(g: Generator, m: int, n: int) -> Array:
    X = factors(g, m, n)
    X[:, 1], X[:, 2] = X[:, 0], -3 * X[:, 0] + 7
    return X


TABLES: dict[str, Callable[[Generator, int, int], Array]] = {
    "low rank and noise": factors,
    "nothing but noise": lambda g, m, n: np.asarray(g.normal(size=(m, n)) + 10 * g.normal(size=n)),
    "columns unrelated to the rest": unrelated,
    "constant columns": with_constants,
    "0 and 1": lambda g, m, n: (factors(g, m, n, 2) > 0).astype(float),
    "0 and 1 by chance": lambda g, m, n: (g.random((m, n)) < np.linspace(0.1, 0.9, n)).astype(float),
    "levels": lambda g, m, n: np.round(factors(g, m, n)).clip(-2, 2),
    "heavy tails": lambda g, m, n: np.asarray(factors(g, m, n) + 0.3 * g.standard_t(1.5, size=(m, n))),
    "skewed": lambda g, m, n: np.exp(factors(g, m, n, 2)),
    "mixed units": mixed,
    "duplicated columns": duplicated,
}
SHAPES = [(60, 10), (14, 24)]


def hidden_in(X: Array, seed: int, share: float = 0.3) -> Array:
    """A mask of hidden entries that leaves two in each row and column."""
    g = np.random.default_rng((seed, 1))
    hidden = g.random(X.shape) < share
    for lines, own in ((hidden, X.shape[1]), (hidden.T, X.shape[0])):
        for line in lines:
            line[g.permutation(own)[:2]] = False
    return hidden


def fitted(X: Array, hidden: Array, **options: Any) -> MatrixCompletion:
    return MatrixCompletion(certify=False, **options).fit(np.where(hidden, np.nan, X))


def observed(X: Array, hidden: Array) -> tuple[Array, Array, Array]:
    """Means and bounds of the observed entries of each column."""
    seen = np.where(hidden, np.nan, X)
    return np.nanmean(seen, 0), np.nanmin(seen, 0), np.nanmax(seen, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", TABLES)
def test_no_column_is_clearly_worse_than_its_mean_and_none_blows_up(
    name: str, shape: tuple[int, int]
) -> None:
    """Clearly: by 15 % and by four standard errors of the hidden entries."""
    X = TABLES[name](np.random.default_rng(0), *shape)
    hidden = hidden_in(X, 0)
    filled, (mean, low, high) = fitted(X, hidden).predict(*np.indices(shape)), observed(X, hidden)
    two_valued = np.array([len(np.unique(X[~hidden[:, j], j])) <= 2 for j in range(shape[1])])
    room = np.where(two_valued, 0, (high - low)) + 1e-9 * np.abs(high)
    assert (filled >= low - room).all()
    assert (filled <= high + room).all()
    unit = np.where(X.std(0) > 0, X.std(0), 1.0)
    model, means = (np.where(hidden, ((F - X) / unit) ** 2, 0.0).sum(0) for F in (filled, mean + 0 * X))
    for j in range(shape[1]):
        here = hidden[:, j]
        if here.sum() < 5:
            continue
        difference = (((filled - X)[here, j]) ** 2 - ((mean - X)[here, j]) ** 2) / unit[j] ** 2
        gap = filled[here, j] - mean[j]  # the difference is gap · (filled + mean − 2 X): X is what varies
        doubt = 2 * np.sqrt(np.sum(gap**2)) / unit[j] / here.sum()
        clear = difference.mean() > 4 * doubt + 1e-12
        assert not (clear and model[j] > 1.15**2 * means[j]), (
            f"column {j}: {(model[j] / means[j]) ** 0.5:.2f}"
        )
    assert model.sum() <= 1.1 * means.sum()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_constant_columns_are_filled_by_the_constant(share: float) -> None:
    X = with_constants(np.random.default_rng(3), 40, 8)
    est = fitted(X, hidden_in(X, 1, share))
    np.testing.assert_allclose(est.predict(*np.indices(X.shape))[:, [1, 7]], X[:, [1, 7]], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_table_of_rank_two_with_a_constant_column_is_exact_in_every_column(seed: int) -> None:
    g = np.random.default_rng(seed)
    X = g.normal(size=(20, 2)) @ g.normal(size=(2, 12))
    X[:, 4] = 5.0
    hidden = hidden_in(X, seed)
    est = fitted(X, hidden)
    error = np.abs(est.predict(*np.indices(X.shape)) - X)
    assert est.solver_ == "irls"
    assert error.max() < 1e-6, np.unravel_index(error.argmax(), X.shape)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_tables_of_zeros_and_ones_are_not_called_exact(seed: int) -> None:
    g = np.random.default_rng(seed)
    X = (g.random((60, 30)) < 0.5).astype(float)
    hidden = hidden_in(X, seed)
    est = fitted(X, hidden)
    assert est.solver_ in ("bayes", "column_mean")
    error = (est.predict(*np.indices(X.shape)) - X)[hidden]
    assert np.sqrt(np.mean(error**2)) < 0.53
    assert est.heldout_error_ == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "X",
    [[[3.0]], [[1.0, 2.0], [np.nan, 4.0]], [[1.0, np.nan, 5.0, 2.0]], [[1.0], [np.nan], [4.0], [2.0]]],
    ids=["1 × 1", "2 × 2", "one row", "one column"],
)
def test_next_to_nothing_is_completed_within_its_range(X: list[list[float]]) -> None:
    table = np.array(X)
    completed = MatrixCompletion().fit_transform(table)
    seen = ~np.isnan(table)
    np.testing.assert_array_equal(completed[seen], table[seen])
    assert (np.abs(completed - np.nanmean(table)) <= 2 * np.ptp(table[seen]) + 1e-9).all()


# ---- units -------------------------------------------------------------------------------------------------


def scaled(X: Array, which: str) -> tuple[Array, Array, Array]:
    """X with rows or columns in units from 1e-6 to 1e6, and the units."""
    m, n = X.shape
    row, col = np.ones(m), np.ones(n)
    if which == "rows":
        row = 10.0 ** np.random.default_rng(0).permutation(np.linspace(-6, 6, m))
    elif which == "columns":
        col = 10.0 ** np.random.default_rng(0).permutation(np.linspace(-6, 6, n))
    else:
        col[0] = 1e6
    return X * row[:, None] * col, row[:, None], col


@pytest.mark.slow
@pytest.mark.parametrize("which", ["columns", "one column"])
@pytest.mark.parametrize("name", ["low rank and noise", "mixed units", "levels", "constant columns"])
def test_units_of_columns_change_nothing_else(name: str, which: str) -> None:
    X = TABLES[name](np.random.default_rng(1), 40, 9)
    hidden = hidden_in(X, 1)
    expected = fitted(X, hidden)
    Y, _, col = scaled(X, which)
    found = fitted(Y, hidden)
    assert found.message_ == expected.message_
    at = np.nonzero(hidden)
    has_unit = X.any(0)[at[1]]  # which a column of zeros has not
    for one, other in zip(
        found.predict(*at, return_std=True), expected.predict(*at, return_std=True), strict=True
    ):
        size = np.abs(other).max() + np.abs(X).max(0)[at[1]]
        assert (np.abs(one / col[at[1]] - other) <= 1e-5 * size)[has_unit].all()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["columns", "one column", "rows"])
def test_units_change_nothing_of_an_exact_matrix(which: str) -> None:
    X = factors(np.random.default_rng(2), 40, 25, 2, noise=0.0)
    hidden = hidden_in(X, 2)
    Y, row, col = scaled(X, which)
    est = fitted(Y, hidden)
    assert est.solver_ == "irls"
    assert (np.abs(est.predict(*np.indices(X.shape)) / row / col - X) < 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_rows_may_carry_the_units(seed: int) -> None:
    """Transposed, a table in mixed units is completed about as well."""
    X = factors(np.random.default_rng(seed), 60, 12) * np.geomspace(1e-3, 1e3, 12)
    hidden, errors = hidden_in(X, seed), []
    for est, turned in ((fitted(X, hidden), False), (fitted(X.T, hidden.T), True)):
        filled = est.predict(*np.indices(X.T.shape if turned else X.shape))
        difference = (filled.T if turned else filled) - X
        errors.append(np.sqrt(np.mean((difference / X.std(0))[hidden] ** 2)))
    assert errors[0] < 0.7
    assert errors[1] < 1.15 * errors[0]


def oracle(problem: CompletionProblem, rank: int) -> float:
    """Error of the fit that is told the rank, the truth as a start, and the best ridge."""
    assert problem.truth is not None
    start = Completion.from_dense(problem.truth)
    fits = [
        refit(problem, start, rank=rank, ridge=ridge, max_iter=25) for ridge in (0, 0.03, 0.1, 0.3, 1, 2, 4)
    ]
    return min(problem.error(fit.factored) for fit in fits)


# ---- noise and time ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.56])
@pytest.mark.parametrize("shape", [(60, 60), (40, 90)])
def test_noise_on_a_matrix_of_low_rank_costs_a_quarter_more_than_an_oracle(
    shape: tuple[int, int], noise: float
) -> None:
    problem = matrix_completion(shape, rank=3, n_observed=1200, seed=1, noise=noise)
    est = MatrixCompletion("bayes").fit_triplets(problem.rows, problem.cols, problem.y, shape)
    found = torch.as_tensor(est.predict(*np.indices(shape)))
    assert problem.error(found) <= 1.25 * oracle(problem, 3)


@pytest.mark.slow
def test_a_small_table_waits_for_no_compiler() -> None:
    program = (
        "import sys, numpy as np; from overt import MatrixCompletion; g = np.random.default_rng(0);"
        "X = g.normal(size=(150, 2)) @ g.normal(size=(2, 4)) + 0.3 * g.normal(size=(150, 4));"
        "X[g.random(X.shape) < 0.2] = np.nan; est = MatrixCompletion().fit(X); est.predict_interval(0, 1);"
        "assert est.solver_ == 'bayes', est.solver_; sys.exit('numba' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
