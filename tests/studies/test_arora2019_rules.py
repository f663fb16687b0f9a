"""The verdicts A1–A6 on made-up runs: each outcome, and runs that diverged, are alone or are missing."""

from __future__ import annotations

import json
import math

import pytest

from overt.studies import Run
from overt.studies.arora2019.claims import CLAIMS
from overt.studies.arora2019.config import Arora2019Config
from overt.studies.arora2019.rules import judge
from overt.studies.runs.identity import config_hash

SEEDS = range(10)


def run(record, *, skipped="", **fields):
    config = Arora2019Config(**fields)
    meta = {"status": "skipped", "reason": skipped} if skipped else {"status": "done"}
    name = config_hash("arora2019", 1, config)
    return Run(
        "arora2019",
        name,
        config.model_dump(mode="json"),
        [] if skipped else [{"loss": 0.0, **record}],
        {},
        meta,
    )


def verdict(claim, runs):
    """The verdict on one claim, whose estimates must be finite and storable."""
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    for one in found.values():
        assert one.reason
        for estimate in one.estimates:
            assert math.isfinite(estimate.value)
            assert json.dumps([estimate.low, estimate.high], allow_nan=False)
    return found[claim]


def spread(value, seed):
    """A value that differs a little from seed to seed, and stays what it is where it is no number."""
    return value if value is None or not math.isfinite(value) else value * (1 + 0.01 * seed)


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert all("are missing" in one.reason for one in judge([]))


# ---- A1, A2 -----------------------------------------------------------------------------------------------


def depths(group, shallow=0.4, deep=0.03, deepest=0.01, many=0.01, ranks=(14.0, 5.5, 5.2), seeds=SEEDS):
    runs = []
    for rank, (few, lots) in {5: (2000, 5000), 10: (4000, 8000)}.items():
        for seed in seeds:
            for depth, error, effective in zip((2, 3, 4), (shallow, deep, deepest), ranks, strict=True):
                shared = {"group": group, "rank": rank, "depth": depth, "seed": seed}
                effective_rank = effective if effective is None else spread(effective * rank / 5, seed)
                record = {"error": spread(error, 2 * seed), "effective_rank": effective_rank}
                runs.append(run(record, n_observed=few, regime="few", **shared))
                record = {"error": spread(many, seed), "effective_rank": spread(5.0, seed)}
                runs.append(run(record, n_observed=lots, regime="many", **shared))
    return runs


DEPTH = {
    "as claimed": ({}, "reproduced"),
    "depth 2 diverged": ({"shallow": None, "ranks": (None, 5.5, 5.2)}, "inconclusive"),
    "no better": ({"deep": 0.3}, "not reproduced"),
    "one depth no better": ({"deepest": 0.39}, "not reproduced"),
    "higher rank": ({"ranks": (5.0, 9.0, 9.0)}, "not reproduced"),
    "fails with many": ({"many": 0.2}, "not reproduced"),
    "deep diverged": ({"deep": None, "ranks": (14.0, None, 5.2)}, "not reproduced"),
    "one seed has no interval": ({"seeds": [3]}, "inconclusive"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "group"), [("A1", "completion"), ("A2", "sensing")])
@pytest.mark.parametrize("case", DEPTH)
def test_depth(claim, group, case):
    options, outcome = DEPTH[case]
    assert verdict(claim, depths(group, **options)).outcome == outcome


def test_depth_is_undecided_where_seeds_disagree():
    runs = [
        one for seed in SEEDS for one in depths("completion", deep=0.3 if seed % 2 else 0.02, seeds=[seed])
    ]
    assert verdict("A1", runs).outcome == "inconclusive"


def test_depth_needs_all_depths():
    runs = [one for one in depths("completion") if one.config["depth"] != 4]
    assert verdict("A1", runs).outcome == "inconclusive"


def test_runs_between_do_not_count():
    bad = [
        run({"error": 9.0, "effective_rank": 99.0}, group="completion", regime="between", depth=3, seed=seed)
        for seed in SEEDS
    ]
    assert verdict("A1", depths("completion") + bad).outcome == "reproduced"


# ---- A3, A4 -----------------------------------------------------------------------------------------------


def scaled(larger=1.02, lower=0.7, same=1.0, rank_at_large=40.0, error=0.1, error_at_large=0.8, seeds=SEEDS):
    runs = []
    for regime, count in (("few", 2000), ("many", 5000)):
        few = regime == "few"
        for seed in seeds:
            shared = {"group": "scales", "regime": regime, "n_observed": count, "seed": seed}
            convex = {"nuclear_norm": 200.0 + seed, "effective_rank": 8.0, "error": 0.2}
            runs.append(run(convex, method="nuclear_norm", **shared))
            for depth in (2, 3):
                factor = larger if few else same
                record = {
                    "nuclear_norm": factor if factor is None else (200.0 + seed) * factor,
                    "effective_rank": lower if lower is None else spread(8.0 * lower, seed),
                    "error": spread(error, seed),
                }
                runs.append(run(record, depth=depth, init_scale=1e-7, **shared))
                record = {"nuclear_norm": 300.0, "effective_rank": rank_at_large, "error": error_at_large}
                runs.append(run(record, depth=depth, init_scale=1e-1, **shared))
    return runs


