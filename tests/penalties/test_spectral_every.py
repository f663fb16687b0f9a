"""A penalty whose decompositions are made at each k-th call: values, forces, bookkeeping."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import SpectralPenalty

FUNCTIONALS = [
    ("nuclear_norm", {}),
    ("normalized_nuclear_norm", {}),
    ("participation_ratio", {}),
    ("effective_rank", {}),
    ("stable_rank", {}),
    ("schatten_norm", {"p": 0.5}),
    ("log_det", {"eps": 0.1}),
]


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 5)).double()


def gradients(penalty):
    return torch.autograd.grad(penalty.penalty(), [p for p in penalty.model.parameters() if p.ndim == 2])


def move(model, size, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


@pytest.mark.parametrize(("functional", "options"), FUNCTIONALS)
def test_the_first_call_is_exact_and_the_next_to_first_order(functional, options):
    model = net()
    exact = SpectralPenalty(model, functional, options=options, weight=1.0)
    kept = SpectralPenalty(model, functional, options=options, weight=1.0, every=3)
    torch.testing.assert_close(kept.penalty(), exact.penalty())
    kept.refresh()
    for found, right in zip(gradients(kept), gradients(exact), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8)
    start = copy.deepcopy(model.state_dict())
    errors = []
    for size in (1e-3, 1e-4):
        model.load_state_dict(start)
        kept.refresh()
        kept.penalty()
        move(model, size)
        errors.append(abs(kept.penalty().item() - exact.penalty().item()))
    # Ten times nearer, a hundred times as exact.
    assert errors[1] < 0.02 * errors[0] + 1e-10


def test_decompositions_are_made_at_each_kth_call(monkeypatch):
    model = net()
    penalty = SpectralPenalty(model, every=3, weight=1.0)
    calls = []
    make = penalty._evaluator.tangents
    monkeypatch.setattr(penalty._evaluator, "tangents", lambda layers: calls.append(1) or make(layers))
    for expected in (1, 1, 1, 2, 2, 2, 3):
        penalty.penalty().backward()
        move(model, 1e-2)
        assert len(calls) == expected
    with torch.no_grad():  # exact, and no call of training
        torch.testing.assert_close(penalty.penalty(), SpectralPenalty(model, weight=1.0).penalty())
    assert len(calls) == 3
    model[0] = nn.Linear(4, 5).double()  # another shape
    penalty.penalty()
    assert len(calls) == 4


def test_what_is_kept_is_scale_invariant_and_a_lower_bound():
    model = net()
    penalty = SpectralPenalty(model, every=100, weight=1.0)
    penalty.penalty()
    move(model, 0.3)
    value, force = penalty.penalty(), gradients(penalty)
    for p, g in zip([p for p in model.parameters() if p.ndim == 2], force, strict=True):
        assert abs((p * g).sum()).item() < 1e-12
    assert value.item() < SpectralPenalty(model, weight=1.0).penalty().item()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(100.0)
    torch.testing.assert_close(penalty.penalty(), value)


@pytest.mark.slow
@pytest.mark.parametrize("functional", ["nuclear_norm", "normalized_nuclear_norm", "effective_rank"])
def test_the_mean_force_is_right(functional):
    """Over a training run, the mean of the forces kept is that of the exact ones at the same weights."""
    model = net()
    kept = SpectralPenalty(model, functional, weight=0.1, every=10)
    exact = SpectralPenalty(model, functional, weight=0.1)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.randn(32, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    sums = [[torch.zeros_like(p) for p in model.parameters() if p.ndim == 2] for _ in range(2)]
    for _ in range(200):
        optimizer.zero_grad()
        with torch.enable_grad():
            for total, penalty in zip(sums, (kept, exact), strict=True):
                for a, g in zip(total, gradients(penalty), strict=True):
                    a += g
        ((model(x) - y).square().mean() + exact.penalty()).backward()
        optimizer.step()
    for found, right in zip(*sums, strict=True):
        assert torch.linalg.vector_norm(found - right) < 0.03 * torch.linalg.vector_norm(right)


@pytest.mark.slow
def test_training_with_kept_directions_ends_where_exact_training_does():
    """Adam on a matrix with noise: every=10 ends at the same continuous rank."""
    truth = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = truth @ torch.randn(2, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noisy = truth + 0.3 * torch.randn(12, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ranks = []
    for every in (1, 10):
        model = nn.Linear(12, 12, bias=False).double()
        model.weight.data = noisy.clone()
        penalty = SpectralPenalty(model, weight=0.3, every=every)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(800):
            optimizer.zero_grad()
            ((model.weight - noisy).square().mean() + penalty.penalty()).backward()
            optimizer.step()
        ranks.append(F.participation_ratio(model.weight).item())
    assert F.participation_ratio(noisy).item() > 3.0
    assert ranks[1] == pytest.approx(ranks[0], rel=0.05)
    assert ranks[0] < 1.9


def test_of_product_and_callables():
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 5, bias=False)).double()
    exact = SpectralPenalty(model, of="product", weight=1.0)
    kept = SpectralPenalty(model, of="product", weight=1.0, every=2)
    for found, right in zip(gradients(kept), gradients(exact), strict=True):
        torch.testing.assert_close(found, right)
    fourth = SpectralPenalty(model, lambda W: (W**4).sum(), weight=1.0, every=2)
    for found, right in zip(gradients(fourth), [4 * p**3 for p in model.parameters()], strict=True):
        torch.testing.assert_close(found, right)
