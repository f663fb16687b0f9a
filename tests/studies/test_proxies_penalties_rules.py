"""The verdicts of P1–P7 on made-up runs: each outcome, and runs that diverged or are missing."""

from __future__ import annotations

import json
import math

import pytest

from overt.studies import Run
from overt.studies.proxies.claims import CLAIMS
from overt.studies.proxies.config import PenaltyConfig
from overt.studies.proxies.functionals import PAIRS, PROXIES
from overt.studies.proxies.rules import BLIND, OURS, judge
from overt.studies.proxies.tried import windows
from overt.studies.runs.identity import config_hash

SEEDS = range(5)
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1)
SCALES = (1e-6, 1e-3, 1.0)


def run(records, proxy, optimizer="adam"):
    config = PenaltyConfig(
        proxy=proxy, optimizer=optimizer, rates=(1e-2,), weights=(1e-2,), seed=0, max_steps=1000
    )
    name = config_hash("proxies", 1, config)
    return Run("proxies", name, config.model_dump(mode="json"), records, {}, {"status": "done"})


def of(value, seed):
    """One of several values by the seed, and a little different from seed to seed."""
    value = value[seed % len(value)] if isinstance(value, tuple) else value
    return value if value is None or not math.isfinite(value) else value * (1 + 0.01 * seed)


def runs(
    errors=None,
    other=0.3,
    ours=0.03,
    optimizer="adam",
    hits=None,
    windows=None,
    inits=None,
    leave=(),
    loss=0.0,
):
    """One run of each proxy; ``errors`` for some, ``other`` for the rest."""
    errors = {OURS: ours, **(errors or {})}
    made = []
    for proxy in PROXIES:
        if proxy in leave:
            continue
        records = []
        for seed in SEEDS:
            hit = of((hits or {}).get(proxy, 500), seed)
            records.append(
                {
                    "stage": "judged",
                    "seed": seed,
                    "error": of(errors.get(proxy, other), seed),
                    "loss": loss,
                    "hits": {} if hit is None else {"0.1": [int(hit), 1.0]},
                }
            )
            row = (windows or {}).get(proxy, (0.05,) * 4)
            records += [
                {"stage": "weight", "seed": seed, "weight": w, "error": of(e, seed)}
                for w, e in zip(WEIGHTS, row, strict=True)
            ]
            row = (inits or {}).get(proxy, (0.05,) * 3)
            records += [
                {"stage": "init", "seed": seed, "init_scale": w, "error": of(e, seed)}
                for w, e in zip(SCALES, row, strict=True)
            ]
        records.append({"stage": "tuning", "seed": 77, "lr": 1e-2, "weight": 1e-2, "error": 1e-9})
        made.append(run(records, proxy, optimizer))
    return made


def verdict(claim, given):
    found = {one.claim: one for one in judge(given)}
    assert list(found) == [one.id for one in CLAIMS]
    for one in found.values():
        assert one.reason
        for estimate in one.estimates:
            assert math.isfinite(estimate.value)
            json.dumps([estimate.low, estimate.high], allow_nan=False)
    return found[claim]


def test_no_runs_no_verdicts():
    assert {one.outcome for one in judge([])} == {"inconclusive"}


