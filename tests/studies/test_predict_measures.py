"""What measures of generalization are computed from, and the measures, against dense oracles."""

from __future__ import annotations

import doctest
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from overt.measures import Spectrum
from overt.problems import ImageSet
from overt.studies.predict import flatness, quantities
from overt.studies.predict.measures import MEASURES, values_of
from overt.studies.predict.quantities import Layer, Quantities
from overt.studies.shared.classifiers import Network, make_classifier, margins


def images(n: int = 30, size: int = 6, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, size, size, generator=generator)
    return ImageSet(x, torch.randint(3, (n,), generator=generator))


def learnt(kind: str = "mlp", size: int = 6) -> tuple[nn.Sequential, nn.Sequential, ImageSet]:
    """A network whose own answers are the labels, so that it has a training error of 0."""
    network = Network("mlp", (8,)) if kind == "mlp" else Network("cnn", (4, 5))
    model = make_classifier(network, shape=(1, size, size), classes=3, seed=1)
    start = deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        x = images(size=size).images
        labels = model(x).argmax(1)
    return model, start, ImageSet(x, labels)


def measured(model: nn.Sequential, start: nn.Sequential, data: ImageSet) -> Quantities:
    return quantities.quantities(model, start, data, noise_draws=4, seed=0)


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def case(request: pytest.FixtureRequest) -> tuple[nn.Sequential, nn.Sequential, ImageSet, Quantities]:
    model, start, data = learnt(request.param)
    return model, start, data, measured(model, start, data)


def dense_map(layer: nn.Module, x: Tensor) -> Tensor:
    """The matrix of a layer without its bias."""
    zero = layer(torch.zeros_like(x))
    columns = []
    for i in range(x.numel()):
        unit = torch.zeros(x.numel())
        unit[i] = 1
        columns.append((layer(unit.reshape(x.shape)) - zero).flatten())
    return torch.stack(columns, 1).detach()


def test_examples_in_the_docstrings() -> None:
    found = doctest.testmod(quantities)
    assert found.attempted > 0
    assert found.failed == 0


def test_spectra_are_those_of_the_stacked_jacobians(
    case: tuple[nn.Sequential, nn.Sequential, ImageSet, Quantities],
) -> None:
    model, _, data, found = case
    J = torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(data.images).detach().double()
    J = J.reshape(len(data), 3, 36)
    M = torch.einsum("nck,ncl->kl", J, J) / len(data)
    assert found.spectra["identity"].values.double() == pytest.approx(M.diagonal().sqrt(), rel=1e-4)
    eigen = torch.linalg.eigvalsh(M).flip(0).clamp_min(0).sqrt()
    own = found.spectra["eigen"].values.double()
    assert own == pytest.approx(eigen[: len(own)], rel=1e-3, abs=1e-3)
    F = torch.fft.fft2(torch.eye(36, dtype=torch.complex128).reshape(36, 6, 6), norm="ortho").reshape(36, 36)
    fourier = torch.einsum("kl,lm,km->k", F.mT, M.to(F.dtype), F.mT.conj()).real.sqrt()
    assert found.spectra["fourier"].values.double() == pytest.approx(fourier, rel=1e-3)


def test_norms_of_layers_are_those_of_dense_matrices(
    case: tuple[nn.Sequential, nn.Sequential, ImageSet, Quantities],
) -> None:
    model, start, data, found = case
    x, number = data.images[:1], 0
    for layer, before in zip(model, start, strict=True):
        if hasattr(layer, "weight"):
            layer_found = found.layers[number]
            number += 1
            W = layer.weight.detach().flatten(1)
            assert layer_found.spectral == pytest.approx(
                float(torch.linalg.matrix_norm(dense_map(layer, x[0].unsqueeze(0)), 2)), rel=1e-4
            )
            assert layer_found.frobenius == pytest.approx(float(W.norm()), rel=1e-5)
            assert layer_found.nuclear == pytest.approx(float(torch.linalg.svdvals(W).sum()), rel=1e-4)
            assert layer_found.distance == pytest.approx(
                float((W - before.weight.detach().flatten(1)).norm()), rel=1e-4
            )
            assert layer_found.spectral_distance == pytest.approx(layer_found.spectral / 3, rel=1e-4)
        x = layer(x)
    assert number == found.depth


def test_margin_and_counts(case: tuple[nn.Sequential, nn.Sequential, ImageSet, Quantities]) -> None:
    model, _, data, found = case
    distance = margins(model(data.images), data.labels).detach().double()
    assert found.margin == pytest.approx(float(distance.quantile(0.1)))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.n_train == len(data)


def test_path_norm_is_the_sum_over_paths() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    total = 0.0
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    first, second = model[0], model[2]
    for k in range(2):
        for j in range(3):
            for i in range(2):
                total += float((second.weight[k, j] * first.weight[j, i]) ** 2)
            total += float((second.weight[k, j] * first.bias[j]) ** 2)
        total += float(second.bias[k] ** 2)
    assert quantities.path_norm(model, torch.zeros(1, 2)) == pytest.approx(total, rel=1e-5)


