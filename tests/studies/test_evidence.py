"""Numbers that rules count, runs that have not ended, settings that do not belong together, words."""

from __future__ import annotations

import math

import pytest

from overt.studies import Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.rule import Guard, any_setting, ended, fitted, judged, unended


def run(seed=0, loss=0.0, status="budget", value=1.0, **config):
    record = {"loss": loss, "status": status, "value": value, "list": [1.0, 2.0]}
    return Run("a", f"{seed}", {"seed": seed, **config}, [record])


def test_large_numbers_are_not_cut():
    found = ev.ratio({0: 1500.0, 1: 1600.0}, {0: 1100.0, 1: 1150.0}, "")
    assert found.value == pytest.approx(math.sqrt(1500 / 1100 * 1600 / 1150), rel=1e-9)
    assert ev.median([2000.0, 2000.0], "").value == 2000.0
    assert ev.median([math.inf, math.inf, 1.0], "").value == ev.WORST
    assert ev.difference({0: 5000.0}, {0: 3000.0}, "").value == 2000.0


def test_a_lost_baseline_speaks_against_the_claim():
    assert ev.ratio({0: 1.0}, {0: math.inf}, "", against="high").value > 1e14
    assert ev.ratio({0: 1.0}, {0: math.inf}, "", against="low").value <= 1 / ev.WORST * 1.01
    assert ev.ratio({0: math.inf}, {0: 1.0}, "", against="low").value <= 1 / ev.WORST * 1.01
    assert ev.ratio({0: 1.0}, {0: math.inf}, "").value < 1e-3


def test_a_lost_pair_is_a_ratio_of_1e15_or_its_inverse_and_an_exact_result_one_of_rounding_size():
    for first, second in ((1.0, math.inf), (math.inf, 1.0), (math.inf, math.inf)):
        assert ev.pairs_ratio([first], [second], "", "high").value == pytest.approx(1e15)
        assert ev.pairs_ratio([first], [second], "", "low").value == pytest.approx(1e-15)
    assert ev.pairs_ratio([1e-15], [0.0], "").value == pytest.approx(10)
    assert ev.pairs_ratio([0.0], [1e-16], "", "high").value == pytest.approx(1)
    with pytest.raises(ValueError, match="shorter"):
        ev.pairs_ratio([1.0, 1.0], [1.0], "")


def test_one_number_a_seed_needs_one_setting():
    runs = [run(seed=0, lr=0.1), run(seed=1, lr=0.1)]
    assert ev.by_seed(runs, "value") == {0: 1.0, 1: 1.0}
    with pytest.raises(ev.MixedSettingsError, match=r"mixed settings: lr 0\.1, 0\.2"):
        ev.by_seed([*runs, run(seed=0, lr=0.2)], "value")
    assert ev.by_seed([*runs, run(seed=0, lr=0.2)], "value", lr=0.2) == {0: 1.0}
    assert len(ev.repetitions([*runs, run(seed=2, lr=0.3)], "lr")) == 3


def test_ended():
    assert fitted(run(loss=1e-7), 1e-6)
    assert fitted(run(loss=1.0, status="converged"), 1e-6)
    assert not fitted(run(loss=1e-5), 1e-6)
    assert not fitted(run(loss=None), 1e-6)
    assert ended(run(loss=math.inf, status="diverged"), 1e-6)
    assert not fitted(run(loss=0.0, status="diverged"), 1e-6)


def test_one_setting_that_has_not_ended_is_enough():
    good = [run(seed=seed, depth=2) for seed in range(30)]
    bad = [run(seed=seed, loss=1.0, depth=3) for seed in range(2)]
    assert len(unended([*good, *bad], lambda one: fitted(one, 1e-6))) == 2
    assert unended([*good, run(seed=99, loss=1.0, depth=2)], lambda one: fitted(one, 1e-6)) == []


@pytest.mark.parametrize(("hits", "enough"), [(10, True), (9, True), (8, False), (1, False), (0, False)])
def test_nine_of_ten_runs_of_a_setting_must_have_ended(hits, enough):
    runs = [run(seed=seed, loss=0.0 if seed < hits else 1.0, depth=2) for seed in range(10)]
    assert any_setting(runs, lambda one: fitted(one, 1e-6)) is enough
    other = [run(seed=seed, loss=1.0, depth=3) for seed in range(10)]
    assert any_setting([*runs, *other], lambda one: fitted(one, 1e-6)) is enough
    assert (unended(runs, lambda one: fitted(one, 1e-6)) == []) is enough
    assert not any_setting([], lambda one: True)


@pytest.mark.parametrize("error", [1e-5, 1.0001e-5, 2e-5])
def test_recovered_means_an_error_of_at_most_1e_5_at_the_true_rank(error):
    one = Run("a", "0", {"rank": 5, "lr": 0.1, "seed": 0}, [{"error": error, "rank": 5}])
    assert ev.recovered(one) is (error <= 1e-5)
    assert ev.best_share([one]).value == (error <= 1e-5)
    one.records[0]["rank"] = 4
    assert not ev.recovered(one)


def test_judged_spoils_the_few_and_refuses_the_many():
    seen = []

    def rule(runs):
        seen.append([one.records[0]["value"] for one in runs])
        return Verdict("A1", "reproduced", "good")

    guard = Guard(lambda one: fitted(one, 1e-6), "were stopped", ("value", "list"))
    runs = [run(seed=seed) for seed in range(10)]
    assert judged({"A1": rule}, [*runs, run(seed=10, loss=1.0)], {"A1": guard})[0].outcome == "reproduced"
    assert seen[-1] == [1.0] * 10 + [None]
    (found,) = judged({"A1": rule}, [*runs, run(seed=10, loss=1.0), run(seed=11, loss=1.0)], {"A1": guard})
    assert found.outcome == "inconclusive"
    assert found.reason == "2 of 12 runs were stopped; as they are they say reproduced: good"
    (found,) = judged(
        {"A1": lambda some: Verdict("A1", "reproduced", str(ev.by_seed(some, "value")))},
        [run(lr=1.0), run(lr=2.0)],
        {},
    )
    assert (found.outcome, found.reason) == ("inconclusive", "mixed settings: lr 1, 2")


def test_words():
    assert [ev.say(value) for value in (115.3, 1e-7, 0.0123, 3e9, math.inf)] == [
        "115",
        "1e−7",
        "0.012",
        "3e9",
        "none (diverged)",
    ]
    assert [ev.count(1, "seed"), ev.count(3, "seed"), ev.count(0, "try", "tries")] == [
        "1 seed",
        "3 seeds",
        "0 tries",
    ]


def test_what_is_missing_is_named():
    runs = [run(depth=3), run(depth=3, seed=1)]
    assert ev.missing("A1", runs, depth=2).reason.endswith("the rule is about depth 2; the runs have depth 3")
    assert ev.missing("A1", runs, depth=(2, 3)).reason.endswith("about depth 2, 3; the runs have depth 3")
    assert ev.missing("A1", [], depth=2).reason == ev.missing("A1").reason
    assert ev.usual(runs, "depth", 2) == 3
    assert ev.usual([*runs, run(depth=4)], "depth", 2) == 2
