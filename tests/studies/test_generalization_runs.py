"""The runs of the study of generalization: corruptions, each method, choice on validation, plan, figures."""

from __future__ import annotations

import gzip
import math
import struct

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from overt.studies import Run, RunContext, Skip
from overt.studies.generalization import execute as E
from overt.studies.generalization import study
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.generalization.corruptions import CORRUPTIONS, corrupt, corrupted
from overt.studies.generalization.data import Data, Units, build
from overt.studies.generalization.methods import BUDGET, key, look, settings_of, trial
from overt.studies.generalization.plan import jacobian, methods, plan
from overt.studies.report.palette import method_styles
from overt.studies.runs.identity import config_hash
from overt.studies.shared.classifiers import evaluate


def word_of(fields):
    return key({"factors": 2, "p": 2.0, "basis": "eigen", "normalized": False, **fields})


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


def tiny(source, **fields):
    base = {"n_train": 45, "n_validation": 45, "n_test": 60, "max_steps": 12, "batch_size": 15, "seed": 0}
    widths = (4, 6) if fields.get("network") == "cnn" else (10,)
    return GeneralizationConfig(**{**base, "source": source, "widths": widths, "lr": 1e-2, **fields})


def run(config, folder):
    folder.mkdir(exist_ok=True)
    return E.execute(config, RunContext(folder, lambda line: None))


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
@pytest.mark.parametrize(
    "fields",
    methods(),
    ids=word_of,
)
def test_every_method_trains(fields, folder, tmp_path):
    network = "cnn" if fields["method"] in ("composition", "overparameterized") else "mlp"
    config = tiny(folder, network=network, max_steps=3, **fields)
    settings = settings_of(config)
    assert len(settings) == BUDGET
    data = Data(config)
    _, row = E._trained(config, data, settings[1], 1, RunContext(tmp_path, lambda line: None))
    assert row["status"] == "budget"
    assert 0 < row["cross_entropy"] < 10
    assert row["setting"] == settings[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"method": "weight_decay"}, {"network": "cnn", **jacobian(1.0, "fourier")}]
)
def test_a_whole_run(fields, folder, tmp_path):
    config = tiny(folder, **fields)
    (record,) = run(config, tmp_path / "a").records
    assert [row["setting"] for row in record["trials"]] == list(settings_of(config))
    best = max(record["trials"], key=lambda row: (row["accuracy"], -row["cross_entropy"]))
    assert record["chosen"] == best["setting"]
    likeliest = min(record["trials"], key=lambda row: row["cross_entropy"])
    assert record["chosen_by_likelihood"] == likeliest["setting"]
    assert record["scaled_cross_entropy"] <= record["cross_entropy"] + 0.05
    assert len(record["corruptions"]) == 8
    mean = sum(row["accuracy"] for row in record["corruptions"]) / 8
    assert record["corrupted_accuracy"] == pytest.approx(mean)
    assert record["clean_accuracy"] == pytest.approx(record["accuracy"])  # all test images are scored here
    assert record["truncations"][-1]["kept"] == pytest.approx(1.0)
    assert 1 <= record["effective_rank_eigen"] <= 64
    clock = {"trials", "seconds_per_step"}
    again = run(config, tmp_path / "b").records[0]
    assert {k: v for k, v in again.items() if k not in clock} == {
        k: v for k, v in record.items() if k not in clock
    }


def test_only_the_chosen_network_is_tested(folder, tmp_path, monkeypatch):
    config = tiny(folder, method="nothing")
    data = Data(config)
    tested = []
    monkeypatch.setattr(E, "_tested", lambda best, likeliest, data: tested.append((best, likeliest)) or {})
    (record,) = run(config, tmp_path).records
    ((best, likeliest),) = tested
    assert evaluate(best, data.validation).accuracy == max(row["accuracy"] for row in record["trials"])
    assert evaluate(likeliest, data.validation).cross_entropy == pytest.approx(
        min(row["cross_entropy"] for row in record["trials"])
    )


