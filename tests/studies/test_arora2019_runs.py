"""Plan, small real runs and figures of the study of Arora et al. (2019)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from overt.studies import Run, RunContext, Skip
from overt.studies.arora2019 import study
from overt.studies.arora2019.config import Arora2019Config
from overt.studies.arora2019.dynamics import compare
from overt.studies.arora2019.plan import plan
from overt.studies.runs.identity import config_hash

TINY = {"n": 12, "rank": 1, "n_observed": 80, "seed": 0, "leading": 3}


def execute(tmp_path, **fields):
    config = Arora2019Config(**fields)
    return study.execute(config, RunContext(tmp_path, lambda line: None))


def stored(config, output):
    name = config_hash("arora2019", 1, config)
    return Run(
        "arora2019", name, config.model_dump(mode="json"), output.records, output.arrays, {"status": "done"}
    )


@pytest.mark.parametrize(("preset", "seeds"), [("quick", 3), ("full", 5)])
def test_plan(preset, seeds):
    configs = plan(preset, 7)
    assert len(set(configs)) == len(configs)
    groups = Counter(config.group for config in configs)
    assert set(groups) == {"completion", "sensing", "scales", "dynamics", "movielens"}
    for group in groups:
        found = {config.seed for config in configs if config.group == group}
        assert min(found) == 7
        assert len(found) >= (3 if group == "movielens" else seeds)
    if preset == "full":
        ours = [config for config in configs if config.group == "completion"]
        assert {config.rank for config in ours} == {5, 10}
        assert {config.n for config in ours} == {100}


def test_regimes_are_what_they_say():
    for config in plan("full", 0) + plan("quick", 0):
        if config.group in ("completion", "scales") and config.regime != "between":
            ratio = config.n_observed / (config.rank * (2 * config.n - config.rank))
            assert (ratio < 2.3) if config.regime == "few" else (ratio >= 4)


def test_each_run_concerns_its_claims():
    assert study.concerns({"group": "scales"}, "A3")
    assert not study.concerns({"group": "scales"}, "A1")


@pytest.mark.parametrize(
    "fields",
    [
        {"group": "completion", "rank": 13, "n": 12},
        {"group": "completion", "n_observed": 145, "n": 12},
        {"group": "movielens", "n_observed": 100_000},
        {"group": "dynamics", "method": "flow", "n": 5, "rank": 1, "n_observed": 20},
        {"group": "completion", "optimizer": "newton"},
        {"group": "completion", "unknown": 1},
    ],
)
def test_refused(fields):
    with pytest.raises(ValidationError):
        Arora2019Config(seed=0, **fields)


def test_training_and_convex_runs(tmp_path):
    deep = execute(tmp_path, group="completion", depth=3, lr=0.5, max_steps=2000, **TINY).records[0]
    convex = execute(tmp_path, group="completion", method="nuclear_norm", **TINY).records[0]
    assert deep["status"] == "converged"
    assert deep["error"] < 0.1
    assert convex["error"] < 1e-4
    assert convex["true_nuclear_norm"] == pytest.approx(12.0)
    assert deep["true_effective_rank"] == pytest.approx(1.0)


def test_sensing_run(tmp_path):
    record = execute(tmp_path, group="sensing", lr=0.5, max_steps=50, **TINY).records[0]
    assert record["error"] < 1.1


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_flow_follows_the_formula(tmp_path, depth):
    output = execute(
        tmp_path, group="dynamics", method="flow", init="balanced", depth=depth, until=0.01, **TINY
    )
    record, arrays = output.records[0], output.arrays
    assert record["status"] == "converged"
    assert record["deviation"] <= 0.02
    assert record["exponent"] == pytest.approx(1 - 1 / depth, abs=0.01)
    assert record["factor"] == pytest.approx(depth, rel=0.01)
    assert all(record[f"deviation_as_{other}"] > 0.05 for other in {1, 2, 3, 4, 5} - {depth})
    assert arrays["measured"].shape == arrays["predicted"].shape == (len(arrays["time"]), 3)
    assert len(arrays["loss"]) == len(arrays["time"])


@pytest.mark.slow
def test_unbalanced_flow_does_not(tmp_path):
    """Change one thing, the initialization, and the verdict falls."""
    record = execute(tmp_path, group="dynamics", method="flow", init="gaussian", **TINY).records[0]
    assert record["deviation"] > 0.02


@pytest.mark.slow
def test_narrow_layers_give_the_flow_of_full_width(tmp_path):
    """With width 2 the product is kept as factors; the formula holds, and zero values are never needed."""
    record = execute(
        tmp_path, group="dynamics", method="flow", init="balanced", width=2, depth=3, **TINY | {"leading": 2}
    ).records[0]
    assert record["deviation"] <= 0.02


def test_a_wrong_exponent_is_found():
    """Velocities that grow as σ^{1.5} are not those of depth 2, σ¹."""
    sigma = np.linspace(0.1, 3.0, 40)[:, None]
    slope = np.ones_like(sigma)
    right = compare(sigma, 2 * sigma, 2 * sigma, slope, 2)
    wrong = compare(sigma, 2 * sigma**1.5, 2 * sigma, slope, 2)
    assert right["deviation"] == 0
    assert right["exponent"] == pytest.approx(0.5)
    assert wrong["deviation"] > 0.5
    assert wrong["exponent"] == pytest.approx(0.75)


@pytest.mark.slow
@pytest.mark.data
def test_movielens_flow(tmp_path):
    record = execute(
        tmp_path,
        group="movielens",
        method="flow",
        init="balanced",
        n_observed=2000,
        width=2,
        leading=2,
        until=0.5,
        seed=0,
    ).records[0]
    assert record["deviation"] <= 0.02


def test_movielens_without_data_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        execute(tmp_path, group="movielens", method="flow", n_observed=2000, width=2, leading=2, seed=0)


def sample():
    """One made-up run for each configuration of the quick plan."""
    runs = []
    for config in plan("quick", 0):
        rng = np.random.default_rng(config.seed)
        record = {
            "error": float(rng.uniform(0.01, 0.4)),
            "effective_rank": float(rng.uniform(3, 20)),
            "nuclear_norm": float(rng.uniform(90, 120)),
            "true_nuclear_norm": 100.0,
            "true_effective_rank": 2.9,
            "status": "converged",
            "deviation": 1e-4,
            "exponent": 1 - 1 / config.depth,
            "points": 50,
            **{f"deviation_as_{k}": 0.5 for k in range(1, 6) if k != config.depth},
        }
        arrays = {}
        if config.method == "flow":
            t = np.linspace(0, 1, 20)
            grown = np.outer(t**2 + 1e-3, np.arange(5, 0, -1))
            arrays = {"time": t, "singular_values": grown, "measured": grown, "predicted": grown}
        name = config_hash("arora2019", 1, config)
        runs.append(
            Run("arora2019", name, config.model_dump(mode="json"), [record], arrays, {"status": "done"})
        )
    return runs


@pytest.mark.slow
def test_figures():
    runs = sample()
    found = {figure.id: figure for figure in study.figures(runs)}
    assert list(found) == [
        "over-observed-entries",
        "over-measurements",
        "over-scales",
        "dynamics",
        "deviations",
    ]
    for figure in found.values():
        assert figure.panels
        assert figure.data
        assert "3 seeds" in figure.caption or figure.id == "dynamics"
    assert len(found["over-observed-entries"].panels) == 2
    assert len(found["over-scales"].panels) == 6


@pytest.mark.slow
def test_figures_of_nothing():
    assert study.figures([]) == []
    assert [figure.id for figure in study.figures(sample()[:1])] == ["dynamics", "deviations"]
