"""The null space of the tangent map against the SVD of the explicit Jacobian, on degenerate structures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from overt.completion import Completion, certificate, null_space
from overt.completion.cover import smallest_cover
from overt.completion.null_space import Tangent, krylov_null_space
from overt.completion.tangent import Entries

Pair = tuple[Tensor, Tensor]
Structure = Callable[[torch.Generator], Pair]  # the matrix, and the mask of what is observed


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def low_rank(generator: torch.Generator, m: int, n: int, r: int) -> Tensor:
    return normal(generator, m, r) @ normal(generator, r, n)


def scattered(generator: torch.Generator, m: int, n: int, share: float) -> Tensor:
    return torch.rand(m, n, generator=generator) < share


def constant_column(generator: torch.Generator) -> Pair:
    W = low_rank(generator, 20, 12, 2)
    W[:, 3] = 5.0
    return W, scattered(generator, 20, 12, 0.7)


def unrelated_column(generator: torch.Generator) -> Pair:
    W = low_rank(generator, 20, 12, 2)
    W[:, 3] = normal(generator, 20)
    return W, scattered(generator, 20, 12, 0.7)


def column_on_few_rows(generator: torch.Generator) -> Pair:
    W = low_rank(generator, 18, 14, 2)
    W[:, 5] = 0.0
    W[:3, 5] = normal(generator, 3)
    return W, scattered(generator, 18, 14, 0.75)


def zero_block(generator: torch.Generator) -> Pair:
    W = low_rank(generator, 16, 16, 3)
    W[:6, :7] = 0.0
    return W, scattered(generator, 16, 16, 0.8)


def disjoint_blocks(generator: torch.Generator) -> Pair:
    W = torch.zeros(15, 15, dtype=torch.float64)
    for at in (0, 5, 10):
        W[at : at + 5, at : at + 5] = low_rank(generator, 5, 5, 1)
    return W, scattered(generator, 15, 15, 0.8)


def duplicated_rows(generator: torch.Generator) -> Pair:
    W = low_rank(generator, 18, 14, 3)
    W[9:] = W[:1]
    return W, scattered(generator, 18, 14, 0.65)


def dependent_factors_in_a_row(generator: torch.Generator) -> Pair:
    """Row 0 is seen in exactly r columns, two of which are multiples of each other."""
    U, V = normal(generator, 16, 3), normal(generator, 14, 3)
    V[1] = 2 * V[0]
    mask = scattered(generator, 16, 14, 0.8)
    mask[0] = False
    mask[0, :3] = True
    return U @ V.mT, mask


def block_diagonal_mask(generator: torch.Generator) -> Pair:
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:8, :8] = mask[8:, 8:] = True
    return low_rank(generator, 16, 16, 2), mask


def sparse_factors(generator: torch.Generator) -> Pair:
    U, V = normal(generator, 20, 3), normal(generator, 15, 3)
    U, V = U * scattered(generator, 20, 3, 0.4), V * scattered(generator, 15, 3, 0.5)
    return U @ V.mT, scattered(generator, 20, 15, 0.7)


def staircase(generator: torch.Generator) -> Pair:
    """Later rows are seen in fewer columns, down to one."""
    mask = torch.arange(16)[:, None] + torch.arange(12)[None] < 17
    return low_rank(generator, 16, 12, 2), mask


def wide(generator: torch.Generator) -> Pair:
    return low_rank(generator, 6, 40, 2), scattered(generator, 6, 40, 0.6)


def tall(generator: torch.Generator) -> Pair:
    return low_rank(generator, 40, 5, 2), scattered(generator, 40, 5, 0.65)


def rank_one(generator: torch.Generator) -> Pair:
    U = normal(generator, 20, 1) * scattered(generator, 20, 1, 0.8)
    return U @ normal(generator, 1, 16), scattered(generator, 20, 16, 0.16)


def one_hot(generator: torch.Generator) -> Pair:
    W = torch.eye(4, dtype=torch.float64)[torch.randint(4, (24,), generator=generator)]
    return torch.cat([W, low_rank(generator, 24, 6, 1)], 1), scattered(generator, 24, 10, 0.75)


def near_the_limit(generator: torch.Generator) -> Pair:
    return low_rank(generator, 16, 16, 2), scattered(generator, 16, 16, 0.3)


def scaled_lines(generator: torch.Generator) -> Pair:
    scales = [10.0 ** (4 * normal(generator, size).clamp(-2, 2) / 2) for size in (16, 16)]
    return scales[0][:, None] * low_rank(generator, 16, 16, 2) * scales[1], scattered(generator, 16, 16, 0.4)


STRUCTURES: list[Structure] = [
    constant_column,
    unrelated_column,
    column_on_few_rows,
    zero_block,
    disjoint_blocks,
    duplicated_rows,
    dependent_factors_in_a_row,
    block_diagonal_mask,
    sparse_factors,
    staircase,
    wide,
    tall,
    rank_one,
    one_hot,
    near_the_limit,
    scaled_lines,
]


def oracle(U: Tensor, V: Tensor, rows: Tensor, cols: Tensor) -> tuple[int, Tensor]:
    """Null dimension of the explicit Jacobian, and which entries its null space moves."""
    (m, r), n, k = U.shape, V.shape[0], len(rows)
    J = torch.zeros(k, m + n, r, dtype=torch.float64)
    each = torch.arange(k)
    J[each, rows] = V[cols]
    J[each, m + cols] = U[rows]
    _, s, Vt = torch.linalg.svd(J.reshape(k, -1), full_matrices=True)
    rank = int((s > 1e-7 * s[0]).sum())
    moved = torch.zeros(m, n, dtype=torch.float64)
    for theta in Vt[rank:].view(-1, m + n, r):
        moved += (theta[:m] @ V.mT + U @ theta[m:].mT).square()
    return (m + n) * r - rank - r * r, moved > 1e-12 * max(float(moved.max()), 1e-3)


def instance(structure: Structure, seed: int) -> tuple[SimpleNamespace, Completion]:
    W, mask = structure(torch.Generator().manual_seed(seed))
    rows, cols = mask.nonzero().T
    problem = SimpleNamespace(rows=rows, cols=cols, y=W[rows, cols], shape=tuple(W.shape))
    return problem, Completion.from_dense(W, rank_tolerance=1e-11)


def unit_lines(point: Completion) -> Pair:
    """Factors with lines of unit length, so that the oracle's threshold does not depend on their scale."""
    factors = []
    for part in (point.U, point.Vt.mT):
        size = part.norm(dim=1, keepdim=True)
        part = torch.where(size > 1e-9 * size.max(), part / size, 0.0)
        factors.append(torch.linalg.qr(part)[0])
    return factors[0], factors[1]


