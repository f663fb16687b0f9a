"""Tiny networks of the study of measures of generalization, its plan, its board and its figures."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from predict_sample import blind, truthful, zoo_runs

from overt.problems import ImageSet
from overt.studies import Run, RunContext, RunOutput, Skip
from overt.studies.predict import study
from overt.studies.predict.board import AXES, RANDOM, TWIN, board_of, twins
from overt.studies.predict.measures import MEASURES
from overt.studies.predict.settings import PredictConfig
from overt.studies.predict.training import load, pooled
from overt.studies.predict.zoo import FAMILIES, OURS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four idx files: 8×8 images of two classes that the brighter half tells apart, with noise."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, count in (("train", 80), ("t10k", 60)):
        labels = np.arange(count) % 2
        pixels = rng.integers(0, 120, size=(count, 8, 8))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * label : 4 * label + 4] += rng.integers(20, 120)
        (path / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">4B3I", 0, 0, 8, 3, count, 8, 8) + pixels.astype(np.uint8).tobytes()
        )
        (path / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">4BI", 0, 0, 8, 1, count) + labels.astype(np.uint8).tobytes()
        )
    return path


def tiny(folder: Path, **fields: Any) -> PredictConfig:
    settings: dict[str, Any] = {
        "seed": 0,
        "source": str(folder),
        "n_train": 40,
        "n_test": 60,
        "width": 6,
        "batch_size": 8,
        "lr": 0.05,
        "depth": 1,
        "max_steps": 2000,
        "target_loss": 0.1,
        "noise_draws": 2,
    }
    return PredictConfig(**{**settings, **fields})


def run(config: PredictConfig, path: Path, lines: list[str] | None = None) -> RunOutput:
    path.mkdir(exist_ok=True)
    return study.execute(config, RunContext(path, (lines if lines is not None else []).append))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"family": "mlp", "penalty": "jacobian"},
        {"family": "cnn", "penalty": "nuclear", "depth": 2},
        {"family": "cnn", "pool": 1},
    ],
)
def test_a_network_is_trained_scored_and_measured(
    folder: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    config = tiny(folder, **fields)
    output = run(config, tmp_path)
    (record,) = output.records
    assert record["reached"]
    assert record["status"] == "loss"
    assert record["loss"] <= config.target_loss
    assert record["gap"] == pytest.approx(record["train_accuracy"] - record["test_accuracy"])
    assert set(record["measures"]) == {measure.name for measure in MEASURES}
    assert all(math.isfinite(value) for value in record["measures"].values())
    assert set(output.arrays) == {"eigen", "fourier", "identity"}
    pixels = (8 // config.pool) ** 2
    assert output.arrays["fourier"].shape == (pixels,)
    total = [float(np.square(values.astype(float)).sum()) for values in output.arrays.values()]
    assert total == pytest.approx([total[0]] * 3, rel=1e-4)


def test_runs_are_a_function_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    first, again, other = (
        run(tiny(folder, seed=seed), tmp_path / str(i)).records[0] for i, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first["measures"] != other["measures"]


def test_measures_see_training_data_alone(folder: Path, tmp_path: Path) -> None:
    many, few = (run(tiny(folder, n_test=n), tmp_path / str(n)).records[0] for n in (60, 20))
    assert many["measures"] == few["measures"]
    assert many["test_cross_entropy"] != few["test_cross_entropy"]


def test_a_network_that_does_not_get_there_has_no_gap(folder: Path, tmp_path: Path) -> None:
    (record,) = run(tiny(folder, max_steps=20), tmp_path).records
    assert record["status"] == "budget"
    assert not record["reached"]
    assert record["gap"] is None
    assert board_of([Run("predict", "0" * 12, tiny(folder).model_dump(), [record])]) is None


def test_missing_images_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        run(PredictConfig(seed=12345, n_train=17), tmp_path)


def test_pooling_averages_squares(folder: Path) -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    found = pooled(ImageSet(x, torch.zeros(1, dtype=torch.int64)), 2).images
    assert found.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    images = load(tiny(folder)).train.images
    assert images.shape == (40, 1, 4, 4)
    assert float(images.mean()) == pytest.approx(0, abs=1e-5)
    assert float(images.std()) == pytest.approx(1, abs=1e-5)


def test_a_smaller_training_set_is_part_of_a_larger_one(folder: Path) -> None:
    small, large = (load(tiny(folder, n_train=n)).train for n in (20, 40))
    assert torch.equal(small.labels, large.labels[:20])


def test_plans() -> None:
    quick, full = study.plan("quick", 0), study.plan("full", 0)
    assert len(quick) == len(set(quick)) == 80
    assert len(full) == len(set(full)) >= 200
    assert len(full) == 768
    for family, levels in FAMILIES.items():
        own = [config for config in full if config.family == family]
        for axis in AXES:
            assert {getattr(config, axis) for config in own} == set(levels[axis])
    assert not set(quick) & set(study.plan("quick", 50))
    # Each hyperparameter changes alone somewhere in the quick zoo of each family.
    for family in FAMILIES:
        own = [config for config in quick if config.family == family and config.seed == 0]
        base = own[0]
        changed = [[axis for axis in AXES if getattr(c, axis) != getattr(base, axis)] for c in own[1:]]
        assert changed == [[axis] for axis in FAMILIES[family]]


def test_the_board_holds_what_was_recorded() -> None:
    runs = zoo_runs(failed=3, **{OURS: truthful})
    board = board_of(runs)
    assert board is not None
    assert (board.kept, board.made) == (61, 64)
    assert board.zoo.n_test == 10_000
    assert set(board.names) == {measure.name for measure in MEASURES} | {RANDOM}
    by_gap = {run.records[0]["gap"]: run.records[0]["measures"][OURS] for run in runs[3:]}
    assert {g: float(v) for g, v in zip(board.zoo.gaps, board.values[OURS], strict=True)} == by_gap
    sample = board.granulated([OURS])[OURS]
    assert sample.draws.shape == (500,)
    estimate = sample.estimate("Ψ")
    assert estimate.low is not None
    assert estimate.low <= estimate.value <= (estimate.high or 0)
    assert sample.minus(sample).estimate("0").high == 0


def test_the_twin_says_how_well_the_gap_is_known_without_the_seed() -> None:
    board = twins(zoo_runs(seeds=2))
    assert board is not None
    assert board.kept == 128
    assert board.granulated([TWIN])[TWIN].value > 0.9  # in the sample the seed changes the gap a little
    assert twins(zoo_runs()) is None


@pytest.mark.slow
def test_figures() -> None:
    runs = zoo_runs(seeds=2, **{OURS: truthful})
    figures = {figure.id: figure for figure in study.figures(runs)}
    assert list(figures) == ["ranking", "axes", "environments", "criteria", "formulas", "zoo"]
    assert figures["ranking"].data[0]["measure"] in (OURS, TWIN)
    assert len(figures["ranking"].panels) == 3  # all networks, and each family
    assert len(figures["environments"].panels) == 2
    table = figures["criteria"].table
    assert table is not None
    assert len(table.rows) == len(MEASURES) + 1
    row = next(row for row in table.rows if row[0] == "P₁ eigen/γ")
    assert row[1] > 0.7
    formulas = figures["formulas"].table
    assert formulas is not None
    assert "Σσ" in next(row[1] for row in formulas.rows if row[0] == "P₁ eigen/γ")
    zoo = figures["zoo"].table
    assert zoo is not None
    assert sum(row[3] for row in zoo.rows if row[1] == "depth") == len(runs)


@pytest.mark.slow
def test_figures_of_little() -> None:
    assert study.figures([]) == []
    assert [figure.id for figure in study.figures(zoo_runs(failed=64))] == ["zoo"]
    one_family = zoo_runs(default=blind, families=("cnn",))[:3]
    assert {figure.id for figure in study.figures(one_family)} >= {"ranking", "zoo"}
