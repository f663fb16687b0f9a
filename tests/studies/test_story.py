"""The story: verdicts in made-up worlds, one small run of each kind of its own, figures."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import changed, outcomes, run, runs

from overt.studies import RunContext
from overt.studies.runs.records import dump_lines, load_lines
from overt.studies.story.cost import CostConfig
from overt.studies.story.photograph import PhotographConfig
from overt.studies.story.robust import RobustConfig
from overt.studies.story.study import study
from overt.studies.zhao2022.penalties import OURS


def arm(config):
    """What a run stands for: "penalty", "depth 3", "weight 0" or another method."""
    for name in ("method", "arm"):
        if hasattr(config, name):
            return getattr(config, name)
    if config.part == "penalties":
        return "penalty" if config.penalty == OURS else config.penalty
    if config.weight > 0:
        return "penalty"
    return "depth 3" if getattr(config, "depth", 1) == 3 else "weight 0"


def good(config):
    """A world in which every claim holds."""
    which, weight = arm(config), getattr(config, "weight", 0)
    if config.part == "ratings":
        rmse = {"penalty": 0.930, "depth 3": 0.932, "weight 0": 0.935, "biases": 0.940}[which]
        return {"test_rmse": rmse, "validation_rmse": rmse, "best_step": 20}
    if config.part == "photograph":
        return {"rmse": 0.10 if which == "penalty" else 0.12, "psnr": 20.0, "best_step": 20}
    if config.part == "sparse":
        error = 0.8 if which == "weight 0" else 1e-9
        return {"error": error, "raw_error": error, "to_l1": 0.01, "l1_error": 0.9}
    found = which == "penalty" or (which == "depth 3" and getattr(config, "init_scale", 0) < 1)
    record = {"relative_gradient": 1e-4} if weight > 0 else {}
    return record | {
        "error": 1e-15 if found else 0.8,
        "raw_error": 0.01 if found else 0.8,
        "effective_rank": 2.0 if found else 17.0,
        "seconds_to_recovery": {"penalty": 1.0, "depth 3": 3.0, "irls": 0.1}.get(which),
        "seconds": 5.0,
    }


YES = {"S1": "reproduced", **{f"S{i}": "supported" for i in range(2, 10)}}


def where(part, value, **wanted):
    """A number for the runs of a part with these settings, None for the others."""

    def chosen(config):
        same = config.part == part and all(getattr(config, k, None) == v for k, v in wanted.items())
        return value if same else None

    return chosen


def otherwise(name, chosen):
    """The world's number where ``chosen`` gives none."""

    def pick(config):
        value = chosen(config)
        return good(config).get(name) if value is None else value

    return {name: pick}


NO = [
    ("S1", otherwise("raw_error", where("methods", 0.7, method="depth 3")), "not reproduced"),
    ("S1", otherwise("effective_rank", where("methods", 17.0, method="depth 3")), "not reproduced"),
    ("S1", otherwise("raw_error", where("methods", 1e-3, method="nuclear_norm")), "not reproduced"),
    ("S2", otherwise("error", where("methods", 0.5, method="penalty")), "refuted"),
    ("S2", otherwise("error", where("methods", 1e-15, method="weight 0")), "refuted"),
    ("S3", otherwise("error", where("optimizers", 0.5, optimizer="gd")), "refuted"),
    ("S3", otherwise("effective_rank", where("optimizers", 18.0, optimizer="gd", weight=3e-2)), "refuted"),
    ("S4", otherwise("error", where("robust", 0.5, weight=1e-1)), "refuted"),
    ("S4", otherwise("error", where("robust", 0.5, weight=1e-2, init_scale=1.0)), "refuted"),
    ("S4", otherwise("effective_rank", where("robust", 17.0, depth=3)), "refuted"),
    ("S5", otherwise("error", where("penalties", 1e-9, penalty="nuclear")), "refuted"),
    ("S6", otherwise("error", where("sparse", 0.4, method="depth 3")), "refuted"),
    ("S6", otherwise("error", where("sparse", 1e-9, method="weight 0")), "refuted"),
    ("S7", otherwise("rmse", where("photograph", 0.09, method="depth 3")), "refuted"),
    ("S7", otherwise("rmse", where("photograph", 0.09, method="weight 0")), "refuted"),
    ("S8", otherwise("seconds_to_recovery", where("cost", 0.5, method="depth 3")), "refuted"),
    ("S9", otherwise("test_rmse", where("ratings", 0.92, arm="weight 0")), "refuted"),
    ("S9", otherwise("test_rmse", where("ratings", 0.92, arm="depth 3")), "refuted"),
]


@pytest.mark.parametrize(("claim", "record", "expected"), NO)
def test_verdicts(claim, record, expected):
    assert outcomes(study, runs(study, changed(good, **record)))[claim] == expected


def test_all_claims_can_hold_in_both_presets_and_stopped_runs_decide_nothing():
    for preset in ("quick", "full"):
        assert outcomes(study, runs(study, good, preset)) == YES
    stopped = {"status": "budget", "loss": 0.6, "relative_gradient": 0.5, "best_step": 10**9}
    some = runs(study, changed(good, **stopped, seconds_to_recovery=None))
    assert set(outcomes(study, some).values()) == {"inconclusive", "undecided"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        CostConfig(n=20, rank=1, n_observed=200, method="penalty", max_steps=150, seed=0),
        CostConfig(n=20, rank=1, n_observed=200, method="irls", seed=0),
        RobustConfig(n=12, rank=1, n_observed=80, max_steps=30, seed=0),
        PhotographConfig(height=20, width=30, method="penalty", settings=2, max_steps=20, seed=0),
        PhotographConfig(height=20, width=30, method="depth 3", settings=1, max_steps=20, seed=0),
        PhotographConfig(height=20, width=30, method="soft_impute", seed=0),
    ],
    ids=lambda config: f"{config.part}-{getattr(config, 'method', '')}",
)
def test_one_small_run_of_each_kind(config, tmp_path):
    found = study.execute(config, RunContext(tmp_path, lambda line: None))
    (record,) = load_lines(dump_lines(found.records))
    if config.part == "photograph":
        assert 0 < record["rmse"] < 1
        assert found.arrays["picture"].shape == (20, 30)
    else:
        assert record["error"] <= record["raw_error"]
    if config.part == "cost":  # an easy matrix: the first refit meets the data
        assert 0 < record["seconds_to_recovery"] <= record["seconds"]


@pytest.mark.slow
def test_figures():
    made = runs(study, good)
    found = study.figures(made)
    wanted = ["entries", "photograph", "movielens", "optimizers", "starts", "penalties", "cost"]
    assert [one.id for one in found] == wanted
    assert all(figure.panels and figure.data and figure.caption for figure in found)


@pytest.mark.slow
def test_the_figure_of_pictures():
    picture = {
        "picture": np.full((6, 8), 0.5, dtype=np.float32),
        "truth": np.full((6, 8), 0.4, dtype=np.float32),
        "observed": np.eye(6, 8, dtype=bool),
    }
    made = [
        run(study, config, good(config), picture)
        for config in study.plan("quick", 0)
        if config.part == "photograph"
    ]
    (found,) = [one for one in study.figures(made) if one.id == "pictures"]
    assert len(found.images) == 7
