"""The rules of G1–G11 on made-up runs: each outcome, and runs that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from overt.studies import Run
from overt.studies.generalization.claims import CLAIMS
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.generalization.methods import key, label, settings_of
from overt.studies.generalization.plan import few, jacobian, methods
from overt.studies.generalization.results import Cell, gain
from overt.studies.generalization.rules import RULES, judge, regrets, sparse_tests
from overt.studies.runs.identity import config_hash

SEEDS = range(10)
J2, J1 = "jacobian 2", "jacobian 1 eigen"
BEFORE = {
    "accuracy": 0.8,
    "cross_entropy": 1.0,
    "scaled_cross_entropy": 0.7,
    "corrupted_accuracy": 0.6,
    "kept": 0.5,
}


def run(record, seed, **fields):
    config = GeneralizationConfig(seed=seed, **fields)
    settings = settings_of(config)
    trials = [{"setting": w, "accuracy": 0.8, "cross_entropy": 1.0} for w in settings]
    whole = {"trials": trials, **BEFORE, **record}
    return Run(
        "generalization", config_hash("generalization", 1, config), config.model_dump(mode="json"), [whole]
    )


def spread(seed, size=0.002):
    return size * math.sin(3.0 * seed)


def field_runs(field, values, seeds=SEEDS, networks=("mlp", "cnn"), noise=0.002, names=None, **more):
    """Runs of the main part in which one number differs from method to method."""
    found = []
    for network in networks:
        for fields in methods():
            word = key({"factors": 2, "p": 2.0, "basis": "eigen", "normalized": False, **fields})
            if names is not None and word not in names:
                continue
            for seed in seeds:
                base = BEFORE[field] + spread(seed, 0.05)  # what pairing takes away
                value = base + values.get(word, 0.0) + spread(seed + len(word), noise)
                found.append(run({field: value}, seed, network=network, **fields, **more))
    return found


def verdict(runs, claim):
    found = RULES[claim](runs)
    assert found.claim == claim
    return found


# (claim, field, ours, a rival, sign of better)
CONTESTS = [
    ("G1", "accuracy", (J2, J1), "dropout", 1),
    ("G2", "cross_entropy", (J2, J1), "weight_decay", -1),
    ("G3", "scaled_cross_entropy", (J2, J1), "early_stopping", -1),
    ("G4", "accuracy", ("normalized_nuclear_norm", J1), "overparameterized 3", 1),
    ("G8", "corrupted_accuracy", (J2, J1), "nothing", 1),
    ("G9", "kept", ("normalized_nuclear_norm", "nuclear_norm"), "weight_decay", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize(("claim", "field", "ours", "rival", "sign"), CONTESTS)
def test_contests(claim, field, ours, rival, sign):
    better = {ours[1]: sign * 0.04}  # one of the two is enough
    assert verdict(field_runs(field, better), claim).outcome == "reproduced"
    assert verdict(field_runs(field, {ours[0]: sign * 0.04}), claim).outcome == "reproduced"
    assert verdict(field_runs(field, {}), claim).outcome == "not reproduced"
    # As good a rival is enough to contradict it, on one network alone.
    equal = {**better, rival: sign * 0.04}
    mixed = field_runs(field, better, networks=("mlp",)) + field_runs(field, equal, networks=("cnn",))
    assert verdict(mixed, claim).outcome == "not reproduced"
    noisy = field_runs(field, {ours[1]: sign * 0.02}, noise=0.2)
    assert verdict(noisy, claim).outcome == "inconclusive"
    assert verdict(field_runs(field, better, seeds=range(4)), claim).outcome == "inconclusive"
    without = field_runs(field, better, names={*ours, "nothing"})
    assert verdict(without, claim).outcome == "inconclusive"


@pytest.mark.slow
def test_sparse_against_frobenius():
    some = "jacobian 2/3 fourier"
    found = verdict(field_runs("accuracy", {some: 0.02}), "G5")
    assert found.outcome == "reproduced"
    assert label(some) in found.reason
    assert verdict(field_runs("cross_entropy", {some: -0.05}), "G5").outcome == "reproduced"
    assert verdict(field_runs("accuracy", {}), "G5").outcome == "not reproduced"
    # Significant, yet too small to count.
    assert verdict(field_runs("accuracy", {some: 0.004}, noise=1e-4), "G5").outcome == "not reproduced"
    assert verdict(field_runs("accuracy", {some: 0.02}, noise=0.5), "G5").outcome == "inconclusive"
    assert verdict(field_runs("accuracy", {some: 0.02}, seeds=range(3)), "G5").outcome == "inconclusive"


@pytest.mark.slow
def test_the_correction_is_that_of_holm():
    better = {"jacobian 1 fourier": 0.004, "jacobian 1 identity": 0.005, "jacobian 2/3 eigen": 0.006}
    runs = field_runs("accuracy", better, noise=0.006)
    tests = sparse_tests(runs)
    assert len(tests) == 48

    def raw(network, field, word):
        numbers = [
            [r.records[0][field] for r in runs if r.config["network"] == network and key(r.config) == name]
            for name in (word, J2)
        ]
        sign = 1 if field == "accuracy" else -1
        difference = sign * (np.array(numbers[0]) - np.array(numbers[1]))
        if np.ptp(difference) == 0:
            return 1.0
        return float(ttest_1samp(difference, 0, alternative="greater").pvalue)

    plain = sorted((raw(*t[:3]), t[4]) for t in tests)
    largest = 0.0
    for place, (p, corrected) in enumerate(plain):
        largest = max(largest, min(1.0, (48 - place) * p))
        assert corrected == pytest.approx(largest, rel=1e-6)
    assert sum(p < 0.01 for p, _ in plain) > 3  # or the order would not matter


def test_fourier():
    helps = {"jacobian 1 fourier": 0.02}
    assert verdict(field_runs("accuracy", helps), "G6").outcome == "reproduced"
    assert verdict(field_runs("accuracy", {}), "G6").outcome == "not reproduced"
    also = {**helps, "jacobian 1 identity": 0.02}
    assert verdict(field_runs("accuracy", also), "G6").outcome == "not reproduced"
    elsewhere = field_runs("accuracy", helps, networks=("mlp",)) + field_runs(
        "accuracy", {}, networks=("cnn",)
    )
    assert verdict(elsewhere, "G6").outcome == "not reproduced"
    assert verdict(field_runs("accuracy", helps, noise=0.3), "G6").outcome == "inconclusive"
    assert verdict(field_runs("accuracy", helps, networks=("mlp",)), "G6").outcome == "inconclusive"


def tuned(best, elsewhere, normalized, seeds=SEEDS, noise=0.001, step=0.2):
    """Runs whose best weight is the one at a place in the list, and another one away from the source."""
    found = []
    places = [("mlp", "main", 500, best), ("cnn", "main", 500, elsewhere), ("mlp", "sizes", 100, elsewhere)]
    places.append(("mlp", "units", 500, elsewhere))
    for network, group, n, place in places:
        for seed in seeds:
            fields = {
                **jacobian(1.0, normalized=normalized),
                "network": network,
                "group": group,
                "n_train": n,
            }
            one = run({}, seed, units=100.0 if group == "units" else 1.0, **fields)
            for i, row in enumerate(one.records[0]["trials"]):
                row["cross_entropy"] = 0.5 + step * abs(i - place) + spread(seed + i, noise)
            found.append(one)
    return found


def test_scales():
    good, bad = tuned(1, 1, True), tuned(1, 3, False)
    found = verdict(good + bad, "G7")
    assert found.outcome == "reproduced"
    weight, regret = regrets(bad, J1)
    assert weight == settings_of(GeneralizationConfig(seed=0, **jacobian(1.0)))[1]
    assert set(regret[0]) == {"cnn, n = 500", "mlp, n = 100", "other units"}
    assert regret[0]["cnn, n = 500"] == pytest.approx(0.4, abs=0.01)
    assert verdict(tuned(1, 3, True) + tuned(1, 1, False), "G7").outcome == "not reproduced"
    assert verdict(good + tuned(1, 1, False, noise=0.02), "G7").outcome == "inconclusive"
    assert verdict(good, "G7").outcome == "inconclusive"
    assert verdict(tuned(1, 1, True, range(3)) + tuned(1, 3, False, range(3)), "G7").outcome == "inconclusive"


def sized(gains, noise=0.001, networks=("mlp", "cnn")):
    found = []
    for network in networks:
        for n, more in gains.items():
            for fields in few():
                extra = more if fields == jacobian(2.0) else 0.0
                for seed in range(5):
                    value = 0.8 + extra + spread(seed + n + len(fields), noise)
                    shared = {"network": network, "group": "sizes", "n_train": n}
                    found.append(run({"accuracy": value}, seed, **shared, **fields))
    return found


def test_sizes():
    assert verdict(sized({100: 0.03, 2000: 0.02, 5000: 0.0}), "G10").outcome == "reproduced"
    assert verdict(sized({100: 0.0, 5000: 0.0}), "G10").outcome == "not reproduced"
    assert verdict(sized({100: 0.03, 5000: 0.0}, noise=0.2), "G10").outcome == "inconclusive"
    assert verdict(sized({100: 0.03}), "G10").outcome == "inconclusive"


def costs(times):
    config = GeneralizationConfig(group="cost", seed=0)
    found = []
    for network in ("mlp", "cnn"):
        fields = config.model_copy(update={"network": network}).model_dump(mode="json")
        rows = [
            {"method": "weight_decay", "seconds_per_step": 1e-3, "times": 1.0},
            {"method": J1, "seconds_per_step": 2e-3, "times": 2.0},
            {"method": "jacobian 1 fourier", "seconds_per_step": 1e-3 * times, "times": times},
            {"method": "composition", "seconds_per_step": 9e-3, "times": 9.0},
        ]
        found.append(Run("generalization", network, fields, rows))
    return found


@pytest.mark.parametrize(
    ("times", "outcome"), [(2.9, "reproduced"), (3.1, "inconclusive"), (3.5, "not reproduced")]
)
def test_cost(times, outcome):
    found = verdict(costs(times), "G11")
    assert found.outcome == outcome
    assert "composition" not in found.reason
    assert [(one.value, one.n) for one in found.estimates] == [(times, 1)] * 2


def test_no_runs_no_verdicts():
    found = judge([])
    assert [one.claim for one in found] == [one.id for one in CLAIMS]
    assert {one.outcome for one in found} == {"inconclusive"}


def test_a_gain_is_positive_where_ours_is_better():
    runs = field_runs("cross_entropy", {J2: -0.1})
    assert gain(runs, Cell("mlp"), J2, "nothing", "cross_entropy").value == pytest.approx(0.1, abs=0.01)
    runs = field_runs("accuracy", {J2: 0.1})
    assert gain(runs, Cell("mlp"), J2, "nothing", "accuracy").value == pytest.approx(0.1, abs=0.01)


def test_words_of_methods():
    words = [key({"factors": 2, "p": 2.0, "basis": "eigen", "normalized": False, **m}) for m in methods()]
    assert len(set(words)) == len(words) == 22
    labels = [label(word) for word in words]
    assert len(set(labels)) == len(labels)
    assert label("jacobian 2/3 fourier normalized") == "Jacobian p=2/3, Fourier, normalized"
