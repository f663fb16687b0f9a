"""Local ranks and non-linearity against Jacobians that are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev, vmap

import overt
from overt.measures.local_rank import local_ranks, nonlinearity


def test_the_rank_of_a_relu_network_is_that_of_its_linear_piece():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    x = torch.randn(60, 6, dtype=torch.float64)
    found = local_ranks(model, x)
    active = (model[0](x) > 0).sum(1)
    assert torch.equal(found.ranks, active.clamp_max(4))
    assert len(found.counts) > 1
    assert sum(found.counts.values()) == 60
    assert found.std == pytest.approx(float(active.clamp_max(4).double().std(correction=0)))
    assert float(found.margins.min()) > 1e6
    J = vmap(jacrev(model))(x)
    assert torch.allclose(found.values, torch.linalg.svdvals(J).detach(), atol=1e-13)
    assert found.effective_ranks.shape == (60,)


def test_a_bottleneck_in_single_precision_has_its_width():
    model = overt.DeepLinear((40, 60, 3, 50, 30), scale=1.0, seed=0)
    found = local_ranks(model, torch.randn(5, 40, generator=torch.Generator().manual_seed(0)))
    assert found.counts == {3: 5}
    assert local_ranks(model, torch.randn(2, 40), rtol=0.99).counts.keys() == {1}


def test_a_map_that_is_constant_has_rank_zero():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).double()
    model[0].weight.data.zero_()
    model[0].bias.data.fill_(-1.0)
    assert local_ranks(model, torch.randn(4, 3, dtype=torch.float64)).counts == {0: 4}
    with pytest.raises(ValueError, match="zero at all points"):
        nonlinearity(model, torch.randn(4, 3, dtype=torch.float64))


def test_nonlinearity_from_its_definition():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = 2 * torch.randn(40, 5, dtype=torch.float64)
    found = nonlinearity(model, list(x.split(7)))
    J = vmap(jacrev(model))(x).detach()
    M = (J.mT @ J).mean(0)
    pooled = torch.linalg.eigvalsh(M).flip(0).clamp_min(0).sqrt()
    pointwise = torch.linalg.svdvals(J)
    assert found.gap == pytest.approx(float(1 - pointwise.sum(1).mean() / pooled.sum()), abs=1e-7)
    scatter = (J - J.mean(0)).square().sum() / 39
    assert found.variation == pytest.approx(float(scatter / J.square().sum((1, 2)).mean()), abs=1e-12)
    assert torch.allclose(found.pointwise.values, pointwise.mean(0))
    assert torch.allclose(found.pooled.values[:3], pooled[:3])
    assert found.effective_rank_gap > 0
    assert 0 < found.gap < 1


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_it_vanishes_for_affine_maps_and_is_scale_invariant(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    linear = overt.DeepLinear((4, 6, 3), scale=scale, seed=seed, dtype=torch.float64)
    found = nonlinearity(linear, x)
    assert abs(found.gap) < 1e-12
    assert abs(found.variation) < 1e-12
    assert abs(found.effective_rank_gap) < 1e-9
    curved = nonlinearity(_Scaled(scale), x)
    reference = nonlinearity(_Scaled(1.0), x)
    assert curved.gap == pytest.approx(reference.gap, rel=1e-9)
    assert curved.variation == pytest.approx(reference.variation, rel=1e-9)


class _Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.scale * x.square()


def test_an_isometric_embedding_has_no_gap_but_varies():
    """t ↦ (cos t, sin t): JᵀJ = 1 everywhere, and J turns."""

    class Circle(nn.Module):
        def forward(self, x):
            return torch.cat([x.cos(), x.sin()], dim=1)

    t = torch.linspace(0, 6.2, 50, dtype=torch.float64)[:, None]
    found = nonlinearity(Circle(), t)
    assert abs(found.gap) < 1e-12
    assert found.variation > 0.9


def test_the_model_is_left_alone_and_modes_are_handled():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 2)
    ).double()
    x = torch.randn(8, 4, dtype=torch.float64)
    model(x).sum().backward()
    grads = [p.grad for p in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    local_ranks(model, x)
    nonlinearity(model, x)
    assert all(module.training for module in model.modules())
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_wrong_arguments():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        local_ranks(nn.Linear(2, 2), x, rtol=1.0)
    with pytest.raises(ValueError, match="at least two points"):
        nonlinearity(nn.Linear(2, 2), x[:1])
    with pytest.raises(ValueError, match="no example"):
        local_ranks(nn.Linear(2, 2), [])
    with pytest.raises(TypeError, match="model must be"):
        local_ranks(torch.sin, x)
