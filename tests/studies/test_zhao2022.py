"""Zhao (2022): verdicts in made-up worlds, one small run of each kind, MovieLens, OptSpace, figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worlds import changed, outcomes, run, runs

from overt.problems import matrix_completion
from overt.studies import RunContext, Skip
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.shared import movielens
from overt.studies.shared.movielens import ARMS, RatingsConfig
from overt.studies.shared.penalized import ReluNetwork, network
from overt.studies.zhao2022.layers import LayersConfig
from overt.studies.zhao2022.methods import SETTINGS, MethodsConfig
from overt.studies.zhao2022.optimizers import PLAIN, OptimizersConfig
from overt.studies.zhao2022.optspace import optspace
from overt.studies.zhao2022.penalties import OURS, PENALTIES, PenaltiesConfig
from overt.studies.zhao2022.study import study


@pytest.fixture
def context(tmp_path):
    return RunContext(tmp_path, lambda line: None)


# ---- verdicts ---------------------------------------------------------------------------------------------


def paper(config):
    """What the paper says, and a penalty that lowers the error on MovieLens."""
    if config.part == "ratings":
        rmse = {"penalty": 0.930, "depth 3": 0.932, "weight 0": 0.935, "biases": 0.940}[config.arm]
        return {"test_rmse": rmse, "validation_rmse": rmse, "best_step": 20}
    weight = config.weight
    felt = weight > 0 and getattr(config, "optimizer", "adam") not in (*PLAIN, "lbfgs")
    record = {"relative_gradient": 1e-4} if weight > 0 else {}
    error = 0.01 if felt or getattr(config, "method", "") == "depth 3" else 0.8
    relu = getattr(config, "activation", "") == "relu"  # no better than one layer
    return record | {
        "raw_error": 1.1 * error if relu else error,
        "error": 1e-15 if error == 0.01 else error,
        "effective_rank": 2.0 if felt else 17.0,
    }


YES = {**{f"Z{i}": "reproduced" for i in range(1, 9)}, "Z9": "supported"}


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("Z1", {"effective_rank": lambda c: 2.0 if getattr(c, "weight", 0) > 0 else 17.0}, "not reproduced"),
        ("Z1", {"effective_rank": 17.0}, "inconclusive"),  # not above weight zero, and not clearly below
        ("Z1", {"effective_rank": lambda c: 18.0 if getattr(c, "weight", 0) > 0 else 17.0}, "not reproduced"),
        ("Z2", {"effective_rank": lambda c: 18.0 if getattr(c, "weight", 0) > 0 else 17.0}, "not reproduced"),
        ("Z2", {"effective_rank": 17.0}, "inconclusive"),
        ("Z3", {"effective_rank": lambda c: 2.0 if getattr(c, "weight", 0) > 0 else 17.0}, "not reproduced"),
        ("Z4", {"raw_error": 0.1}, "not reproduced"),
        (
            "Z4",
            {"raw_error": lambda c: 0.005 if getattr(c, "method", "") == "depth 3" else 0.045},
            "not reproduced",
        ),
        (
            "Z5",
            {"raw_error": lambda c: 0.9 if getattr(c, "method", "") == "penalty" else 0.3},
            "not reproduced",
        ),
        ("Z6", {"error": lambda c: 0.8 if getattr(c, "penalty", "") == OURS else 0.3}, "not reproduced"),
        (
            "Z7",
            {"raw_error": lambda c: 0.005 if getattr(c, "activation", "") == "relu" else 0.01},
            "not reproduced",
        ),
        (
            "Z8",
            {"test_rmse": lambda c: 0.938 if getattr(c, "arm", "") == "penalty" else 0.932},
            "not reproduced",
        ),
        (
            "Z8",
            {"test_rmse": lambda c: 0.934 if getattr(c, "arm", "") == "penalty" else 0.932},
            "not reproduced",
        ),  # no better than the biases
        ("Z9", {"test_rmse": lambda c: 0.931 if getattr(c, "arm", "") == "penalty" else 0.930}, "refuted"),
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, runs(study, changed(paper, **record)))[claim] == expected


def test_the_papers_world_and_stopped_runs():
    assert outcomes(study, runs(study, paper)) == YES
    wrong = {"error": 0.3, "raw_error": 0.3}  # what is recovered is known, whatever ended its run
    stopped = changed(paper, status="budget", loss=0.6, relative_gradient=0.5, best_step=10**9, **wrong)
    assert set(outcomes(study, runs(study, stopped)).values()) == {"inconclusive", "undecided"}


def test_all_arms_are_tuned_over_as_many_settings():
    assert len({len(settings) for name, settings in ARMS.items() if name != "biases"}) == 1
    assert len({len(settings) for settings in SETTINGS.values()}) == 1
    for part, arm in (("penalties", "penalty"), ("optimizers", "optimizer")):
        plan = [one for one in study.plan("full", 0) if one.part == part and one.weight > 0 and one.seed == 0]
        plan = [one for one in plan if one.norm_floor > 0]
        counts = [sum(getattr(one, arm) == name for one in plan) for name in {getattr(o, arm) for o in plan}]
        assert len(set(counts)) == 1


# ---- runs -------------------------------------------------------------------------------------------------

SMALL = {"n": 12, "rank": 1, "n_observed": 80, "max_steps": 40, "seed": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        *(OptimizersConfig(optimizer=name, lr=lr, **SMALL) for name, lr in (("adam", 2e-2), ("lbfgs", 0.3))),
        *(MethodsConfig(method=name, **SMALL) for name in (*SETTINGS, "nuclear_norm", "optspace")),
        *(PenaltiesConfig(penalty=name, **SMALL) for name in (*PENALTIES, "weight 0")),
        LayersConfig(depth=3, activation="relu", **SMALL),
    ],
    ids=lambda one: f"{one.part}-{getattr(one, 'method', getattr(one, 'penalty', ''))}",
)
def test_one_small_run_of_each_kind(config, context):
    (record,) = load_lines(dump_lines(study.execute(config, context).records))
    assert {"raw_error", "error", "effective_rank", "loss", "status", "steps"} <= set(record)
    assert ("relative_gradient" in record) == (config.weight > 0)


@pytest.mark.slow
def test_gradient_descent_feels_the_penalty_on_a_small_matrix(context, tmp_path):
    found = {}
    for weight in (0.1, 0.0):
        fields = SMALL | {"max_steps": 2_000, "optimizer": "gd", "lr": 5.0, "weight": weight}
        place = RunContext(tmp_path / str(weight), lambda line: None)
        place.directory.mkdir()
        (found[weight],) = study.execute(OptimizersConfig(**fields), place).records
    assert found[0.1]["effective_rank"] < 0.9 * found[0.0]["effective_rank"]


def test_refusals():
    for config, fields in ((OptimizersConfig, {"optimizer": "no"}), (PenaltiesConfig, {"penalty": "no"})):
        with pytest.raises(ValueError, match="no"):
            config(seed=0, **fields)


def test_relu_network_is_what_it_says():
    model = ReluNetwork((4, 5, 6, 3), scale=1.0, seed=0, dtype=torch.float64)
    first, second, third = model.weights
    assert torch.equal(model.product(), third @ (second @ first.relu()).relu())
    x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (third @ (second @ (first @ x.mT).relu()).relu()).mT
    assert torch.allclose(model(x), expected)


def test_the_network_of_a_setting():
    model = network((4, 6), 3, "relu", 1e-3, 0)
    assert isinstance(model, ReluNetwork)
    assert (model.product().shape, model.depth) == ((4, 6), 3)


def test_optspace_recovers_and_says_when_it_ran_out_of_steps():
    problem = matrix_completion((40, 30), rank=2, n_observed=600, seed=1, min_per_line=2)
    found = optspace(problem, rank=2)
    assert (found.converged, found.rank) == (True, 2)
    assert problem.error(found.W) < 1e-6
    short = optspace(problem, rank=2, max_iter=2)
    assert (short.converged, short.n_iter) == (False, 2)
    with pytest.raises(ValueError, match="rank"):
        optspace(problem, rank=0)


# ---- MovieLens, with a made-up data set in its place ------------------------------------------------------


@pytest.fixture
def little_movielens(monkeypatch):
    asked = []

    def made(split, *, seed=None, dtype):
        asked.append((split, seed))
        problem = matrix_completion((25, 20), rank=2, n_observed=300, seed=5, dtype=dtype)
        rows, cols = torch.arange(20) % 25, torch.arange(20)
        held = (rows, cols, (problem.truth[rows, cols] + 3).clamp(1, 5))
        stars = (problem.y + 3).clamp(1, 5)
        return type(problem)(problem.rows, problem.cols, stars, (25, 20), heldout=held)

    monkeypatch.setattr("overt.problems.movielens_100k", made)
    return asked


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(("split", "asked"), [("published", ("u5", None)), ("random", ("random", 4))])
def test_each_arm_on_movielens(context, little_movielens, arm, split, asked):
    config = RatingsConfig(split=split, arm=arm, seed=4, width=6, max_steps=40)
    (record,) = study.execute(config, context).records
    assert little_movielens == [asked]
    assert record["split"] == asked[0]
    assert 0 < record["test_rmse"] < 2
    assert (record["setting"] is None) == (arm == "biases")
    assert arm == "biases" or (tuple(record["setting"]) in ARMS[arm] and record["best_step"] <= 40)


def test_one_setting_is_the_second(context, little_movielens):
    (record,) = study.execute(
        RatingsConfig(arm="depth 3", seed=0, width=6, max_steps=20, settings=1), context
    ).records
    assert record["setting"] == list(ARMS["depth 3"][1])


def test_validation_ratings_are_kept_out_of_training():
    problem = matrix_completion((25, 20), rank=2, n_observed=300, seed=5)
    rest, (rows, cols, values) = movielens.hold_out(problem, 1)
    assert (rest.n_observed, values.numel()) == (270, 30)
    kept = set(zip(rest.rows.tolist(), rest.cols.tolist(), strict=True))
    assert not set(zip(rows.tolist(), cols.tolist(), strict=True)) & kept


def test_the_thin_penalty_is_the_penalty_with_its_floor():
    from overt import functional as F
    from overt.models import DeepLinear

    model = DeepLinear((9, 4, 7), scale=1.0, seed=0, dtype=torch.float64)
    W = model.product().detach()
    expected = 0.3 * float(F.normalized_nuclear_norm(W))
    norm = float(W.norm())
    assert movielens._ThinPenalty(model, 0.3, norm / 2).penalty().item() == pytest.approx(expected)
    assert movielens._ThinPenalty(model, 0.3, norm * 4).penalty().item() == pytest.approx(expected / 4)


def test_movielens_without_data_is_skipped(context, monkeypatch, tmp_path):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        study.execute(RatingsConfig(seed=0), context)


# ---- figures ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures():
    found = study.figures(runs(study, paper))
    assert [one.id for one in found] == ["movielens", "methods", "optimizers", "penalties", "layers"]
    assert all(figure.panels and figure.data and figure.caption for figure in found)
    assert np.isfinite([row["value"] for row in found[0].data]).all()


@pytest.mark.slow
def test_the_figure_of_spectra():
    made = []
    for config in study.plan("quick", 0):
        if config.part == "methods" and config.method in ("penalty", "depth 3"):
            one = run(study, config, paper(config))
            one.arrays.update(
                step=np.array([0, 10, 100]),
                singular_values=np.full((3, 5), 0.5),
                effective_rank=np.array([5.0, 3.0, 2.0]),
                error=np.array([1.0, 0.5, 0.1]),
            )
            made.append(one)
    figures = {one.id: one for one in study.figures(made)}
    assert len(figures["spectra"].data) == 6
    assert "effective rank 2.00" in figures["spectra"].caption