def test_noise_scale_crosses_the_level_and_leaves_the_model_alone() -> None:
    model, _, data = learnt()
    before = [p.clone() for p in model.parameters()]
    sigma = flatness.noise_scale(model, data, 0.1, 4, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    def error(scale: float) -> float:
        generator = torch.Generator().manual_seed(3)
        wrong = []
        for _ in range(4):
            moved = deepcopy(model)
            with torch.no_grad():
                for p in moved.parameters():
                    p.add_(scale * torch.randn(p.shape, generator=generator))
                wrong.append(float((moved(data.images).argmax(1) != data.labels).double().mean()))
        return sum(wrong) / 4

    assert error(0.99 * sigma) <= 0.1 < error(1.01 * sigma)


def test_relative_noise_does_not_feel_a_rescaling_that_leaves_the_function_alone() -> None:
    # ReLU is homogeneous: one layer times 4 and the next over 4 is the same function.
    model, _, data = learnt()
    other = deepcopy(model)
    first, last = other[1], other[3]
    with torch.no_grad():
        first.weight.mul_(4)
        first.bias.mul_(4)
        last.weight.div_(4)
    relative = [flatness.noise_scale(m, data, 0.1, 4, relative=True) for m in (model, other)]
    absolute = [flatness.noise_scale(m, data, 0.1, 4) for m in (model, other)]
    assert relative[0] == pytest.approx(relative[1], rel=0.02)
    assert absolute[0] != pytest.approx(absolute[1], rel=0.2)


def test_sharpness_is_the_rise_along_the_gradient() -> None:
    model, _, data = learnt()
    loss = nn.functional.cross_entropy(model(data.images), data.labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    slope = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    assert flatness.sharpness(model, data, 1e-3) == pytest.approx(1e-3 * slope, rel=0.05)
    assert flatness.sharpness(model, data, 0.5) > 0


def test_sensitivity_over_the_margin_does_not_feel_the_scale_of_the_outputs() -> None:
    model, start, data = learnt()
    scaled = deepcopy(model)
    with torch.no_grad():
        scaled[3].weight.mul_(5)
        scaled[3].bias.mul_(5)
    plain, other = (values_of(measured(m, start, data)) for m in (model, scaled))
    for name, value in plain.items():
        invariant = name.startswith(
            ("normalized_e", "normalized_f", "normalized_i", "misalignment", "effect")
        )
        invariant |= name.startswith(
            ("cost", "jacobian", "spectral_product", "frobenius_product", "path_norm")
        )
        if invariant and (name.endswith("_margin") or not name.startswith(("cost", "jacobian", "path"))):
            if name in ("spectral_product", "frobenius_product"):
                assert other[name] == pytest.approx(value + math.log(5), rel=1e-3)
            else:
                assert other[name] == pytest.approx(value, rel=2e-2), name
    assert other["cost_1_eigen"] == pytest.approx(5 * plain["cost_1_eigen"], rel=1e-4)
    assert other["jacobian"] == pytest.approx(5 * plain["jacobian"], rel=1e-4)


def by_hand() -> Quantities:
    layers = (Layer(5.0, 6.0, 2.0, 3.0, 1.0, 10), Layer(4.0, 5.0, 3.0, 2.0, 1.5, 20))
    spectra = {
        "eigen": Spectrum(torch.tensor([4.0, 1.0])),
        "fourier": Spectrum(torch.tensor([3.0, 3.0]), basis="identity"),
        "identity": Spectrum(torch.tensor([2.0, 3.0]), basis="identity"),
    }
    return Quantities(100, 400, layers, 0.5, spectra, 9.0, 0.2, 0.1, 0.04)


def test_every_formula_by_hand() -> None:
    found = values_of(by_hand())
    expected = {
        "cost_1_eigen": 0.5,
        "cost_1_eigen_margin": 1.0,
        "cost_1_fourier": 0.6,
        "cost_1_fourier_margin": 1.2,
        "cost_1_identity": 0.5,
        "cost_1_identity_margin": 1.0,
        "cost_depth_eigen": math.sqrt(2 * 5 / 100),
        "cost_depth_eigen_margin": math.sqrt(2 * 10 / 100),
        "cost_depth_fourier": math.sqrt(0.12),
        "cost_depth_fourier_margin": math.sqrt(0.24),
        "cost_depth_identity": math.sqrt(0.1),
        "cost_depth_identity_margin": math.sqrt(0.2),
        "normalized_eigen": 0.5 / math.sqrt(17),
        "normalized_fourier": 0.6 / math.sqrt(18),
        "normalized_identity": 0.5 / math.sqrt(13),
        "misalignment_fourier": 0.12,
        "misalignment_identity": 0.1,
        "jacobian": math.sqrt(17) / 10,
        "jacobian_margin": math.sqrt(17) / 5,
        "effective_rank": math.sqrt(math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2)) / 100),
        "spectral_product": math.log(6 / 10),
        "spectral_product_margin": math.log(12 / 10),
        "spectral_complexity": math.log(12 / 10 * math.sqrt(9 / 4 + 4 / 9)),
        "stable_ranks": math.sqrt((25 / 4 + 16 / 9) / 100),
        "frobenius_product": math.log(2),
        "frobenius_product_margin": math.log(4),
        "frobenius_sum": math.sqrt(0.41),
        "normalized_weights": (6 / 5 + 5 / 4) / 10,
        "path_norm": 0.3,
        "path_norm_margin": 0.6,
        "flatness": 0.5,
        "relative_flatness": 1.0,
        "sharpness": 0.02,
        "distance": math.sqrt(0.13),
        "spectral_distance": math.sqrt(0.0325),
        "effective_parameters": math.sqrt(0.3),
        "parameters": 2.0,
        "inverse_margin": 0.2,
        "size": 0.1,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_all_measures_fall_with_the_number_of_images() -> None:
    few, many = values_of(by_hand()), values_of(replace(by_hand(), n_train=400))
    assert all(many[name] < few[name] for name in few)


def test_the_table_is_complete() -> None:
    assert len({measure.title for measure in MEASURES}) == len(MEASURES)
    assert all(measure.formula and measure.source for measure in MEASURES)
    assert {m.group for m in MEASURES} == {"sensitivity", "weights", "flatness", "distance", "count"}
