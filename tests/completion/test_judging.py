"""What the number of observations says about a rank, and which fits are believed."""

from __future__ import annotations

import math

import pytest
import torch

from overt.completion import Completion, irls
from overt.completion.problem import (
    is_exact,
    largest_rank,
    split_observations,
    widest_gap,
    within_bounds,
)
from overt.problems import Offsets, matrix_completion, matrix_sensing


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (7, 5), (4, 9), (12, 3), (3, 20)])
def test_the_largest_rank_leaves_an_observation_as_a_check(shape: tuple[int, int]) -> None:
    m, n = shape
    for k in range(1, m * n):
        fits = [r for r in range(1, min(shape) + 1) if r * (m + n - r) < k]
        assert largest_rank(shape, k) == max([1, *fits])


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (4, 9)])
def test_of_a_matrix_that_is_seen_whole_no_rank_is_ruled_out(shape: tuple[int, int]) -> None:
    m, n = shape
    assert largest_rank(shape, m * n) == largest_rank(shape, m * n + 3) == min(shape)


def test_the_largest_rank_of_a_large_matrix_is_exact() -> None:
    m, n, r = 10**6, 10**6 + 7, 123_456
    freedom = r * (m + n - r)
    assert [largest_rank((m, n), k) for k in (freedom, freedom + 1)] == [r - 1, r]


@pytest.mark.slow
def test_noise_that_as_many_degrees_of_freedom_could_meet_is_not_called_exact() -> None:
    """10 (20 + 15 − 10) = 250: a matrix of rank 10 meets any 250 measurements."""
    problem = matrix_sensing((20, 15), rank=3, n_measurements=250, seed=2, noise=0.05)
    found = irls(problem, attempts=1)
    assert not found.converged
    assert found.rank < 10


@pytest.mark.parametrize(
    ("spectrum", "limit", "rank", "gap"),
    [
        ([5.0, 4.0, 1e-3, 1e-4], 3, 2, 4000.0),
        ([5.0, 4.0, 1e-3, 1e-9], 2, 2, 4000.0),
        ([5.0, 4.0], 2, 2, 4.0 / 5e-12),
        ([0.0, 0.0, 0.0], 2, 1, 1.0),
    ],
)
def test_widest_gap(spectrum: list[float], limit: int, rank: int, gap: float) -> None:
    assert widest_gap(torch.tensor(spectrum).double(), limit) == (rank, pytest.approx(gap))


@pytest.mark.parametrize(("largest", "inside"), [(99.0, True), (101.0, False), (math.inf, False)])
def test_a_fit_with_a_huge_entry_is_out_of_bounds(largest: float, inside: bool) -> None:
    problem = matrix_completion((6, 6), rank=1, n_observed=20, seed=0)
    U = torch.zeros(6, 1, dtype=torch.float64)
    U[2] = 1.0
    size = torch.tensor([largest * problem.max_abs_observed], dtype=torch.float64)
    assert within_bounds(problem, Completion(U, size, U.mT)) == inside
    sensing = matrix_sensing((6, 6), rank=1, n_measurements=20, seed=0)
    assert within_bounds(sensing, Completion(U, size, U.mT)) == math.isfinite(largest)


def test_offsets_count_towards_the_bounds() -> None:
    problem = matrix_completion((6, 6), rank=1, n_observed=20, seed=0)
    zero, none = Completion.zero(problem.y, (6, 6)), problem.y.new_zeros(6)
    high = torch.tensor(101.0 * problem.max_abs_observed, dtype=torch.float64)
    assert within_bounds(problem, zero)
    assert not within_bounds(problem, zero, Offsets(high, none, none))


def test_an_exact_fit_needs_surplus_observations() -> None:
    problem = matrix_completion((6, 5), rank=2, n_observed=19, seed=0)
    assert problem.truth is not None
    found = Completion.from_dense(problem.truth, residual=1e-15)
    assert found.freedom == 18
    assert is_exact(problem, found)
    fewer = matrix_completion((6, 5), rank=2, n_observed=18, seed=0)
    assert not is_exact(fewer, found)
    assert not is_exact(problem, Completion.from_dense(problem.truth, residual=1e-3))


def test_a_split_keeps_or_holds_out_each_entry_once() -> None:
    split = split_observations(50, 0.2, seed=3)
    assert split is not None
    assert sorted(torch.cat(split).tolist()) == list(range(50))
    assert split[1].numel() == 10
    assert split_observations(1, 0.5, seed=0) is None
