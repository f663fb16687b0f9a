"""Weights and their products against the matrices themselves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import overt
from overt.measures import convolution_spectrum, product_spectra, weight_spectra


def svdvals(W):
    return torch.linalg.svdvals(W.detach())


def test_every_kind_of_weight_is_there_once():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Embedding(9, 4), nn.Linear(4, 4), nn.Conv1d(4, 6, 3, groups=2), nn.LayerNorm(4), nn.Linear(4, 9)
    ).double()
    model[4].weight = model[0].weight
    spectra = weight_spectra(model)
    assert list(spectra) == ["0.weight", "1.weight", "2.weight"]
    assert torch.allclose(spectra["1.weight"].values, svdvals(model[1].weight))
    groups = [svdvals(part.flatten(1)) for part in model[2].weight.chunk(2)]
    expected = torch.cat(groups).sort(descending=True).values
    assert torch.allclose(spectra["2.weight"].values, expected)


def test_parametrized_weights_are_taken_as_they_act():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4).double(), n_power_iterations=50)
    layer.eval()
    values = weight_spectra(layer)["weight"].values
    assert torch.allclose(values, svdvals(layer.weight))
    assert abs(float(values[0]) - 1) < 1e-6


def test_operators_are_taken_where_a_size_is_given():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Linear(3, 2))
    spectra = weight_spectra(model, input_sizes={"0": (6, 5)})
    assert torch.equal(spectra["0.weight"].values, convolution_spectrum(model[0], (6, 5)).values)
    kernel = svdvals(model[0].weight.flatten(1))[0]
    assert spectra["0.weight"].values[0] <= 3 * kernel * (1 + 1e-5)
    with pytest.raises(ValueError, match="no convolution of the model"):
        weight_spectra(model, input_sizes={"2": 4})


class Compiled(nn.Module):
    """What ``torch.compile`` returns, as far as it matters; the compiler takes ten seconds to load."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model


def test_wrappers_are_looked_through():
    model = nn.Linear(3, 2)
    assert list(weight_spectra(nn.DataParallel(model))) == ["weight"]
    assert list(weight_spectra(Compiled(model))) == ["weight"]
    with pytest.raises(TypeError, match="got a function"):
        weight_spectra(lambda x: x)
    with pytest.raises(ValueError, match="not initialized"):
        weight_spectra(nn.LazyLinear(3))


def test_the_product_of_a_deep_linear_network_with_a_bottleneck():
    model = overt.DeepLinear((7, 5, 2, 6), scale=1.0, seed=0, dtype=torch.float64)
    values = product_spectra(model)[""].values
    expected = svdvals(model.product())
    assert torch.allclose(values, expected, rtol=0, atol=1e-12 * expected[0])


def test_runs_of_linear_layers_in_a_sequence():
    torch.manual_seed(1)
    a, b, c, d = nn.Linear(6, 3), nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 4)
    model = nn.Sequential(a, nn.Dropout(), b, nn.ReLU(), c, nn.Sequential(nn.Linear(4, 4), d)).double()
    spectra = product_spectra(model)
    assert list(spectra) == ["0 … 2", "5.0 … 5.1"]
    product = svdvals(b.weight @ a.weight)
    assert torch.allclose(spectra["0 … 2"].values, product, rtol=0, atol=1e-13)
    assert (spectra["0 … 2"].values[3:] == 0).all()
    across = product_spectra(model, through_activations=True)["0 … 4"].values
    assert torch.allclose(across[:3], svdvals(c.weight @ b.weight @ a.weight)[:3], rtol=0, atol=1e-13)
    assert product_spectra(nn.Linear(3, 3)) == {}


def test_small_singular_values_of_single_precision_products_are_kept():
    torch.manual_seed(2)
    first, second = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
    first.weight.data = torch.diag(torch.tensor([1.0, 1e-2, 1e-4, 1e-6, 1e-8]))
    second.weight.data = torch.diag(torch.tensor([1.0, 1e-2, 1e-4, 1e-6, 1e-8]))
    values = product_spectra(nn.Sequential(first, second))["0 … 1"].values
    assert torch.allclose(values.log10(), torch.tensor([0.0, -4, -8, -12, -16]), atol=1e-3)


def test_a_layer_that_is_there_twice_is_multiplied_twice():
    torch.manual_seed(3)
    a, b = nn.Linear(4, 3).double(), nn.Linear(3, 4).double()
    spectra = product_spectra(nn.Sequential(a, b, a))
    assert list(spectra) == ["0 … 2"]
    expected = svdvals(a.weight @ b.weight @ a.weight)
    assert torch.allclose(spectra["0 … 2"].values, expected, rtol=0, atol=1e-13)


def test_an_activation_that_is_there_twice_separates_twice():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 5), relu, nn.Linear(5, 2))
    assert product_spectra(model) == {}
    assert list(product_spectra(model, through_activations=True)) == ["0 … 4"]


def older_weight_norm(layer):
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.utils.weight_norm(layer)


OLDER_HOOKS = {
    "spectral norm": nn.utils.spectral_norm,
    "weight norm": older_weight_norm,
    "pruning": lambda layer: torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("hook", OLDER_HOOKS.values(), ids=OLDER_HOOKS)
def test_weights_behind_older_hooks_are_taken_as_they_act_after_a_step(hook):
    torch.manual_seed(4)
    layer, x = hook(nn.Linear(6, 4, bias=False)).double(), torch.randn(8, 6, dtype=torch.float64)
    layer(x).square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    spectra = weight_spectra(layer)
    layer.eval()
    acts = layer(torch.eye(6, dtype=torch.float64)).mT
    assert list(spectra) == ["weight"]
    assert torch.allclose(spectra["weight"].values, svdvals(acts), rtol=1e-12)


def test_a_product_takes_weights_behind_older_hooks_as_they_act():
    torch.manual_seed(5)
    first, second = nn.utils.spectral_norm(nn.Linear(6, 4, bias=False)), nn.Linear(4, 4, bias=False)
    model = nn.Sequential(first, second).double()
    values = product_spectra(model)["0 … 1"].values
    acts = model.eval()(torch.eye(6, dtype=torch.float64)).mT
    assert torch.allclose(values, svdvals(acts), rtol=1e-12)


def test_a_convolution_behind_an_older_hook_is_the_operator_that_acts():
    torch.manual_seed(6)
    conv = nn.utils.spectral_norm(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False))
    conv = conv.double()
    found = weight_spectra(nn.Sequential(conv), input_sizes={"0": 4})["0.weight"].values
    conv.eval()
    units = torch.eye(32, dtype=torch.float64).reshape(32, 2, 4, 4)
    assert torch.allclose(found[:32], svdvals(conv(units).flatten(1)), rtol=1e-12)


@pytest.mark.parametrize(
    "look",
    [weight_spectra, product_spectra, lambda model: convolution_spectrum(model[0], 4, boundary="own")],
    ids=["weights", "products", "convolution"],
)
def test_looking_at_a_model_in_training_mode_leaves_its_buffers(look):
    norm = nn.utils.parametrizations.spectral_norm
    layers = [nn.Conv2d(2, 3, 3), nn.Linear(4, 4)]
    model = nn.Sequential(*(norm(layer) for layer in layers), nn.Linear(4, 4))
    before = {name: value.clone() for name, value in model.named_buffers()}
    look(model)
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert all(module.training for module in model.modules())
