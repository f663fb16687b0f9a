"""The verdicts of A1–A9 on made-up runs: each outcome, diverged runs, and runs that are missing."""

from __future__ import annotations

import math

import pytest

from overt.studies import Run
from overt.studies.adam.claims import CLAIMS
from overt.studies.adam.config import AdamConfig
from overt.studies.adam.plan import SCALES, WEIGHTS
from overt.studies.adam.rules import judge
from overt.studies.runs.identity import config_hash

SEEDS = range(6)
GOOD, BAD = 0.02, 0.5


def run(record, **fields):
    config = AdamConfig(**fields)
    return Run(
        "adam",
        config_hash("adam", 1, config),
        config.model_dump(mode="json"),
        [{"loss": 0.0, **record}],
        {},
        {},
    )


def some(error, seeds=SEEDS, hits=None, **fields):
    """Runs with one error; with ``hits`` only so many of them have it, the others failed."""
    found = []
    for i, seed in enumerate(seeds):
        value = error if hits is None or i < hits else math.inf
        name, free = fields.get("optimizer", "adam"), fields.get("intervention", "none") == "none"
        turns = 0.0 if name == "gd" and free else 0.4 + 0.01 * seed
        record = {"error": value, "penalty_turning": turns, "against": 0.6 if name == "adam" else 0.3}
        found.append(run(record, seed=seed, **fields))
    return found


def alone(**errors):
    return [r for name, e in errors.items() for r in some(e, group="optimizers", optimizer=name)]


def changed(optimizer="adam", **errors):
    shared = {"group": "interventions", "optimizer": optimizer}
    return [r for name, e in errors.items() for r in some(e, intervention=name, **shared)]


FIRST = {"adam": GOOD, "rmsprop": GOOD, "sign": GOOD, "adam_beta1_0": GOOD}
OTHERS = {"gd": BAD, "momentum": BAD, "normalized_gd": BAD, "muon": BAD}
KEPT = {"keep_vectors": BAD, "keep_space": BAD, "gradient_direction": BAD}


def scales(adam=GOOD, normalized=BAD):
    names = {"adam": adam, "normalized_gd": normalized}
    return [
        r
        for name, e in names.items()
        for s in SCALES
        for r in some(e, group="scales", optimizer=name, objective_scale=s)
    ]


def weights(last=BAD):
    return [
        r
        for w in WEIGHTS
        for r in some(last if w == WEIGHTS[-1] else BAD, group="weights", optimizer="gd", weight=w)
    ]


def turned(error, hits=None):
    return some(error, hits=hits, group="rotations", optimizer="adam", rotated=True)


def opposing(adam, gd):
    """The runs of A5, with the shares of opposing steps replaced."""
    runs = alone(adam=GOOD, gd=BAD)
    for one in runs:
        share = adam if one.config["optimizer"] == "adam" else gd
        one.records[0]["against"] = share + 0.01 * one.config["seed"]
    return runs


