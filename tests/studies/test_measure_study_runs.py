"""The measure study: plan, images, networks, and one small run of each kind."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from overt.measures import Spectrum
from overt.problems import ImageSet, ImageSplit
from overt.studies import RunContext, Skip
from overt.studies.measure import linear_models, pictures
from overt.studies.measure.alignment import AlignmentConfig
from overt.studies.measure.factors import USUAL, FactorsConfig
from overt.studies.measure.moments import recorded_steps
from overt.studies.measure.networks import build, count_parameters
from overt.studies.measure.settings import CollapseConfig
from overt.studies.measure.study import study
from overt.studies.measure.training import _aligned, train_to_loss
from overt.studies.runs.overrides import apply
from overt.studies.runs.records import dump_lines, load_lines


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


def _images(count, generator):
    """Blobs at a place that depends on the class, so that they can be learned."""
    labels = torch.arange(count) % 10
    images = 0.2 * torch.rand(count, 1, 28, 28, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 8, 4:20] += 0.8
    return ImageSet(images, labels)


@pytest.fixture
def blobs(monkeypatch):
    """Images in the place of Fashion-MNIST, which is not needed here."""

    def made(*, n_train, n_validation, n_test, seed):
        generator = torch.Generator().manual_seed(seed)
        parts = (_images(count, generator) for count in (n_train, n_validation, n_test))
        return ImageSplit(*parts, 10, "blobs")

    monkeypatch.setattr(pictures, "image_classification", made)


# ---- plan and settings ------------------------------------------------------------------------------------


def test_a_field_can_be_set_from_outside():
    configs = [c for c in study.plan("quick", 0) if c.part != "collapse"]
    assert {c.p for c in apply(configs, {"p": 0.5})} == {0.5}


def test_each_factor_is_varied_alone():
    """But for depth, which is also asked near zero, and networks without ReLU."""
    configs = [c for c in study.plan("full", 0) if c.part == "factors" and c.seed == 0]
    usual = next(c for c in configs if all(getattr(c, k) == v for k, v in USUAL.items()))
    for config in configs:
        changed = {name for name in USUAL if getattr(config, name) != getattr(usual, name)}
        assert len(changed) <= 1 or (changed == {"depth", "scale"} and config.scale == 1e-2)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (FactorsConfig, {"model": "diagonal"}, "model"),
        (FactorsConfig, {"side": 7}, "side must be"),
        (AlignmentConfig, {"model": "conv", "depth": 1}, "depth must be"),
        (CollapseConfig, {"model": "fc"}, "model"),
    ],
)
def test_impossible_settings_are_refused(kind, fields, message):
    with pytest.raises(ValidationError, match=message):
        kind(seed=0, **fields)


def test_recorded_steps():
    assert recorded_steps(100, 0) == {0, 100}
    assert recorded_steps(1, 5) == {0, 1}
    steps = sorted(recorded_steps(4000, 12))
    assert steps[:2] == [0, 1]
    assert steps[-1] == 4000
    assert all(later <= 2.5 * earlier for earlier, later in pairwise(steps[4:]))


# ---- linear models ----------------------------------------------------------------------------------------

LINEAR = [
    {"model": "linear", "width": 8, "size": 6, "outputs": 5, "scale": 1e-2, "lr": 0.1},
    {"model": "bottleneck", "width": 3, "size": 6, "outputs": 5, "scale": 1e-2, "lr": 0.1},
    {"model": "convolution, 1-D", "size": 8, "scale": 1e-3, "lr": 4e-3},
    {"model": "convolution, 2-D", "size": 4, "scale": 1e-3, "lr": 1e-3},
    {"model": "diagonal", "size": 8, "scale": 1e-6, "lr": 0.1},
]


@pytest.mark.slow
@pytest.mark.parametrize("fields", LINEAR, ids=lambda fields: f"{fields['model']}-{fields.get('width', '')}")
@pytest.mark.parametrize("depth", [2, 3])
def test_linear_models_collapse(fields, depth, context):
    config = CollapseConfig(depth=depth, max_steps=400, points=4, seed=1, **fields)
    output = study.execute(config, context)
    (record,) = load_lines(dump_lines(output.records))
    assert record["worst_error"] < 1e-11
    assert record["least_cost_ratio"] > 1 - 1e-9
    assert record["loss_fell_to"] < 0.5
    assert output.arrays["singular_values"].shape[0] == record["points"] == len(output.arrays["step"])


def test_a_wrong_spectrum_is_seen(monkeypatch):
    """The comparison must not compare the measure with itself."""
    config = CollapseConfig(max_steps=2, seed=0, **LINEAR[2])
    known = linear_models.Case.known
    monkeypatch.setattr(linear_models.Case, "known", lambda case: known(case).roll(1))
    assert linear_models.run(config).records[0]["worst_error"] > 1e-3


def test_an_unbalanced_network_costs_more():
    config = CollapseConfig(depth=2, seed=0, **LINEAR[0])
    case = linear_models.make(config)
    balanced = case.weight_norm()
    with torch.no_grad():
        case.model.weights[0].mul_(3.0)
        case.model.weights[1].div_(3.0)
    assert case.weight_norm() > 2 * balanced


def test_convolution_counts_as_an_operator():
    """(1/L) Σ ‖circ(w_j)‖_F² by the matrices themselves."""
    config = CollapseConfig(depth=2, seed=0, **LINEAR[2])
    case = linear_models.make(config)
    total = 0.0
    for weight in case.model.weights:
        circulant = torch.stack([weight.detach().roll(k) for k in range(8)])
        total += float(circulant.square().sum())
    assert case.weight_norm() == pytest.approx(total / 2)


def test_the_teachers_have_their_modes():
    for fields, modes in ((LINEAR[0], 2), (LINEAR[4], 2)):
        case = linear_models.make(CollapseConfig(teacher_rank=2, seed=0, **fields))
        product = case.teacher.product().detach()
        spectrum = torch.linalg.matrix_rank(product) if product.ndim == 2 else (product != 0).sum()
        assert int(spectrum) == modes
    case = linear_models.make(CollapseConfig(teacher_rank=2, seed=0, **LINEAR[3]))
    moduli = torch.fft.fft2(case.teacher.product().detach()).abs()
    assert 2 <= int((moduli > 0.5).sum()) <= 5
    assert torch.allclose(moduli[moduli > 1e-9], torch.ones((), dtype=torch.float64))


# ---- networks and images ----------------------------------------------------------------------------------


def test_networks_have_as_many_parameters():
    conv = build(AlignmentConfig(model="conv", seed=0))
    fc = build(AlignmentConfig(width=0, seed=0))
    assert count_parameters(conv) == 20_490
    assert count_parameters(fc) == pytest.approx(20_490, rel=0.01)


def test_networks_start_from_their_seed_and_scale():
    state = torch.get_rng_state()
    small, large = (build(FactorsConfig(scale=scale, seed=3)) for scale in (1e-3, 1.0))
    x = torch.randn(4, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small(x), 1e-3 * large(x))
    torch.testing.assert_close(build(FactorsConfig(seed=3))(x), large(x))
    assert not torch.equal(build(FactorsConfig(seed=4))(x), large(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_circular_convolutions_move_with_the_image():
    network = build(AlignmentConfig(model="conv", head="mean", seed=0))
    x = torch.randn(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x.roll((3, 5), (2, 3))), network(x))
    zeros = build(AlignmentConfig(model="conv", head="mean", padding="zeros", seed=0))
    assert (zeros(x.roll((3, 5), (2, 3))) - zeros(x)).abs().max() > 1e-3


@pytest.mark.parametrize("data", ["real", "scrambled", "permuted"])
def test_kinds_of_images_differ_by_an_orthogonal_map(blobs, data):
    kinds = {
        kind: pictures.load(AlignmentConfig(data=kind, n_train=20, n_measure=12, seed=0))
        for kind in ("real", data)
    }
    real, other = kinds["real"].held_out.flatten(1), kinds[data].held_out.flatten(1)
    assert kinds[data].images.shape == (20, 1, 14, 14)
    torch.testing.assert_close(other @ other.mT, real @ real.mT, rtol=1e-3, atol=1e-2)
    assert torch.equal(kinds[data].labels, kinds["real"].labels)
    assert float(kinds[data].images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(kinds[data].images.std()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(real, other) == (data == "real")


def test_without_the_data_set_a_run_is_skipped(monkeypatch, tmp_path, context):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        study.execute(FactorsConfig(seed=0), context)


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"target_loss": 1.0}, "reached"),
        ({"max_steps": 3, "target_loss": 1e-3}, "budget"),
        ({"lr": 1e12}, "diverged"),
    ],
)
def test_training_stops_at_the_loss_the_budget_or_a_divergence(blobs, fields, ended):
    base = {"n_train": 30, "n_measure": 10, "width": 16, "points": 2, "seed": 0}
    config = FactorsConfig(**base, **fields)
    looks = []
    status, steps = train_to_loss(
        build(config), pictures.load(config), config, lambda *seen: looks.append(seen)
    )
    assert status == ended
    assert looks[0][0] == 0
    if ended == "reached":
        assert looks[-1][0] == steps
        assert looks[-1][1] <= 1.0 < looks[-2][1]
    if ended == "budget":
        assert looks[-1][0] == steps == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"part": "factors"},
        {"part": "factors", "activation": "linear", "batch_size": 0, "outputs": "centred"},
        {
            "part": "alignment",
            "model": "conv",
            "channels": 4,
            "data": "scrambled",
            "outputs": "probabilities",
        },
        {"part": "alignment", "model": "conv", "channels": 4, "padding": "zeros", "data": "permuted"},
        {"part": "alignment", "width": 0, "channels": 4, "momentum": 0.9},
    ],
    ids=str,
)
def test_one_small_run_of_each_kind(fields, blobs, context):
    small = {"n_train": 30, "n_measure": 20, "max_steps": 20, "points": 3, "target_loss": 1.5, "seed": 0}
    config = study.configured(small | fields)
    output = study.execute(config, context)
    (record,) = load_lines(dump_lines(output.records))
    assert record["status"] in ("reached", "budget")
    assert all(math.isfinite(value) for value in record.values() if isinstance(value, float))
    assert 0 < record["alignment"] <= 1 + 1e-6
    assert 0 < record["data_alignment"] <= 1 + 1e-6
    assert 1 <= record["effective_rank"] <= 196
    chance = record["random_alignment"]
    assert record["corrected_alignment"] == pytest.approx((record["alignment"] - chance) / (1 - chance))
    # A random rotation spreads M over its diagonal; were it quite even, each value would be √(tr M / D).
    assert 1 - 1e-5 <= chance / (record["normalized_nuclear_norm"] / 14) < 1.3
    count = len(output.arrays["step"])
    assert output.arrays["singular_values"].shape == (count, 32)
    assert output.arrays["fourier_values"].shape == (14, 14)
    assert record["effective_rank"] == output.arrays["effective_rank"][-1]
    again = study.execute(config, context)
    assert again.records == output.records
    for name, values in output.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)


@pytest.mark.parametrize("rank", [5, 100])
def test_chance_is_the_alignment_of_a_random_orientation(rank):
    """An M of random orientation, whatever its rank, has a corrected alignment near 0, a circulant one 1."""
    config = AlignmentConfig(seed=1)
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(rank, 196, generator=generator)
    random = Spectrum(torch.linalg.svdvals(factor), factor=factor, input_shape=(1, 14, 14))
    assert abs(_aligned(random, config)["corrected_alignment"]) < 0.05
    filter_ = torch.randn(14, 14, generator=generator)
    rows = [filter_.roll((i, j), (0, 1)).flatten() for i in range(14) for j in range(14)]
    factor = torch.stack(rows)
    circulant = Spectrum(torch.linalg.svdvals(factor), factor=factor, input_shape=(1, 14, 14))
    assert _aligned(circulant, config)["corrected_alignment"] == pytest.approx(1, abs=1e-4)


def test_a_linear_network_has_the_rank_of_its_outputs(blobs, context):
    config = FactorsConfig(activation="linear", n_train=30, n_measure=20, max_steps=2, points=0, seed=0)
    assert study.execute(config, context).records[0]["effective_rank"] <= 10
