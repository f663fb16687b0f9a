"""The animals of the zoo themselves: small, reproducible, row by row, differentiable, and fully described."""

from __future__ import annotations

import pytest
import torch

from zoo import BATCH, ZOO, animal, minilm

# Importing transformers warns about much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[*ZOO, pytest.param("MiniLM", marks=pytest.mark.slow)])
def one(request):
    return minilm() if request.param == "MiniLM" else animal(request.param)


def test_rows_are_independent_and_differentiable(one):
    x = one.inputs.clone().requires_grad_()
    y = one.forward(one.model, x, **one.sides)
    assert len(y) == len(x) == BATCH
    assert y.is_floating_point()
    (gradient,) = torch.autograd.grad((y * torch.linspace(1, 2, y.numel()).reshape(y.shape)).sum(), x)
    assert gradient.flatten(1).norm(dim=1).min() > 0
    sides = {name: side[1:2] for name, side in one.sides.items()}
    alone = one.forward(one.model, one.inputs[1:2], **sides)
    torch.testing.assert_close(alone, y[1:2], rtol=1e-5, atol=1e-6)


def test_sides_matter(one):
    first = one.forward(one.model, one.inputs, **one.sides)
    for name, side in one.sides.items():
        turned = one.sides | {name: side.roll(1, 0)}
        assert not torch.allclose(one.forward(one.model, one.inputs, **turned), first), name


def test_every_parameter_of_two_dimensions_is_described_once(one):
    described = {name.partition("[")[0] for name in (*one.matrices, *one.others)}
    assert described.isdisjoint(one.vectors)
    held = {name for name, p in one.model.named_parameters() if p.ndim > 1}
    assert described | set(one.vectors) == held
    numbers = sum(W.numel() for W in (*one.matrices.values(), *one.others.values()))
    numbers += sum(one.model.get_parameter(name).numel() for name in one.vectors)
    assert numbers == sum(p.numel() for p in one.model.parameters() if p.ndim > 1)


def test_an_animal_is_the_same_each_time():
    for name in ("LSTM", "UNet"):
        states = [animal(name).model.state_dict() for _ in range(2)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
