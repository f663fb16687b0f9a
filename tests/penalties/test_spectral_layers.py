"""Which layers are penalized, as what, and with which weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.linalg.convolution import kernel_blocks
from overt.penalties import SpectralPenalty
from overt.penalties.methods import make_solver  # noqa: F401 - the room must import on its own


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4)),
        nn.Embedding(6, 4),
    ).double()


def names(**arguments):
    return [layer.name for layer in SpectralPenalty(net(), **arguments).penalized()]


EVERY = ["0.weight", "2.0.weight", "2.1.weight", "3.weight"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, EVERY),
        ("2.*", ["2.0.weight", "2.1.weight"]),
        ("2.1", ["2.1.weight"]),
        ("*.weight", EVERY),
        (nn.Linear, ["2.0.weight", "2.1.weight"]),
        ([nn.Conv2d, "3"], ["0.weight", "3.weight"]),
        (lambda name, module: isinstance(module, nn.Linear) and module.in_features == 4, ["2.1.weight"]),
    ],
)
def test_selection(layers, expected):
    assert names(layers=layers) == expected


def test_weights_of_layers():
    model = net()
    penalty = SpectralPenalty(model, "nuclear_norm", layer_weights={"2.1": 3.0, nn.Linear: 0.5, "3": 0.0})
    expected = (
        F.nuclear_norm(model[0].weight.flatten(1))
        + 0.5 * F.nuclear_norm(model[2][0].weight)
        + 3.0 * F.nuclear_norm(model[2][1].weight)
    )
    torch.testing.assert_close(penalty.value(), expected)
    assert [layer.weight for layer in penalty.penalized()] == [1.0, 0.5, 3.0]


def test_frozen_and_shared_parameters():
    model = net()
    model[2][1].weight = model[2][0].weight
    assert len(SpectralPenalty(model).penalized()) == 3
    model[0].requires_grad_(False)
    assert [layer.name for layer in SpectralPenalty(model).penalized()] == ["2.0.weight", "3.weight"]
    model.requires_grad_(False)
    assert len(SpectralPenalty(model).penalized()) == 3  # the value is still of interest


def test_names_do_not_tell_of_wrappers():
    compiled = torch.compile(net(), backend="eager")
    assert [layer.name for layer in SpectralPenalty(compiled).penalized()] == EVERY
    assert [layer.name for layer in SpectralPenalty(nn.ModuleDict({"module": net()})).penalized()] == EVERY


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "encoder.*"}, ValueError, r"to penalize among layers=\['encoder.\*'\]"),
        ({"layers": 3}, TypeError, "layers: expected names or patterns"),
        ({"layer_weights": [1.0]}, TypeError, "layer_weights must map selectors"),
        ({"layer_weights": {"0": -1.0}}, ValueError, "layer_weights: '0' needs a finite number ≥ 0, got -1"),
        ({"layer_weights": {3: 1.0}}, TypeError, "layer_weights: expected names"),
    ],
)
def test_wrong_selections_are_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralPenalty(net(), **arguments)


CONVOLUTIONS = [
    nn.Conv1d(3, 4, 3),
    nn.Conv2d(2, 3, 3, stride=2),
    nn.Conv2d(4, 4, 3, groups=2, dilation=2),
    nn.ConvTranspose2d(3, 2, 2),
]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda c: type(c).__name__ + str(c.stride))
@pytest.mark.parametrize(
    ("functional", "options"),
    [
        ("nuclear_norm", {}),
        ("normalized_nuclear_norm", {}),
        ("effective_rank", {}),
        ("stable_rank", {}),
        ("log_det", {"eps": 0.1}),
    ],
)
def test_convolutions_as_operators(layer, functional, options, every):
    layer = layer.double()
    penalty = SpectralPenalty(
        nn.Sequential(layer), functional, options=options, conv="operator", grid=6, every=every, weight=1.0
    )
    value = penalty.penalty()
    (gradient,) = torch.autograd.grad(value, layer.weight)

    def through_autograd(kernel):
        blocks = kernel_blocks(
            kernel,
            (6,) * (kernel.ndim - 2),
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
        )
        return getattr(F, functional)(singular_values=torch.linalg.svdvals(blocks).flatten(), **options)

    expected = through_autograd(layer.weight)
    (truth,) = torch.autograd.grad(expected, layer.weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, truth, rtol=1e-6, atol=1e-8)


def test_operators_by_matrix_products():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).double()
    exact = SpectralPenalty(model, conv="operator", grid=5)
    iterated = SpectralPenalty(model, conv="operator", grid=5, method="polar", polar_steps=14)
    torch.testing.assert_close(iterated.value(), exact.value(), rtol=1e-8, atol=0)


def test_a_kernel_is_not_its_operator():
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).double()
    kernel, operator = SpectralPenalty(model), SpectralPenalty(model, conv="operator", grid=4)
    assert operator.value() > 1.5 * kernel.value()
    assert "operator" in str(operator.describe()["conv"])
    cap = 0.5 * operator.penalized()[0].norm().item()
    capped = SpectralPenalty(model, conv="operator", grid=4, norm_cap=cap)
    torch.testing.assert_close(capped.value(), 2 * operator.value())
