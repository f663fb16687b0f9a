"""A denoiser from noisy data alone: with weight σ² the penalized loss is Stein's risk."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import CompositionPenalty

SIZE, COUNT, SIGMA = 6, 120, 0.8


def noisy(seed=0):
    """Two strong directions, one about as strong as the noise, and three that are noise alone."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(COUNT, SIZE, generator=generator, dtype=torch.float64)
    clean = clean * torch.tensor([3.0, 2.0, 0.7, 0, 0, 0])
    turn = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))[0]
    clean = clean @ turn
    return clean, clean + SIGMA * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def wiener(y):
    """V max(1 − σ²/λ, 0) Vᵀ for the second moments of y."""
    values, V = torch.linalg.eigh(y.mT @ y / len(y))
    return V @ torch.diag((1 - SIGMA**2 / values).clamp_min(0)) @ V.mT


def trained(y, pieces, weight):
    """The product of a chain of linear layers that minimizes ½E|f(y) − y|² + the penalty."""
    torch.manual_seed(0)
    layers = [nn.Linear(SIZE, SIZE, bias=False).double() for _ in range(pieces)]
    model = nn.Sequential(*layers)
    penalty = CompositionPenalty(layers, weight)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=3000,
        tolerance_grad=1e-9,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def objective():
        optimizer.zero_grad()
        loss = (model(y) - y).square().sum(1).mean() / 2 + weight * penalty.value(y)
        loss.backward()
        return loss

    optimizer.step(objective)
    return model(torch.eye(SIZE, dtype=torch.float64)).detach().mT


@pytest.mark.parametrize("seed", range(3))
def test_the_linear_denoiser_is_the_wiener_filter_of_the_data(seed):
    clean, y = noisy(seed)
    found, wanted = trained(y, 2, SIGMA**2), wiener(y)
    assert 2 <= torch.linalg.matrix_rank(wanted) < SIZE
    assert (found - wanted).norm() < 1e-3 * wanted.norm()
    errors = [(y @ W.mT - clean).square().mean() for W in (found, torch.eye(SIZE, dtype=torch.float64))]
    assert errors[0] < 0.6 * errors[1]
    for weight in (SIGMA**2 / 2, 2 * SIGMA**2):
        assert (trained(y, 2, weight) - wanted).norm() > 0.05 * wanted.norm()


def test_the_singular_values_of_the_data_are_shrunk_by_their_inverse():
    """s becomes s − σ²/s where that is positive, and not s − σ as where a matrix itself is denoised."""
    _, y = noisy()
    s = torch.linalg.svdvals(y) / COUNT**0.5
    shrunk = torch.linalg.svdvals(y @ wiener(y).mT) / COUNT**0.5
    torch.testing.assert_close(shrunk, (s - SIGMA**2 / s).clamp_min(0), rtol=1e-9, atol=1e-9)


def test_the_wiener_filter_is_stationary_for_the_nuclear_norm():
    """(I − W) C = σ² G with G = VVᵀ on the directions that are kept, and ‖G‖ ≤ 1 on the others."""
    _, y = noisy()
    C, W = y.mT @ y / len(y), wiener(y)
    G = (torch.eye(SIZE, dtype=torch.float64) - W) @ C / SIGMA**2
    rank = int(torch.linalg.matrix_rank(W))
    values = torch.linalg.svdvals(G)
    torch.testing.assert_close(values[:rank], torch.ones(rank, dtype=torch.float64))
    assert values.max() <= 1 + 1e-12
    torch.testing.assert_close((G * W).sum(), torch.linalg.svdvals(W).sum())


def test_the_objective_is_steins_risk_where_the_jacobian_is_symmetric_and_more_elsewhere():
    _, y = noisy()
    W = wiener(y)
    turned = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(5)).double())[0]
    for matrix, equal in ((W, True), (turned @ W, False)):
        U, s, Vh = torch.linalg.svd(matrix)
        halves = [nn.Linear(SIZE, SIZE, bias=False).double() for _ in range(2)]
        with torch.no_grad():
            halves[0].weight.copy_(s.sqrt()[:, None] * Vh)
            halves[1].weight.copy_(U * s.sqrt())
        penalty = CompositionPenalty(halves, SIGMA**2).penalty(y).item()
        divergence = SIGMA**2 * float(matrix.diagonal().sum())
        assert penalty == pytest.approx(divergence) if equal else penalty > divergence + 0.1
