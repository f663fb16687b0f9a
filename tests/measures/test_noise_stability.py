"""Noise-stability quantities against their definitions, with dense Jacobians."""

from __future__ import annotations

import copy
import math
import weakref

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

from overt.measures.views import _noise_probe
from overt.measures.views.noise_stability import noise_stability
from overt.networks.jacobian import jacobian_rows


def network(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(7, 25, bias=False), nn.ReLU(), nn.Linear(25, 30, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(30, 3, bias=False)).double()


def norm(x):
    return x.flatten(1).norm(dim=1)


def test_against_the_definitions():
    model = network()
    x = torch.randn(30, 7, dtype=torch.float64)
    found = noise_stability(model, (x[i : i + 8] for i in range(0, 30, 8)))
    A = [model[i].weight.detach() for i in (0, 2, 4)]
    x1 = x @ A[0].T
    x2 = x1.relu() @ A[1].T
    x3 = x2.relu() @ A[2].T
    inputs, outputs = [x, x1.relu(), x2.relu()], [x1, x2, x3]
    names = ["0", "2", "4"]
    assert list(found.layers) == names
    for i, name in enumerate(names):
        cushion = (norm(outputs[i]) / (A[i].norm() * norm(inputs[i]))).min()
        assert found.layers[name].cushion == pytest.approx(float(cushion), rel=1e-12)
    contraction = max(float((norm(a) / norm(a.relu())).max()) for a in (x1, x2))
    assert found.activation_contraction == pytest.approx(contraction, rel=1e-12)
    assert found.largest_output == pytest.approx(float(norm(x3).max()), rel=1e-12)
    J = vmap(jacrev(model[1:]))(x1).detach()
    image = torch.einsum("nij,nj->ni", J, x1)
    interlayer = float((norm(image) / (norm(J) * norm(x1))).min())
    assert found.layers["0"].interlayer["4"] == pytest.approx(interlayer, rel=1e-12)
    assert torch.allclose(image, x3)  # ReLU without biases: J x = M(x)
    first = found.layers["0"]
    assert first.minimal_interlayer == min(1 / math.sqrt(25), *first.interlayer.values())
    assert found.layers["4"].minimal_interlayer == pytest.approx(1 / math.sqrt(3))
    assert found.n_samples == 30


def test_complexity_is_the_sum_of_the_theorem():
    found = noise_stability(network(), torch.randn(20, 7, dtype=torch.float64))
    total = sum(1 / (v.cushion * v.minimal_interlayer) ** 2 for v in found.layers.values())
    expected = found.activation_contraction**2 * 9 * found.largest_output**2 * total / 0.25
    assert found.complexity(0.5) == pytest.approx(expected)
    with pytest.raises(ValueError, match="margin"):
        found.complexity(0.0)


def test_linear_chains_are_smooth_without_bound():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Linear(6, 4, bias=False)).double()
    found = noise_stability(model, torch.randn(10, 5, dtype=torch.float64))
    assert found.smoothness == math.inf
    assert found.activation_contraction == pytest.approx(1.0)
    assert found.unmet == ()
    single = noise_stability(nn.Sequential(nn.Linear(4, 4, bias=False)), torch.randn(5, 4))
    assert single.activation_contraction == 1.0


def test_smoothness_is_attained_by_some_noise_and_less_noise_is_smoother():
    model, x = network(1), torch.randn(20, 7, dtype=torch.float64)
    coarse, fine = (noise_stability(model, x, noise=size).smoothness for size in (1.0, 1e-6))
    assert 0 < coarse < fine
    again = noise_stability(model, x, noise=1.0)
    assert again.smoothness == coarse
    assert noise_stability(model, x, noise=1.0, seed=1).smoothness != coarse


