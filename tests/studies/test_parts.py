"""Studies of parts: the harness on a tiny one, and what all of them keep to."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from worlds import outcomes, run, runs

from overt.studies import Claim, RunContext, RunOutput, StudyConfig, registry
from overt.studies.claims.assess import Stored, _join, assess
from overt.studies.claims.comparisons import Difference, Ratio
from overt.studies.claims.quantities import Median, MissingRunsError, Share, matches
from overt.studies.claims.verdict_rules import Bar, Decision, FunctionRule, Rule, above, below, between
from overt.studies.part import Grid, Part, StudyOfParts
from overt.studies.paths import Curve, Paths
from overt.studies.plots import Dots, Heat, Lines, Panel
from overt.studies.runs.plans import Plan, load_plans, save_plan

STUDIES = [one for one in map(registry.get, registry.names()) if isinstance(one, StudyOfParts)]
ERROR = Median("error", "error", each=("depth",))


class Config(StudyConfig):
    part: Literal["depth"] = "depth"
    depth: int = 1
    weight: float = 0.0


class Depth(Part[Config]):
    """Does depth help?"""

    config = Config
    grids = {"quick": Grid(6, depth=(3, 1)), "full": [Grid(10, depth=(3, 1)), Grid(10, weight=(0.1, 0.2))]}
    claims = (
        Claim("X1", "Depth 3 is exact", "Depth 3 is exact.", "none", Rule(below(ERROR.at(depth=3), 0.1))),
        Claim(
            "X2",
            "Depth 3 beats depth 1",
            "It does.",
            "none",
            Rule(
                below(Ratio("error", "error", {"weight": 0.0}, of_={"depth": 3}, over={"depth": 1}), 0.5),
                above(Share(lambda run: run.records[0]["error"] < 1, "below one", {"depth": 3}), 0.5),
            ),
            kind="own",
        ),
    )
    figures = (
        Lines("lines", "Lines", (Panel(ERROR.at(weight=0.0), log=True),), claim="X1", x="depth"),
        Dots("dots", "Dots", (Panel(ERROR.at(weight=0.0)),), rows=("depth",), words={1: "no depth"}),
        Heat("heat", "Heat", (Panel(Median("error", "error")),), row="depth", col="weight"),
    )

    def execute(self, config: Config, context: RunContext) -> RunOutput:
        return RunOutput([{"error": 1.0 / config.depth**3, "status": "converged"}])


tiny = StudyOfParts("tiny_parts", "Depth", [Depth()])


def good(config):
    return {"error": 0.01 if config.depth == 3 else 0.8}


def test_verdicts_of_both_kinds():
    assert outcomes(tiny, runs(tiny, good)) == {"X1": "reproduced", "X2": "supported"}
    assert outcomes(tiny, runs(tiny, lambda config: {"error": 2.0})) == {
        "X1": "not reproduced",
        "X2": "refuted",
    }
    stopped = runs(tiny, lambda config: {**good(config), "status": "budget"})
    assert outcomes(tiny, stopped) == {"X1": "inconclusive", "X2": "undecided"}


def test_without_runs_nothing_is_decided_and_nothing_drawn():
    assert set(outcomes(tiny, []).values()) == {"inconclusive", "undecided"}
    assert tiny.figures([]) == []


def test_a_rule_that_fails_costs_its_own_claim():
    def broken(run):
        raise ZeroDivisionError("no")

    class Broken(Depth):
        claims = (
            Depth.claims[0],
            Claim("X3", "t", "s", "o", Rule(below(Median(broken, "broken", {"depth": 3}), 1))),
        )

    study = StudyOfParts("tiny_parts", "Depth", [Broken()])
    section = assess(study, Stored(None, runs(study, good)))
    by_claim = {one.claim: one for one in section.verdicts}
    assert by_claim["X1"].outcome == "reproduced"
    assert by_claim["X3"].outcome == "inconclusive"
    assert any("ZeroDivisionError" in note for note in section.notes)


def test_a_run_that_no_rule_can_read_costs_that_run():
    some = runs(tiny, good, "quick")
    some[3].records[0]["error"] = "no number"
    plan = Plan("tiny_parts", 1, "quick", 0, {one.hash: one.config for one in some})
    section = assess(tiny, Stored(plan, some))
    assert len(section.runs) == len(some) - 1
    assert any("a stored run is left out" in note and some[3].hash in note for note in section.notes)
    assert all("those at hand say" in one.reason for one in section.verdicts)


def test_rules_of_joined_folders_must_agree(tmp_path):
    stored = [
        Stored(Plan("tiny_parts", 1, "quick", seed, {}, rules={"X1": rule, "X2": "same"}), [])
        for seed, rule in ((0, "a"), (6, "b"))
    ]
    joined = _join(*stored)
    assert joined.plan.rules == {"X1": "", "X2": "same"}


def test_figures_show_the_numbers_of_the_rules():
    some = runs(tiny, good)
    figures = {figure.id: figure for figure in tiny.figures(some)}
    assert list(figures) == ["lines", "dots", "heat"]
    assert [figure.claim for figure in figures.values()] == ["X1", "", ""]
    verdict = next(one for one in tiny.judge(some) if one.claim == "X1")
    row = next(row for row in figures["lines"].data if row["depth"] == 3)
    assert (row["value"], row["value_low"]) == (verdict.estimates[0].value, verdict.estimates[0].low)
    assert "no depth" in figures["dots"].panels[0]
    assert {(row["depth"], row["weight"]) for row in figures["heat"].data} == {
        (3, 0.0),
        (1, 0.0),
        (1, 0.1),
        (1, 0.2),
    }


def test_paths_are_medians_at_common_places():
    some = runs(tiny, good, "quick")
    for one in some:
        last = 100 if one.config["seed"] < 4 else 1000
        one.arrays["step"] = np.geomspace(1, last, 20)
        one.arrays["y"] = one.config["depth"] * one.arrays["step"] + one.config["seed"]
        one.arrays["step"][0] = 0  # the start has no place on a logarithmic axis
    figure = Paths("p", "P", (Curve("y", "y"),), by="depth", words={3: "deep"})(tiny.parts[0], some)
    rows = [row for row in figure.data if row["line"] == "deep"]
    assert max(row["step"] for row in rows) == pytest.approx(100)  # where half of the runs end
    for row in rows[5:]:
        assert row["value"] == pytest.approx(3 * row["step"] + 2.5, rel=0.1)
    assert Paths("p", "P", (Curve("none", "y"),), by="depth")(tiny.parts[0], some) is None


def test_grids_cross_tuples_and_set_groups():
    grid = Grid(2, arm=({"depth": 3}, {"depth": 1, "weight": 0.5}))
    assert [(one.depth, one.weight, one.seed) for one in grid.configs(Config, 7)] == [
        (3, 0.0, 7),
        (3, 0.0, 8),
        (1, 0.5, 7),
        (1, 0.5, 8),
    ]


@pytest.mark.parametrize(
    ("bar", "low", "high", "expected"),
    [
        (below(ERROR, 0.5), 0.1, 0.4999, "holds"),
        (below(ERROR, 0.5), 0.1, 0.5, "open"),
        (below(ERROR, 0.5), 0.5, 0.9, "open"),
        (below(ERROR, 0.5), 0.5001, 0.9, "fails"),
        (below(ERROR, 0.5, refuted=1.0), 0.6, 1.0, "open"),
        (below(ERROR, 0.5, refuted=1.0), 1.001, 2.0, "fails"),
        (above(ERROR, 0.5), 0.5001, 0.9, "holds"),
        (above(ERROR, 0.5), 0.5, 0.9, "open"),
        (above(ERROR, 0.5), 0.1, 0.4999, "fails"),
        (above(ERROR, 10, refuted=1), 0.5, 0.999, "fails"),
        (above(ERROR, 10, refuted=1), 2.0, 3.0, "open"),
        (between(ERROR, 1, 2), 1.001, 1.999, "holds"),
        (between(ERROR, 1, 2), 1, 1.5, "open"),
        (between(ERROR, 1, 2), 0.5, 1.5, "open"),
        (between(ERROR, 1, 2), 2.1, 3, "fails"),
        (between(ERROR, 1, 2), 0.1, 0.9, "fails"),
    ],
)
def test_bars(bar: Bar, low, high, expected):
    from overt.studies import Estimate

    assert bar.state(Estimate("", (low + high) / 2, low, high, 9)) == expected


@pytest.mark.parametrize("lost", [{"error": None}, {"error": 5.0, "status": "diverged"}])
def test_a_run_that_was_lost_speaks_for_no_bar_from_below(lost):
    some = [one for one in runs(tiny, lambda config: lost) if one.config["weight"] == 0]
    error = ERROR.at(depth=3)
    first = Ratio("error", "error", of_={"depth": 3}, over={"depth": 1})
    for bar in (above(error, 1.0), above(first, 1.0)):
        claim = Claim("X", "t", "s", "o", Rule(bar))
        assert Rule(bar).judge(claim, some, lambda run: True).outcome == "inconclusive"


def test_a_lost_run_counts_against_a_bar_from_above():
    some = [one for one in runs(tiny, lambda config: {"error": None}) if one.config["weight"] == 0]
    for bar in (below(ERROR.at(depth=3), 1.0), between(ERROR.at(depth=3), 0.0, 1.0)):
        claim = Claim("X", "t", "s", "o", Rule(bar))
        assert Rule(bar).judge(claim, some, lambda run: True).outcome == "not reproduced"


def test_a_time_of_a_diverged_run_is_not_long():
    some = [one for one in runs(tiny, good) if one.config["depth"] == 3]
    time = Median("at", "steps", {"depth": 3}, over_time=True)
    for status, expected in (("converged", "reproduced"), ("diverged", "inconclusive")):
        for one in some:
            one.records[0].update(at=None, status=status)
        claim = Claim("X", "t", "s", "o", Rule(above(time, 1000)))
        assert claim.rule.judge(claim, some, lambda run: True).outcome == expected


def test_a_digest_sees_what_a_function_encloses():
    def of(name):
        return lambda run: run.records[0][name]

    assert Rule(below(Median(of("a"), "x"), 1)).digest != Rule(below(Median(of("b"), "x"), 1)).digest


def test_one_setting_can_be_enough():
    rule = Rule(below(ERROR, 0.1), some=True)
    claim = Claim("X", "t", "s", "o", rule)
    some = [one for one in runs(tiny, good) if one.config["weight"] == 0]
    assert rule.judge(claim, some, lambda run: True).outcome == "reproduced"
    bad = [one for one in runs(tiny, lambda config: {"error": 1.0}) if one.config["weight"] == 0]
    assert rule.judge(claim, bad, lambda run: True).outcome == "not reproduced"


def test_a_digest_changes_with_bars_and_functions_and_with_nothing_else():
    def one(run):
        return 1.0

    def two(run):
        return 2.0

    rules = [
        Rule(below(Median(one, "x"), 0.1)),
        Rule(below(Median(one, "x"), 0.2)),
        Rule(below(Median(two, "x"), 0.1)),
        Rule(below(Median("x", "x"), 0.1)),
        Rule(below(Median("x", "x", {"depth": 2}), 0.1)),
        Rule(below(Median("x", "x", {"depth": 2}), 0.1), some=True),
    ]
    assert len({rule.digest for rule in rules}) == len(rules)
    assert Rule(below(Median(one, "x"), 0.1)).digest == rules[0].digest


def test_a_rule_may_be_a_function():
    def decide(some, bar):
        if not some:
            raise MissingRunsError("nothing there")
        worst = max(run.records[0]["error"] for run in some)
        return Decision("holds" if worst < bar else "fails", f"worst {worst}")

    rules = [
        FunctionRule(partial(decide, bar=bar), "the worst is small", {"depth": 3}) for bar in (0.1, 1e-3)
    ]
    claim = Claim("X", "t", "s", "o", rules[0], "own")
    some = runs(tiny, lambda config: {"error": 0.01})
    assert rules[0].judge(claim, some, bool).outcome == "supported"
    assert rules[1].judge(claim, some, bool).outcome == "refuted"
    assert rules[0].judge(claim, [], bool).outcome == "undecided"
    assert rules[0].digest != rules[1].digest
    assert rules[0].selects({"depth": 3})
    assert not rules[0].selects({"depth": 1})


def test_rules_are_registered_with_the_first_plan(tmp_path):
    path = tmp_path / "plans.json"
    save_plan(path, Plan("tiny_parts", 1, "quick", 0, {}, rules={"X1": "first"}))
    save_plan(path, Plan("tiny_parts", 1, "quick", 0, {}, rules={"X1": "second", "X2": "new"}))
    (plan,) = load_plans(path, "tiny_parts")
    assert plan.rules == {"X1": "first", "X2": "new"}
    section = assess(tiny, Stored(plan, runs(tiny, good)))
    assert section.changed == ["X1", "X2"]
    assert section.unregistered == []
    save_plan(path, Plan("tiny_parts", 1, "quick", 0, {}, rules={"X1": "third"}, claims=["X1"]))
    assert (
        load_plans(path, "tiny_parts")[-1].rules["X1"] == "first"
    )  # the same runs, whichever were asked for
    registered = Plan("tiny_parts", 1, "quick", 0, {}, rules={one.id: one.digest for one in tiny.claims})
    assert assess(tiny, Stored(registered, runs(tiny, good))).changed == []


def test_wrong_parts_are_refused():
    with pytest.raises(ValueError, match="part must be one of"):
        tiny.configured({"part": "none", "seed": 0})
    with pytest.raises(ValueError, match="distinct"):
        StudyOfParts("x", "t", [Depth(), Depth()])


# ---- all studies of parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
@pytest.mark.parametrize("preset", ["quick", "full"])
def test_plans(study, preset):
    configs = study.plan(preset, 5)
    assert len(set(configs)) == len(configs)
    assert all(study.configured(config.model_dump(mode="json")) == config for config in configs)
    for part in study.parts:
        own = [config for config in configs if config.part == part.name]
        least = (10 if preset == "full" else 6) if part.over_seeds else 1  # no interval below six
        assert (
            len({config.seed for config in own if not config.exclusive} or {config.seed for config in own})
            >= least
        )
        for claim in part.claims if preset == "full" else ():
            assert any(study.concerns(config.model_dump(), claim.id) for config in own), claim.id


WITHOUT = ("weight 0", "nothing", "none")  # what a method, an arm or a penalty is called where there is none
STRENGTHS = ("weight", "strength", "setting", "settings", "knob", "penalty", "decay")
# Fields by which instances differ; arms differ by all others.
INSTANCE = (
    *("seed", "problem", "n", "dim", "rank", "n_observed", "nonzeros", "rho", "regime", "dense", "level"),
    *("data", "sigma", "n_train", "modulus", "share", "split", "dial", "target", "loss"),
    *("network", "family", "activation"),
)
ELSEWHERE = {  # parts without a run at weight zero, and why
    "generalization.transfer": "whether a weight serves elsewhere; `compare` has networks without one",
    "structure.machines": "machines beside networks that `penalties` has with and without a penalty",
    "structure.ansatz": "theorems about stationary points, of which there is none without decay",
}


def named(config):
    return {str(getattr(config, name, None)) for name in ("method", "arm", "penalty")}


def uncontrolled(configs):
    """Runs of which there is none of the same instance without a penalty."""

    def instance(config):
        return tuple(getattr(config, name, None) for name in INSTANCE)

    controls = {
        instance(one) for one in configs if getattr(one, "weight", None) == 0 or named(one) & set(WITHOUT)
    }
    return [one for one in configs if instance(one) not in controls]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_penalty_has_its_control(study):
    """Whatever the strength is called: for each run there is one of the same instance without a penalty."""
    for preset in study.presets:
        for part in study.parts:
            configs = list(part.plan(preset, 0))
            strong = any(hasattr(one, name) for one in configs for name in STRENGTHS)
            words = set().union(*map(named, configs))
            if not strong and not any("penalty" in word for word in words) and not words & set(WITHOUT):
                continue
            if f"{study.name}.{part.name}" not in ELSEWHERE:
                assert uncontrolled(configs) == [], (part.name, preset)


@pytest.mark.parametrize("field", ["weight", "strength", "setting", "knob"])
def test_a_missing_control_is_seen_whatever_the_strength_is_called(field):
    def one(method, **fields):
        return SimpleNamespace(method=method, seed=0, **{"n": 5, **fields})

    strong, weak = one("nuclear", **{field: 2}), one("nuclear", **{field: 1})
    assert uncontrolled([strong, weak]) == [strong, weak]
    assert uncontrolled([strong, weak, one("weight 0", n=6)]) == [strong, weak]
    assert uncontrolled([strong, weak, one("weight 0")]) == []


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_arms_of_a_comparison_have_equal_budgets(study):
    """As many steps at most, and as many settings to choose from; a solver and weight zero have none."""
    for part in study.parts:
        configs = [config.model_dump() for config in part.plan("full", 0)]
        bars = [bar for claim in part.claims for bar in getattr(claim.rule, "bars", ())]
        for compared in (bar.quantity for bar in bars if isinstance(bar.quantity, Ratio | Difference)):
            steps, settings = [], []
            for arm in (compared.of_, compared.over):
                named = [one for one in configs if all(matches(one.get(k), v) for k, v in arm.items())]
                trained = [one for one in named if compared.selects(one) and not _solved(one)]
                if trained:
                    steps.append({one.get("max_steps") for one in trained})
                if trained and not all(_untuned(one) for one in trained):
                    settings.append(sum(one["seed"] == trained[0]["seed"] for one in trained))
            assert all(one == steps[0] for one in steps), (compared.label, steps)
            assert len(set(settings)) < 2, (compared.label, settings)


def _solved(config):
    solvers = ("nuclear_norm", "nuclear norm", "soft_impute", "optspace", "irls", "machine")
    return str(config.get("method")).startswith(solvers)


def _untuned(config):
    return config.get("method") == "weight 0" and "strength" in config  # of the others the rate is tuned


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_claims_and_figures(study):
    known = {claim.id for claim in study.claims}
    for part in study.parts:
        assert part.question.endswith("?")
        for maker in part.figures:
            assert getattr(maker, "claim", "") in known | {""}
    for claim in study.claims:
        assert claim.rule.words
        assert len(claim.digest) == 12


def test_ids_are_unique_among_all_studies():
    """So are titles and statements: no two claims that say the same can come out differently."""
    claims = [claim for study in STUDIES for claim in study.claims]
    for said in ("id", "title", "statement"):
        words = [getattr(claim, said).lower() for claim in claims]
        assert [one for one in words if words.count(one) > 1] == []


def test_a_claim_is_judged_at_a_value_that_was_set_from_outside_and_at_no_other():
    class Weighted(Depth):
        claims = (
            Claim("X1", "t", "s", "o", Rule(below(Median("error", "e", {"depth": 3, "weight": 0.1}), 0.1))),
        )

    study = StudyOfParts("tiny_parts", "Depth", [Weighted()])

    def made(weight):
        configs = [Config(seed=seed, depth=3, weight=weight) for seed in range(6)]
        return [run(study, config, {"error": 0.01}) for config in configs]

    assert outcomes(study, made(0.7))["X1"] == "reproduced"  # --set weight=0.7
    assert outcomes(study, made(0.2))["X1"] == "inconclusive"  # planned, but not what the claim is about


def test_labels_say_the_part():
    assert tiny.label(Config(seed=3, depth=3)) == "depth: seed=3, depth=3"


def test_own_runs_only():
    config = Config(seed=0, depth=3)
    foreign = run(tiny, config, {"error": 9.0})
    foreign.config["part"] = "other"
    assert tiny.parts[0].own([foreign]) == []
