"""Which parts of a model are low-rank adapters that act."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.networks.adapters import adapters_of, factors_of
from overt.networks.truncation import truncate_adapters


class Layer(nn.Module):
    """A layer with factors under the names that are given."""

    def __init__(self, **held):
        super().__init__()
        for name, value in held.items():
            setattr(self, name, value)


def factors(names=("a",), rank=2, m=5, n=6):
    down = {name: nn.Linear(n, rank, bias=False) for name in names}
    up = {name: nn.Linear(rank, m, bias=False) for name in names}
    return nn.ModuleDict(down), nn.ModuleDict(up)


def test_a_layer_needs_both_factors():
    A, B = factors()
    for held in ({"lora_A": A}, {"lora_B": B}, {"lora_A": A["a"]}, {"lora_B": B["a"]}, {}):
        assert adapters_of(Layer(**held)) == []
    (plain,) = adapters_of(Layer(lora_A=A["a"], lora_B=B["a"]))
    assert (plain.name, plain.scaling) == ("", 1.0)
    (one,) = adapters_of(Layer(lora_A=A, lora_B=B))
    assert (one.name, one.scaling, one.matrix().shape) == ("a", 1.0, (5, 6))
    torch.testing.assert_close(one.matrix().dense(), B["a"].weight @ A["a"].weight)


def test_a_layer_that_occurs_twice_has_one_adapter():
    A, B = factors()
    shared = Layer(lora_A=A, lora_B=B, scaling={"a": 0.5})
    found = adapters_of(nn.ModuleDict({"first": shared, "second": shared}))
    assert [(one.name, one.scaling) for one in found] == [("first.a", 0.5)]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_what_is_cut_is_relative_to_the_largest_singular_value(scale):
    A, B = torch.eye(4, 6), torch.eye(5, 4)
    B *= scale * torch.tensor([1.0, 0.02, 0.005, 0.0])
    before = (B @ A).clone()
    layer = Layer(lora_A=A, lora_B=B)
    assert truncate_adapters(layer) == {"": 2}
    before[2, 2] = 0
    A, B = layer.lora_A, layer.lora_B
    assert (A.shape, B.shape) == ((2, 6), (5, 2))
    torch.testing.assert_close(B @ A, before, rtol=1e-5, atol=0)
    torch.testing.assert_close(B.norm(dim=0), A.norm(dim=1))  # balanced


def test_layers_of_both_kinds_stand_side_by_side():
    A, B = factors()
    kinds = {"single": Layer(lora_A=A["a"], lora_B=B["a"]), "none": nn.Linear(2, 2)}
    model = nn.ModuleDict(kinds | {"alone": Layer(lora_A=A), "mapping": Layer(lora_A=A, lora_B=B)})
    assert [one.name for one in adapters_of(model)] == ["single", "mapping.a"]


def test_names_are_those_of_both_factors_that_are_switched_on():
    A, B = factors(("a", "b", "c"))
    del B["b"]
    layer = Layer(lora_A=A, lora_B=B, active_adapters=["a", "b"])
    assert [one.name for one in adapters_of(nn.ModuleDict({"x": layer}))] == ["x.a"]
    idle = {id(A["c"].weight), id(B["c"].weight)}
    assert factors_of(layer) == idle
    # Factors that act elsewhere are not idle.
    assert factors_of(nn.ModuleList([layer, Layer(lora_A=A, lora_B=B)])) == set()


@pytest.mark.parametrize(
    ("left", "right", "scaling"),
    [
        (torch.ones(2, 6), torch.ones(5, 3), 1.0),
        (torch.ones(2, 6, 1), torch.ones(5, 2, 1), 1.0),
        (torch.ones(2, 6), torch.ones(5, 2, 1), 1.0),
        (torch.ones(2, 6), torch.ones(5, 2), "1"),
        ("A", torch.ones(5, 2), 1.0),
        (torch.ones(2, 6), "B", 1.0),
    ],
)
def test_what_does_not_fit_is_no_adapter(left, right, scaling):
    assert adapters_of(Layer(lora_A=left, lora_B=right, scaling=scaling)) == []
    (one,) = adapters_of(Layer(lora_A=torch.ones(2, 6), lora_B=torch.ones(5, 2), scaling=3))
    assert (one.name, one.scaling) == ("", 3.0)
