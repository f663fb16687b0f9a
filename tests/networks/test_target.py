"""The rows of numbers that are differentiated: maps of outputs, layers, and outputs that are no rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from overt.networks.target import Target


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 2), (5, 4), (5, 3, 2), (5, 3, 4)])
def test_maps_of_classes_and_of_tokens(shape):
    y = gaussian(*shape)
    ordered = y.sort(-1, descending=True).values
    expected = {
        "logits": y,
        "probabilities": y.exp() / y.exp().sum(-1, keepdim=True),
        "margin": ordered[..., 0] - ordered[..., 1],
    }
    for outputs, rows in expected.items():
        torch.testing.assert_close(Target(lambda x: y, outputs)(y), rows.reshape(5, -1))


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 1), (5, 2, 2, 2)])
@pytest.mark.parametrize("outputs", ["probabilities", "margin"])
def test_outputs_without_classes_are_refused(shape, outputs):
    y = gaussian(*shape)
    with pytest.raises(ValueError, match=rf"outputs: '{outputs}' needs outputs \(n, classes\)"):
        Target(lambda x: y, outputs)(y)
    assert Target(lambda x: y)(y).shape == (5, y[0].numel())


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (torch.ones(5, 2, dtype=torch.complex64), TypeError, "real floating-point outputs"),
        (torch.ones(5, 2, dtype=torch.long), TypeError, "real floating-point outputs"),
        (torch.tensor(1.0), ValueError, "one output for each of the 5 inputs"),
        (torch.ones(4, 2), ValueError, "one output for each of the 5 inputs"),
        ((torch.ones(5, 2),), TypeError, "got tuple of Tensor; pick the tensor"),
        ({"loss": torch.ones(5)}, TypeError, "got dict of loss; pick the tensor"),
        (SimpleNamespace(logits=None), TypeError, "got SimpleNamespace"),
    ],
)
def test_outputs_that_are_no_rows_are_refused(y, error, words):
    with pytest.raises(error, match=words):
        Target(lambda x: y)(torch.ones(5, 3))


def test_logits_are_found_in_an_output():
    y = gaussian(5, 2)
    for output in (y, {"logits": y, "loss": None}, SimpleNamespace(logits=y)):
        torch.testing.assert_close(Target(lambda x, output=output: output)(y), y)
    picked = Target(lambda x: (y, 1), lambda output: output[0])
    torch.testing.assert_close(picked(y), y)
    with pytest.raises(TypeError, match="expected the function to return a tensor, got int"):
        Target(lambda x: (y, 1), lambda output: output[1])(y)


def test_a_layer_is_found_by_its_name_and_runs_once():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LSTM(4, 2), nn.Identity()).double()
    model[3].forward = lambda output: output[0]
    x = gaussian(5, 3)
    torch.testing.assert_close(Target(model, layer="1")(x), model[:2](x))
    torch.testing.assert_close(Target(model, lambda y: y[0], layer="2")(x), model(x))
    with pytest.raises(TypeError, match="layer: expected '2' to return a tensor, got tuple"):
        Target(model, layer="2")(x)
    again = Target(model, layer="0", forward=lambda m, z: m[0](z) + m[0](z))
    with pytest.raises(ValueError, match="'0' ran 2 times"):
        again(x)
    assert not model[0]._forward_hooks
    for name, known in (("4", "there are 0, 1, 2, 3$"), ("", "there are 0, 1, 2, 3$")):
        with pytest.raises(ValueError, match=known):
            Target(model, layer=name)
    with pytest.raises(ValueError, match=r"there are (\d+, ){12}…$"):
        Target(nn.Sequential(*(nn.Identity() for _ in range(13))), layer="no")
    with pytest.raises(ValueError, match=r"there are (\d+, ){11}11$"):
        Target(nn.Sequential(*(nn.Identity() for _ in range(12))), layer="no")


def test_what_a_model_does_in_place_reaches_neither_the_inputs_nor_the_next_pass():
    x = gaussian(5, 3)
    before = x.clone()
    target = Target(lambda z: z.mul_(2))
    for _ in range(2):
        torch.testing.assert_close(target(x), 2 * before)
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    torch.testing.assert_close(Target(model, layer="0")(x), before)
    assert torch.equal(x, before)
