"""The verdicts L1–L4 on made-up runs: each outcome, and runs that are missing."""

from __future__ import annotations

import json
import math

import pytest

from overt.studies import Run
from overt.studies.li2021.claims import CLAIMS
from overt.studies.li2021.config import Li2021Config
from overt.studies.li2021.rules import climbs, judge
from overt.studies.runs.identity import config_hash

SEEDS = range(10)


def run(records, **fields):
    config = Li2021Config(**fields)
    name = config_hash("li2021", 1, config)
    return Run("li2021", name, config.model_dump(mode="json"), records, {}, {"status": "done"})


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


def flow(
    seed,
    *,
    depth=2,
    scale=1e-12,
    distances=(0.001, 0.02, 0.001),
    times=(1.0, 2.0, 3.0),
    plateaus=(100.0, 200.0),
    losses=(0.1, 0.01, 0.0),
    excess=1e-6,
    status="converged",
):
    wobble = 1 + 0.01 * seed
    record = {
        "distances": [d if d is None else d * wobble for d in distances],
        "nearest_times": list(times),
        "nearest_losses": list(losses),
        "critical_losses": [0.1, 0.01, 1e-12],
        "plateaus": [p * wobble for p in plateaus],
        "excess": excess if excess is None else excess * wobble,
        "status": status,
    }
    return run([record], group="flow", depth=depth, init_scale=scale, seed=seed)


def flows(seeds=SEEDS, small=None, large=None, middle=None, deep=None):
    """Depths 2–4 at three scales as the claims have it, with some options changed."""
    runs = []
    for seed in seeds:
        for depth, least in ((2, 1e-12), (3, 1e-5), (4, 1e-4)):
            runs.append(flow(seed, depth=depth, scale=least, **(small or {})))
            far = {"distances": (0.3, 0.4, 0.01), "plateaus": (1.0, 2.0), "excess": 0.1}
            runs.append(flow(seed, depth=depth, scale=1e-1, **(far | (large or {}))))
            near = {"distances": (0.1, 0.1, 0.01), "excess": 1e-2}
            if depth > 2:
                near = {"distances": (0.01, 0.02, 0.01), "excess": 1e-3} | (deep or {})
            runs.append(flow(seed, depth=depth, scale=1e-3, **(near | (middle or {}))))
    return runs


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert all("are missing" in one.reason for one in judge([]))


L1 = {
    "as claimed": ({}, "reproduced"),
    "a point is missed": ({"small": {"distances": (0.001, 0.3, 0.001)}}, "not reproduced"),
    "out of order": ({"small": {"times": (2.0, 1.0, 3.0)}}, "not reproduced"),
    "diverged": ({"small": {"distances": (None, None, None)}}, "not reproduced"),
    "no better than from a large scale": ({"large": {"distances": (0.001, 0.02, 0.001)}}, "not reproduced"),
}


@pytest.mark.parametrize("case", L1)
def test_l1(case):
    options, outcome = L1[case]
    assert verdict("L1", flows(**options)).outcome == outcome


def test_l1_is_undecided_between_the_bars():
    missed = {"small": {"distances": (0.001, 0.3, 0.001)}}
    runs = [one for seed in SEEDS for one in flows([seed], **(missed if seed < 4 else {}))]
    found = verdict("L1", runs)
    assert found.outcome == "inconclusive"
    assert "6 of 10 seeds" in found.reason


def test_l1_needs_both_scales():
    runs = [one for one in flows() if one.config["init_scale"] != 1e-1]
    assert verdict("L1", runs[:1]).outcome == "inconclusive"


L2 = {
    "as claimed": ({}, "reproduced"),
    "no longer": ({"large": {"plateaus": (90.0, 190.0)}}, "not reproduced"),
    "elsewhere": ({"small": {"losses": (0.05, 0.005, 0.0)}}, "not reproduced"),
    "none at the large scale": ({"large": {"plateaus": (0.0, 0.0)}}, "reproduced"),
    "none at all": ({"large": {"plateaus": (0.0, 0.0)}, "small": {"plateaus": (0.0, 0.0)}}, "not reproduced"),
}


@pytest.mark.parametrize("case", L2)
def test_l2(case):
    options, outcome = L2[case]
    assert verdict("L2", flows(**options)).outcome == outcome


