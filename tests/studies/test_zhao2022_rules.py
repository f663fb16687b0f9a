"""The verdicts of Z1–Z9 on made-up runs: each outcome, and runs that diverged or are missing."""

from __future__ import annotations

import json
import math

import pytest

from overt.studies import Run
from overt.studies.runs.identity import config_hash
from overt.studies.zhao2022.claims import CLAIMS, GROUPS
from overt.studies.zhao2022.config import ADAPTIVE, PENALTIES, ZhaoConfig
from overt.studies.zhao2022.rules import judge
from overt.studies.zhao2022.study import study

SEEDS = range(5)


def run(record, *, skipped="", **fields):
    config = ZhaoConfig(**fields)
    meta = {"status": "skipped", "reason": skipped} if skipped else {"status": "done"}
    name = config_hash("zhao2022", 1, config)
    return Run(
        "zhao2022",
        name,
        config.model_dump(mode="json"),
        [] if skipped else [{"loss": 0.0, **record}],
        {},
        meta,
    )


def verdict(claim, runs):
    """The verdict on one claim, whose estimates must be finite and storable; the runs' order is nothing."""
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    for one in found.values():
        assert one.reason
        for estimate in one.estimates:
            assert math.isfinite(estimate.value)
            json.dumps([estimate.low, estimate.high], allow_nan=False)
    assert {one.claim: one.outcome for one in judge(runs[::-1])} == {k: v.outcome for k, v in found.items()}
    return found[claim]


def spread(value, seed):
    return value if value is None or not math.isfinite(value) else value * (1 + 0.01 * seed)


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}


def test_claims_are_whole():
    assert set(GROUPS) == {one.id for one in CLAIMS}
    assert all(one.rule and one.source and one.statement for one in CLAIMS)


def test_the_two_kinds_of_splits_concern_different_claims():
    for split, claim in (("u1", "Z8"), ("random", "Z9")):
        config = {"group": "movielens", "split": split}
        assert [one.id for one in CLAIMS if study.concerns(config, one.id)] == [claim]


# ---- Z1, Z2, Z3 -------------------------------------------------------------------------------------------


def optimizers(with_penalty, without=0.8, seeds=SEEDS):
    """For each optimizer its error with the penalty at the better of two rates; the other diverges."""
    runs = []
    for name, error in with_penalty.items():
        for seed in seeds:
            for weight, value in ((1e-2, error), (0.0, without)):
                value = value[seed % len(value)] if isinstance(value, tuple) else value
                shared = {"group": "optimizers", "optimizer": name, "weight": weight, "seed": seed}
                runs.append(run({"error": spread(value, seed)}, lr=1e-2, **shared))
                runs.append(run({"error": None}, lr=1.0, **shared))
    return runs


Z1 = {
    "as claimed": ({"adam": 0.1, "gd": 0.7, "momentum": 0.8}, "reproduced"),
    "gd diverges with it": ({"adam": 0.1, "gd": math.inf, "momentum": 0.8}, "reproduced"),
    "adam does not feel it": ({"adam": 0.6, "gd": 0.7, "momentum": 0.8}, "not reproduced"),
    "adam diverges": ({"adam": None, "gd": 0.7, "momentum": 0.8}, "not reproduced"),
    "gd feels it": ({"adam": 0.1, "gd": 0.2, "momentum": 0.8}, "not reproduced"),
    "momentum feels it": ({"adam": 0.1, "gd": 0.7, "momentum": 0.2}, "not reproduced"),
    "seeds of adam disagree": ({"adam": (0.1, 0.7), "gd": 0.7, "momentum": 0.8}, "inconclusive"),
    "no momentum": ({"adam": 0.1, "gd": 0.7}, "inconclusive"),
}


@pytest.mark.parametrize("case", Z1)
def test_z1(case):
    errors, outcome = Z1[case]
    assert verdict("Z1", optimizers(errors)).outcome == outcome


