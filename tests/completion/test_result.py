"""Completion: the value every solver returns."""

from __future__ import annotations

import math

import pytest
import torch

from overt.completion import Completion


def low_rank(m: int, n: int, r: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(m * n + r)
    left = torch.randn(m, r, generator=generator, dtype=dtype)
    return left @ torch.randn(r, n, generator=generator, dtype=dtype)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 7), (7, 1)])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_from_dense_reproduces_the_matrix_at_its_rank(shape: tuple[int, int], scale: float) -> None:
    r = min(2, *shape)
    W = low_rank(*shape, r) * scale
    found = Completion.from_dense(W)
    assert found.rank == r
    assert found.shape == shape
    assert float((found.W - W).abs().max()) <= 1e-13 * float(W.abs().max())
    assert torch.equal(found.singular_values, found.singular_values.sort(descending=True).values)


def test_factored_multiplies_to_the_same_matrix() -> None:
    W = low_rank(5, 8, 3)
    torch.testing.assert_close(Completion.from_dense(W).factored.dense(), W)


@pytest.mark.parametrize("k", [0, 1, 50, 4096, 10_000])
def test_entries_agree_with_the_dense_matrix_however_many(k: int) -> None:
    W = low_rank(9, 7, 3)
    rows, cols = torch.randint(9, (k,)), torch.randint(7, (k,))
    torch.testing.assert_close(Completion.from_dense(W).at(rows, cols), W[rows, cols])


def test_zero_matrix_has_rank_and_effective_rank_zero() -> None:
    found = Completion.from_dense(torch.zeros(3, 4))
    assert found.rank == 0
    assert found.effective_rank == 0.0
    assert torch.equal(found.W, torch.zeros(3, 4))


def test_effective_rank_is_the_exponential_entropy() -> None:
    equal = Completion.from_dense(torch.eye(4, dtype=torch.float64))
    assert equal.effective_rank == pytest.approx(4)
    two = Completion.from_dense(torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)))
    assert two.effective_rank == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_rank_tolerance_drops_small_singular_values() -> None:
    W = torch.diag(torch.tensor([1.0, 1e-3, 1e-9], dtype=torch.float64))
    assert Completion.from_dense(W).rank == 3
    assert Completion.from_dense(W, rank_tolerance=1e-6).rank == 2


def test_scaled_multiplies_the_matrix_only() -> None:
    found = Completion.from_dense(low_rank(4, 4, 2), message="kept", n_iter=7)
    twice = found.scaled(2.0)
    torch.testing.assert_close(twice.W, 2 * found.W)
    assert (twice.message, twice.n_iter) == ("kept", 7)


def test_dtype_is_kept() -> None:
    assert Completion.from_dense(low_rank(4, 4, 2, torch.float32)).W.dtype == torch.float32


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        Completion.from_dense(torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        Completion.from_dense(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match=r"\(m, r\), \(r,\) and \(r, n\)"):
        Completion(torch.zeros(3, 2), torch.zeros(1), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("rows", "cols", "error", "message"),
    [
        ([0], torch.tensor([0]), TypeError, "rows must be a torch.Tensor of integers"),
        (torch.tensor([0.5]), torch.tensor([0]), TypeError, "rows must hold integers"),
        (torch.tensor([0]), torch.tensor([3]), ValueError, "cols must lie in 0 … 2, got 3"),
        (torch.tensor([0]), torch.tensor([0, 1]), ValueError, "cols must have shape"),
    ],
)
def test_places_outside_the_matrix_are_refused(rows, cols, error, message) -> None:
    with pytest.raises(error, match=message):
        Completion.from_dense(low_rank(4, 3, 1)).at(rows, cols)
