"""Local ranks and non-linearity against Jacobians that are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev, vmap

import overt
from overt.measures import local_ranks, measure, nonlinearity


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
    with pytest.raises(ValueError, match="there is no batch"):
        local_ranks(nn.Linear(2, 2), [])
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module or a function"):
        local_ranks(3, x)
    with pytest.raises(ValueError, match="memory_budget: expected a whole number"):
        nonlinearity(nn.Linear(2, 2), x, memory_budget=0)


def test_functions_and_ways_to_call_a_model_are_taken():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    expected, gap = local_ranks(model, x).values, nonlinearity(model, x).gap
    plain = local_ranks(lambda z: model(z), x)
    assert torch.allclose(plain.values, expected)
    assert nonlinearity(lambda z: model(z), x).gap == pytest.approx(gap)
    wrapped = nn.ModuleDict({"body": model})
    called = {"forward": lambda m, z: m["body"](z)}
    assert torch.allclose(local_ranks(wrapped, x, **called).values, expected)
    assert nonlinearity(wrapped, x, **called).gap == pytest.approx(gap)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_parts_are_measured_without_compilation():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Tanh(), nn.Linear(8, 8))
    model = nn.Sequential(nn.Linear(4, 8), body, nn.Linear(8, 3))
    x = torch.randn(6, 4)
    expected = local_ranks(model, x).values
    model[1] = torch.compile(body, backend="aot_eager")
    model(x.clone().requires_grad_()).sum().backward()
    assert torch.allclose(local_ranks(model, x).values, expected)
    assert nonlinearity(model, x).gap > 0


def test_many_outputs_are_taken_by_forward_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 40)).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    J = vmap(jacrev(model))(x).detach()
    assert torch.allclose(local_ranks(model, x).values, torch.linalg.svdvals(J))


class _Counted(nn.Module):
    """Holds 10 000 numbers for the backward pass of each input; notes how many inputs come at once."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def forward(self, x):
        self.largest = max(self.largest, len(x))
        return x.repeat(1, 5000).sin().sum(1, keepdim=True)


@pytest.mark.parametrize("measured", [local_ranks, nonlinearity])
def test_chunks_are_sized_by_the_graph(measured):
    model, x = _Counted(), torch.randn(200, 2, dtype=torch.float64)
    measured(model, x, memory_budget=2 * 10**6)
    assert 2 <= model.largest <= 25  # 10 000 numbers of 8 bytes for each input


def test_the_pooled_spectrum_keeps_to_the_budget_and_says_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 10))
    x = torch.randn(50, 40)
    found = nonlinearity(model, x, memory_budget=70_000)  # 218 rows: kept as 40
    assert len(found.pooled.factor) < 219
    assert found.gap == pytest.approx(nonlinearity(model, x).gap, abs=1e-6)
    with pytest.raises(ValueError, match="memory_budget: outputs × inputs make more than 62 rows"):
        nonlinearity(model, x, memory_budget=20_000)


def test_the_pooled_spectrum_knows_the_shape_of_an_input():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    x = torch.randn(6, 1, 4, 4)
    found = nonlinearity(model, x).pooled.in_basis("fourier").values
    assert torch.allclose(found, measure(model, x, "fourier").values, rtol=1e-4)