def test_z1_with_one_seed_has_no_interval():
    errors = {"adam": 0.1, "gd": 0.7, "momentum": 0.8}
    assert verdict("Z1", optimizers(errors, seeds=[0])).outcome == "inconclusive"


def test_z1_without_the_runs_without():
    runs = [one for one in optimizers(Z1["as claimed"][0]) if one.config["weight"] > 0]
    assert verdict("Z1", runs).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("feel", "disagree", "outcome"),
    [(8, 0, "reproduced"), (6, 0, "reproduced"), (5, 0, "not reproduced"), (5, 1, "inconclusive")],
)
def test_z2(feel, disagree, outcome):
    names = [name for name in ADAPTIVE if name != "adam"]
    kinds = [0.1] * feel + [(0.1, 0.7)] * disagree + [0.7] * (8 - feel - disagree)
    assert verdict("Z2", optimizers(dict(zip(names, kinds, strict=True)))).outcome == outcome


def test_z2_needs_all_eight():
    assert verdict("Z2", optimizers({"amsgrad": 0.1})).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(0.7, "reproduced"), (None, "reproduced"), (0.1, "not reproduced"), ((0.1, 0.7), "inconclusive")],
)
def test_z3(error, outcome):
    assert verdict("Z3", optimizers({"lbfgs": error})).outcome == outcome


# ---- Z4, Z5 -----------------------------------------------------------------------------------------------

DENSE, SCARCE = ((5, 2000), (10, 4000)), ((5, 1500), (10, 3000))


def depths(counts, ours=0.005, deep=0.05, convex=0.3, seeds=SEEDS):
    runs = []
    for rank, count in counts:
        for seed in seeds:
            shared = {"group": "depths", "rank": rank, "n_observed": count, "seed": seed}
            value = ours[seed % len(ours)] if isinstance(ours, tuple) else ours
            runs.append(run({"error": spread(value, seed)}, **shared))
            for lr, error in ((1e-3, deep), (3e-4, None)):
                runs.append(run({"error": spread(error, seed)}, depth=3, weight=0.0, lr=lr, **shared))
            runs.append(run({"error": 1e-9}, depth=2, weight=0.0, **shared))  # another depth does not count
            runs.append(run({"error": spread(convex, seed)}, method="nuclear_norm", weight=0.0, **shared))
    return runs


Z4 = {
    "as claimed": ({}, "reproduced"),
    "a bit worse": ({"ours": 0.04, "deep": 0.03}, "reproduced"),
    "much worse": ({"ours": 0.04, "deep": 0.01}, "not reproduced"),
    "neither finds it": ({"ours": 0.4, "deep": 0.6}, "not reproduced"),
    "diverged": ({"ours": None}, "not reproduced"),
    "seeds disagree": ({"ours": (0.01, 0.05), "deep": 0.01}, "inconclusive"),
    "no seeds": ({"seeds": ()}, "inconclusive"),
}


@pytest.mark.parametrize("case", Z4)
def test_z4(case):
    options, outcome = Z4[case]
    assert verdict("Z4", depths(DENSE, **options)).outcome == outcome
    assert verdict("Z4", depths(SCARCE, **options)).outcome == "inconclusive"


def test_z4_at_both_ranks():
    runs = depths(DENSE[:1]) + depths(DENSE[1:], ours=0.4)
    assert verdict("Z4", runs).outcome == "not reproduced"


Z5 = {
    "as claimed": ({"ours": 0.05, "deep": 0.5}, "reproduced"),
    "rivals diverged": ({"ours": 0.05, "deep": None, "convex": math.inf}, "inconclusive"),
    "depth is as good": ({"ours": 0.05, "deep": 0.05}, "not reproduced"),
    "the convex way is as good": ({"ours": 0.05, "deep": 0.5, "convex": 0.06}, "not reproduced"),
    "diverged": ({"ours": None, "deep": 0.5}, "not reproduced"),
    "seeds disagree": ({"ours": (0.05, 0.4), "deep": 0.5, "convex": 5.0}, "inconclusive"),
    "no seeds": ({"seeds": ()}, "inconclusive"),
}


