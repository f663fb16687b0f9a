"""Quantities: statistics against plain formulas, and intervals that hold whatever the unknown numbers are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overt.studies import Run
from overt.studies.claims.comparisons import Difference, Ratio
from overt.studies.claims.quantities import (
    Median,
    MissingRunsError,
    MixedSettingsError,
    PerSeed,
    Share,
    select,
)
from overt.studies.claims.statistics import Span, median_of_spans, share_of_spans
from overt.studies.claims.vocabulary import ended, felt, fitted, recovered, unfelt


def run(seed=0, status="converged", record=None, **fields):
    return Run(
        "s", f"{seed:012x}", {"seed": seed, **fields}, [{"status": status, "steps": 100, **(record or {})}]
    )


def runs(values, **fields):
    return [run(seed, record={"error": value}, **fields) for seed, value in enumerate(values)]


def only(quantity, some):
    (found,) = quantity.settings(some, ended)
    return found.estimate


# ---- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6)])
def test_the_interval_of_a_median_is_made_of_order_statistics(n, k):
    found = median_of_spans([Span.of(float(i)) for i in range(n)])
    assert (found.low, found.high) == (k - 1, n - k)


def test_five_values_have_no_interval():
    found = median_of_spans([Span.of(float(i)) for i in range(5)])
    assert (found.value, found.low, found.high) == (2, -math.inf, math.inf)


@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
@pytest.mark.parametrize("n", [6, 10, 20])
def test_the_interval_covers_the_median_of_any_distribution(draw, n):
    rng = np.random.default_rng(n)
    middle = {"standard_exponential": math.log(2)}.get(draw, 0.0)
    samples = getattr(rng, draw)((2000, n))
    found = [median_of_spans([Span.of(x) for x in sample]) for sample in samples]
    covered = np.mean([one.low <= middle <= one.high for one in found])
    assert covered > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 2000)


spans = st.lists(
    st.tuples(st.floats(-9, 9), st.floats(0, 5), st.floats(0, 5)).map(
        lambda t: Span(t[0] - t[1], t[0], t[0] + t[2])
    ),
    min_size=1,
    max_size=14,
)


@given(spans, st.data())
def test_the_interval_holds_for_every_value_that_an_unknown_number_may_have(some, data):
    wide = median_of_spans(some)
    chosen = [data.draw(st.floats(one.low, one.high)) for one in some]
    narrow = median_of_spans([Span.of(value) for value in chosen])
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


def test_shares_with_unknown_ones_cover_both_ends():
    known = [Span.of(1.0)] * 7 + [Span.of(0.0)] * 2
    found = share_of_spans([*known, Span(0.0, 0.0, 1.0)])
    for last in (0.0, 1.0):
        one = share_of_spans([*known, Span.of(last)])
        assert found.low <= one.low <= one.high <= found.high


# ---- selection --------------------------------------------------------------------------------------------


def test_select_takes_alternatives():
    some = [run(0, depth=2), run(0, depth=3)]
    assert select(some, {"depth": (3, 4)}) == some[1:]
    assert select(some, {"depth": 5}) == []
    freed = Median("error", "error", {"depth": 5, "arm": "a"}).freed(["depth"])
    assert freed.where == {"arm": "a"}


def test_each_gives_one_estimate_for_each_setting_in_order():
    some = [*runs([1.0] * 6, depth=10), *runs([2.0] * 6, depth=2)]
    found = Median("error", "error", each=("depth",)).settings(some, ended)
    assert [(one.fields["depth"], one.estimate.value) for one in found] == [(2, 2.0), (10, 1.0)]
    assert found[0].estimate.label == "error, depth 2"


def test_repetitions_that_differ_in_more_than_the_seed_are_refused():
    some = [run(0, record={"error": 1.0}, lr=0.1), run(1, record={"error": 1.0}, lr=0.2)]
    with pytest.raises(MixedSettingsError, match=r"lr 0\.1, 0\.2"):
        Median("error", "error").settings(some, ended)
    assert Median("error", "error", tuned=("lr",)).settings(some, ended)


def test_a_tuned_setting_that_its_budget_ended_may_be_the_best():
    """Of two learning rates one was stopped: what it would have come to bounds nothing from below."""
    done = runs([2.0] * 9, lr=0.1, arm="a")
    slow = [run(seed, "budget", {"error": 3.0}, lr=0.2, arm="a") for seed in range(9)]
    median = Median("error", "", tuned=("lr",), least=0.0)
    assert (only(median, done).low, only(median, done).high) == (2, 2)
    both = only(median, done + slow)
    assert (both.low, both.value, both.high) == (0, 2, 2)  # it can only be better than the one that ended
    held = Share(lambda run: run.records[0]["error"] < 1, "", tuned=("lr",))
    assert only(held, done).high < 0.5
    assert (only(held, done + slow).value, only(held, done + slow).high) == (0, 1)
    other = runs([1.0] * 9, lr=0.1, arm="b")
    ratio = Ratio("error", "", tuned=("lr",), least=0.0, of_={"arm": "a"}, over={"arm": "b"})
    assert (only(ratio, done + slow + other).low, only(ratio, done + slow + other).high) == (1e-16, 2)
    # a time that was not reached is longer than the run, and so no better than one that was
    time = Median("time", "", tuned=("lr",), over_time=True)
    early = [run(seed, record={"time": 50}, lr=0.1) for seed in range(9)]
    late = [run(seed, "budget", {"time": None}, lr=0.2) for seed in range(9)]
    assert (only(time, early + late).low, only(time, early + late).high) == (50, 50)


def test_a_number_that_has_reached_the_least_is_known():
    """Recovery is the event: what ended the run does not matter any more."""
    done = [run(seed, "budget", {"error": 1e-9}, arm="a") for seed in range(9)]
    median = Median("error", "", least=1e-5)
    assert (only(median, done).low, only(median, done).high) == (1e-5, 1e-5)
    assert only(Median("error", ""), done).high == math.inf
    fell = [run(seed, "budget", {"raw_error": 1e-9}, arm="a") for seed in range(9)]
    assert only(Median("raw_error", "", least=1e-5), fell).high == math.inf  # it may rise again
    short = [run(seed, "budget", {"error": 1e-3}, arm="a") for seed in range(9)]
    assert (only(median, short).low, only(median, short).high) == (1e-5, math.inf)


def test_missing_runs_say_what_is_needed():
    with pytest.raises(MissingRunsError, match="depth 3; the runs have 2, 4"):
        Median("error", "error", {"depth": 3}).settings([run(0, depth=2), run(0, depth=4)], ended)
    some = [*runs([1.0], arm="a"), *runs([1.0, 1.0], arm="b")]
    ratio = Ratio("error", "error", of_={"arm": "a"}, over={"arm": "b"})
    with pytest.raises(MissingRunsError, match="other seeds"):
        ratio.settings(some, ended)


# ---- censoring --------------------------------------------------------------------------------------------


def test_a_run_that_its_budget_ended_has_an_unknown_number():
    some = [*runs([1.0] * 5), run(5, "budget", {"error": 1.0})]
    found = only(Median("error", "error"), some)
    assert (found.value, found.low, found.high) == (1.0, -math.inf, math.inf)
    ten = [*runs([1.0] * 9), run(9, "budget", {"error": 1.0})]
    assert only(Median("error", "error"), ten).high == 1.0  # one of ten does not matter


def test_a_time_that_was_not_reached_is_longer_than_the_run():
    some = [
        *(run(s, record={"at": 50.0}) for s in range(3)),
        *(run(s, "budget", {"at": None}) for s in range(3, 6)),
    ]
    found = only(Median("at", "steps", over_time=True), some)
    assert (found.low, found.high) == (50.0, math.inf)
    never = [run(s, "converged", {"at": None}) for s in range(6)]
    assert only(Median("at", "steps", over_time=True), never).low == math.inf
    short = [run(s, "budget", {"at": None}) for s in range(6)]
    assert only(Median("at", "steps", over_time=True), short).low == 100


def test_a_share_counts_what_may_still_come():
    some = [*runs([1e-9] * 6), *(run(s, "budget", {"error": 1.0}) for s in range(6, 12))]
    found = only(Share(recovered, "recovered"), some)
    assert found.value == 0.5
    assert found.high == 1.0


def test_a_baseline_that_diverged_is_no_evidence():
    ours, theirs = runs([1.0] * 6, arm="a"), [run(s, "diverged", {"error": None}, arm="b") for s in range(6)]
    ratio = Ratio("error", "error", of_={"arm": "a"}, over={"arm": "b"})
    found = only(ratio, [*ours, *theirs])
    assert (found.low, found.high) == (0.0, math.inf) or found.high > 1e10
    flipped = Ratio("error", "error", of_={"arm": "b"}, over={"arm": "a"})
    assert only(flipped, [*ours, *theirs]).low == math.inf  # one's own failure counts


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=6, max_size=12))
def test_ratios_and_differences_are_paired_by_seed(pairs):
    some = [*runs([a for a, _ in pairs], arm="a"), *runs([b for _, b in pairs], arm="b")]
    arms = {"of_": {"arm": "a"}, "over": {"arm": "b"}}
    assert only(Ratio("error", "", **arms), some).value == pytest.approx(np.median([a / b for a, b in pairs]))
    assert only(Difference("error", "", **arms), some).value == pytest.approx(
        np.median([a - b for a, b in pairs])
    )


def test_both_arms_are_taken_at_their_best_setting():
    some = [
        *runs([4.0] * 6, arm="a", lr=0.1),
        *runs([1.0] * 6, arm="a", lr=0.2),
        *runs([2.0] * 6, arm="b", lr=0.1),
        *runs([9.0] * 6, arm="b", lr=0.2),
    ]
    ratio = Ratio("error", "", tuned=("lr",), of_={"arm": "a"}, over={"arm": "b"})
    assert only(ratio, some).value == 0.5
    assert (
        only(Share(lambda run: run.records[0]["error"] < 3, "", {"arm": "a"}, tuned=("lr",)), some).value
        == 1.0
    )


def test_a_number_of_all_runs_of_a_seed():
    some = [run(seed, record={"y": seed * x}, x=x) for seed in range(6) for x in (3, 1, 2)]
    slope = PerSeed(
        lambda ordered: ordered[-1].records[0]["y"] - ordered[0].records[0]["y"], "rise", across=("x",)
    )
    found = only(slope, some)
    assert (found.low, found.value, found.high) == (0.0, 5.0, 10.0)
    some[0] = run(0, "budget", {"y": 0.0}, x=3)
    assert only(slope, some).high == math.inf


# ---- vocabulary -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"status": "converged"}, True),
        ({"status": "budget"}, False),
        ({"status": "diverged"}, True),
        ({"status": "budget", "relative_gradient": 1e-3}, True),
        ({"status": "converged", "relative_gradient": 0.5}, False),
        ({"status": "converged", "relative_gradient": None}, True),
        ({"status": "budget", "relative_gradient": math.nan}, False),
    ],
)
def test_ended(record, expected):
    assert ended(Run("s", "0" * 12, {"seed": 0}, [record])) is expected
    assert ended(Run("s", "0" * 12, {"seed": 0}, [{"error": 1.0}]))  # a solver's answer


@pytest.mark.parametrize(("loss", "expected"), [(1e-7, True), (1e-6, True), (2e-6, False), (None, False)])
def test_fitted(loss, expected):
    assert fitted(run(0, "budget", {"loss": loss}), 1e-6) is expected


@pytest.mark.parametrize(
    ("error", "expected"), [(1e-5, True), (2e-5, False), (None, False), (math.nan, False)]
)
def test_recovered(error, expected):
    assert recovered(run(0, record={"error": error})) is expected


@pytest.mark.parametrize(
    ("rank", "yes", "no"),
    [
        (4.0, "holds", "fails"),
        (8.9, "holds", "fails"),
        (9.0, "open", "open"),
        (9.5, "open", "holds"),
        (11.0, "fails", "holds"),
    ],
)
def test_felt_and_unfelt(rank, yes, no):
    some = [run(seed, record={"effective_rank": 10.0}, weight=0.0) for seed in range(6)]
    some += [run(seed, record={"effective_rank": rank}, weight=0.5) for seed in range(6)]
    for bar, expected in ((felt({"weight": 0.5}), yes), (unfelt({"weight": 0.5}), no)):
        assert bar.state(bar.quantity.settings(some, ended)[0].estimate) == expected


def test_words_say_settings_and_arms():
    said = Ratio(
        "error", "error", {"n": 9}, tuned=("lr",), of_={"arm": "a"}, over={"arm": "b"}, only=recovered
    ).words
    for part in ("median ratio of error", "n 9", "best lr", "arm a against arm b", "recovered the truth"):
        assert part in said
    assert list(itertools.islice(said, 1)) == ["t"]
