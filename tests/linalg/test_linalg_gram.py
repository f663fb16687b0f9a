"""Decompositions through the smaller Gram matrix, and of factors, against the SVD."""

from __future__ import annotations

import pytest
import torch

from overt.linalg.decompositions import factored_decomposition
from overt.linalg.gram import gram_spectrum


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("shape", [(7, 7), (12, 5), (5, 12), (1, 6), (3, 8, 4), (2, 3, 4, 9)])
@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_against_the_svd(shape, scale):
    W = gaussian(*shape) * scale
    Q, S = gram_spectrum(W)
    torch.testing.assert_close(S / scale, torch.linalg.svdvals(W) / scale, rtol=1e-9, atol=0)
    k = min(shape[-2:])
    identity = torch.eye(k, dtype=W.dtype).expand(*shape[:-2], k, k)
    torch.testing.assert_close(Q.mT @ Q, identity, rtol=0, atol=1e-12)
    wide = W if shape[-2] <= shape[-1] else W.mT
    other = (Q.mT @ wide) / S.unsqueeze(-1)  # the other vectors
    torch.testing.assert_close(other @ other.mT, identity, rtol=0, atol=1e-6)


def test_single_precision_is_as_exact_as_its_svd():
    """Singular values down to the rounding error of float32, which a Gram matrix in float32 would lose."""
    Q, R = torch.linalg.qr(gaussian(40, 20))[0], torch.linalg.qr(gaussian(20, 20, seed=1))[0]
    exact = torch.logspace(0, -6, 20, dtype=torch.float64)
    W = ((Q * exact) @ R).float()
    truth = torch.linalg.svdvals(W.double())
    fine = gram_spectrum(W)[1].double()
    coarse = gram_spectrum(W, torch.float32)[1].double()
    assert ((fine - truth).abs() / truth).max() < 1e-4
    assert ((coarse - truth).abs() / truth).max() > 1e-2


@pytest.mark.parametrize("shape", [(400, 2), (2, 400), (3, 400, 2)])
def test_the_smallest_value_that_counts_grows_with_the_longer_side(shape):
    eps = torch.finfo(torch.float64).eps
    for square, counts in ((300 * eps, False), (500 * eps, True)):
        W = torch.zeros(shape, dtype=torch.float64)
        W[..., 0, 0], W[..., 1, 1] = 1.0, square**0.5
        assert (gram_spectrum(W)[1][..., 1] > 0).all().item() is counts


def test_zeros_and_rank_deficiency():
    assert not gram_spectrum(torch.zeros(4, 3))[1].any()
    W = gaussian(6, 2) @ gaussian(2, 5, seed=1)
    V, S = gram_spectrum(W)
    assert int((S > 0).sum()) == 2
    torch.testing.assert_close(W @ V[:, :2] @ V[:, :2].mT, W)


def test_factors_are_decomposed_like_their_product():
    U, V = gaussian(3, 9, 2), gaussian(3, 7, 2, seed=1)
    left, S, right = factored_decomposition(U, V)
    torch.testing.assert_close(S, torch.linalg.svdvals(U @ V.mT)[:, :2])
    torch.testing.assert_close((left * S.unsqueeze(-2)) @ right, U @ V.mT)