def covered(rows: tuple[int, ...], cols: tuple[int, ...], shape: tuple[int, int]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[list(rows)] = True
    mask[:, list(cols)] = True
    return mask


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_dimension_and_moving_entries_are_those_of_the_jacobian(structure: Structure) -> None:
    for seed in range(14):
        problem, point = instance(structure, seed)
        expected, moved = oracle(*unit_lines(point), problem.rows, problem.cols)
        found = certificate(problem, point)
        assert found.null_dimension == expected, seed
        assert found.identifiable is (expected == 0)
        cover = covered(found.rows, found.cols, point.shape)
        assert bool((cover | ~moved).all()), seed
        lines = [moved[i].any() for i in found.rows] + [moved[:, j].any() for j in found.cols]
        assert all(lines), seed


@pytest.mark.slow
@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_conjugate_gradients_agree_on_the_verdict(
    structure: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null_space, "DENSE_UNKNOWNS", 0)
    for seed in range(14):
        problem, point = instance(structure, seed)
        expected, moved = oracle(*unit_lines(point), problem.rows, problem.cols)
        found = certificate(problem, point, max_inner=3000)
        assert found.identifiable is (expected == 0), seed
        assert 0 <= (found.null_dimension or 0) <= expected
        assert bool((covered(found.rows, found.cols, point.shape) | ~moved).all()), seed


def test_the_corpus_has_both_kinds_of_every_random_structure() -> None:
    kinds = {structure.__name__: set() for structure in STRUCTURES}
    for structure in STRUCTURES:
        for seed in range(14):
            problem, point = instance(structure, seed)
            kinds[structure.__name__].add(certificate(problem, point).identifiable)
    both = [name for name, seen in kinds.items() if seen == {True, False}]
    assert len(both) >= 5, kinds


def test_only_the_constant_column_is_named() -> None:
    problem, point = instance(constant_column, 0)
    found = certificate(problem, point)
    assert point.rank == 3
    assert (found.rows, found.cols) == ((), (3,))


def test_the_cover_is_the_smallest() -> None:
    """Positions of a cross and one apart need three lines, although seven rows hold them."""
    rows = torch.tensor([0, 1, 2, 3, 4, 2, 2, 2, 6])
    cols = torch.tensor([1, 1, 1, 1, 1, 0, 2, 4, 5])
    ones = torch.ones(7, dtype=torch.long)
    chosen = smallest_cover(rows, cols, (ones, ones[:6]))
    assert sum(map(len, chosen)) == 3
    assert all(i in chosen[0] or j in chosen[1] for i, j in zip(rows.tolist(), cols.tolist(), strict=True))


def test_short_rows_are_named_rather_than_all_columns() -> None:
    """Seven rows hold one entry at rank 2; the four columns would be fewer, but hold other hidden entries."""
    generator = torch.Generator().manual_seed(0)
    W, mask = low_rank(generator, 60, 4, 2), torch.ones(60, 4, dtype=torch.bool)
    mask[:7, 1:] = False
    mask[torch.arange(10, 50), torch.arange(40) % 4] = False
    rows, cols = mask.nonzero().T
    problem = SimpleNamespace(rows=rows, cols=cols, y=W[rows, cols], shape=(60, 4))
    found = certificate(problem, Completion.from_dense(W, rank_tolerance=1e-11))
    assert (found.rows, found.cols) == (tuple(range(7)), ())


def test_a_null_space_beyond_single_lines_is_seen_without_forming_the_map() -> None:
    problem, point = instance(block_diagonal_mask, 0)
    entries = Entries(problem.rows, problem.cols, problem.shape, torch.float64)
    tangent = Tangent(entries, point.U, point.Vt.mT.contiguous(), 1e-11)
    assert tangent.rows.idle == tangent.cols.idle == 0
    null = krylov_null_space(tangent, 400)
    assert null.dimension == 1
    assert len(null.rows) + len(null.cols) == 16