@pytest.mark.parametrize("case", Z5)
def test_z5(case):
    options, outcome = Z5[case]
    assert verdict("Z5", depths(SCARCE, **options)).outcome == outcome


def test_z5_without_the_convex_baseline():
    runs = [one for one in depths(SCARCE, deep=0.5) if one.config["method"] == "train"]
    assert verdict("Z5", runs).outcome == "inconclusive"


# ---- Z6, Z7 -----------------------------------------------------------------------------------------------


def penalties(others=0.2, ours=0.1, best="Schatten 2/3", best_error=None, leave=()):
    runs = []
    for name, fields in PENALTIES.items():
        if name in leave:
            continue
        error = ours if name == "nuclear / Frobenius" else others
        error = best_error if name == best and best_error is not None else error
        for seed in SEEDS:
            value = error[seed % len(error)] if isinstance(error, tuple) else error
            for weight, found in ((1e-3, value), (1e-1, None)):
                runs.append(
                    run({"error": spread(found, seed)}, group="penalties", weight=weight, seed=seed, **fields)
                )
    return runs


Z6 = {
    "as claimed": ({}, "reproduced"),
    "slightly better is not clearly better": ({"best_error": 0.07}, "reproduced"),
    "another is clearly better": ({"best_error": 0.01}, "not reproduced"),
    "ours diverged": ({"ours": math.inf}, "not reproduced"),
    "seeds disagree": ({"best_error": (0.01, 0.2)}, "inconclusive"),
    "only ours": ({"leave": [name for name in PENALTIES if name != "nuclear / Frobenius"]}, "inconclusive"),
    "without ours": ({"leave": ["nuclear / Frobenius"]}, "inconclusive"),
}


@pytest.mark.parametrize("case", Z6)
def test_z6(case):
    options, outcome = Z6[case]
    assert verdict("Z6", penalties(**options)).outcome == outcome


def relu(ours=0.05, plain=0.5, penalized=0.3):
    runs = []
    for seed in SEEDS:
        shared = {"group": "relu", "seed": seed}
        value = ours[seed % len(ours)] if isinstance(ours, tuple) else ours
        runs.append(run({"error": spread(value, seed)}, **shared))
        for weight, error in ((0.0, plain), (1e-2, penalized)):
            runs.append(
                run({"error": spread(error, seed)}, depth=3, activation="relu", weight=weight, **shared)
            )
        runs.append(run({"error": 1e-9}, depth=3, weight=0.0, **shared))  # linear layers do not count
    return runs


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({}, "reproduced"),
        ({"plain": 0.01}, "not reproduced"),
        ({"penalized": 0.01}, "not reproduced"),
        ({"ours": None}, "not reproduced"),
        ({"ours": (0.05, 0.9)}, "inconclusive"),
    ],
)
def test_z7(options, outcome):
    assert verdict("Z7", relu(**options)).outcome == outcome


# ---- Z8, Z9 -----------------------------------------------------------------------------------------------


def ratings(splits, ours=0.936, deep=0.938, biases=0.962):
    runs = []
    for place, (split, seed) in enumerate(splits):
        shared = {"group": "movielens", "split": split, "seed": seed}
        shift = 0.002 * place
        value = ours[place % len(ours)] if isinstance(ours, tuple) else ours

        def record(test, good, shift=shift):
            return {"test_rmse": test + shift, "validation_rmse": 0.9 if good else 0.95}

        # The setting with the better test error has the worse validation error, and must not be taken.
        runs.append(run(record(value, True), depth=2, weight=1e-3, **shared))
        runs.append(run(record(0.5, False), depth=2, weight=3e-3, **shared))
        runs.append(run(record(deep, True), depth=3, weight=0.0, **shared))
        runs.append(run(record(biases, True), method="biases", weight=0.0, **shared))
    return runs


