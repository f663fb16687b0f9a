"""Zhao (2022): plans, configurations, one small real run of each kind, and figures of made-up runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from overt.models import DeepLinear
from overt.problems import matrix_completion
from overt.studies import Run, RunContext, Skip
from overt.studies.runs.identity import config_hash
from overt.studies.shared.penalized import Penalized, ReluNetwork, network
from overt.studies.zhao2022 import movielens, study
from overt.studies.zhao2022.config import OPTIMIZERS, PENALTIES, ZhaoConfig, penalty_name
from overt.studies.zhao2022.optspace import optspace
from overt.studies.zhao2022.slices import DENSE, SCARCE, oversampling


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


# ---- plans and configurations ----------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_plan_is_distinct_and_covers_the_paper(preset):
    plan = study.plan(preset, 0)
    assert len(set(plan)) == len(plan)
    assert {one.optimizer for one in plan if one.group == "optimizers"} == set(OPTIMIZERS)
    named = {penalty_name(one.model_dump()) for one in plan if one.group == "penalties"}
    assert named == set(PENALTIES)
    assert {one.activation for one in plan} == {"linear", "relu"}
    assert {"random", "u1"} <= {one.split for one in plan}
    for interval in (DENSE, SCARCE):
        inside = [one for one in plan if one.group == "depths" and interval[0] <= over(one) < interval[1]]
        assert len({one.rank for one in inside}) == 2


def over(config):
    return oversampling(config.model_dump())


def test_full_has_the_published_splits_and_the_real_size():
    plan = study.plan("full", 0)
    assert {f"u{number}" for number in range(1, 6)} <= {one.split for one in plan}
    depths = [one for one in plan if one.group == "depths"]
    assert {one.n for one in depths} == {100}
    assert {one.rank for one in depths} == {5, 10}
    assert {one.method for one in depths} == {"train", "nuclear_norm", "soft_impute", "optspace"}


def test_penalties_have_equally_many_weights():
    plan = [one for one in study.plan("full", 0) if one.group == "penalties"]
    counts = {
        name: len({one.weight for one in plan if penalty_name(one.model_dump()) == name})
        for name in PENALTIES
    }
    assert len(set(counts.values())) == 1


def test_the_seed_shifts_all_runs():
    assert not set(study.plan("quick", 0)) & set(study.plan("quick", 50))


@pytest.mark.parametrize(
    "fields",
    [
        {"functional": "schatten_norm"},
        {"functional": "nuclear_norm", "p": 0.5},
        {"functional": "normalized_schatten_norm", "p": 0.5},
        {"functional": "no_such"},
        {"optimizer": "no_such"},
        {"rank": 200},
        {"split": "u1"},
        {"no_such": 1},
    ],
)
def test_bad_configurations_are_refused(fields):
    with pytest.raises(ValidationError):
        ZhaoConfig(group="depths", seed=0, **fields)


def test_a_functional_outside_the_paper_can_be_set():
    config = ZhaoConfig(group="penalties", seed=0, functional="effective_rank")
    assert penalty_name(config.model_dump()) == "effective rank"


# ---- networks --------------------------------------------------------------------------------------------


def test_relu_network_is_what_it_says():
    model = ReluNetwork((4, 5, 6, 3), scale=1.0, seed=0, dtype=torch.float64)
    first, second, third = model.weights
    assert torch.equal(model.product(), third @ (second @ first.relu()).relu())
    x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (third @ (second @ (first @ x.mT).relu()).relu()).mT
    assert torch.allclose(model(x), expected)


def test_the_network_of_a_setting():
    setting = Penalized("nuclear_norm", {}, 0.1, "adam", 0.1, 3, "relu", 1e-3, 5, 0)
    model = network((4, 6), setting)
    assert isinstance(model, ReluNetwork)
    assert model.product().shape == (4, 6)
    assert model.depth == 3


# ---- runs ------------------------------------------------------------------------------------------------

SMALL = {"n": 10, "rank": 1, "n_observed": 60, "seed": 3}


def execute(context, **fields):
    return study.execute(ZhaoConfig(**{**SMALL, **fields}), context)


@pytest.mark.slow
def test_the_penalty_lowers_error_and_rank_under_adam(context):
    shared = {"group": "depths", "n_observed": 80, "lr": 2e-2, "max_steps": 400}
    penalized = execute(context, **shared)
    (context.directory / "run.safetensors").unlink()
    plain = execute(context, weight=0.0, **shared)
    assert penalized.records[0]["error"] < 0.85 * plain.records[0]["error"]
    assert penalized.records[0]["effective_rank"] < 0.8 * plain.records[0]["effective_rank"]
    assert len(penalized.arrays["step"]) == len(penalized.arrays["singular_values"])


@pytest.mark.parametrize("name", PENALTIES)
def test_each_penalty_runs(context, name):
    output = execute(context, group="penalties", max_steps=3, **PENALTIES[name])
    assert np.isfinite(output.records[0]["error"])
    assert output.arrays == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_runs(context, name):
    output = execute(context, group="optimizers", max_steps=2, optimizer=name, lr=1e-3)
    assert output.records[0]["steps"] == 2


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_depth_with_and_without_relu(context, activation):
    output = execute(context, group="relu", depth=3, activation=activation, max_steps=3)
    assert np.isfinite(output.records[0]["error"])


@pytest.mark.parametrize("method", ["nuclear_norm", "soft_impute", "optspace"])
def test_each_baseline_runs(context, method):
    output = execute(context, group="depths", method=method, weight=0.0, n_observed=80)
    assert output.records[0]["error"] < 0.2


def test_a_movielens_method_needs_the_group(context):
    with pytest.raises(ValueError, match="movielens"):
        execute(context, group="depths", method="biases")


def test_optspace_recovers_and_minimizes():
    problem = matrix_completion((40, 30), rank=2, n_observed=600, seed=1, min_per_line=2)
    found = optspace(problem, rank=2)
    assert found.converged
    assert found.rank == 2
    assert problem.error(found.W) < 1e-6
    with pytest.raises(ValueError, match="rank"):
        optspace(problem, rank=0)


def test_optspace_says_when_it_ran_out_of_steps():
    problem = matrix_completion((40, 30), rank=2, n_observed=600, seed=1, min_per_line=2)
    found = optspace(problem, rank=2, max_iter=2)
    assert not found.converged
    assert found.n_iter == 2


# ---- MovieLens, with a made-up data set in its place -------------------------------------------------


@pytest.fixture
def little_movielens(monkeypatch):
    asked = []

    def made(split, *, seed=None, dtype):
        asked.append((split, seed))
        problem = matrix_completion((25, 20), rank=2, n_observed=300, seed=5, dtype=dtype)
        rows, cols = torch.arange(20) % 25, torch.arange(20)
        assert problem.truth is not None
        held = (rows, cols, (problem.truth[rows, cols] + 3).clamp(1, 5))
        stars = (problem.y + 3).clamp(1, 5)
        return type(problem)(problem.rows, problem.cols, stars, (25, 20), heldout=held)

    monkeypatch.setattr(movielens, "movielens_100k", made)
    return asked


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "biases", "weight": 0.0},
        {"depth": 3, "weight": 0.0, "lr": 1e-2},
        {"depth": 2, "lr": 1e-2},
        {"depth": 1, "lr": 1e-2},
    ],
)
def test_movielens_runs(context, little_movielens, fields):
    config = ZhaoConfig(group="movielens", split="random", seed=4, width=6, max_steps=40, **fields)
    record = study.execute(config, context).records[0]
    assert little_movielens == [("random", 4)]
    assert 0 < record["test_rmse"] < 2
    assert 0 < record["validation_rmse"] < 2
    if fields.get("method") != "biases":
        assert 1 <= record["effective_rank"] <= 20
        assert record["best_step"] <= 40


def test_published_splits_take_no_seed(context, little_movielens):
    config = ZhaoConfig(group="movielens", split="u3", method="biases", weight=0.0, seed=4)
    study.execute(config, context)
    assert little_movielens == [("u3", None)]


def test_validation_ratings_are_kept_out_of_training():
    problem = matrix_completion((25, 20), rank=2, n_observed=300, seed=5)
    rest, (rows, cols, values) = movielens.hold_out(problem, 1)
    assert rest.n_observed == 270
    assert values.numel() == 30
    assert not set(zip(rows.tolist(), cols.tolist(), strict=True)) & set(
        zip(rest.rows.tolist(), rest.cols.tolist(), strict=True)
    )


def test_movielens_without_data_is_skipped(context, monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        study.execute(ZhaoConfig(group="movielens", split="u1", seed=0), context)


def test_effective_rank_of_thin_layers_is_that_of_their_product():
    model = DeepLinear((9, 4, 5, 7), scale=1.0, seed=0, dtype=torch.float64)
    factors = [weight.detach() for weight in model.weights]
    expected = movielens.effective_rank([model.product().detach()])
    assert movielens.effective_rank(factors) == pytest.approx(expected)


# ---- figures -----------------------------------------------------------------------------------------------


def made_up(preset="quick", lost=0.0):
    runs = []
    for config in study.plan(preset, 0):
        name, fields = config_hash("zhao2022", 1, config), config.model_dump(mode="json")
        rng = np.random.default_rng(int(name, 16))
        if config.group == "movielens":
            record = {
                "test_rmse": 0.94 + 0.01 * rng.random(),
                "validation_rmse": 0.93,
                "effective_rank": 12.0,
            }
        else:
            error = None if rng.random() < lost else float(rng.uniform(0.01, 0.9))
            record = {"error": error, "effective_rank": 5.0, "rank": 5}
        wanted = config.group == "depths" and config.method == "train"
        arrays = trace(rng) if wanted else {}
        runs.append(Run("zhao2022", name, fields, [record], arrays, {"status": "done"}))
    return runs


def trace(rng):
    return {
        "step": np.array([0, 1, 10, 100]),
        "singular_values": -np.sort(-rng.random((4, 6))),
        "effective_rank": rng.uniform(1, 6, 4),
        "error": rng.random(4),
    }


IDS = ["spectra", "optimizers", "depths", "penalties", "relu", "movielens"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_figures_of_a_whole_preset(lost):
    found = study.figures(made_up(lost=lost))
    assert [figure.id for figure in found] == IDS
    for figure in found:
        assert figure.panels
        assert figure.data
        assert len(figure.caption) > 100


@pytest.mark.slow
def test_figures_of_nothing_and_of_parts():
    assert study.figures([]) == []
    for group in IDS[1:]:
        some = [run for run in made_up() if run.config["group"] == group]
        expected = ["spectra", group] if group == "depths" else [group]
        assert [figure.id for figure in study.figures(some)] == expected


@pytest.mark.slow
def test_the_movielens_figure_keeps_the_splits_apart():
    figure = study.figures([run for run in made_up("full") if run.config["group"] == "movielens"])[0]
    assert len(figure.panels) == 2
    kinds = {
        row["kind"]: {one["split"] for one in figure.data if one["kind"] == row["kind"]}
        for row in figure.data
    }
    assert kinds["random splits"] == {"random"}
    assert "random" not in kinds["published splits u1–u5"]


def test_the_movielens_figure_says_why_runs_were_skipped():
    runs = [
        Run("zhao2022", run.hash, run.config, [], {}, {"status": "skipped", "reason": "no data"})
        for run in made_up()
        if run.config["group"] == "movielens"
    ]
    assert "no data" in study.figures(runs)[0].caption
