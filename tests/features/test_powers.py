"""Powers of M: the depth dial, the normalized root, and the root of a factor."""

from __future__ import annotations

import math

import pytest
import torch

from overt.features import reweighting_exponent, reweighting_root
from overt.features.powers import factor_root, gram_root, smoothed_root


def positive(d, rank, seed=0):
    G = torch.randn(rank, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return G, G.mT @ G


@pytest.mark.parametrize(("depth", "alpha"), [(1, 0.0), (2, 0.5), (4, 0.75), (math.inf, 1.0)])
def test_the_dial_is_one_minus_half_p(depth, alpha):
    assert reweighting_exponent(depth) == alpha == 1 - (2 / depth) / 2


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("rank", [2, 5])
def test_the_root_squares_to_the_power(alpha, rank):
    _, M = positive(5, rank)
    root = reweighting_root(M, alpha)
    values, vectors = torch.linalg.eigh(M)
    values[: 5 - rank] = 0
    power = (vectors * values**alpha) @ vectors.mT
    torch.testing.assert_close(root, root.mT)
    torch.testing.assert_close(root @ root, power * 5 / power.trace())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("d", "rank"), [(2, 1), (6, 3), (40, 1), (40, 39)])
def test_the_null_space_is_mapped_to_zero(d, rank, alpha, dtype):
    """Rounding leaves eigenvalues of the order of the precision there, whose powers are not small."""
    generator = torch.Generator().manual_seed(d + rank)
    Q = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator))[0]
    G = (torch.linspace(1, 2, rank, dtype=torch.float64)[:, None] * Q[:rank]).to(dtype)
    for T in (
        reweighting_root(G.mT @ G, alpha),
        gram_root(G.mT @ G, alpha, "eigen").mT,
        factor_root(G, alpha, "eigen").mT,
    ):
        assert float((T.double() @ Q[rank:].mT).abs().max()) < 10 * d * torch.finfo(dtype).eps
        assert float(T.square().sum()) == pytest.approx(d, rel=1e-5)


def test_alpha_zero_is_the_identity():
    G, M = positive(5, 2)
    torch.testing.assert_close(reweighting_root(M, 0), torch.eye(5).double())
    torch.testing.assert_close(gram_root(M, 0, "eigen"), torch.ones(5).double())
    torch.testing.assert_close(factor_root(G, 0, "eigen"), torch.ones(5).double())


@pytest.mark.parametrize("smoothing", [1.0, 1e-3, 1e-8, 1e-12])
def test_smoothing_is_added_to_the_eigenvalues(smoothing):
    """Also where it is below the rounding of the entries of M."""
    _, M = positive(6, 2)
    values, vectors = torch.linalg.eigh(M)
    values[:4] = 0
    power = (values + smoothing**2 * values[-1]).sqrt()
    found = vectors.mT @ smoothed_root(M, 0.5, smoothing) @ vectors
    torch.testing.assert_close(found, torch.diag((power * 6 / power.sum()).sqrt()))


def test_the_identity_basis_sees_the_diagonal_alone():
    _, M = positive(4, 4)
    root = reweighting_root(M, 1.0, "identity")
    torch.testing.assert_close(root, reweighting_root(torch.diag(M.diagonal()), 1.0, "eigen"))


@pytest.mark.parametrize("basis", ["eigen", "identity"])
@pytest.mark.parametrize("rank", [3, 9])
def test_the_root_of_a_factor_is_that_of_its_product(rank, basis):
    G, M = positive(6, rank)
    T = factor_root(G, 0.5, basis)
    T = torch.diag(T) if T.ndim == 1 else T
    root = reweighting_root(M, 0.5, basis)
    torch.testing.assert_close(T @ T.mT, root @ root)


@pytest.mark.parametrize("basis", ["eigen", "identity"])
def test_no_direction_is_preferred_where_m_is_zero(basis):
    torch.testing.assert_close(reweighting_root(torch.zeros(3, 3), 0.5, basis), torch.eye(3))
    torch.testing.assert_close(factor_root(torch.zeros(2, 3), 0.5, basis), torch.ones(3))
    torch.testing.assert_close(gram_root(torch.zeros(3, 3), 0.5, basis), torch.ones(3))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale):
    _, M = positive(4, 4)
    torch.testing.assert_close(reweighting_root(M * scale, 0.5), reweighting_root(M, 0.5))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reweighting_exponent(0.5), "depth"),
        (lambda: reweighting_exponent("deep"), "depth"),
        (lambda: reweighting_root(torch.zeros(2, 3), 0.5), "M must be a square"),
        (lambda: reweighting_root(torch.full((2, 2), math.nan), 0.5), "M: 4 of 4"),
        (lambda: reweighting_root(torch.eye(2), 2.0), "alpha"),
        (lambda: reweighting_root(torch.eye(2), 0.5, "fourier"), "basis"),
    ],
)
def test_wrong_arguments_are_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