def test_l2_is_undecided_where_seeds_disagree():
    runs = []
    for seed in SEEDS:
        times = (90.0, 190.0) if seed % 2 else (10.0, 20.0)
        runs += flows([seed], large={"plateaus": times})
    assert verdict("L2", runs).outcome == "inconclusive"


L3 = {
    "as claimed": ({}, "reproduced"),
    "no nearer": ({"deep": {"distances": (0.1, 0.1, 0.01)}}, "not reproduced"),
    "no lower": ({"deep": {"excess": 1e-2}}, "not reproduced"),
    "deep diverged": ({"deep": {"distances": (None, None, None), "excess": None}}, "not reproduced"),
}


@pytest.mark.parametrize("case", L3)
def test_l3(case):
    options, outcome = L3[case]
    assert verdict("L3", flows(**options)).outcome == outcome


def test_l3_with_one_seed():
    assert verdict("L3", flows([3])).outcome == "inconclusive"


def weight_path(seed, ranks=(9, 3, 2, 1), far=0.1, loss=1e-5):
    shared = {"distances": [far, far, far], "critical_losses": [0.1, 0.01, 1e-12]}
    rows = [
        {"weight": 10.0**k, "rank": rank, "effective_rank": float(rank), "loss": loss * 2**k} | shared
        for k, rank in enumerate(ranks)
    ]
    weights = tuple(row["weight"] for row in rows)
    return run(rows, group="path", depth=1, weights=weights, seed=seed)


L4 = {
    "as claimed": ([{}] * 10, "reproduced"),
    "eight of ten": ([{}] * 8 + [{"far": 0.3}] * 2, "reproduced"),
    "six of ten": ([{}] * 6 + [{"far": 0.3}] * 4, "inconclusive"),
    "far away": ([{"far": 0.3}] * 10, "not reproduced"),
    "diverged": ([{"far": None}] * 10, "not reproduced"),
    "a rank is left out": ([{"ranks": (9, 3, 1)}] * 10, "not reproduced"),
    "down and up": ([{"ranks": (9, 3, 2, 3, 1)}] * 10, "not reproduced"),
}


@pytest.mark.parametrize("case", L4)
def test_l4(case):
    options, outcome = L4[case]
    runs = [weight_path(seed, **one) for seed, one in enumerate(options)]
    assert verdict("L4", runs).outcome == outcome


def test_climbs_only_in_order():
    assert climbs(weight_path(0))
    assert climbs(weight_path(0, ranks=(9, 3, 3, 2, 2, 1)))
    assert not climbs(weight_path(0, ranks=(9, 4, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["L1", "L2", "L3"])
def test_flows_that_were_stopped_are_no_evidence(claim):
    """At a saddle the distance is ideal; one in ten may be stopped, and then counts as the worst."""
    stopped = {"status": "budget"}
    found = verdict(claim, flows(small=stopped, middle=stopped))
    assert found.outcome == "inconclusive"
    assert "were stopped" in found.reason
    assert "they say reproduced" in found.reason
    few = [one for seed in SEEDS for one in flows([seed], small=stopped if seed == 3 else {})]
    assert verdict(claim, few).outcome == "reproduced"
    assert claim != "L1" or "9 of 10" in verdict(claim, few).reason


def test_a_path_that_does_not_fit_is_no_evidence():
    runs = [weight_path(seed, ranks=(9, 3, 1), loss=0.05) for seed in range(5)]
    assert verdict("L4", runs).outcome == "inconclusive"


def test_the_setting_that_is_lacking_is_named():
    deep = [flow(seed, depth=3, scale=scale) for seed in SEEDS for scale in (1e-3, 1e-1)]
    assert "the rule is about depth 2; the runs have depth 3" in verdict("L1", deep).reason
    one = [flow(seed, depth=depth, scale=0.01) for seed in SEEDS for depth in (2, 3, 4)]
    assert "init_scale" in verdict("L2", one).reason
    assert "from 0.01" in verdict("L3", one).reason


def test_a_weight_that_was_stopped_is_left_out():
    """Among minimizers the loss does not rise as the weight falls."""
    one = weight_path(0, ranks=(3, 2, 9, 1))
    assert not climbs(one)
    one.records[2]["loss"] = 0.5
    assert climbs(one)