@pytest.mark.slow
def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    config = tiny(folder, **jacobian(1.0, "identity"))
    calls = []
    fit = E.fit

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(E, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    found = run(config, tmp_path).records[0]
    assert len(calls) == 3 + 2  # the first two are not made again
    monkeypatch.setattr(E, "fit", fit)
    other = run(config, tmp_path / "other").records[0]
    assert found["accuracy"] == other["accuracy"]
    assert found["cross_entropy"] == other["cross_entropy"]


def test_a_training_that_diverges_is_not_chosen(folder, tmp_path):
    config = tiny(folder, method="nothing", optimizer="sgd", settings=(1e30, 1e-2))
    (record,) = run(config, tmp_path).records
    assert record["trials"][0]["status"] == "diverged"
    assert record["chosen"] == record["chosen_by_likelihood"] == 1e-2


@pytest.mark.slow
def test_units_change_nothing_but_the_penalty(folder, tmp_path):
    """Without a penalty and with a normalized one the units do not matter; with another one they do."""

    def outputs(units, **fields):
        config = tiny(folder, units=units, **fields)
        data = Data(config)
        model, _ = E._trained(config, data, 0.1, 0, RunContext(tmp_path / f"{units}{fields}", print))
        return model(data.validation.images).detach()

    context = {}
    for units in (1.0, 128.0):
        for fields in ({"method": "weight_decay"}, jacobian(1.0, normalized=True), jacobian(1.0)):
            (tmp_path / f"{units}{fields}").mkdir()
            context[units, word_of(fields)] = outputs(units, **fields)
    for word in ("weight_decay", "jacobian 1 eigen normalized"):
        torch.testing.assert_close(context[1.0, word], context[128.0, word], rtol=1e-2, atol=1e-3)
    apart = (context[1.0, "jacobian 1 eigen"] - context[128.0, "jacobian 1 eigen"]).abs().max()
    assert float(apart) > 0.05


def test_sensitivity_against_jacobians_by_hand(folder):
    config = tiny(folder)
    data = Data(config)
    model = build(config, data, trial(config, 1e-3))
    found = E._sensitivity(model, data)
    x = data.validation.images[: E.MEASURED]
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


def test_views(folder):
    plain, permuted, scrambled = (
        Data(tiny(folder, view=view)) for view in ("plain", "permuted", "scrambled")
    )
    for other in (permuted, scrambled):
        assert not torch.allclose(plain.train.images, other.train.images)
        assert torch.equal(plain.train.labels, other.train.labels)
    torch.testing.assert_close(
        plain.raw_test.images.flatten(1).sort(1).values, permuted.raw_test.images.flatten(1).sort(1).values
    )


def test_without_the_data_the_run_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        run(tiny("fashion-mnist", seed=77), tmp_path)


@pytest.mark.slow
def test_cost_times_every_method(folder, tmp_path):
    config = tiny(folder, group="cost", max_steps=2)
    rows = run(config, tmp_path).records
    assert len({row["method"] for row in rows}) == len(methods())
    assert all(row["seconds_per_step"] > 0 for row in rows)
    assert next(row["times"] for row in rows if row["method"] == "weight_decay") == 1.0


@pytest.mark.parametrize(("preset", "most"), [("quick", 80), ("full", 1000)])
def test_plans_are_distinct_and_of_the_size_that_the_budget_allows(preset, most):
    configs = plan(preset, 0)
    assert len({config_hash("generalization", 1, config) for config in configs}) == len(configs) <= most
    assert all(len(settings_of(config)) == BUDGET for config in configs)
    assert all(any(study.concerns(c.model_dump(), claim.id) for c in configs) for claim in study.claims) or (
        preset == "quick"
    )
    main = [config for config in configs if config.group == "main"]
    by_method = {}
    for config in main:
        by_method.setdefault((config.network, key(config.model_dump())), set()).add(config.seed)
    assert len({frozenset(seeds) for seeds in by_method.values()}) == 1  # the same seeds for all
    if preset == "full":
        assert len(by_method) == 2 * len(methods())
        assert all(len(seeds) == 10 for seeds in by_method.values())
    assert study.label(configs[0])


def test_wrong_settings_are_refused():
    with pytest.raises(ValidationError, match="constant 1"):
        GeneralizationConfig(seed=0, method="jacobian", p=2.0, normalized=True)
    with pytest.raises(ValidationError):
        GeneralizationConfig(seed=0, method="ridge")


def test_other_powers_take_the_nearest_values():
    config = GeneralizationConfig(seed=0, method="jacobian", p=0.5)
    assert settings_of(config) == settings_of(GeneralizationConfig(seed=0, **jacobian(2 / 3)))
    assert key(config.model_dump()) == "jacobian 0.5 eigen"


def test_methods_keep_their_looks():
    words = [
        "nothing",
        "weight_decay",
        "normalized_nuclear_norm",
        "overparameterized 2",
        "jacobian 2",
        "jacobian 1 eigen",
    ]
    styles = method_styles(look(word) for word in words)
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(words)


@pytest.mark.slow
def test_figures_of_made_up_runs(folder, tmp_path):
    template = run(tiny(folder), tmp_path).records[0]
    runs = []
    for config in plan("full", 0):
        if config.seed >= 5:
            continue
        shift = 0.01 * math.sin(config.seed + 0.1 * len(key(config.model_dump())))
        trials = [
            {**row, "setting": w} for row, w in zip(template["trials"], settings_of(config), strict=True)
        ]
        records = [{**template, "trials": trials, "accuracy": 0.8 + shift}]
        if config.group == "cost":
            records = [
                {
                    "method": word_of(m),
                    "seconds_per_step": 1e-3,
                    "times": 1.5,
                }
                for m in methods()
            ]
        hash_ = config_hash("generalization", 1, config)
        runs.append(Run("generalization", hash_, config.model_dump(mode="json"), records))
    figures = study.figures(runs)
    names = "accuracy likelihood predictions properties sparse-against-frobenius corruption truncation "
    names += "sizes weights cost"
    assert [figure.id for figure in figures] == names.split()
    assert all(figure.caption and (figure.panels or figure.table) for figure in figures)
    assert len(figures[2].table.rows) == 2 * len(methods())
    assert study.figures([]) == []
    assert len(study.judge(runs)) == len(study.claims)


def test_the_first_layer_is_the_division_by_the_units():
    assert isinstance(nn.Sequential(Units(2.0))[0], Units)
    assert torch.equal(Units(2.0)(torch.ones(3)), torch.full((3,), 0.5))
