"""The rules of G1–G11 on made-up runs: each outcome, and runs that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from worlds import changed, outcomes, runs

from overt.studies.generalization import study
from overt.studies.generalization.methods import METHODS, SPARSE
from overt.studies.generalization.sparse import tests as sparse_tests
from overt.studies.generalization.transfer import NORMALIZED, PLAIN, regret

J2, J1 = "jacobian 2", "jacobian 1 eigen"
FIELDS = {
    "error": 0.2,
    "cross_entropy": 1.0,
    "scaled_cross_entropy": 0.7,
    "corrupted_error": 0.4,
    "lost": 0.5,
}
GOOD = {  # the best that each field could be, by method
    "error": {J2: -0.02, "normalized_nuclear_norm": -0.02, "jacobian 1 fourier": -0.05},
    "cross_entropy": {J1: -0.1},
    "scaled_cross_entropy": {J1: -0.05},
    "corrupted_error": {J2: -0.05},
    "lost": {"nuclear_norm": -0.05},
}
OWN = {claim.id: claim.kind == "own" for claim in study.claims}


def yes(claim):
    return "supported" if OWN[claim] else "reproduced"


def no(claim):
    return "refuted" if OWN[claim] else "not reproduced"


def open_(claim):
    return "undecided" if OWN[claim] else "inconclusive"


YES = {claim: yes(claim) for claim in OWN}


def spread(seed, size=0.001):
    return size * math.sin(3.0 * seed)


def world(config, shifts=GOOD, noise=0.001):
    """Each claim holds: both networks alike, numbers of one seed move together."""
    if config.part == "cost":
        return {
            "status": "trained",
            "times": dict.fromkeys(METHODS, 2.0),
            "dearest": 2.0 + spread(config.seed),
        }
    method, common = config.method, spread(config.seed, 0.05)
    if config.part == "transfer":
        best = 1 if config.place in ("source", "units") or method == NORMALIZED else 3
        scores = [0.5 + 0.2 * abs(i - best) + common for i in range(4)]
        rows = [{"setting": w, "cross_entropy": y} for w, y in zip(config.knob, scores, strict=True)]
        return {"status": "tuned", "trials": rows}
    found = {
        field: value
        + common
        + shifts.get(field, {}).get(method, 0.0)
        + spread(config.seed + len(method), noise)
        for field, value in FIELDS.items()
    }
    if config.part == "sizes":
        found["error"] -= 0.03 if method == J2 and config.n_train < 1000 else 0.0
    return {"status": "trained", **found}


def shifted(field, values, noise=0.001):
    """The world with other shifts of one field."""
    return lambda config: world(config, {**GOOD, field: values}, noise)


# (claim, field, ours, a rival)
CONTESTS = [
    ("G1", "error", J2, "dropout"),
    ("G2", "cross_entropy", J1, "weight_decay"),
    ("G3", "scaled_cross_entropy", J1, "early_stopping"),
    ("G4", "error", "normalized_nuclear_norm", "overparameterized 3"),
    ("G8", "corrupted_error", J2, "nothing"),
    ("G9", "lost", "nuclear_norm", "weight_decay"),
]


def test_every_claim_can_hold():
    assert outcomes(study, runs(study, world)) == YES


@pytest.mark.parametrize(("claim", "field", "ours", "rival"), CONTESTS)
def test_contests(claim, field, ours, rival):
    def told(values, noise=0.001, only=None):
        def one(config):
            return shifted(field, values if only in (None, config.network) else {}, noise)(config)

        return outcomes(study, [r for r in runs(study, one) if r.config["part"] == "compare"])[claim]

    assert told({ours: -0.04}) == yes(claim)
    assert told({}) == no(claim)
    assert told({ours: -0.04, rival: -0.04}) == no(claim)  # as good a rival is enough
    assert told({ours: -0.04}, only="mlp") == no(claim)  # on one network alone
    assert told({ours: -0.02}, noise=0.2) == open_(claim)
    least = {"error": 0.005, "cross_entropy": 0.02}.get(field, 0.01)
    assert told({ours: -1.01 * least}, noise=0.0) == yes(claim)
    assert told({ours: -0.99 * least}, noise=0.0) == no(claim)


def compared(made, part="compare"):
    return [run for run in made if run.config["part"] == part]


def test_sparse_against_frobenius():
    def told(field, shift, noise=0.001):
        values = {"error": {}, "cross_entropy": {}, field: {"jacobian 2/3 fourier": shift}}
        made = runs(study, lambda config: world(config, values, noise))
        return outcomes(study, compared(made))["G5"]

    assert told("error", -0.02) == told("cross_entropy", -0.05) == "supported"
    assert told("error", 0.0) == "refuted"
    assert told("error", -0.004, noise=1e-4) == "refuted"  # significant, yet too small to count
    assert told("error", -0.0051, noise=1e-5) == "supported"
    assert told("error", -0.0049, noise=1e-5) == "refuted"
    assert told("error", -0.02, noise=0.5) == "undecided"
    few = [run for run in compared(runs(study, world)) if run.config["seed"] < 5]
    assert outcomes(study, few)["G5"] == "undecided"


def test_the_correction_is_that_of_holm():
    names = ("jacobian 1 fourier", "jacobian 1 identity", "jacobian 2/3 eigen", "jacobian 2/3 fourier")
    better = {name: -0.004 - 0.001 * i for i, name in enumerate(names)}
    made = compared(runs(study, lambda config: world(config, {"error": better}, 0.004)))
    found = sparse_tests(made)
    assert len(found) == 4 * len(SPARSE) == 48

    def raw(network, field, method):
        numbers = [
            [
                r.records[0][field]
                for r in made
                if (r.config["network"], r.config["method"]) == (network, name)
            ]
            for name in (J2, method)
        ]
        difference = np.array(numbers[0]) - np.array(numbers[1])
        if np.ptp(difference) == 0:
            return 1.0
        return float(ttest_1samp(difference, 0, alternative="greater").pvalue)

    plain = sorted((raw(*key), p) for key, (_, p) in found.items())
    largest = 0.0
    for place, (p, corrected) in enumerate(plain):
        largest = max(largest, min(1.0, (48 - place) * p))
        assert corrected == pytest.approx(largest, rel=1e-6)
    assert sum(p < 0.01 for p, _ in plain) > 3  # or the order would not matter


def test_fourier():
    def told(values, noise=0.001):
        return outcomes(study, compared(runs(study, shifted("error", values, noise))))["G6"]

    helps = {"jacobian 1 fourier": -0.02}
    assert told(helps) == told({"jacobian 2/3 fourier": -0.02}) == "supported"
    assert told({}) == told({**helps, "jacobian 1 identity": -0.02}) == "refuted"
    assert told(helps, 0.3) == "undecided"
    alone = [r for r in compared(runs(study, shifted("error", helps))) if r.config["network"] == "mlp"]
    assert outcomes(study, alone)["G6"] == "undecided"


def moved(method, best):
    """The best of the four weights of a method is at another place in the list, away from the source."""

    def trials(config):
        if config.part != "transfer" or config.method != method or config.place == "source":
            return world(config).get("trials")
        scores = [0.5 + 0.2 * abs(i - best) for i in range(4)]
        return [{"setting": w, "cross_entropy": y} for w, y in zip(config.knob, scores, strict=True)]

    return changed(world, trials=trials)


def test_transfer():
    def told(some_world):
        return outcomes(study, compared(runs(study, some_world), "transfer"))["G7"]

    assert told(world) == "supported"
    assert told(moved(NORMALIZED, 3)) == "refuted"  # costs 0.4
    assert told(moved(PLAIN, 1)) == "undecided"  # neither costs anything
    made = compared(runs(study, world), "transfer")
    assert outcomes(study, [r for r in made if r.config["method"] == NORMALIZED])["G7"] == "undecided"
    assert outcomes(study, [r for r in made if r.config["place"] != "units"])["G7"] == "undecided"
    one = [r for r in made if r.config["method"] == PLAIN and r.config["seed"] == 0]
    assert regret(one) == pytest.approx((0.4 * 3 + 0.0) / 4)  # in other units the same weight is best


def test_units_are_measured_against_the_usual_ones():
    one = [r for r in compared(runs(study, world), "transfer") if r.config["seed"] == 0]
    one = [r for r in one if r.config["method"] == PLAIN]
    for run in one:
        if run.config["place"] == "units":
            for row in run.records[0]["trials"]:
                row["cross_entropy"] += 1.0
    assert regret(one) == pytest.approx((0.4 * 3 + 1.0) / 4)


def test_sizes():
    def told(gain, noise=0.001):
        def error(config):
            extra = -gain if config.part == "sizes" and config.method == J2 and config.n_train < 1000 else 0.0
            place = config.seed + 7 * len(getattr(config, "method", "")) + getattr(config, "n_train", 0)
            return 0.2 + extra + spread(place, noise)

        return outcomes(study, compared(runs(study, changed(world, error=error)), "sizes"))["G10"]

    assert told(0.03) == "reproduced"
    assert told(0.0) == told(0.0049, 0.0) == "not reproduced"
    assert told(0.0051, 0.0) == "reproduced"
    assert told(0.03, 0.2) == "inconclusive"
    few = [r for r in compared(runs(study, world), "sizes") if r.config["n_train"] == 100]
    assert outcomes(study, few)["G10"] == "inconclusive"


@pytest.mark.parametrize(("times", "outcome"), [(2.9, "supported"), (3.1, "refuted")])
def test_cost(times, outcome):
    made = runs(study, changed(world, dearest=lambda config: times + spread(config.seed)))
    assert outcomes(study, compared(made, "cost"))["G11"] == outcome
    one = runs(study, changed(world, dearest=lambda config: 2.0 if config.network == "mlp" else 4.0))
    assert outcomes(study, compared(one, "cost"))["G11"] == "refuted"


def test_a_method_that_diverges_loses():
    lost = changed(world, error=lambda config: None if getattr(config, "method", "") in (J2, J1) else 0.2)
    assert outcomes(study, runs(study, lost))["G1"] == "not reproduced"


def test_no_runs_no_verdicts():
    assert outcomes(study, []) == {claim: open_(claim) for claim in OWN}


def test_words_of_methods():
    labels = [one.label for one in METHODS.values()]
    assert len(set(labels)) == len(labels) == 22
    assert METHODS["jacobian 2/3 fourier normalized"].label == "Jacobian p=2/3, Fourier, normalized"
    assert {len(one.knob) for one in METHODS.values()} == {4}  # the tuning budget