def test_convolutions_are_the_matrices_that_they_are():
    torch.manual_seed(2)
    conv = nn.Conv2d(2, 3, 3, padding=1, stride=2, bias=False)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(27, 4, bias=False)).double()
    x = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    units = torch.eye(50, dtype=torch.float64).reshape(50, 2, 5, 5)
    frobenius = conv(units).detach().norm()
    found = noise_stability(model, x)
    expected = float((norm(conv(x).detach()) / (frobenius * norm(x))).min())
    assert found.layers["0"].cushion == pytest.approx(expected, rel=1e-12)
    assert any("convolutions" in text for text in found.unmet)


def test_biases_are_said_and_left_out_of_the_cushion():
    model = nn.Sequential(nn.Linear(4, 4)).double()
    model[0].weight.data = torch.eye(4, dtype=torch.float64)
    model[0].bias.data.fill_(5.0)
    found = noise_stability(model, torch.randn(5, 4, dtype=torch.float64))
    assert found.layers["0"].cushion == pytest.approx(0.5)
    assert "biases" in found.unmet[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "nn.Sequential"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "BatchNorm1d"),
        (nn.Sequential(nn.ReLU()), "no nn.Linear"),
        (nn.Sequential(nn.Linear(2, 2), nn.PReLU()), "has parameters"),
    ],
)
def test_what_is_no_chain_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        noise_stability(model, torch.randn(3, 2))


def test_wrong_arguments():
    model, x = nn.Sequential(nn.Linear(2, 2)), torch.randn(3, 2)
    with pytest.raises(ValueError, match="noise"):
        noise_stability(model, x, noise=0.0)
    with pytest.raises(ValueError, match="draws"):
        noise_stability(model, x, draws=0)
    with pytest.raises(ValueError, match="is 0 for one"):
        noise_stability(model, torch.zeros(1, 2))


def test_an_activation_that_is_there_twice_acts_twice():
    own = network()
    relu = nn.ReLU()
    shared = nn.Sequential(own[0], relu, own[2], relu, own[4])
    x = torch.randn(10, 7, dtype=torch.float64)
    assert noise_stability(shared, x) == noise_stability(own, x)


def test_the_theorem_is_for_relu_alone():
    def unmet(activation):
        model = network()
        model[1] = model[3] = activation
        return noise_stability(model, torch.randn(5, 7, dtype=torch.float64)).unmet

    assert not any("ReLU" in text for text in unmet(nn.ReLU()))
    assert any("activations other than ReLU" in text for text in unmet(nn.LeakyReLU()))


def test_inputs_are_looked_at_in_parts_that_fit(monkeypatch):
    model, x = network(), torch.randn(40, 7, dtype=torch.float64)
    whole = noise_stability(model, x)
    sizes = []
    model[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    noise_stability(model, x)
    assert max(sizes) == 40
    sizes.clear()
    monkeypatch.setattr(_noise_probe, "_BYTES", 100_000)
    parts = noise_stability(model, x)
    assert 2 <= max(sizes) < 20
    assert parts.n_samples == 40
    assert parts.complexity(1.0) == pytest.approx(whole.complexity(1.0), rel=1e-12)


def test_rows_of_a_jacobian_are_not_kept(monkeypatch):
    rows = []

    def watched(y, x):
        for row in jacobian_rows(y, x):
            rows.append(weakref.ref(row))
            alive.append(sum(ref() is not None for ref in rows))
            yield row

    alive = []
    monkeypatch.setattr(_noise_probe, "jacobian_rows", watched)
    noise_stability(network(), torch.randn(5, 7, dtype=torch.float64))
    assert len(rows) == 30 + 3 + 3
    assert max(alive) <= 2


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_normalized_layers_are_taken_as_they_act(norm):
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3, bias=False)]
    plain = nn.Sequential(*layers).double().eval()
    normed = copy.deepcopy(plain)
    normed[0], normed[3] = norm(normed[0]).eval(), norm(normed[3]).eval()
    x = torch.randn(6, 1, 4, 4, dtype=torch.float64)
    normed(x)
    for i in (0, 3):
        plain[i].weight.data = normed[i].weight.detach().clone()
    assert noise_stability(normed, x).complexity(1.0) == pytest.approx(
        noise_stability(plain, x).complexity(1.0)
    )
