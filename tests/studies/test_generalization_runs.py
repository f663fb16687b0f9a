"""The runs of the study of generalization: corruptions, each method, choice on validation, plan, figures."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_generalization_rules import world
from torch import nn
from worlds import runs

from overt.studies import RunContext, Skip
from overt.studies.generalization import study
from overt.studies.generalization import training as T
from overt.studies.generalization.compare import CompareConfig
from overt.studies.generalization.corruptions import CORRUPTIONS, corrupt, corrupted
from overt.studies.generalization.cost import CostConfig
from overt.studies.generalization.data import Data, Units
from overt.studies.generalization.methods import METHODS
from overt.studies.generalization.sizes import SizesConfig
from overt.studies.generalization.transfer import PLACES, TransferConfig, placed
from overt.studies.generalization.trials import trial
from overt.studies.shared.classifiers import evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with idx files: 8×8 pictures of three classes, told apart by which column is bright."""
    path = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for stem, count in (("train", 120), ("t10k", 60)):
        labels = np.arange(count) % 3
        pixels = rng.integers(0, 120, (count, 8, 8))
        pixels[np.arange(count), :, 2 * labels] += 100
        head = struct.pack(">IIII", 0x803, count, 8, 8)
        with gzip.open(path / f"{stem}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + pixels.astype(np.uint8).tobytes())
        with gzip.open(path / f"{stem}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + labels.astype(np.uint8).tobytes())
    return str(path)


def tiny(source, kind=CompareConfig, **fields):
    base = {"n_train": 45, "n_validation": 45, "n_test": 60, "max_steps": 12, "batch_size": 15, "seed": 0}
    widths = (4, 6) if fields.get("network") == "cnn" else (10,)
    return kind(**{**base, "source": source, "widths": widths, "lr": 1e-2, **fields})


def run(config, folder):
    folder.mkdir(exist_ok=True)
    return study.execute(config, RunContext(folder, lambda line: None))


def pictures(n=8):
    return torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_corruptions_do_what_they_say():
    x = pictures()
    assert torch.equal(corrupt(x, "noise", 0.3), corrupt(x, "noise", 0.3))
    noisy = corrupt(x, "noise", 0.1)
    assert float(noisy.min()) >= 0
    assert float(noisy.max()) <= 1
    inside = (noisy > 0) & (noisy < 1)
    assert float((noisy - x)[inside].std()) == pytest.approx(0.1, rel=0.1)
    faint = corrupt(x, "contrast", 0.25)
    torch.testing.assert_close(faint.mean((-2, -1)), x.mean((-2, -1)))
    torch.testing.assert_close(faint.std((-2, -1)), 0.25 * x.std((-2, -1)))
    moved = corrupt(x, "shift", 2)
    torch.testing.assert_close(moved[0, 0, 2:], x[0, 0, :-2])
    torch.testing.assert_close(moved[1, 0, :-2], x[1, 0, 2:])
    torch.testing.assert_close(moved[2, 0, :, 2:], x[2, 0, :, :-2])
    torch.testing.assert_close(moved[3, 0, :, :-2], x[3, 0, :, 2:])
    assert float(moved[0, 0, :2].abs().max()) == 0
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 1
    blurred = corrupt(point, "blur", 1.0)
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(blurred[0, 0, 7, 7] / blurred[0, 0, 7, 8]) == pytest.approx(math.exp(0.5), rel=1e-5)
    assert float(blurred[0, 0, 7, 8]) == pytest.approx(float(blurred[0, 0, 8, 7]))
    names = [(name, strength) for name, strength, _ in corrupted(x)]
    assert len(names) == 8
    assert all(name in CORRUPTIONS for name, _ in names)
    with pytest.raises(ValueError, match="name must be"):
        corrupt(x, "fog", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method, folder, tmp_path):
    network = "cnn" if method.startswith(("composition", "overparameterized")) else "mlp"
    config = tiny(folder, network=network, max_steps=3, method=method)
    _, row = T._trained(config, Data(config), config.knob[1], 1, RunContext(tmp_path, lambda line: None))
    assert row["status"] == "budget"
    assert 0 < row["cross_entropy"] < 10
    assert row["setting"] == config.knob[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"method": "weight_decay"}, {"network": "cnn", "method": "jacobian 1 fourier"}]
)
def test_a_whole_run(fields, folder, tmp_path):
    config = tiny(folder, **fields)
    output = run(config, tmp_path / "a")
    (record,) = output.records
    assert [row["setting"] for row in record["trials"]] == list(config.knob)
    best = max(record["trials"], key=lambda row: (row["accuracy"], -row["cross_entropy"]))
    assert record["chosen"] == best["setting"]
    likeliest = min(record["trials"], key=lambda row: row["cross_entropy"])
    assert record["chosen_by_likelihood"] == likeliest["setting"]
    assert record["scaled_cross_entropy"] <= record["cross_entropy"] + 0.05
    assert len(record["corruptions"]) == 8
    mean = sum(row["accuracy"] for row in record["corruptions"]) / 8
    assert record["corrupted_error"] == pytest.approx(1 - mean)
    assert record["truncations"][-1]["kept"] == pytest.approx(1.0)
    assert list(output.arrays["kept"]) == [row["kept"] for row in record["truncations"]]
    assert record["lost"] == pytest.approx(1 - output.arrays["kept"].mean())
    assert 1 <= record["effective_rank_eigen"] <= 64
    clock = {"trials"}
    again = run(config, tmp_path / "b").records[0]
    assert {k: v for k, v in again.items() if k not in clock} == {
        k: v for k, v in record.items() if k not in clock
    }


