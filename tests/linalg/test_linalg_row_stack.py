"""RowStack: AᵀA is kept, exactly where it can be and within the stated bound where not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.linalg import RowStack


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(A, limit, block=3, **options):
    stack = RowStack(A.shape[1], limit, **options)
    for rows in A.split(block):
        stack.append(rows)
    return stack


@given(n=st.integers(1, 60), limit=st.integers(10, 30), block=st.integers(1, 9), seed=st.integers(0, 99))
def test_nothing_is_lost_where_a_square_fits(n, limit, block, seed):
    A = gaussian(n, 5, seed=seed)
    stack = filled(A, limit, block, lossless=True)
    B = stack.rows()
    assert len(B) <= limit
    assert torch.allclose(B.T @ B, A.T @ A, rtol=0, atol=1e-12 * n)
    assert stack.dropped_norm == 0


def test_small_singular_values_survive():
    A = gaussian(200, 4) * torch.tensor([1.0, 1e-5, 1e-9, 1e-12], dtype=torch.float64)
    kept = torch.linalg.svdvals(filled(A, 8).rows())
    assert torch.allclose(kept, torch.linalg.svdvals(A), rtol=1e-3)


@pytest.mark.slow
@given(n=st.integers(9, 60), limit=st.integers(4, 12), seed=st.integers(0, 99))
def test_what_is_dropped_is_bounded(n, limit, seed):
    A = gaussian(n, 30, seed=seed)
    stack = filled(A, limit)
    B = stack.rows()
    lost = torch.linalg.eigvalsh(A.T @ A - B.T @ B)
    tolerance = 1e-10 * n
    assert len(B) <= limit
    assert lost.min() >= -tolerance
    assert lost.max() <= stack.dropped_norm + tolerance


@pytest.mark.parametrize("limit", [2, 6, 7])
def test_rows_up_to_the_limit_are_kept_and_one_more_leaves_half_of_it(limit):
    A = gaussian(limit + 1, limit)
    full = filled(A[:limit], limit)
    assert torch.equal(full.rows(), A[:limit])
    full.append(A[limit:])
    _, S, Vh = torch.linalg.svd(A)
    k = limit // 2
    torch.testing.assert_close(full.rows().T @ full.rows(), (Vh[:k].T * S[:k] ** 2) @ Vh[:k])
    assert full.dropped_norm == pytest.approx(S[k].item() ** 2)
    for _ in range(2):  # what is dropped adds up
        full.append(A)
    assert full.dropped_norm > 2 * S[k].item() ** 2


@pytest.mark.parametrize(("limit", "columns"), [(8, 4), (9, 4), (2, 1)])
def test_a_square_of_half_the_limit_is_kept_without_loss(limit, columns):
    A = gaussian(40, columns)
    B = filled(A, limit, lossless=True).rows()
    torch.testing.assert_close(B.T @ B, A.T @ A)
    with pytest.raises(ValueError, match=f"more than {limit} with {columns + 1} columns"):
        filled(gaussian(40, columns + 1), limit, lossless=True)


def test_nothing_is_dropped_of_what_has_no_more_directions():
    A = gaussian(30, 2) @ gaussian(2, 9, seed=1)
    stack = filled(A, 6)
    torch.testing.assert_close(stack.rows().T @ stack.rows(), A.T @ A)
    assert stack.dropped_norm < 1e-20
    assert RowStack(1, 2).columns == 1
    with pytest.raises(ValueError, match="columns must be an integer ≥ 1, got 0"):
        RowStack(0, 4)


def test_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="cannot be kept without loss"):
        filled(gaussian(9, 30), 4, lossless=True)
    with pytest.raises(ValueError, match=r"rows must have shape \(k, 3\)"):
        RowStack(3, 4).append(gaussian(2, 4))
    with pytest.raises(ValueError, match="NaN or infinite"):
        RowStack(3, 4).append(gaussian(2, 3) * torch.nan)
    with pytest.raises(ValueError, match="limit must be an integer ≥ 2, got 1"):
        RowStack(3, 1)
    with pytest.raises(TypeError, match="columns must be an integer"):
        RowStack(3.0, 4)
