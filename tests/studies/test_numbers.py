"""The numbers of figures: medians over seeds where some runs diverged, and the words beside them."""

from __future__ import annotations

import math

import pytest

from overt.studies import Estimate, Run
from overt.studies.claims import numbers as nb


def run(error=1e-7, rank=5, seed=0, status="budget", skipped=False, **config):
    record = {"error": error, "rank": rank, "status": status, "steps": 10 * seed}
    config = {"seed": seed, "rank": 5, "n": 30, "n_observed": 2000, **config}
    meta = {"status": "skipped", "reason": "no data"} if skipped else {"status": "done"}
    return Run("a", str(seed), config, [] if skipped else [record], {}, meta)


LOST = [run(math.inf), run(math.nan), run(None), run(0.1, status="diverged")]


@pytest.mark.parametrize("lost", LOST)
def test_a_diverged_run_is_infinitely_wrong_and_gives_no_other_number(lost):
    assert nb.diverged(lost)
    assert nb.errors([lost, run(0.5)]) == [math.inf, 0.5]
    assert nb.values([lost, run(0.5, seed=3)], "steps") == [30.0]


def test_made_runs_come_in_the_order_of_their_seeds():
    runs = [run(seed=3), run(seed=1), run(seed=2, skipped=True), run(seed=0, n=9)]
    assert [one.config["seed"] for one in nb.made(runs, n=30)] == [1, 3]


def test_numbers_that_are_no_numbers_are_left_out():
    runs = [run(), run(seed=1)]
    runs[0].records[0]["steps"] = math.inf
    runs[1].records[0]["steps"] = None
    assert nb.values(runs, "steps") == nb.values(runs, "absent") == []


def test_medians_count_infinity_as_the_largest_number():
    assert nb.median([]) is None
    assert nb.median([3.0, 1.0, math.inf]).value == 3.0
    found = nb.median([math.inf, 1.0, math.inf])
    assert (found.value, found.low, found.high, found.n) == (math.inf, 1.0, math.inf, 3)
    assert nb.median([1e200, 1e200]).value == 1e200
    (alone,) = [nb.median([2.0])]
    assert (alone.value, alone.low, alone.high) == (2.0, None, None)


def test_a_setting_counts_what_recovered_and_what_diverged():
    found = nb.setting([run(), run(1e-5), run(1e-6), run(1.1e-5), run(rank=6), *LOST[:2]])
    assert (found.n, found.recovered, found.diverged, found.share, found.lost) == (7, 3, 2, "3 of 7", False)
    assert found.row | {"error_low": 0, "error_high": 0} == {
        "error": 1e-5,
        "error_low": 0,
        "error_high": 0,
        "recovered": 3,
        "diverged": 2,
        "seeds": 7,
    }
    assert nb.setting([*LOST[:2], run()]).lost
    assert nb.setting([run(0.1, status="diverged")]).recovered == 0
    assert nb.setting([]) is None


def test_a_line_has_gaps_where_there_is_no_finite_number():
    line = nb.series(
        "l",
        [1, 2, 3],
        [Estimate("", 2.0, 1.0, math.inf, 3), None, Estimate("", math.inf, None, None, 3)],
        "gd",
    )
    assert (line.label, line.x, line.y, line.low, line.high) == (
        "l",
        [1, 2, 3],
        [2.0, None, None],
        [1.0, None, None],
        [None, None, None],
    )
    assert line.method == "gd"


def test_cells_and_intervals():
    estimate = Estimate("", 2.0, 1.0, 3.5, 3)
    assert nb.columns(estimate, "a") == {"a": 2.0, "a_low": 1.0, "a_high": 3.5}
    assert nb.columns(None, "a") == {"a": None, "a_low": None, "a_high": None}
    assert nb.interval(estimate) == "1\u00a0to\u00a03.5"
    for open_ in (None, Estimate("", 2.0, None, 3.5, 1), Estimate("", 2.0, 1.0, None, 1)):
        assert nb.interval(open_) == "–"


def test_words():
    numbers = (0.003, 1e-4, 9.9e-5, 1e-6, 100.0, 99999.0, 1e5, 1e12, 0.0, -0.5)
    assert [nb.short(value) for value in numbers] == [
        "0.003",
        "0.0001",
        "1e−4",
        "1e−6",
        "100",
        "99999",
        "1e5",
        "1e12",
        "0",
        "−0.5",
    ]
    assert [nb.listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    one, two = [run()], [run(), run(seed=1), run(seed=1, n=9)]
    assert (nb.seeds(one), nb.seeds(two)) == ("one seed", "2 seeds")
    assert nb.distinct(two, "n") == [9, 30]
    assert nb.spread(one, "bars") == "One seed, so there is no interval."
    assert nb.spread(two, "bars") == "Medians over 2 seeds; bars: 95 % bootstrap intervals over the seeds."
    assert nb.instance(one[0], observed=False) == "a 30×30 matrix of rank 5"
    assert nb.instance(one[0]).startswith("a 30×30 matrix of rank 5, 2")
    assert nb.instance(one[0]).endswith("000 entries observed")


def test_what_a_figure_leaves_out_is_counted():
    runs = [run(), run(seed=1), LOST[0]]
    assert nb.left_out(runs[:2], "steps") == nb.losses(runs[:2]) == ""
    assert nb.left_out(runs, "steps") == " Left out: 1 of 3 runs, which diverged or have no such number."
    runs[1].records[0]["steps"] = math.nan
    assert nb.left_out(runs, "error", "steps").startswith(" Left out: 2 of 3 runs")
    assert nb.left_out(runs, "absent").startswith(" Left out: 3 of 3 runs")
    assert nb.losses(runs) == " 1 of 3 runs diverged; their error counts as infinite."
