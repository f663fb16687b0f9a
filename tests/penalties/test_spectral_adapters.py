"""Low-rank adapters: found, penalized as their product, and of the rank that the penalty leaves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.linalg import Factored
from overt.penalties import SpectralPenalty, adapters_of, truncate_adapters


class Adapted(nn.Module):
    """What PEFT's LoRA layers look like."""

    def __init__(self, n: int, m: int, r: int, scaling: float = 0.5) -> None:
        super().__init__()
        self.base_layer = nn.Linear(n, m)
        self.base_layer.requires_grad_(False)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(n, r, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(r, m, bias=False)})
        self.scaling = {"default": scaling}
        self.active_adapters = ["default"]

    def forward(self, x):
        return self.base_layer(x) + self.scaling["default"] * self.lora_B["default"](
            self.lora_A["default"](x)
        )


def model(r: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        Adapted(8, 6, r), nn.Tanh(), Adapted(6, 6, r), nn.Tanh(), Adapted(8, 6, r, 2.0)
    ).double()


def products(net):
    return [a.scaling * a.parameters[1] @ a.parameters[0] for a in adapters_of(net)]


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize(
    "functional", ["normalized_nuclear_norm", "nuclear_norm", "effective_rank", "participation_ratio"]
)
def test_penalty_of_the_product(functional, every):
    net = model()
    penalty = SpectralPenalty(net, functional, weight=1.0, every=every)
    assert [layer.name for layer in penalty.penalized()] == ["0.default", "2.default", "4.default"]
    assert {layer.kind for layer in penalty.penalized()} == {"factored"}
    value = penalty.penalty()
    expected = sum(getattr(F, functional)(W) for W in products(net))
    torch.testing.assert_close(value, expected)
    parameters = [p for p in net.parameters() if p.requires_grad]
    truth = torch.autograd.grad(expected, parameters)
    for found, right in zip(torch.autograd.grad(value, parameters), truth, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-9)


def test_guards_of_adapters():
    net = model()
    norms = [torch.linalg.matrix_norm(W) for W in products(net)]
    penalty = SpectralPenalty(net, norm_floor=1e3)
    expected = sum(F.nuclear_norm(W) / 1e3 for W in products(net))
    torch.testing.assert_close(penalty.value(), expected)
    for layer, norm in zip(penalty.penalized(), norms, strict=True):
        torch.testing.assert_close(layer.norm(), norm)


@pytest.mark.parametrize("every", [1, 3])
def test_the_usual_start_at_zero_is_harmless(every):
    net = model()
    for a in adapters_of(net):
        a.parameters[1].data.zero_()
    penalty = SpectralPenalty(net, norm_floor=0.1, weight=1.0, every=every)
    value = penalty.penalty()
    value.backward()
    assert value.item() == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_forms_and_switches():
    layer = Adapted(4, 4, 2)
    layer.lora_A["spare"], layer.lora_B["spare"] = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)
    assert [a.name for a in adapters_of(layer)] == ["default"]
    layer.active_adapters = ["default", "spare"]
    assert [(a.name, a.scaling) for a in adapters_of(layer)] == [("default", 0.5), ("spare", 1.0)]
    plain = nn.Module()
    plain.lora_A, plain.lora_B = nn.Parameter(torch.zeros(2, 5)), nn.Parameter(torch.zeros(3, 2))
    assert [a.matrix().shape for a in adapters_of(plain)] == [torch.Size([3, 5])]
    plain.lora_B = nn.Parameter(torch.zeros(3, 4))
    assert adapters_of(plain) == []
    assert [layer.name for layer in SpectralPenalty(model(), layers="2*").penalized()] == ["2.default"]


def test_truncation_keeps_what_is_large():
    net = model(r=4)
    first = adapters_of(net)[0]
    A, B = first.parameters
    with torch.no_grad():
        B.copy_(torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
        B[:, 2:] = B[:, :2] + 1e-5
        A[2:] = A[:2]
    before = (B @ A).detach()
    ranks = truncate_adapters(net, 1e-2)
    assert ranks["0.default"] == 2
    A, B = adapters_of(net)[0].parameters
    torch.testing.assert_close((B @ A).detach(), before, rtol=1e-3, atol=1e-3)
    assert (A.shape, B.shape) == ((2, 8), (6, 2))
    assert (net[0].lora_A["default"].out_features, net[0].lora_B["default"].in_features) == (2, 2)
    assert net[0](torch.zeros(1, 8).double()).shape == (1, 6)
    with pytest.raises(ValueError, match="tolerance"):
        truncate_adapters(net, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["zero", "random"])
def test_superfluous_ranks_collapse(start):
    """An adapter of rank 8 for a change of rank 2: the penalty finds 2, training without it does not."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    change = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    change = 0.3 * change @ torch.randn(2, 12, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(200, 12, generator=generator, dtype=torch.float64)
    found = {}
    for weight in (0.0, 0.1):
        torch.manual_seed(1)
        net = Adapted(12, 12, 8, scaling=1.0).double()
        if start == "zero":
            net.lora_B["default"].weight.data.zero_()
        y = net.base_layer(x).detach() + x @ change.T + noise
        penalty = SpectralPenalty(net, weight=weight, norm_floor=1.0)
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(600):
            optimizer.zero_grad()
            ((net(x) - y).square().mean() + penalty.penalty()).backward()
            optimizer.step()
        (adapter,) = adapters_of(net)
        found[weight] = truncate_adapters(net, 2e-2)["default"]
        W = adapter.matrix()
        assert isinstance(W, Factored)
        error = torch.linalg.matrix_norm(W.dense().detach() - change) / torch.linalg.matrix_norm(change)
        assert error < 0.25
    assert found[0.1] == 2
    assert found[0.0] >= 4


def test_the_type_of_the_adapted_layer_selects_the_adapter():
    net = model()
    penalty = SpectralPenalty(net, layers=nn.Linear)
    assert [layer.name for layer in penalty.penalized()] == ["0.default", "2.default", "4.default"]
    assert penalty.value().requires_grad
    only = SpectralPenalty(net, layers=lambda name, module: isinstance(module, nn.Linear) and name[0] == "2")
    assert [layer.name for layer in only.penalized()] == ["2.default"]
    weights = SpectralPenalty(net, layer_weights={nn.Linear: 0.5}).penalized()
    assert {layer.weight for layer in weights} == {0.5}


def test_merged_adapters_and_bad_tolerances_are_refused():
    net = model()
    net[2].merged_adapters = ["default"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"the adapter '2.default' is merged into its layer"):
        truncate_adapters(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net[2].merged_adapters = ["spare"]
    assert len(truncate_adapters(net)) == 3
    with pytest.raises(TypeError, match="tolerance must be a number"):
        truncate_adapters(net, "a")


@pytest.mark.parametrize("every", [1, 2])
def test_half_precision_adapters_are_computed_in_single_precision(every):
    net = model().to(torch.bfloat16)
    expected = sum(
        F.nuclear_norm(a.scaling * a.parameters[1].double() @ a.parameters[0].double())
        for a in adapters_of(net)
    )
    found = SpectralPenalty(net, "nuclear_norm", weight=1.0, every=every).penalty()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
