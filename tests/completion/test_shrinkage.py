"""Singular value shrinkage and the block iteration behind SoftImpute, against dense oracles."""

from __future__ import annotations

import pytest
import torch

from overt.completion.convex.measurements import InnerProducts, ObservedEntries
from overt.completion.convex.proximal_steps import BlockSteps, DenseSteps
from overt.completion.convex.shrinkage import shrink_singular_values, spectral_norm_of
from overt.completion.tangent import Entries


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def shrunken(M: torch.Tensor, threshold: float) -> torch.Tensor:
    U, S, Vt = torch.linalg.svd(M, full_matrices=False)
    return (U * (S - threshold).clamp_min(0)) @ Vt


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 4), (4, 1)])
@pytest.mark.parametrize("share", [0.0, 1e-9, 0.1, 0.9, 1.1])
def test_shrinkage_equals_the_dense_svd(shape: tuple[int, int], share: float) -> None:
    M = gaussian(*shape)
    threshold = share * float(torch.linalg.matrix_norm(M, 2))
    U, s, Vt = shrink_singular_values(M, threshold)
    torch.testing.assert_close((U * s) @ Vt, shrunken(M, threshold), atol=1e-9, rtol=0)
    assert bool((s > 0).all())
    assert torch.equal(s, s.sort(descending=True).values)
    torch.testing.assert_close(U.mT @ U, torch.eye(s.numel(), dtype=U.dtype), atol=1e-6, rtol=0)


def test_shrinkage_of_zero_and_of_nothing() -> None:
    assert shrink_singular_values(torch.zeros(3, 2), 0.0)[1].numel() == 0
    U, s, Vt = shrink_singular_values(torch.zeros(3, 0), 1.0)
    assert (U.shape, s.shape, Vt.shape) == ((3, 0), (0,), (0, 0))
    with pytest.raises(ValueError, match="threshold"):
        shrink_singular_values(torch.zeros(3, 2), -1.0)


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1.0, 1e200])
def test_spectral_norm(scale: float) -> None:
    M = gaussian(6, 9)
    assert spectral_norm_of(M * scale) == pytest.approx(scale * float(torch.linalg.matrix_norm(M, 2)))


@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_block_iteration_approaches_the_dense_step(shape: tuple[int, int]) -> None:
    m, n = shape
    flat = torch.randperm(m * n, generator=torch.Generator().manual_seed(1))[:900]
    rows, cols, y = flat // n, flat % n, gaussian(900, seed=2)
    dense = DenseSteps(ObservedEntries(rows, cols, shape, y))
    block = BlockSteps(Entries(rows, cols, shape, y.dtype), y)
    terms = [
        (1.5, (gaussian(m, 2, seed=3), torch.tensor([4.0, 2.0], dtype=y.dtype), gaussian(2, n, seed=4))),
        (-0.5, (gaussian(m, 3, seed=5), torch.ones(3, dtype=y.dtype), gaussian(3, n, seed=6))),
    ]
    threshold = 0.6 * dense.norm(y)
    expected = dense.shrink(y, terms, threshold)
    for _ in range(30):
        found = block.shrink(y, terms, threshold)
    U, s, Vt = expected
    torch.testing.assert_close((found[0] * found[1]) @ found[2], (U * s) @ Vt, atol=1e-6, rtol=0)
    torch.testing.assert_close(block.observe(expected), dense.observe(expected))
    assert block.norm(y) == pytest.approx(dense.norm(y), rel=1e-3)


def test_block_grows_to_hold_every_direction_above_the_threshold() -> None:
    flat = torch.arange(50 * 30)
    entries = Entries(flat // 30, flat % 30, (50, 30), torch.float64)
    steps = BlockSteps(entries, torch.ones(1500, dtype=torch.float64))
    assert steps.shrink(gaussian(1500), [], 1e-3)[1].numel() == 30


def test_block_respects_its_bound_and_says_so() -> None:
    flat = torch.arange(50 * 30)
    y = gaussian(1500)
    entries = Entries(flat // 30, flat % 30, (50, 30), torch.float64)
    for steps in (
        DenseSteps(ObservedEntries(flat // 30, flat % 30, (50, 30), y), max_rank=4),
        BlockSteps(entries, y, max_rank=4),
    ):
        assert steps.shrink(y, [], 1e-3)[1].numel() == 4
        assert steps.capped


def test_measurement_maps_are_adjoint_and_diagonalized() -> None:
    maps = [
        ObservedEntries(torch.tensor([0, 2, 1]), torch.tensor([1, 0, 3]), (3, 4), torch.ones(1).double()),
        InnerProducts(gaussian(3, 12), (3, 4)),
    ]
    X, z = gaussian(3, 4, seed=1), gaussian(3, seed=2)
    for A in maps:
        assert float(A.apply(X) @ z) == pytest.approx(float((A.adjoint(z) * X).sum()))
        torch.testing.assert_close(A.rotate_back(A.gram * A.rotate(z)), A.apply(A.adjoint(z)))


def test_repeated_positions_are_refused() -> None:
    twice = torch.tensor([1, 1])
    with pytest.raises(ValueError, match="twice"):
        ObservedEntries(twice, twice, (3, 3), torch.ones(1))