CASES = {
    "A1": {
        "as claimed": (alone(**FIRST, **OTHERS), "reproduced"),
        "muon works": (alone(**FIRST, **{**OTHERS, "muon": GOOD}), "not reproduced"),
        "adam diverges": (alone(**{**FIRST, "adam": math.inf}, **OTHERS), "not reproduced"),
        "rmsprop fails": (alone(**{**FIRST, "rmsprop": BAD}, **OTHERS), "inconclusive"),
        "one is missing": (alone(**FIRST, gd=BAD), "inconclusive"),
    },
    "A2": {
        "as claimed": (alone(adam=GOOD, gd=BAD), "reproduced"),
        "gd turns, too": (
            [
                *alone(adam=GOOD),
                *[run({"error": BAD, "penalty_turning": 0.2}, group="optimizers", optimizer="gd", seed=0)],
            ],
            "not reproduced",
        ),
        "no gd": (alone(adam=GOOD), "inconclusive"),
    },
    "A3": {
        "as claimed": (alone(adam=GOOD) + changed(**KEPT), "reproduced"),
        "works without": (
            alone(adam=GOOD) + changed(**{**KEPT, "keep_vectors": GOOD}),
            "not reproduced",
        ),
        "adam fails": (alone(adam=BAD) + changed(**KEPT), "inconclusive"),
        "one is missing": (alone(adam=GOOD) + changed(keep_vectors=BAD), "inconclusive"),
    },
    "A4": {
        "as claimed": (changed("gd", adam_penalty=GOOD, adam_length=BAD), "reproduced"),
        "length is enough": (changed("gd", adam_penalty=GOOD, adam_length=GOOD), "not reproduced"),
        "fails": (changed("gd", adam_penalty=BAD, adam_length=BAD), "not reproduced"),
        "half": (
            some(GOOD, hits=3, group="interventions", optimizer="gd", intervention="adam_penalty")
            + changed("gd", adam_length=BAD),
            "inconclusive",
        ),
        "one is missing": (changed("gd", adam_penalty=GOOD), "inconclusive"),
    },
    "A5": {
        "as claimed": (opposing(0.6, 0.3) + changed("gd", alternation=GOOD), "reproduced"),
        "adam alternates less": (opposing(0.3, 0.6) + changed("gd", alternation=GOOD), "not reproduced"),
        "the alternation fails": (opposing(0.6, 0.3) + changed("gd", alternation=BAD), "not reproduced"),
        "no difference": (opposing(0.3, 0.3) + changed("gd", alternation=GOOD), "inconclusive"),
        "no alternation": (opposing(0.6, 0.3), "inconclusive"),
    },
    "A6": {
        "as claimed": (alone(adam=GOOD) + turned(BAD), "reproduced"),
        "works on both": (alone(adam=GOOD) + turned(GOOD), "not reproduced"),
        "half": (alone(adam=GOOD) + turned(GOOD, hits=3), "inconclusive"),
        "not there": (alone(adam=GOOD), "inconclusive"),
    },
    "A7": {
        "as claimed": (scales(), "reproduced"),
        "normalized works": (scales(normalized=GOOD), "not reproduced"),
        "adam fails": (scales(adam=BAD), "not reproduced"),
        "one optimizer": (scales()[: 3 * len(SEEDS)], "inconclusive"),
    },
    "A8": {
        "as claimed": (weights(), "reproduced"),
        "a strong one works": (weights(last=GOOD), "not reproduced"),
        "one weight": (weights()[: len(SEEDS)], "inconclusive"),
    },
    "A9": {
        "as claimed": (alone(gd=BAD) + changed("gd", adam_length=GOOD), "reproduced"),
        "fails": (alone(gd=BAD) + changed("gd", adam_length=BAD), "not reproduced"),
        "gd works": (alone(gd=GOOD) + changed("gd", adam_length=GOOD), "not reproduced"),
        "not there": (alone(gd=BAD), "inconclusive"),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "case"), [(c, k) for c, cases in CASES.items() for k in cases])
def test_each_rule_gives_each_outcome(claim, case):
    runs, outcome = CASES[claim][case]
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    assert found[claim].outcome == outcome
    assert all(math.isfinite(e.value) for one in found.values() for e in one.estimates)


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}


def test_the_best_learning_rate_counts():
    runs = alone(**FIRST, **OTHERS) + some(GOOD, group="optimizers", optimizer="gd", lr=50.0)
    assert {v.claim: v for v in judge(runs)}["A1"].outcome == "not reproduced"


@pytest.mark.parametrize("claim", ["A1", "A3", "A4", "A6", "A7", "A9"])
def test_failure_for_want_of_steps_is_no_evidence(claim):
    runs = CASES[claim]["as claimed"][0]
    stopped = [run(one.records[0] | {"loss": 0.5}, **one.config) for one in runs]
    found = {one.claim: one for one in judge(stopped)}[claim]
    assert found.outcome == "inconclusive"
    assert "nowhere fitted the data" in found.reason


def test_a_penalty_that_keeps_the_fit_away_is_a_failure():
    strong = [
        run(one.records[0] | {"loss": 0.5}, **one.config) for one in weights() if one.config["weight"] > 0.05
    ]
    assert {one.claim: one.outcome for one in judge(strong)}["A8"] == "reproduced"
