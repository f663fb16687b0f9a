"""Exact fits: which are accepted, in which lines, and what is refused as noisy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from overt.completion import Completion, irls
from overt.completion.estimator.confirmation import confirmed
from overt.completion.estimator.exact import Exact, densest_block, exact_fit
from overt.completion.estimator.selected import Incumbent
from overt.completion.estimator.solvers import SolverOptions
from overt.completion.hopping import hop
from overt.completion.peeling import peel
from overt.completion.problem import largest_rank
from overt.problems import CompletionProblem, matrix_completion

Array = np.ndarray


def observed(X: Array, mask: Array) -> CompletionProblem:
    rows, cols = np.nonzero(mask)
    y = X[rows, cols] / np.sqrt(np.mean(X[rows, cols] ** 2))
    return CompletionProblem(torch.tensor(rows), torch.tensor(cols), torch.tensor(y), X.shape)


def fitted(problem: CompletionProblem, **options: str) -> tuple[Exact | None, str]:
    return exact_fit(problem, SolverOptions(solver="auto"), Incumbent(problem), **options)


def low_rank(rng: np.random.Generator, m: int, n: int, r: int) -> Array:
    return rng.normal(size=(m, r)) @ rng.normal(size=(r, n))


def constant(rng: np.random.Generator) -> Array:
    X = low_rank(rng, 20, 12, 2)
    X[:, 3] = 5.0
    return X


def unrelated(rng: np.random.Generator) -> Array:
    X = low_rank(rng, 20, 12, 2)
    X[:, 3] = rng.normal(size=20)
    return X


@pytest.mark.slow
@pytest.mark.parametrize("table", [constant, unrelated])
def test_a_column_apart_is_undetermined_and_the_rest_exact(
    table: Callable[[np.random.Generator], Array],
) -> None:
    """One of 48 such tables finds no exact fit, and which one depends on how the processor rounds."""
    fits = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X, mask = table(rng), rng.random((20, 12)) > 0.3
        fits.append(fitted(observed(X, mask))[0])
    made = [found for found in fits if found is not None]
    assert len(made) >= 5
    for found in made:
        assert bool(found.cols[3])
        assert int(found.cols.sum()) + int(found.rows.sum()) <= 3
    trusted = ~mask
    trusted[found.rows.numpy()] = False
    trusted[:, found.cols.numpy()] = False
    W = found.selected.completion.W.numpy() * np.sqrt(np.mean(X[mask] ** 2))
    assert np.abs(W - X)[trusted].max() < 1e-8


def thresholded(rng: np.random.Generator) -> Array:
    return (low_rank(rng, 60, 30, 2) > 0).astype(float)


def coins(rng: np.random.Generator) -> Array:
    return (rng.random((60, 30)) < 0.5).astype(float)


def grades(rng: np.random.Generator) -> Array:
    return np.clip(np.round(3 + low_rank(rng, 60, 30, 2)), 1, 5)


def noisy(rng: np.random.Generator) -> Array:
    return low_rank(rng, 60, 30, 3) + 0.05 * rng.normal(size=(60, 30))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("table", [thresholded, coins, grades, noisy])
def test_tables_that_are_not_of_low_rank_are_refused(
    table: Callable[[np.random.Generator], Array], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    assert fitted(observed(table(rng), rng.random((60, 30)) > 0.3))[0] is None


@pytest.mark.parametrize("seed", range(3))
def test_an_exact_fit_that_chance_made_is_not_confirmed(seed: int) -> None:
    """A high rank meets zeros and ones exactly; from afar it is not found again."""
    rng = np.random.default_rng(seed)
    problem = observed(thresholded(rng), rng.random((60, 30)) > 0.3)
    found = irls(problem, tolerance=1e-8, attempts=2)
    if found.converged:
        assert confirmed(problem, found, "irls", heldout=0.1, seed=0, rounding=1e-8) is None


def test_values_of_few_kinds_may_be_exact() -> None:
    rng = np.random.default_rng(0)
    X = np.outer(rng.integers(1, 6, 40), rng.integers(1, 6, 25)).astype(float)
    found, _ = fitted(observed(X, rng.random((40, 25)) > 0.5))
    assert found is not None
    assert found.selected.completion.rank == 1


def test_a_fit_that_misses_one_line_is_not_exact() -> None:
    """One line in tiny units hides in the residual."""
    problem = matrix_completion((40, 40), rank=2, n_observed=700, seed=0)
    assert problem.truth is not None
    y = problem.y.clone()
    y[problem.rows == 5] *= 1e-3
    y[problem.rows == 5] += 1e-5 * torch.randn(int((problem.rows == 5).sum()), dtype=torch.float64)
    W = problem.truth.clone()
    W[5] *= 1e-3
    off = CompletionProblem(problem.rows, problem.cols, y, problem.shape)
    found = Completion.from_dense(W, rank_tolerance=1e-9, residual=1e-9)
    assert confirmed(off, found, "irls", heldout=0.1, seed=0, rounding=1e-8) is None


@pytest.mark.slow
def test_large_noisy_data_are_told_by_their_densest_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = low_rank(rng, 400, 300, 4) + 0.1 * rng.normal(size=(400, 300))
    sizes: list[tuple[int, int]] = []
    import overt.completion.estimator.exact as room

    def spied(problem: CompletionProblem, **options: object) -> Completion:
        sizes.append(tuple(problem.shape))
        return irls(problem, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "irls", spied)
    mask = rng.random((400, 300)) < np.outer(rng.random(400), rng.random(300)) ** 0.5
    assert fitted(observed(X, mask))[0] is None
    assert sizes == [(64, 64)]


def test_the_densest_block_holds_the_fullest_lines() -> None:
    mask = np.zeros((30, 20), dtype=bool)
    mask[3:13, 5:12] = True
    mask[0, :3] = mask[20:, 19] = True
    problem = observed(np.arange(1.0, 601.0).reshape(30, 20), mask)
    block = densest_block(problem, 10, 7)
    assert (block.shape, len(block.y)) == ((10, 7), 70)


def test_peeling_leaves_lines_longer_than_the_rank_and_puts_the_others_back() -> None:
    problem = matrix_completion((60, 60), rank=2, n_observed=290, seed=1, min_per_line=2)
    assert problem.truth is not None
    peeled = peel(problem, 2)
    assert peeled is not None
    m, n = peeled.core.shape
    assert m < 60
    assert n < 60
    assert int(torch.bincount(peeled.core.rows, minlength=m).min()) > 2
    assert int(torch.bincount(peeled.core.cols, minlength=n).min()) > 2
    core = problem.truth[peeled.rows][:, peeled.cols]
    torch.testing.assert_close(peeled.core.y, core[peeled.core.rows, peeled.core.cols])
    U, s, Vt = peeled.extended(Completion.from_dense(core, rank_tolerance=1e-9))
    W = (U * s) @ Vt
    torch.testing.assert_close(W[problem.rows, problem.cols], problem.y, rtol=1e-6, atol=1e-6)


def test_nothing_is_peeled_from_long_lines() -> None:
    assert peel(matrix_completion((20, 20), rank=2, n_observed=350, seed=0), 2) is None


@pytest.mark.slow
def test_hopping_solves_what_one_refit_does_not() -> None:
    problem = matrix_completion((40, 40), rank=2, n_observed=230, seed=3, min_per_line=3)
    assert largest_rank(problem.shape, problem.n_observed) == 2
    start = Completion.from_dense(torch.eye(40, dtype=torch.float64)[:, :40]).cut(2)
    found = hop(problem, start, 2, hops=100)
    assert found.converged
    assert problem.error(found.W) < 1e-8
    assert found.n_iter > 0