A3 = {
    "as claimed": ({}, "reproduced"),
    "the same nuclear norm": ({"larger": 1.001}, "not reproduced"),
    "no lower rank": ({"lower": 1.0}, "not reproduced"),
    "apart with many": ({"same": 1.05}, "not reproduced"),
    "diverged": ({"lower": None, "larger": None, "same": None}, "not reproduced"),
}


@pytest.mark.parametrize("case", A3)
def test_a3(case):
    options, outcome = A3[case]
    assert verdict("A3", scaled(**options)).outcome == outcome


def test_a3_is_undecided_where_seeds_disagree():
    runs = [one for seed in SEEDS for one in scaled(lower=1.0 if seed % 2 else 0.7, seeds=[seed])]
    assert verdict("A3", runs).outcome == "inconclusive"


def test_a3_needs_the_convex_solution():
    runs = [one for one in scaled() if one.config["method"] != "nuclear_norm"]
    assert verdict("A3", runs).outcome == "inconclusive"


A4 = {
    "as claimed": ({}, "reproduced"),
    "large diverged": ({"rank_at_large": None, "error_at_large": None}, "inconclusive"),
    "no lower rank": ({"rank_at_large": 5.6}, "not reproduced"),
    "no lower error": ({"error_at_large": 0.12}, "not reproduced"),
}


@pytest.mark.parametrize("case", A4)
def test_a4(case):
    options, outcome = A4[case]
    assert verdict("A4", scaled(**options)).outcome == outcome


def test_a4_is_undecided_where_seeds_disagree():
    runs = [one for seed in SEEDS for one in scaled(rank_at_large=6.0 if seed % 2 else 40.0, seeds=[seed])]
    assert verdict("A4", runs).outcome == "inconclusive"


def test_a4_needs_two_scales():
    runs = [one for one in scaled() if one.config["init_scale"] == 1e-7]
    assert verdict("A4", runs).outcome == "inconclusive"


# ---- A5, A6 -----------------------------------------------------------------------------------------------


def flows(group, good=4, bad=0, deviation=1e-4, gap=1e-4, badly=None, depths=(2, 3, 4)):
    """Flows with small deviations, and some that are as ``badly`` has it."""
    runs = []
    for depth in depths:
        for seed in range(good + bad):
            record = {
                "deviation": deviation,
                "exponent": 1 - 1 / depth + gap,
                "status": "converged",
                "loss": 1e-3,
            }
            if seed >= good:
                record |= badly or {"deviation": 0.3}
            options = {"n_observed": 10_000} if group == "movielens" else {}
            runs.append(
                run(record, group=group, method="flow", init="balanced", depth=depth, seed=seed, **options)
            )
    return runs


DYNAMICS = {
    "as claimed": ({}, "reproduced"),
    "at the bar": ({"deviation": 0.02}, "reproduced"),
    "one seed": ({"good": 1}, "reproduced"),
    "one of four deviates": ({"good": 3, "bad": 1}, "inconclusive"),
    "half deviate": ({"good": 2, "bad": 2}, "not reproduced"),
    "all deviate": ({"deviation": 0.021}, "not reproduced"),
    "another exponent": ({"gap": 0.02}, "not reproduced"),
    "no exponent": ({"good": 0, "bad": 4, "badly": {"exponent": None}}, "not reproduced"),
    "did not end": ({"good": 0, "bad": 4, "badly": {"status": "budget"}}, "inconclusive"),
    "NaN": ({"good": 0, "bad": 4, "badly": {"deviation": math.nan}}, "not reproduced"),
    "a depth is not there": ({"depths": (2, 3)}, "inconclusive"),
}


@pytest.mark.parametrize(("claim", "group"), [("A5", "dynamics"), ("A6", "movielens")])
@pytest.mark.parametrize("case", DYNAMICS)
def test_dynamics(claim, group, case):
    options, outcome = DYNAMICS[case]
    assert verdict(claim, flows(group, **options)).outcome == outcome


def test_movielens_without_data_is_skipped():
    skipped = run({}, skipped="no data here", group="movielens", method="flow", n_observed=10_000, seed=0)
    found = verdict("A6", [skipped])
    assert (found.outcome, found.reason) == ("skipped", "no data here")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "runs"),
    [("A1", depths("completion")), ("A2", depths("sensing")), ("A3", scaled()), ("A4", scaled())],
)
def test_networks_that_did_not_fit_are_no_evidence(claim, runs):
    assert verdict(claim, runs).outcome == "reproduced"
    loss = 1e-5 if claim == "A3" else 1e-3
    stopped = [run(one.records[0] | {"loss": loss}, **one.config) for one in runs]
    found = verdict(claim, stopped)
    assert found.outcome == "inconclusive"
    assert "did not fit the data" in found.reason


def test_what_the_runs_lack_is_named():
    deep = [one for one in depths("completion") if one.config["depth"] == 4]
    assert "the rule is about depth 2, 3, 4; the runs have depth 4" in verdict("A1", deep).reason
    mixed = [run(one.records[0], **(one.config | {"max_steps": 9})) for one in depths("sensing")]
    assert "mixed settings: " in verdict("A2", [*depths("sensing"), *mixed]).reason
    assert (
        "values of init_scale" in verdict("A4", [r for r in scaled() if r.config["init_scale"] < 1e-2]).reason
    )
