"""Truncated models: what is kept, what is smaller, and how close."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from overt.measures import compress


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 5))


def low_rank(m, n, r, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(m, r, generator=generator, dtype=dtype)
        @ torch.randn(r, n, generator=generator, dtype=dtype)
    ) / (r * n) ** 0.5


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_linear_layers_become_two_and_the_original_is_untouched():
    model = mlp()
    before, modules = state_of(model), list(model.modules())
    small = compress(model, ranks={"0": 4, "2": 3})
    assert list(model.modules()) == modules
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [type(m).__name__ for m in small] == ["FactoredLinear", "ReLU", "FactoredLinear", "Tanh", "Linear"]
    assert [tuple(layer.weight.shape) for layer in small[0]] == [(4, 30), (40, 4)]
    report = small.compression
    assert report.parameters_before == sum(p.numel() for p in model.parameters())
    assert report.parameters_after == sum(p.numel() for p in small.parameters())
    assert report.parameters_after == sum(value.numel() for value in small.state_dict().values())
    assert report.layers_after == {"0": 4 * 70, "2": 3 * 70, "4": 150}
    assert report.ranks == {"0": 4, "2": 3}
    U, S, Vh = torch.linalg.svd(model[0].weight.detach())
    best = U[:, :4] @ S[:4].diag() @ Vh[:4]
    assert torch.allclose(small[0].weight, best, atol=1e-6)
    assert report.errors["0"] == pytest.approx(float(S[4:].norm() / S.norm()), rel=1e-5)


def test_exact_where_the_weights_are_of_low_rank():
    model = mlp().double()
    for i, layer in enumerate(m for m in model if isinstance(m, nn.Linear)):
        layer.weight.data = low_rank(*layer.weight.shape, 2, seed=i)
    x = torch.randn(20, 30, dtype=torch.float64)
    small = compress(model, energy=1.0)
    assert small.compression.ranks == {"0": 2, "2": 2, "4": 2}
    assert torch.allclose(small(x), model(x), atol=1e-13)
    y = model(x).argmax(1)
    searched = compress(model, tolerance=0.0, evaluate=(x, y))
    assert searched.compression.accuracy_after == 1.0
    assert searched.compression.parameters_after <= small.compression.parameters_after


CONVOLUTIONS = [
    (nn.Conv1d(6, 8, 3, padding=1, stride=2), (2, 6, 9)),
    (nn.Conv2d(6, 8, 3, padding=1, dilation=2), (2, 6, 7, 8)),
    (nn.Conv2d(6, 8, (3, 1), padding="same", padding_mode="circular"), (2, 6, 5, 5)),
    (nn.Conv2d(8, 12, 3, groups=2, bias=False), (2, 8, 5, 5)),
    (nn.Conv3d(3, 8, 2), (2, 3, 3, 3, 3)),
]


@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS)
def test_convolutions_become_two(conv, shape):
    torch.manual_seed(0)
    conv = copy.deepcopy(conv).double()
    rows = conv.weight.flatten(1)
    per_group = rows.shape[0] // conv.groups
    weight = [low_rank(per_group, rows.shape[1], 1, seed=g) for g in range(conv.groups)]
    conv.weight.data = torch.cat(weight).reshape(conv.weight.shape)
    small = compress(conv, ranks=1)
    assert type(small).__name__ == "FactoredConv"
    assert small.rank == 1
    assert torch.allclose(small.weight, conv.weight, atol=1e-13)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(small, name) == getattr(conv, name)
    assert small.padding_mode == conv.padding_mode
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.allclose(small(x), conv(x), atol=1e-13)
    assert small.compression.parameters_after < small.compression.parameters_before


def test_dtype_mode_frozen_weights_and_buffers_are_kept():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Linear(16, 16)).to(torch.bfloat16)
    model[0].weight.requires_grad_(False)
    model[0].eval()
    model[1].running_mean.fill_(3.0)
    small = compress(model, ranks=2)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    assert [p.requires_grad for p in small[0].parameters()] == [False, False, True]
    assert all(p.requires_grad for p in small[2].parameters())
    assert not small[0].training
    assert not small[0][1].training
    assert small[2][0].training
    assert torch.equal(small[1].running_mean, model[1].running_mean)
    model(torch.randn(4, 16, dtype=torch.bfloat16)).sum().backward()
    assert all(p.grad is None for p in compress(model, ranks=2).parameters())


@pytest.mark.cuda
def test_the_device_is_kept():
    small = compress(mlp().cuda(), ranks=2)
    assert {p.device.type for p in small.parameters()} == {"cuda"}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 20)
        self.head = nn.Linear(20, 50, bias=False)
        self.head.weight = self.embedding.weight
        self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20)
        self.second.weight = self.first.weight
        self.again = self.first

    def forward(self, ids):
        return self.head(self.again(self.second(self.first(self.embedding(ids)))))


def test_ties_are_kept_and_counted_once():
    torch.manual_seed(0)
    model = Tied()
    small = compress(model, ranks={"second": 3})
    assert small.again is small.first
    assert small.first[0].weight is small.second[0].weight
    assert small.first[1].weight is small.second[1].weight
    assert small.first[1].bias is not small.second[1].bias
    assert small.head.weight is small.embedding.weight
    report = small.compression
    assert "tied to the weight of a Embedding" in report.left_alone["head"]
    assert report.parameters_before - report.parameters_after == 400 - 3 * 40
    ids = torch.arange(6)
    dense = copy.deepcopy(model)
    dense.first.weight.data = small.first.weight.detach()
    assert torch.allclose(small(ids), dense(ids), atol=1e-5)


def test_what_cannot_be_factored_is_said():
    model = nn.ModuleDict(
        {
            "plain": nn.Linear(9, 9),
            "normed": parametrizations.weight_norm(nn.Linear(9, 9)),
            "hooked": nn.Linear(9, 9),
            "attention": nn.MultiheadAttention(8, 2),
        }
    )
    model["hooked"].register_forward_hook(lambda *_: None)
    small = compress(model, ranks={"plain": 1})
    left = small.compression.left_alone
    assert "parametrized" in left["normed"]
    assert "hooks" in left["hooked"]
    assert "MultiheadAttention" in left["attention"]
    assert "NonDynamicallyQuantizableLinear" in left["attention.out_proj"]
    with pytest.raises(ValueError, match="'hooked' cannot be factored: it has forward hooks"):
        compress(model, ranks={"hooked": 1})


def test_a_transformer_runs_on_after_it():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True).double()
    x = torch.randn(2, 3, 16, dtype=torch.float64)
    small = compress(layer, ranks={"linear1": 5})
    dense = copy.deepcopy(layer)
    dense.linear1.weight.data = small.linear1.weight.detach()
    for mode in (True, False):
        small.train(mode)
        dense.train(mode)
        with torch.no_grad():
            assert torch.allclose(small(x), dense(x), atol=1e-12)


def test_training_goes_on_and_the_state_fits():
    small = compress(mlp(), energy=0.5)
    twin = compress(mlp(seed=1), ranks=small.compression.ranks)
    twin.load_state_dict(small.state_dict())
    x = torch.randn(3, 30)
    assert torch.equal(twin(x), small(x))
    small(x).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in small.parameters())
    assert copy.deepcopy(small).compression == small.compression


def test_a_rank_that_saves_nothing_leaves_the_layer_as_it_is():
    model = nn.Sequential(nn.Linear(10, 10))
    small = compress(model, ranks=5)
    assert type(small[0]) is nn.Linear
    assert torch.equal(small[0].weight, model[0].weight)
    assert small.compression.parameters_after == small.compression.parameters_before
    assert type(compress(model, ranks=4)[0]).__name__ == "FactoredLinear"


def test_the_report_is_plain_data_and_accuracy_is_measured():
    model = mlp()
    x = torch.randn(40, 30)
    y = model(x).argmax(1)
    small = compress(model, ranks=2, evaluate=(x, y))
    report = small.compression
    assert report.accuracy_before == 1.0
    assert report.accuracy_after == float((small(x).argmax(1) == y).double().mean())
    assert report.to_record()["ranks"] == {"0": 2, "2": 2, "4": 2}
    assert "parameters" in str(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "none of them"),
        ({"ranks": 2, "energy": 0.5}, "got ranks, energy"),
        ({"tolerance": 0.1}, "evaluate is needed"),
        ({"energy": 0.0}, r"\(0, 1\]"),
        ({"ranks": {"7": 2}}, "no such layer; there are '0', '2', '4'"),
        ({"ranks": 0}, "must be an integer ≥ 1"),
        ({"tolerance": -1.0, "evaluate": lambda m: 1.0}, "≥ 0"),
        ({"tolerance": 0.1, "evaluate": lambda m: float("nan")}, "finite number"),
        ({"tolerance": 0.1, "evaluate": lambda m: 1.0, "max_evaluations": 0}, "max_evaluations"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        compress(mlp(), **options)


def test_other_refusals():
    with pytest.raises(TypeError, match="evaluate must be"):
        compress(mlp(), energy=0.5, evaluate=3)
    with pytest.raises(ValueError, match="class indices"):
        compress(mlp(), energy=0.5, evaluate=(torch.randn(4, 30), torch.randn(4, 5)))
    with pytest.raises(ValueError, match=r"no nn\.Linear"):
        compress(nn.ReLU(), energy=0.5)
    with pytest.raises(ValueError, match="not initialized"):
        compress(nn.Sequential(nn.LazyLinear(3)), energy=0.5)
    broken = mlp()
    broken[0].weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="infinite"):
        compress(broken, energy=0.5)


class Patches(nn.Module):
    """A vision model that asks its first layer for the dtype of its weight, as many do."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, stride=4, bias=False)

    def forward(self, x):
        return self.patch(x.to(self.patch.weight.dtype)).flatten(2)


def test_a_model_that_looks_at_its_layers_runs_on():
    small = compress(Patches(), ranks=2)
    assert type(small.patch).__name__ == "FactoredConv"
    assert small(torch.randn(2, 3, 8, 8, dtype=torch.float64)).shape == (2, 16, 4)


class Logits(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.head, self.kind = nn.Linear(30, 5), kind

    def forward(self, x):
        return self.kind(logits=self.head(x))


@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_accuracy_is_of_the_logits_in_an_output(kind):
    model, x = Logits(kind), torch.randn(40, 30)
    y = model.head(x).argmax(1)
    assert compress(model, ranks=2, evaluate=(x, y)).compression.accuracy_before == 1.0
    with pytest.raises(ValueError, match="dict and targets"):
        compress(Logits(lambda logits: {"scores": logits}), ranks=2, evaluate=(x, y))


def test_a_model_without_a_layer_to_factor_says_why():
    model = nn.Sequential(*(nn.Embedding(5, 4) for _ in range(5)))
    with pytest.raises(ValueError, match="'0', '1', '2' and 2 more: a Embedding is not factored"):
        compress(model, energy=0.5)
    with pytest.raises(ValueError, match="it has no weights"):
        compress(nn.ReLU(), energy=0.5)
