"""One very small run of every part of the story: what it records is what rules and figures read."""

from __future__ import annotations

import json
import math

import numpy as np
import pooch
import pytest
import requests

from overt.studies import Run, RunContext, Skip
from overt.studies.runs.identity import config_hash
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.story import cost
from overt.studies.story.config import StoryConfig
from overt.studies.story.study import study

SMALL = {"n": 12, "rank": 1, "n_observed": 90, "max_steps": 60, "seed": 0}
COMPLETION = {
    "error",
    "rank",
    "effective_rank",
    "normalized_nuclear_norm",
    "nuclear_norm",
    "loss",
    "largest_entry",
    "status",
    "message",
    "steps",
    "seconds",
}
EXPLICIT = COMPLETION | {
    "hits",
    "penalized_error",
    "penalized_effective_rank",
    "collapsed_at",
    "accepted_at",
}
TRACE = {"step", "singular_values", "effective_rank", "error"}


@pytest.fixture
def execute(tmp_path):
    """Make a run and store and read it as the runner does."""

    def make(**fields):
        config = StoryConfig(**fields)
        told = []
        output = study.execute(config, RunContext(tmp_path, told.append))
        records = load_lines(dump_lines(output.records))
        json.dumps(config.model_dump(mode="json"), allow_nan=False)
        for array in output.arrays.values():
            assert array.dtype.kind in "biuf"
        assert all(isinstance(line, str) and "\n" not in line for line in told)
        name = config_hash(study.name, study.version, config)
        return Run(study.name, name, config.model_dump(mode="json"), records, output.arrays)

    return make


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No data folder, an empty cache and a publisher out of reach."""

    def unreachable(url, output_file, pooch_object):
        raise requests.exceptions.ConnectionError("Name or service not known")

    monkeypatch.delenv("OVERT_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **options: unreachable)


def check_trace(run):
    assert set(run.arrays) == TRACE
    steps = run.arrays["step"]
    assert steps[0] == 0
    assert np.all(np.diff(steps) > 0)
    assert steps[-1] == run.records[0]["steps"]
    for name in TRACE:
        assert len(run.arrays[name]) == len(steps)
    assert np.all(np.diff(run.arrays["singular_values"], axis=1) <= 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"group": "depths", "depth": 1, "optimizer": "gd", "lr": 10.0},
        {"group": "depths", "depth": 3, "optimizer": "gd", "lr": 1.0},
        {"group": "inits", "depth": 3, "lr": 1e-3, "init_scale": 1.0},
    ],
)
def test_deep(execute, fields):
    run = execute(method="deep", weight=0.0, **SMALL, **fields)
    assert set(run.records[0]) == COMPLETION | {"hits"}
    check_trace(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"group": "depths"},
        {"group": "portrait", "early_refit": False},
        {"group": "optimizers", "optimizer": "muon", "lr": 0.1, "early_refit": False},
        {"group": "optimizers", "optimizer": "lbfgs", "lr": 0.1, "early_refit": False, "max_steps": 5},
        {"group": "weights", "weight": 0.1, "early_refit": False},
        {"group": "inits", "init_scale": 1e-6, "early_refit": False},
        {"group": "nuclear", "functional": "nuclear_norm", "weight": 1e-3, "early_refit": False},
    ],
)
def test_explicit(execute, fields):
    run = execute(method="explicit", **{**SMALL, **fields})
    assert set(run.records[0]) == EXPLICIT
    check_trace(run)


def test_explicit_finds_the_matrix(execute):
    run = execute(group="depths", method="explicit", **SMALL | {"max_steps": 2000})
    record = run.records[0]
    assert record["error"] < 1e-10
    assert record["rank"] == 1
    assert record["status"] == "converged"
    assert record["accepted_at"] == record["steps"] < 2000
    assert record["largest_entry"] < 100


@pytest.mark.parametrize("method", ["nuclear_norm", "soft_impute", "irls"])
def test_solvers(execute, method):
    run = execute(group="depths", method=method, **SMALL)
    assert set(run.records[0]) == COMPLETION
    assert run.records[0]["status"] in ("converged", "budget")


@pytest.mark.parametrize("fields", [{"optimizer": "gd", "lr": 1e6}, {"optimizer": "momentum", "lr": 1e9}])
def test_a_diverging_run_says_so_and_has_numbers(execute, fields):
    run = execute(group="optimizers", method="explicit", early_refit=False, **SMALL, **fields)
    record = run.records[0]
    assert record["status"] == "diverged"
    assert "diverged" in record["message"] or "above" in record["message"]
    assert record["error"] > 1e-3
    json.dumps(record, allow_nan=False)


@pytest.mark.slow
def test_runs_depend_on_the_seed_and_on_nothing_else(execute, tmp_path):
    def once(seed):
        record = execute(group="depths", method="explicit", **SMALL | {"seed": seed}).records[0]
        return {name: value for name, value in record.items() if name not in ("seconds", "hits")}

    assert once(0) == once(0)
    assert once(0)["error"] != once(1)["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"method": "gd", "rank": 0, "optimizer": "gd", "lr": 0.05, "max_steps": 3000},
        {"method": "diagonal", "rank": 2, "depth": 2, "optimizer": "gd", "lr": 0.1, "init_scale": 1e-3},
        {"method": "l1_over_l2", "rank": 2, "lr": 1e-2, "max_steps": 2000},
    ],
)
def test_regression(execute, fields):
    shared = {"group": "regression", "n": 30, "n_observed": 18, "seed": 0, "max_steps": 200}
    record = execute(**{**shared, **fields}).records[0]
    numbers = {"error", "to_minimum_norm", "minimum_norm_error", "loss", "l1", "l2", "l1_over_l2"}
    assert numbers | {"status", "steps", "message"} <= set(record)
    assert all(math.isfinite(record[name]) for name in numbers)
    if fields["method"] == "gd":
        assert record["to_minimum_norm"] < 1e-6
    if fields["method"] == "l1_over_l2":
        assert "nonzeros" in record


@pytest.mark.slow
@pytest.mark.parametrize("method", ["explicit", "deep", "nuclear_norm", "soft_impute"])
def test_photograph(execute, method):
    depth = 3 if method == "deep" else 1
    size = {"height": 18, "width": 24, "kept": 0.5}
    run = execute(group="photograph", method=method, depth=depth, seed=1, max_steps=30, **size)
    assert set(run.records[0]) == {"error", "psnr", "effective_rank", "status"}
    assert {name: array.shape for name, array in run.arrays.items()} == {
        "picture": (18, 24),
        "truth": (18, 24),
        "observed": (18, 24),
    }
    assert run.arrays["observed"].dtype == bool
    assert run.arrays["observed"].mean() == 0.5
    assert run.arrays["picture"].min() >= 0
    assert run.arrays["picture"].max() <= 1


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    "fields",
    [
        {"method": "biases"},
        {"method": "soft_impute"},
        {"method": "deep", "depth": 3, "lr": 1e-3, "weight": 0.0},
        {"method": "explicit", "lr": 1e-3, "weight": 1e-2},
    ],
)
def test_movielens(execute, data_folder, monkeypatch, fields):
    monkeypatch.setenv("OVERT_DATA", str(data_folder))
    record = execute(group="movielens", seed=0, max_steps=20, **fields).records[0]
    assert {"validation_rmse", "test_rmse", "effective_rank", "steps", "status"} <= set(record)
    assert 0.8 < record["test_rmse"] < 1.3
    assert (record["effective_rank"] is None) == (fields["method"] == "biases")
    if fields["method"] in ("deep", "explicit"):
        assert 0 <= record["best_step"] <= record["steps"] == 20


@pytest.mark.parametrize("method", ["biases", "soft_impute", "deep", "explicit"])
def test_movielens_without_data_is_skipped_with_both_ways_out(execute, no_network, method):
    with pytest.raises(Skip) as skipped:
        execute(group="movielens", method=method, seed=0, max_steps=20)
    assert "OVERT_DATA" in skipped.value.reason
    assert "https://files.grouplens.org" in skipped.value.reason
    assert "\n" not in skipped.value.reason


@pytest.mark.slow
def test_cost(execute, monkeypatch):
    monkeypatch.setattr(cost, "LIMIT", 1.0)
    monkeypatch.setattr(cost, "DEEP_QUICK", [(3, "adam", 1e-2), (2, "gd", 1.0)])
    run = execute(group="cost", method="race", quick=True, exclusive=True, **SMALL)
    routes = [record["route"] for record in run.records]
    assert routes == [
        "explicit, Adam",
        "explicit, IRLS",
        "depth 3, adam, lr 0.01",
        "depth 2, gd, lr 1",
    ]
    for record in run.records:
        assert {"error", "rank", "total_seconds", "seconds_0.01", "steps_0.01"} <= set(record)
        assert {"seconds_0.0001", "steps_0.0001"} <= set(record)
        assert record["total_seconds"] > 0
        deep = {"depth", "optimizer", "lr", "status"}
        assert (deep <= set(record)) == record["route"].startswith("depth")
    for record in run.records[:2]:
        assert record["error"] <= 1e-4
        assert record["seconds_0.0001"] == record["total_seconds"]


@pytest.mark.slow
def test_real_records_can_be_judged_and_drawn(execute, monkeypatch):
    """Rules and figures take runs as they are made, whatever is missing."""
    monkeypatch.setattr(cost, "LIMIT", 0.4)
    monkeypatch.setattr(cost, "DEEP_QUICK", [(3, "adam", 1e-2)])
    runs = [
        execute(group="depths", method="deep", depth=3, optimizer="gd", lr=1.0, weight=0.0, **SMALL),
        execute(group="depths", method="explicit", **SMALL),
        execute(group="portrait", method="explicit", early_refit=False, **SMALL),
        execute(group="optimizers", method="explicit", early_refit=False, **SMALL),
        execute(group="optimizers", method="explicit", early_refit=False, optimizer="gd", lr=1e6, **SMALL),
        execute(group="cost", method="race", quick=True, exclusive=True, **SMALL),
    ]
    assert [verdict.claim for verdict in study.judge(runs)] == [claim.id for claim in study.claims]
    figures = study.figures(runs)
    assert len({figure.id for figure in figures}) == len(figures) > 0
