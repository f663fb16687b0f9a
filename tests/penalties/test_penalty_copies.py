"""Copies of penalties: of which model they are, and that they go on from the same state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from overt.penalties import CompositionPenalty, JacobianPenalty, SpectralPenalty, VectorPenalty


class Vector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.randn(5))

    def product(self):
        return self.v


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


PENALTIES = {
    "spectral": (net, lambda model: SpectralPenalty(model, every=3)),
    "compiled": (
        lambda: torch.compile(net(), backend="eager"),
        lambda model: SpectralPenalty(model, every=3),
    ),
    "Jacobian": (net, JacobianPenalty),
    "of a layer": (net, lambda model: JacobianPenalty(model, layer="0")),
    "composition": (net, lambda model: CompositionPenalty([model[:2], model[2]])),
    "vector": (Vector, VectorPenalty),
}


def parameters(penalty):
    return {id(p) for p in penalty.model.parameters()}


def call(penalty):
    x = torch.ones(2, 4).double()
    return (
        penalty.penalty(x)
        if isinstance(penalty, (JacobianPenalty, CompositionPenalty))
        else penalty.penalty()
    )


@pytest.mark.parametrize("case", PENALTIES)
def test_a_copy_watches_the_same_model(case):
    make, penalize = PENALTIES[case]
    model = make()
    penalty = penalize(model)
    call(penalty)
    twin = copy.deepcopy(penalty)
    assert twin is not penalty
    assert parameters(twin) == parameters(penalty) == {id(p) for p in model.parameters()}
    assert twin.describe() == penalty.describe()
    found, expected = call(twin), call(penalty)
    torch.testing.assert_close(found, expected)
    assert found.requires_grad
    grads = torch.autograd.grad(found, list(model.parameters()), allow_unused=True)
    assert any(g is not None for g in grads)
    twin.weight = 7.0
    assert penalty.weight != 7.0


@pytest.mark.parametrize("case", PENALTIES)
def test_a_copy_follows_a_model_that_is_copied_with_it(case):
    make, penalize = PENALTIES[case]
    model = make()
    penalty = penalize(model)
    call(penalty)
    both = nn.ModuleDict({"model": model, "penalty": penalty})
    for held in ((model, penalty), both):
        copied = copy.deepcopy(held)
        twin_model, twin = copied if held is not both else copied.values()
        assert parameters(twin) == {id(p) for p in twin_model.parameters()}
        assert parameters(twin).isdisjoint(parameters(penalty))
        torch.testing.assert_close(call(twin), call(penalty))
        with torch.no_grad():
            for p in twin_model.parameters():
                p.mul_(torch.rand_like(p))
        twin.reset()
        penalty.reset()
        assert not torch.equal(call(twin), call(penalty))


def test_a_model_that_is_copied_after_the_penalty_is_copied():
    model = net()
    twin, twin_model = copy.deepcopy((SpectralPenalty(model), model))
    assert twin.model is model
    assert twin_model is not model
    assert not parameters(twin) & {id(p) for p in twin_model.parameters()}
