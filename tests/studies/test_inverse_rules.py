"""The verdicts of I1–I7 on made-up runs, the plan, one tiny run, the figures."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from overt.studies import Run, RunContext
from overt.studies.proxies.inverse import InverseConfig, part
from overt.studies.proxies.inverse_claims import CLAIMS, LARGE, SMALL, TINY
from overt.studies.runs.identity import config_hash

SEEDS = range(6)


def members(ratios, invariant, seed):
    rows = [("schatten_norm", p, None, r) for p, r in ratios.items()]
    rows.append(("normalized_schatten_norm", 1.0, 2.0, invariant))
    return [
        {
            "name": n,
            "p": p,
            "q": q,
            "share": r,
            "reference": 1.0,
            "ratio": r * (1 + 0.01 * seed),
            "label": f"{n}({p})",
        }
        for n, p, q, r in rows
    ]


def runs_of(depth, nuclear, p, frobenius=0.5, invariant=0.4, seeds=SEEDS, best="x", **fields):
    found = []
    for seed in seeds:
        config = InverseConfig(depth=depth, seed=seed, **fields)
        record = {
            "error": 0.5,
            "status": "converged",
            "best": best,
            "p": p,
            "members": members({1.0: nuclear, 2.0: frobenius}, invariant, seed),
        }
        hash_ = config_hash("proxies", 1, config)
        found.append(Run("proxies", hash_, config.model_dump(mode="json"), [record], {}, {}))
    return found


def all_runs(**changes):
    one = {"nuclear": 0.6, "p": 2.0, "frobenius": 0.01, "invariant": 0.8}
    two = {"nuclear": 0.05, "p": 1.0}
    limit = {"nuclear": 0.05, "p": 1.0, "init_scale": TINY}
    three, four = {"nuclear": 0.5, "p": 0.9}, {"nuclear": 0.5, "p": 0.6}
    big = {"nuclear": 0.9, "p": 1.4, "frobenius": 0.9, "invariant": 0.9, "init_scale": LARGE}
    own = {"nuclear": 0.6, "p": 1.1, "optimizer": "adam"}
    sets = {"one": (1, one), "two": (2, two), "limit": (2, limit), "three": (3, three), "four": (4, four)}
    sets |= {"big": (2, big), "own": (2, own)}
    runs = []
    for name, (depth, values) in sets.items():
        changed = changes.get(name, {})
        if changed is not None:
            runs += runs_of(depth, **{**values, **changed})
    return runs


CASES = {
    "I1": [
        ({}, "reproduced"),
        ({"one": {"frobenius": 0.3}}, "not reproduced"),
        ({"one": {"p": 1.0}}, "not reproduced"),
        ({"one": None}, "inconclusive"),
    ],
    "I2": [
        ({}, "reproduced"),
        ({"limit": {"nuclear": 0.3}}, "not reproduced"),
        ({"limit": {"nuclear": 0.098}}, "inconclusive"),
        ({"limit": None}, "inconclusive"),
    ],
    "I3": [
        ({}, "reproduced"),
        ({"four": {"p": 1.5}}, "not reproduced"),
        ({"two": {"p": 2.0}, "four": {"p": 2.0}}, "not reproduced"),
        ({"four": {"p": 1.0}}, "inconclusive"),
        ({"four": None}, "inconclusive"),
    ],
    "I4": [
        ({}, "reproduced"),
        ({"four": {"nuclear": 0.01}}, "not reproduced"),
        ({"four": {"nuclear": 0.098}}, "inconclusive"),
        ({"three": None}, "inconclusive"),
    ],
    "I5": [
        ({}, "reproduced"),
        ({"three": {"invariant": 0.9}}, "not reproduced"),
        ({"three": {"invariant": 0.5}}, "inconclusive"),
        ({"three": None}, "inconclusive"),
    ],
    "I6": [
        ({}, "reproduced"),
        ({"big": {"nuclear": 0.06, "frobenius": 0.06}}, "not reproduced"),
        ({"big": None}, "inconclusive"),
    ],
    "I7": [
        ({}, "reproduced"),
        ({"own": {"nuclear": 0.01}}, "not reproduced"),
        ({"own": {"nuclear": 0.05}}, "inconclusive"),
        ({"own": None}, "inconclusive"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "changes", "outcome"), [(c, *case) for c, cases in CASES.items() for case in cases]
)
def test_each_rule_gives_each_outcome(claim, changes, outcome):
    found = {one.claim: one for one in part.judge(all_runs(**changes))}
    assert list(found) == [one.id for one in CLAIMS]
    assert found[claim].outcome == outcome
    assert all(math.isfinite(e.value) for one in found.values() for e in one.estimates)


def test_runs_without_an_answer_do_not_count():
    assert {one.outcome for one in part.judge([])} == {"inconclusive"}
    runs = [one for one in all_runs() if one.config["depth"] != 2] + runs_of(2, 0.01, 1.0, best="")
    assert {v.claim: v for v in part.judge(runs)}["I2"].outcome == "inconclusive"


@pytest.mark.parametrize(("preset", "most"), [("quick", 21), ("full", 300)])
def test_plans_are_distinct_and_hold_what_the_rules_need(preset, most):
    configs = list(part.plan(preset, 0))
    assert len(set(configs)) == len(configs) <= most
    kinds = {(c.depth, c.optimizer, c.init_scale) for c in configs}
    assert {(d, "gd", SMALL) for d in (1, 2, 3, 4)} | {
        (2, "gd", LARGE),
        (2, "gd", TINY),
        (2, "adam", SMALL),
    } <= kinds
    assert "depth 4" in part.label(configs[0])


@pytest.mark.slow
def test_a_tiny_run_of_depth_one_is_the_frobenius_norm(tmp_path):
    config = InverseConfig(n=8, rank=2, n_observed=24, depth=1, init_scale=1e-9, seed=0, references=2)
    (record,) = part.execute(config, RunContext(tmp_path, lambda line: None)).records
    assert record["p"] == 2.0
    assert record["best"] == "schatten_norm(2)"
    assert record["found_rank"] <= 8
    assert (
        part.execute(config, RunContext(tmp_path, lambda line: None)).records[0]["members"]
        == record["members"]
    )


def test_a_diverged_run_has_no_answer(tmp_path):
    config = InverseConfig(n=8, rank=2, n_observed=24, depth=2, lr=1e4, init_scale=0.1, seed=0)
    (record,) = part.execute(config, RunContext(tmp_path, lambda line: None)).records
    assert math.isinf(record["error"])
    assert "best" not in record


@pytest.mark.slow
def test_figures_of_made_up_runs():
    figures = part.figures(all_runs())
    assert [figure.id for figure in figures] == ["inverse-exponents", "inverse-functionals"]
    assert all(figure.panels and figure.data and figure.caption for figure in figures)
    assert part.figures([]) == []


def test_wrong_settings_are_refused():
    with pytest.raises(ValidationError, match="n_observed must be an integer from 48 to 256"):
        InverseConfig(seed=0, n_observed=20)
    with pytest.raises(ValidationError, match="optimizer must be"):
        InverseConfig(seed=0, optimizer="magic")


@pytest.mark.parametrize("claim", CASES)
def test_networks_that_do_not_fit_are_no_evidence(claim):
    runs = all_runs()
    for one in runs:
        one.records[0].update(status="budget", loss=1e-3)
    found = {one.claim: one for one in part.judge(runs)}[claim]
    assert found.outcome == "inconclusive"
    assert "ended before they fitted the data" in found.reason


def test_what_the_runs_lack_is_named():
    found = {one.claim: one for one in part.judge(runs_of(3, 0.5, 0.9))}
    assert "the rule is about depth 1; the runs have depth 3" in found["I1"].reason
    mixed = {one.claim: one for one in part.judge([*all_runs(), *runs_of(1, 0.6, 2.0, max_steps=9)])}
    assert mixed["I1"].reason == "mixed settings: max_steps 10000, 9"
