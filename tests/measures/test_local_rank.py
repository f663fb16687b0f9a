"""Local ranks against Jacobians that are known."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

import overt
from overt.measures import local_ranks


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
    assert all(module.training for module in model.modules())
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_wrong_arguments():
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        local_ranks(nn.Linear(2, 2), x, rtol=1.0)
    with pytest.raises(ValueError, match="there is no batch"):
        local_ranks(nn.Linear(2, 2), [])
    with pytest.raises(
        TypeError, match=r"model must be callable, got 3; give a torch\.nn\.Module or a function"
    ):
        local_ranks(3, x)
    with pytest.raises(ValueError, match="memory_budget must be an integer ≥ 1, got 0"):
        local_ranks(nn.Linear(2, 2), x, memory_budget=0)


def test_functions_and_ways_to_call_a_model_are_taken():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = local_ranks(model, x).values
    plain = local_ranks(lambda z: model(z), x)
    assert torch.allclose(plain.values, expected)
    wrapped = nn.ModuleDict({"body": model})
    called = {"forward": lambda m, z: m["body"](z)}
    assert torch.allclose(local_ranks(wrapped, x, **called).values, expected)


@pytest.mark.slow
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


def test_chunks_are_sized_by_the_graph():
    model, x = _Counted(), torch.randn(200, 2, dtype=torch.float64)
    local_ranks(model, x, memory_budget=2 * 10**6)
    assert 2 <= model.largest <= 25  # 10 000 numbers of 8 bytes for each input
