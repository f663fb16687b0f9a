"""The measure study's verdicts on made-up runs: each outcome, and runs that are lost, alone or not there."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from overt.studies import Run
from overt.studies.measure.claims import CLAIMS
from overt.studies.measure.config import MeasureConfig
from overt.studies.measure.figures import figures
from overt.studies.measure.plan import plan
from overt.studies.measure.rules import judge
from overt.studies.runs.identity import config_hash

SEEDS = range(6)


def run(record, *, arrays=None, skipped="", **fields):
    config = MeasureConfig(**fields)
    meta = {"status": "skipped", "reason": skipped} if skipped else {"status": "done"}
    name = config_hash("measure", 1, config)
    return Run(
        "measure", name, config.model_dump(mode="json"), [] if skipped else [record], arrays or {}, meta
    )


def verdict(claim, runs):
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    for one in found.values():
        assert one.reason
        assert "\n" not in one.reason
        for estimate in one.estimates:
            assert math.isfinite(estimate.value)
            assert json.dumps([estimate.low, estimate.high], allow_nan=False)
    return found[claim].outcome


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert figures([]) == []


def test_without_images_the_linear_models_still_speak():
    runs = [*linear(), run(None, skipped="no data here", group="dynamics", seed=0)]
    found = {one.claim: one for one in judge(runs)}
    assert found["M1"].outcome == "reproduced"
    assert {found[f"M{number}"].outcome for number in range(3, 14)} == {"skipped"}
    assert found["M3"].reason == "no data here"


# ---- M1, M2 -----------------------------------------------------------------------------------------------


def linear(error=1e-15, least=1.0, end=1.001, one_end=None, seeds=SEEDS):
    runs = []
    for model in ("linear", "convolution_1d", "convolution_2d", "diagonal"):
        for seed in seeds:
            record = {
                "worst_error": error,
                "least_cost_ratio": least,
                "cost_ratio": one_end if one_end is not None and seed == 0 else end,
                "cost": 3.0,
            }
            runs.append(run(record, group="collapse", model=model, seed=seed))
    return runs


@pytest.mark.parametrize(
    ("claim", "fields", "expected"),
    [
        ("M1", {}, "reproduced"),
        ("M1", {"error": 1e-9}, "not reproduced"),
        ("M1", {"error": math.inf}, "not reproduced"),
        ("M1", {"error": None}, "not reproduced"),
        ("M2", {}, "reproduced"),
        ("M2", {"least": 0.99}, "not reproduced"),
        ("M2", {"least": None}, "not reproduced"),
        ("M2", {"end": 1.2}, "not reproduced"),
        ("M2", {"end": math.nan}, "not reproduced"),
        ("M2", {"one_end": 1.03}, "inconclusive"),
    ],
)
def test_linear_models(claim, fields, expected):
    assert verdict(claim, linear(**fields)) == expected


# ---- M3–M6 ------------------------------------------------------------------------------------------------

LEVELS = {
    "depth": (2, 5),
    "scale": (1e-3,),
    "width": (16, 256),
    "lr": (0.03, 0.3),
    "batch_size": (10, 300),
}


def networks(ranks=None, start=40.0, reference=30.0, noise=0.01, seeds=SEEDS, status="reached", lost=()):
    """Made-up dynamics; ``ranks`` gives the effective rank at the values of factors."""
    ranks = {(factor, value): reference for factor, values in LEVELS.items() for value in values} | (
        ranks or {}
    )
    runs = []
    for activation in ("relu", "linear"):
        for fields, rank in [
            ({}, reference),
            *(({factor: value}, rank) for (factor, value), rank in ranks.items()),
        ]:
            for seed in seeds:
                wobble = 1 + noise * (-1) ** seed * (1 + 0.1 * seed)
                record = {
                    "effective_rank": rank * wobble,
                    "start_effective_rank": start,
                    "status": "budget" if seed in lost else status,
                }
                runs.append(run(record, group="dynamics", activation=activation, seed=seed, **fields))
    return runs


DEEP, SHALLOW = ("depth", 5), ("depth", 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "fields", "expected"),
    [
        ("M3", {}, "reproduced"),
        ("M3", {"start": 20.0}, "not reproduced"),
        ("M3", {"start": 30.0, "noise": 0.2}, "inconclusive"),
        ("M3", {"seeds": range(2)}, "inconclusive"),
        ("M3", {"status": "budget"}, "inconclusive"),
        ("M3", {"lost": (0,)}, "reproduced"),
        ("M3", {"lost": (0, 1)}, "inconclusive"),
        ("M4", {"ranks": {DEEP: 10.0}}, "reproduced"),
        ("M4", {"ranks": {SHALLOW: 10.0}}, "not reproduced"),
        ("M4", {}, "inconclusive"),
        ("M5", {"ranks": {("scale", 1e-3): 10.0}}, "reproduced"),
        ("M5", {"ranks": {("scale", 1e-3): 50.0}}, "not reproduced"),
        ("M5", {}, "inconclusive"),
        ("M6", {}, "reproduced"),
        ("M6", {"ranks": {("width", 16): 31.0}}, "reproduced"),
        ("M6", {"ranks": {("width", 16): 50.0}}, "not reproduced"),
        ("M6", {"ranks": {("lr", 0.3): 20.0}}, "not reproduced"),
        ("M6", {"ranks": {("batch_size", 10): 50.0}}, "not reproduced"),
        ("M6", {"seeds": range(2)}, "inconclusive"),
    ],
)
def test_networks(claim, fields, expected):
    assert verdict(claim, networks(**fields)) == expected


def test_m6_between_the_bars():
    """An interval across the edge of the range decides nothing."""
    runs = [
        *(one for one in networks() if one.config["width"] != 16),
        *(
            run(
                {"effective_rank": 28.0 + 2 * seed, "status": "reached"},
                group="dynamics",
                width=16,
                seed=seed,
            )
            for seed in SEEDS
        ),
    ]
    assert verdict("M6", runs) == "inconclusive"


def test_a_factor_that_is_set_from_outside_leaves_the_others_judged():
    """With --set width=128 every network has that width: it is the reference, and only M6 has no say."""
    changed = [
        run(one.records[0], **{**one.config, "width": 128})
        for one in networks({DEEP: 10.0})
        if one.config["width"] == 64
    ]
    assert verdict("M4", changed) == "reproduced"
    assert verdict("M6", changed) == "inconclusive"


def test_the_control_decides_nothing():
    runs = [one for one in networks({DEEP: 10.0}) if one.config["activation"] == "relu"]
    assert verdict("M4", runs) == "reproduced"
    assert (
        verdict("M4", [one for one in networks({DEEP: 10.0}) if one.config["activation"] == "linear"])
        == "inconclusive"
    )


# ---- M7–M13 -----------------------------------------------------------------------------------------------


def aligned(
    real=0.2,
    scrambled=0.2,
    permuted=0.0,
    zeros=0.1,
    start=0.3,
    rank_only=False,
    noise=0.005,
    seeds=SEEDS,
    lost=(),
):
    """Made-up alignments; each number is the advantage over a fully connected network at 0.4."""
    runs = []
    for data, gain in (("real", real), ("scrambled", scrambled), ("permuted", permuted)):
        for fields, value in (
            ({"model": "conv"}, 0.4 + gain),
            ({"model": "conv", "padding": "zeros"}, 0.4 + (zeros if data == "real" else gain)),
            ({"model": "fc", "width": 0}, 0.4),
        ):
            for seed in seeds:
                record = {
                    "alignment": value + (noise * (-1) ** seed if fields["model"] == "conv" else 0.0),
                    "start_alignment": start,
                    "start_corrected_alignment": 0.1,
                    "data_alignment": 0.7,
                    "random_alignment": value - 0.1 if rank_only else 0.3,
                    "status": "budget" if seed in lost and fields["model"] == "conv" else "reached",
                    "parameters": 20_490,
                }
                chance = record["random_alignment"]
                record["corrected_alignment"] = (record["alignment"] - chance) / (1 - chance)
                if rank_only:
                    record["corrected_alignment"] = 0.1 - (0.05 if fields["model"] == "conv" else 0.0)
                runs.append(run(record, group="alignment", data=data, seed=seed, **fields))
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "fields", "expected"),
    [
        ("M7", {}, "reproduced"),
        ("M7", {"real": -0.2}, "not reproduced"),
        ("M7", {"real": 0.0}, "inconclusive"),
        ("M7", {"seeds": range(2)}, "inconclusive"),
        ("M7", {"lost": (0, 1, 2)}, "inconclusive"),
        ("M8", {}, "reproduced"),
        ("M8", {"permuted": -0.1}, "reproduced"),
        ("M8", {"permuted": 0.1}, "not reproduced"),
        ("M8", {"permuted": 0.3}, "not reproduced"),
        ("M8", {"real": -0.2}, "not reproduced"),
        ("M8", {"real": -0.1, "permuted": -0.3}, "not reproduced"),
        ("M8", {"real": 0.05, "permuted": 0.02}, "inconclusive"),
        ("M8", {"lost": (0, 1, 2, 3)}, "inconclusive"),
        ("M9", {}, "reproduced"),
        ("M9", {"scrambled": -0.2}, "not reproduced"),
        ("M9", {"scrambled": 0.0}, "inconclusive"),
        ("M10", {}, "reproduced"),
        ("M10", {"start": 0.9}, "not reproduced"),
        ("M10", {"start": 0.6}, "inconclusive"),
        ("M11", {}, "reproduced"),
        ("M11", {"real": -0.2, "zeros": -0.2}, "reproduced"),
        ("M11", {"zeros": -0.1}, "not reproduced"),
        ("M11", {"zeros": 0.0}, "inconclusive"),
        ("M7", {"rank_only": True}, "reproduced"),
        ("M12", {}, "reproduced"),
        ("M12", {"rank_only": True}, "not reproduced"),
        ("M12", {"real": 0.0}, "inconclusive"),
        ("M12", {"seeds": range(2)}, "inconclusive"),
        ("M13", {}, "reproduced"),
        ("M13", {"permuted": 0.1}, "not reproduced"),
        ("M13", {"rank_only": True}, "not reproduced"),
        ("M13", {"real": 0.05, "permuted": 0.015}, "inconclusive"),
    ],
)
def test_alignment(claim, fields, expected):
    assert verdict(claim, aligned(**fields)) == expected


def test_without_one_kind_of_images():
    runs = [one for one in aligned() if one.config["data"] != "permuted"]
    assert verdict("M7", runs) == "reproduced"
    assert verdict("M8", runs) == "inconclusive"


# ---- figures ----------------------------------------------------------------------------------------------


def whole(config):
    """A made-up run of a real configuration, with its arrays."""
    rng = np.random.default_rng(config.seed)
    if config.group == "collapse":
        record = {"worst_error": 1e-15, "least_cost_ratio": 1.0, "cost_ratio": 1.001, "cost": 3.0}
        arrays = {"step": np.array([0, 1, 10, 100]), "singular_values": rng.random((4, 12))}
        return run(record, arrays=arrays, **config.model_dump())
    shape = (config.side, config.side)
    record = {
        "status": "reached",
        "effective_rank": 30.0 + rng.random(),
        "normalized_nuclear_norm": 5.0 + rng.random(),
        "alignment": 0.5 + 0.1 * rng.random(),
        "start_alignment": 0.4,
        "corrected_alignment": 0.2 + 0.1 * rng.random(),
        "start_corrected_alignment": 0.2,
        "start_effective_rank": 60.0,
        "data_alignment": 0.7,
        "accuracy": 0.8,
        "parameters": 20_490,
    }
    arrays = {
        "step": np.array([0, 1, 10, 57 + config.seed]),
        "effective_rank": 30 + rng.random(4),
        "fourier_values": rng.random(shape),
        "data_fourier_values": rng.random(shape),
    }
    return run(record, arrays=arrays, **config.model_dump())


@pytest.mark.slow
def test_figures_of_a_whole_plan():
    found = figures([whole(config) for config in plan("quick", 0)])
    assert [figure.id for figure in found] == [
        "collapse",
        "exactness",
        "trajectories",
        "factors",
        "alignment",
        "differences",
        "pictures",
    ]
    assert all(figure.caption and (figure.panels or figure.table or figure.images) for figure in found)
    assert all(figure.data for figure in found if figure.panels)
    by_id = {figure.id: figure for figure in found}
    assert len(by_id["alignment"].panels) == 3
    assert "untrained" in by_id["alignment"].panels[0]


@pytest.mark.slow
def test_figures_where_no_network_reached_the_loss():
    runs = [whole(config) for config in plan("quick", 0) if config.group != "collapse"]
    for one in runs:
        one.records[0]["status"] = "budget"
    assert "loss not reached" in next(one for one in figures(runs) if one.id == "factors").panels[0]
    assert "differences" not in [one.id for one in figures(runs)]