def test_only_the_chosen_network_is_tested(folder, tmp_path, monkeypatch):
    config = tiny(folder, method="nothing")
    data = Data(config)
    tested = []
    monkeypatch.setattr(T, "_tested", lambda best, likeliest, data: tested.append((best, likeliest)) or {})
    (record,) = run(config, tmp_path).records
    ((best, likeliest),) = tested
    assert evaluate(best, data.validation).accuracy == max(row["accuracy"] for row in record["trials"])
    assert evaluate(likeliest, data.validation).cross_entropy == pytest.approx(
        min(row["cross_entropy"] for row in record["trials"])
    )


@pytest.mark.slow
def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    config = tiny(folder, method="jacobian 1 identity")
    calls = []
    fit = T.fit

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(T, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    found = run(config, tmp_path).records[0]
    assert len(calls) == 3 + 2  # the first two are not made again
    monkeypatch.setattr(T, "fit", fit)
    other = run(config, tmp_path / "other").records[0]
    assert found["error"] == other["error"]
    assert found["cross_entropy"] == other["cross_entropy"]


def test_a_training_that_diverges_is_not_chosen(folder, tmp_path):
    config = tiny(folder, method="nothing", settings=(1e30, 1e-2))
    (record,) = run(config, tmp_path).records
    assert record["trials"][0]["status"] == "diverged"
    assert record["chosen"] == record["chosen_by_likelihood"] == 1e-2


@pytest.mark.slow
def test_units_change_nothing_but_the_penalty(folder, tmp_path):
    """Without a penalty and with a normalized one the units do not matter; with another one they do."""
    plain, normalized = "jacobian 1 eigen", "jacobian 1 eigen normalized"
    found = {}
    for units in (1.0, 128.0):
        for method in ("weight_decay", normalized, plain):
            config = tiny(folder, method=method)
            data = Data(config, units)
            (tmp_path / f"{units}{method}").mkdir()
            model, _ = T._trained(config, data, 0.1, 0, RunContext(tmp_path / f"{units}{method}", print))
            found[units, method] = model(data.validation.images).detach()
    for method in ("weight_decay", normalized):
        torch.testing.assert_close(found[1.0, method], found[128.0, method], rtol=1e-2, atol=1e-3)
    assert float((found[1.0, plain] - found[128.0, plain]).abs().max()) > 0.05


def test_sensitivity_against_jacobians_by_hand(folder):
    config = tiny(folder)
    data = Data(config)
    model = data.build(trial(config, 1e-3))
    found = T._sensitivity(model, data)
    x = data.validation.images[: T.MEASURED]
    rows = torch.cat(
        [torch.autograd.functional.jacobian(model, x[i : i + 1]).reshape(3, -1) for i in range(len(x))]
    )
    M = rows.double().mT @ rows.double() / len(x)
    assert found["jacobian_norm"] == pytest.approx(math.sqrt(float(M.trace())), rel=1e-4)
    pixels = rows.double().reshape(-1, 8, 8)
    moved = {"fourier": torch.fft.fft2(pixels, norm="ortho"), "identity": pixels}
    for basis, rotated in moved.items():
        s = (rotated.abs().square().sum(0) / len(x)).sqrt().flatten()
        p = s / s.sum()
        entropy = -float((p * p.log()).sum())
        assert found[f"effective_rank_{basis}"] == pytest.approx(math.exp(entropy), rel=1e-3)
    assert found["effective_rank_eigen"] < found["effective_rank_identity"]


def test_without_the_data_the_run_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        run(tiny("fashion-mnist", seed=77), tmp_path)


@pytest.mark.slow
def test_cost_times_every_method(folder, tmp_path):
    (record,) = run(tiny(folder, CostConfig, max_steps=2), tmp_path).records
    assert list(record["times"]) == list(METHODS)
    assert all(value > 0 for value in record["seconds_per_step"].values())
    assert record["times"]["weight_decay"] == 1.0
    assert record["dearest"] == max(value for name, value in record["times"].items() if "jacobian" in name)


def test_places_change_what_they_say(folder, tmp_path):
    at = {place: placed(tiny(folder, TransferConfig, place=place)) for place in PLACES}
    source = at["source"][0]
    assert {place for place, (_, units) in at.items() if units != 1} == {"units"}
    assert at["network"][0].network == "cnn"
    assert at["few"][0].n_train < source.n_train < at["many"][0].n_train
    assert {one.max_steps for one, _ in at.values()} == {source.max_steps}
    config = tiny(folder, TransferConfig, place="units", method="jacobian 1 eigen", max_steps=3)
    output = run(config, tmp_path)
    assert [row["setting"] for row in output.records[0]["trials"]] == list(output.arrays["weight"])
    assert "error" not in output.records[0]  # nothing is tested


def test_sizes_are_tuned_and_tested_alone(folder, tmp_path):
    (record,) = run(tiny(folder, SizesConfig, max_steps=3), tmp_path).records
    assert 0 <= record["error"] <= 1
    assert "corruptions" not in record


@pytest.mark.parametrize(("preset", "most"), [("quick", 250), ("full", 700)])
def test_plans_give_every_method_the_same_seeds_and_budget(preset, most):
    configs = study.plan(preset, 0)
    assert len(configs) <= most
    assert all(len(config.knob) == 4 for config in configs)
    for part in {config.part for config in configs}:
        seeds = {}
        for config in configs:
            if config.part == part:
                key = config.model_dump(exclude={"seed"})
                seeds.setdefault(repr(key), set()).add(config.seed)
        assert len({frozenset(some) for some in seeds.values()}) == 1


def test_labels_leave_out_what_is_usual():
    assert study.label(CompareConfig(seed=3)) == "compare: seed=3"


def test_wrong_settings_are_refused():
    with pytest.raises(ValidationError, match="method must be"):
        CompareConfig(seed=0, method="ridge")


@pytest.mark.slow
def test_figures_of_made_up_runs(folder, tmp_path):
    output = run(tiny(folder), tmp_path)
    made = runs(study, world, "quick")
    for one in made:
        if one.config["part"] == "compare":
            one.records[0] = output.records[0] | one.records[0]
            one.arrays.update(output.arrays)
        if one.config["part"] == "transfer":
            trials = one.records[0]["trials"]
            one.arrays["weight"] = np.array([row["setting"] for row in trials])
            one.arrays["cross_entropy"] = np.array([row["cross_entropy"] for row in trials])
    figures = study.figures(made)
    names = "accuracy likelihood temperature corruption truncation properties sizes weights cost"
    assert [figure.id for figure in figures] == names.split()
    assert all(figure.caption and figure.panels and figure.data for figure in figures)
    assert study.figures([]) == []


def test_the_first_layer_is_the_division_by_the_units():
    assert isinstance(nn.Sequential(Units(2.0))[0], Units)
    assert torch.equal(Units(2.0)(torch.ones(3)), torch.full((3,), 0.5))
