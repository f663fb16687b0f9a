"""Products with observed entries against dense arrays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from overt.completion import tangent
from overt.completion.tangent import Entries, leading_triplets


def sampled(m: int, n: int, k: int, seed: int = 0) -> tuple[Tensor, Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.randperm(m * n, generator=generator)[:k]
    return kept // n, kept % n, generator


def gaussian(*size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def test_values_are_sorted_into_row_order() -> None:
    rows, cols = torch.tensor([2, 0, 1, 0]), torch.tensor([0, 1, 2, 0])
    entries = Entries(rows, cols, (3, 3), torch.float64)
    assert entries.sort(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [4.0, 2.0, 3.0, 1.0]
    assert entries.rows.tolist() == [0, 0, 1, 2]
    assert entries.cols.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (7, 5, 12), (5, 40, 30), (40, 5, 200), (6, 6, 0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_are_those_of_the_dense_matrix(m: int, n: int, k: int, dtype: torch.dtype) -> None:
    rows, cols, generator = sampled(m, n, k)
    entries = Entries(rows, cols, (m, n), dtype)
    U, V = gaussian(m, 3, generator=generator).to(dtype), gaussian(n, 3, generator=generator).to(dtype)
    z = gaussian(k, generator=generator).to(dtype)
    dense = torch.zeros(m, n, dtype=dtype)
    dense[entries.rows.long(), entries.cols.long()] = z
    mask = torch.zeros(m, n, dtype=dtype)
    mask[rows, cols] = 1
    torch.testing.assert_close(entries.predict(U, V), (U @ V.mT)[entries.rows.long(), entries.cols.long()])
    torch.testing.assert_close(entries.times(z, V), dense @ V)
    torch.testing.assert_close(entries.times_t(z, U), dense.mT @ U)
    torch.testing.assert_close(entries.row_grams(V), torch.einsum("ij,ja,jb->iab", mask, V, V))
    torch.testing.assert_close(entries.col_grams(U), torch.einsum("ij,ia,ib->jab", mask, U, U))
    torch.testing.assert_close(entries.dense_mask(), mask)
    torch.testing.assert_close(entries.T.dense_mask(), mask.mT)


@pytest.mark.parametrize(("cells", "chunk"), [(0, 8192), (0, 7), (10**6, 8192)])
def test_every_way_to_predict_agrees(monkeypatch: pytest.MonkeyPatch, cells: int, chunk: int) -> None:
    monkeypatch.setattr(tangent, "_DENSE_CELLS", cells)
    monkeypatch.setattr(tangent, "_CHUNK", chunk)
    rows, cols, generator = sampled(30, 20, 300)
    entries = Entries(rows, cols, (30, 20), torch.float64)
    U, V = gaussian(30, 15, generator=generator), gaussian(20, 15, generator=generator)
    expected = (U @ V.mT)[entries.rows.long(), entries.cols.long()]
    torch.testing.assert_close(entries.predict(U, V), expected)


def test_products_in_blocks_of_columns_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cols, generator = sampled(30, 20, 300)
    entries = Entries(rows, cols, (30, 20), torch.float64)
    z, V = gaussian(300, generator=generator), gaussian(20, 19, generator=generator)
    expected = entries.times(z, V), entries.row_grams(V)
    widths: list[int] = []
    split = torch.split

    def recorded(D: torch.Tensor, *where: int) -> object:
        widths.extend(part.shape[1] for part in split(D, *where))
        return split(D, *where)

    monkeypatch.setattr(tangent, "_CACHED_NUMBERS", 0)
    monkeypatch.setattr(torch, "split", recorded)
    torch.testing.assert_close(entries.times(z, V), expected[0])
    assert widths == [8, 8, 3]
    torch.testing.assert_close(entries.row_grams(V), expected[1])


@pytest.mark.parametrize("warm", [False, True])
def test_leading_triplets_of_low_rank_plus_sparse(warm: bool) -> None:
    rows, cols, generator = sampled(60, 45, 400)
    entries = Entries(rows, cols, (60, 45), torch.float64)
    L, R = 10 * gaussian(60, 4, generator=generator), gaussian(45, 4, generator=generator)
    z = gaussian(400, generator=generator)
    X = L @ R.mT
    X[entries.rows.long(), entries.cols.long()] += z
    start = torch.linalg.qr(R).Q if warm else None
    U, s, Vt = leading_triplets(entries, L, R, z, 6, start=start)
    expected = torch.linalg.svdvals(X)
    torch.testing.assert_close(s[:4], expected[:4], rtol=1e-8, atol=0)
    torch.testing.assert_close(s, expected[:6], rtol=0.05, atol=0)
    torch.testing.assert_close(U.mT @ U, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close((U[:, :4] * s[:4]) @ Vt[:4] @ R, X @ R, rtol=0.2, atol=20)
