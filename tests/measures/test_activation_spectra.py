"""Activations against the matrix of all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from overt.measures import activation_spectra


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(12, 5),
    ).double()


def test_streamed_moments_are_those_of_all_activations():
    model, x = network(), torch.randn(41, 1, 4, 4, dtype=torch.float64)
    loader = DataLoader(TensorDataset(x, torch.zeros(41)), batch_size=7)
    spectra = activation_spectra(model, loader)
    assert sorted(spectra) == ["0", "1", "2", "3", "4", "5"]
    model.eval()
    for name in ("0", "3", "5"):
        H = model[: int(name) + 1](x).detach().flatten(1) / 41**0.5
        expected = torch.linalg.svdvals(H)
        assert torch.allclose(spectra[name].values[: len(expected)], expected, atol=1e-8 * expected[0])
        assert spectra[name].n_samples == 41
    one = activation_spectra(model, x)
    assert torch.allclose(one["5"].values, spectra["5"].values)


def test_centered_is_the_covariance():
    model, x = network().eval(), torch.randn(50, 1, 4, 4, dtype=torch.float64)
    values = activation_spectra(model, x, layers=["5"], center=True)["5"].values
    C = torch.cov(model(x).detach().T, correction=0)
    assert torch.allclose(values.square(), torch.linalg.eigvalsh(C).flip(0), atol=1e-12)


def test_channels_and_tokens():
    model, x = network(), torch.randn(5, 1, 4, 4, dtype=torch.float64)
    channels = activation_spectra(model, x, layers=["0"], features="channels")["0"]
    assert (len(channels.values), channels.n_samples) == (3, 5 * 4)
    text = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    tokens = activation_spectra(text, torch.randint(7, (6, 3)), features="last")
    assert (len(tokens["0"].values), tokens["1"].n_samples) == (4, 18)


def test_nothing_is_left_behind():
    model = network()
    model[5].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    activation_spectra(
        model, torch.randn(4, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())


def test_refusals():
    model, x = network(), torch.randn(4, 1, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="no submodule 'nine'"):
        activation_spectra(model, x, layers=["nine"])
    with pytest.raises(ValueError, match="features must be"):
        activation_spectra(model, x, features="pixels")
    with pytest.raises(ValueError, match="no example"):
        activation_spectra(model, [])
    with pytest.raises(TypeError, match="tensor"):
        activation_spectra(model, 3)
    with pytest.raises(ValueError, match="20000 features"):
        activation_spectra(nn.Linear(1, 20_000), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="NaN or infinite"):
        activation_spectra(model, torch.full((2, 1, 4, 4), torch.nan, dtype=torch.float64))
    with pytest.raises(TypeError, match="LSTM"):
        activation_spectra(
            nn.LSTM(2, 2), torch.zeros(3, 1, 2), layers=[""], forward=lambda m, x: _broken(m, x)
        )


def _broken(model, x):
    for hook in model._forward_hooks.values():
        hook(model, (x,), nn.LSTM(2, 2))


@pytest.mark.parametrize("widths", [(3, 5), (4, 4)])
def test_each_run_of_a_layer_has_a_spectrum_of_its_own(widths):
    torch.manual_seed(0)
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, widths[0]), relu, nn.Linear(*widths), relu).double()
    x = torch.randn(30, 4, dtype=torch.float64)
    spectra = activation_spectra(model, DataLoader(x, batch_size=8))
    assert list(spectra) == ["0", "1", "1#2", "2"]
    for name, upto in (("1", 2), ("1#2", 4)):
        expected = torch.linalg.svdvals(model[:upto](x).detach() / 30**0.5)
        assert torch.allclose(spectra[name].values, expected, atol=1e-8)
        assert spectra[name].n_samples == 30
    assert list(activation_spectra(model, x, layers=["1"])) == ["1", "1#2"]
    with pytest.raises(ValueError, match="'3' is the same module as '1'"):
        activation_spectra(model, x, layers=["3"])


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.a(x)


def test_a_layer_that_is_named_and_does_not_run_is_refused():
    x = torch.randn(4, 3)
    assert list(activation_spectra(Idle(), x)) == ["a"]
    with pytest.raises(ValueError, match="'b' did not run"):
        activation_spectra(Idle(), x, layers=["a", "b"])