P1 = {
    "as claimed": (runs(), "reproduced"),
    "the plain one diverged": (runs({"nuclear": None}), "inconclusive"),
    "no difference": (runs({"nuclear": 0.04}), "not reproduced"),
    "ours diverged": (runs(ours=math.inf), "not reproduced"),
    "seeds disagree": (runs({"nuclear": (0.3, 0.03)}), "inconclusive"),
    "no plain one": (runs(leave=["nuclear"]), "inconclusive"),
    "another optimizer": (runs(optimizer="gd"), "inconclusive"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", P1)
def test_p1(case):
    given, outcome = P1[case]
    assert verdict("P1", given).outcome == outcome


def normalized(help_, hurt, undecided=0):
    """Normalizing helps so many of the four other pairs, hurts so many, and is undecided for the rest."""
    pairs = [plain for plain in PAIRS if plain != "nuclear"]
    kinds = [0.03] * help_ + [0.5] * hurt + [(0.03, 0.5)] * undecided
    return {PAIRS[plain]: kind for plain, kind in zip(pairs, kinds, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("help_", "hurt", "undecided", "outcome"),
    [
        (4, 0, 0, "reproduced"),
        (3, 1, 0, "reproduced"),
        (2, 2, 0, "not reproduced"),
        (0, 4, 0, "not reproduced"),
        (2, 1, 1, "inconclusive"),
    ],
)
def test_p2(help_, hurt, undecided, outcome):
    assert verdict("P2", runs(normalized(help_, hurt, undecided))).outcome == outcome


P3 = {
    "as claimed": (runs(), "reproduced"),
    "slightly better is not clearly better": (runs({"log-det": 0.02}), "reproduced"),
    "told the rank does not count": (runs({"truncated nuclear": 1e-6}), "reproduced"),
    "another is clearly better": (runs({"log-det": 0.001}), "not reproduced"),
    "none finds it": (runs(ours=0.4, other=0.5), "not reproduced"),
    "ours diverged": (runs(ours=None), "not reproduced"),
    "seeds disagree": (runs({"log-det": (0.001, 0.03)}), "inconclusive"),
    "one is not there": (runs(leave=["log-det"]), "inconclusive"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", P3)
def test_p3(case):
    given, outcome = P3[case]
    assert verdict("P3", given).outcome == outcome


def under(adam=3, gd=0, muon=0):
    """So many proxies that are not told the rank work under each optimizer, and the told ones under all."""
    given = []
    for optimizer, count in (("adam", adam), ("gd", gd), ("muon", muon)):
        errors = {name: 0.01 for name in PROXIES if name not in BLIND}
        errors |= {name: 0.01 if place < count else 0.5 for place, name in enumerate(BLIND)}
        given += runs(errors, optimizer=optimizer)
    return given


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ({}, "reproduced"),
        ({"adam": 2}, "not reproduced"),
        ({"gd": 1}, "not reproduced"),
        ({"muon": 4}, "not reproduced"),
    ],
)
def test_p4(counts, outcome):
    assert verdict("P4", under(**counts)).outcome == outcome


def test_p4_needs_all_three_optimizers():
    given = [one for one in under() if one.config["optimizer"] != "muon"]
    assert verdict("P4", given).outcome == "inconclusive"


ALL, NONE, TWO, ONE = (0.05,) * 4, (0.5,) * 4, (0.5, 0.05, 0.05, 0.5), (0.5, 0.05, 0.5, 0.05)
P5 = {
    "as claimed": ({}, "reproduced"),
    "the others fail": ({name: NONE for name in BLIND if name != OURS}, "reproduced"),
    "told the rank does not count": ({OURS: TWO, **{n: NONE for n in BLIND if n != OURS}}, "reproduced"),
    "less than a decade": ({OURS: ONE}, "not reproduced"),
    "nowhere": ({OURS: NONE}, "not reproduced"),
    "the others are wider": ({OURS: TWO}, "not reproduced"),
    "diverged": ({OURS: (None,) * 4}, "not reproduced"),
    "seeds disagree": ({OURS: ((0.05, 0.5), 0.05, 0.05, 0.05)}, "inconclusive"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", P5)
def test_p5(case):
    rows, outcome = P5[case]
    assert verdict("P5", runs(windows=rows)).outcome == outcome


def test_a_window_is_an_unbroken_row():
    found = windows(runs(windows={OURS: ONE, "nuclear": (0.05, 0.05, 0.5, 0.05)}), OURS, 0.1)
    assert set(found.values()) == {0.0}
    found = windows(runs(windows={"nuclear": (0.05, 0.05, 0.5, 0.05)}), "nuclear", 0.1)
    assert list(found.values()) == pytest.approx([1.0] * 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ((0.05, 0.05, 0.05), "reproduced"),
        ((0.05, 0.05, 0.5), "not reproduced"),
        ((None, None, None), "not reproduced"),
        ((0.05, 0.05, (0.05, 0.5)), "inconclusive"),
    ],
)
def test_p6(row, outcome):
    assert verdict("P6", runs(inits={OURS: row})).outcome == outcome


P7 = {
    "as claimed": ({}, "reproduced"),
    "faster": ({OURS: 100}, "reproduced"),
    "told the rank does not count": ({"truncated nuclear": 10}, "reproduced"),
    "three times as slow": ({"log-det": 160}, "not reproduced"),
    "never": ({OURS: None}, "not reproduced"),
    "no other gets there": ({name: None for name in BLIND if name != OURS}, "reproduced"),
    "seeds disagree": ({OURS: (500, 2000)}, "inconclusive"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", P7)
def test_p7(case):
    hits, outcome = P7[case]
    assert verdict("P7", runs(hits=hits)).outcome == outcome


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["P1", "P3", "P5", "P6"])
def test_trainings_that_were_stopped_are_no_evidence(claim):
    assert verdict(claim, runs()).outcome == "reproduced"
    found = verdict(claim, runs(loss=0.5))
    assert found.outcome == "inconclusive"
    assert "did not fit the data" in found.reason


@pytest.mark.slow
def test_p4_is_undecided_between():
    """An interval on both sides of the bar, and a proxy that fails for want of steps, decide nothing."""
    seeds = runs({**dict.fromkeys(BLIND, 0.5), BLIND[0]: (0.01, 0.5)}, optimizer="gd")
    other = [one for one in under() if one.config["optimizer"] != "gd"]
    found = verdict("P4", [*other, *seeds])
    assert found.outcome == "inconclusive"
    assert f"undecided: {BLIND[0]}" in found.reason
    early = runs(dict.fromkeys(BLIND, 0.5), optimizer="gd", loss=0.5)
    assert verdict("P4", [*other, *early]).outcome == "inconclusive"


def test_nobody_gets_there():
    assert verdict("P7", runs(hits=dict.fromkeys(PROXIES))).outcome == "inconclusive"


def test_what_the_runs_lack_is_named():
    assert "window_seeds is 0" in verdict("P5", runs(leave=[OURS])).reason
    assert "optimizer adam, gd, muon; the runs have optimizer adam" in verdict("P4", runs()).reason