PUBLISHED = [(f"u{number}", 0) for number in range(1, 6)]
RANDOM = [("random", seed) for seed in range(3)]
RATINGS = {
    "as claimed": ({}, "reproduced"),
    "within the margin": ({"ours": 0.942}, "reproduced"),
    "worse than depth": ({"ours": 0.95}, "not reproduced"),
    "worse than the biases": ({"ours": 0.97, "deep": 0.969}, "not reproduced"),
    "splits disagree": ({"ours": (0.9439, 0.95), "deep": 0.94, "biases": 1.0}, "inconclusive"),
}


@pytest.mark.parametrize("case", RATINGS)
def test_movielens(case):
    options, outcome = RATINGS[case]
    for claim, other, splits in (("Z8", "Z9", PUBLISHED), ("Z9", "Z8", [*RANDOM, ("random", 3)])):
        if case == "splits disagree" and claim == "Z8":
            splits = [*splits[:3], splits[4]]
        runs = ratings(splits, **options)
        assert verdict(claim, runs).outcome == outcome
        assert verdict(other, runs).outcome == "inconclusive"


def test_movielens_without_data_is_skipped():
    runs = [
        run({}, skipped="no data", group="movielens", split=split, seed=seed)
        for split, seed in PUBLISHED + RANDOM
    ]
    assert {verdict(claim, runs).outcome for claim in ("Z8", "Z9")} == {"skipped"}


def test_movielens_splits_are_never_mixed():
    runs = ratings(PUBLISHED) + ratings(RANDOM, ours=0.99)
    assert verdict("Z8", runs).outcome == "reproduced"
    assert verdict("Z9", runs).outcome == "not reproduced"


def test_movielens_says_what_the_penalty_adds():
    runs = ratings(PUBLISHED)
    assert "not known" in verdict("Z8", runs).reason
    for split, seed in PUBLISHED:
        record = {"test_rmse": 0.946 + 0.002 * (int(split[1]) - 1), "validation_rmse": 0.9}
        runs.append(run(record, group="movielens", split=split, seed=seed, depth=2, weight=0.0))
    full = {"test_rmse": 0.93, "validation_rmse": 0.9}
    runs.append(run(full, group="movielens", split="u1", seed=0, depth=1, weight=3e-2))
    found = verdict("Z8", runs)
    assert found.outcome == "reproduced"
    assert "the penalty changes the RMSE of the same factors by −0.0100" in found.reason
    assert "depth 1 with the penalty 0.9300 (1 split)" in found.reason
    assert [one.n for one in found.estimates] == [5, 5, 1]


STOPPED = {
    "Z1": (optimizers, [{"adam": 0.1, "gd": 0.7, "momentum": 0.8}]),
    "Z2": (optimizers, [dict.fromkeys(ADAPTIVE, 0.1)]),
    "Z3": (optimizers, [{"lbfgs": 0.7}]),
    "Z4": (depths, [DENSE]),
    "Z5": (depths, [SCARCE, 0.05, 0.5]),
    "Z6": (penalties, []),
    "Z7": (relu, []),
}


@pytest.mark.slow
@pytest.mark.parametrize("claim", STOPPED)
def test_networks_that_were_stopped_are_no_evidence(claim):
    make, arguments = STOPPED[claim]
    runs = make(*arguments)
    assert verdict(claim, runs).outcome == "reproduced"
    for one in runs:
        one.records[0]["loss"] = 0.5
    found = verdict(claim, runs)
    assert found.outcome == "inconclusive"
    assert "nowhere fitted the data" in found.reason


def test_what_the_runs_lack_is_named():
    other = [run(one.records[0], **(one.config | {"n": 60})) for one in depths([(5, 2000)])]
    assert "observations for each degree of freedom" in verdict("Z4", other).reason
    assert "the rule is about optimizer" in verdict("Z2", optimizers({"adam": 0.1})).reason
    mixed = [run(one.records[0], **(one.config | {"max_steps": 9})) for one in relu()]
    assert "mixed settings: " in verdict("Z7", [*relu(), *mixed]).reason
