"""The story's figures: what they show of made-up runs, and that nothing missing stops them."""

from __future__ import annotations

import dataclasses
import functools
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from story_sample import sample

from overt.studies import Run
from overt.studies.claims.numbers import errors, median, setting, short, values
from overt.studies.report.build import StudySection, render_report
from overt.studies.report.figures import Figure
from overt.studies.story.figures import figures

IDS = [
    "spectra",
    "error-over-observations",
    "photographs",
    "movielens",
    "optimizers",
    "weights",
    "inits",
    "nuclear",
    "regression",
    "cost",
]
GROUPS = {
    "depths": {"spectra", "error-over-observations"},
    "portrait": {"spectra"},
    "photograph": {"photographs"},
    **{
        name: {name}
        for name in ("movielens", "optimizers", "weights", "inits", "nuclear", "regression", "cost")
    },
}


@functools.cache
def runs() -> tuple[Run, ...]:
    return tuple(sample("quick"))


@functools.cache
def drawn() -> dict[str, Figure]:
    return {figure.id: figure for figure in figures(runs())}


def of(group: str, source: Sequence[Run] | None = None) -> list[Run]:
    return [run for run in source or runs() if run.config["group"] == group]


def only(found: list[Figure], id: str) -> Figure:
    return next(figure for figure in found if figure.id == id)


def change(run: Run, **record: Any) -> Run:
    return dataclasses.replace(run, records=[{**run.records[0], **record}])


def words(figure: Figure) -> str:
    """All text of a figure's drawings."""
    roots = [ElementTree.fromstring(panel) for panel in figure.panels]
    texts = [e for root in roots for e in root.iter() if e.tag.endswith("}text") or e.tag == "text"]
    return " | ".join("".join(text.itertext()) for text in texts)


@pytest.mark.slow
def test_every_figure_in_order_with_data_and_caption() -> None:
    assert list(drawn()) == IDS
    for figure in drawn().values():
        assert figure.caption.endswith(".")
        assert figure.id == "movielens" or figure.data
        assert figure.panels or figure.table or figure.id == "movielens"


@pytest.mark.slow
def test_the_figures_are_a_pure_function_of_the_runs_in_any_order() -> None:
    groups = ("regression", "cost", "weights")
    some = [run for run in runs() if run.config["group"] in groups]
    assert figures(some) == figures(some[::-1])


def test_no_runs_no_figures() -> None:
    assert figures([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_each_group_alone_draws_its_figures_and_no_other(group: str) -> None:
    assert {figure.id for figure in figures(of(group))} == GROUPS[group]


@pytest.mark.slow
@pytest.mark.parametrize(
    "group", ["photograph", "optimizers", "weights", "inits", "nuclear", "cost", "regression"]
)
def test_a_single_run_is_enough(group: str) -> None:
    (figure,) = figures(of(group)[:1])
    assert "one seed" in figure.caption.lower()


@pytest.mark.slow
@pytest.mark.parametrize("group", [name for name in GROUPS if name not in ("movielens", "portrait", "cost")])
def test_skipped_runs_and_runs_without_a_record_leave_gaps(group: str) -> None:
    first, second, *rest = of(group)
    skipped = dataclasses.replace(first, records=[], meta={"status": "skipped", "reason": "no"})
    empty = dataclasses.replace(second, records=[])
    assert figures([skipped, empty]) == []
    assert {figure.id for figure in figures([skipped, empty, *rest])} >= GROUPS[group] - {"spectra"}


@pytest.mark.slow
@pytest.mark.parametrize("group", ["depths", "optimizers", "weights", "inits", "nuclear", "regression"])
def test_a_page_of_diverged_runs_alone(group: str) -> None:
    lost = [change(run, error=None, status="diverged", effective_rank=None) for run in of(group)]
    found = figures([dataclasses.replace(run, arrays={}) for run in lost])
    (figure,) = found
    assert f"{len(lost)} of {len(lost)} runs diverged" in figure.caption
    assert {row["error"] for row in figure.data} == {math.inf}


def test_spectra_take_the_lowest_seed_and_share_their_axes() -> None:
    figure = drawn()["spectra"]
    assert len(figure.panels) == 3
    assert "seed 0" in figure.caption
    assert "the first 5" in words(figure)
    assert {row["method"] for row in figure.data} == {"depth 3, implicit", "depth 1, explicit"}
    deep = next(
        run
        for run in of("depths")
        if run.config["depth"] == 3 and run.config["n_observed"] == 2000 and run.config["seed"] == 0
    )
    rows = [row for row in figure.data if row["method"] == "depth 3, implicit"]
    assert [row["step"] for row in rows] == list(deep.arrays["step"])
    assert rows[-1]["sigma_1"] == pytest.approx(deep.arrays["singular_values"][-1, 0], rel=1e-5)


@pytest.mark.slow
def test_spectra_of_a_trace_with_gaps() -> None:
    (portrait,) = of("portrait")
    arrays = {key: np.array(value, dtype=float) for key, value in portrait.arrays.items()}
    arrays["error"][-1] = arrays["singular_values"][3, 2] = math.nan
    figure = only(figures([dataclasses.replace(portrait, arrays=arrays)]), "spectra")
    assert "relative error –" in figure.caption


def test_medians_over_seeds_are_those_of_the_records() -> None:
    rows = drawn()["error-over-observations"].data
    some = [
        run.records[0]["error"]
        for run in of("depths")
        if run.config["method"] == "nuclear_norm" and run.config["n_observed"] == 1500
    ]
    (row,) = [row for row in rows if row["method"] == "nuclear norm" and row["observed"] == 1500]
    assert len(some) == row["seeds"] == 3
    assert row["error"] == pytest.approx(np.median(some))
    assert min(some) <= row["error_low"] <= row["error"] <= row["error_high"] <= max(some)  # type: ignore[operator]


def test_photographs_of_one_seed_with_removed_pixels_grey() -> None:
    figure = drawn()["photographs"]
    captions = [caption for caption, _ in figure.images]
    assert [caption.split(":")[0] for caption in captions] == [
        "observed",
        "depth 1, explicit",
        "depth 3, implicit",
        "nuclear norm",
        "SoftImpute",
        "the photograph",
    ]
    assert all("PSNR" in caption for caption in captions[1:-1])
    assert figure.table is not None
    assert [row[0] for row in figure.table.rows] == [caption.split(":")[0] for caption in captions[1:-1]]


def test_movielens_says_why_it_was_skipped() -> None:
    figure = drawn()["movielens"]
    assert figure.table is None
    assert "skipped" in figure.caption
    assert "OVERT_DATA" in figure.caption


def test_movielens_table() -> None:
    figure = only(figures(of("movielens", sample("quick", skip_movielens=False))), "movielens")
    assert figure.table is not None
    assert [row[0] for row in figure.table.rows] == [
        "biases alone",
        "SoftImpute",
        "depth 3, implicit",
        "explicit, two factors",
    ]
    assert "skipped" not in figure.caption
    deep = [
        run
        for run in of("movielens", sample("quick", skip_movielens=False))
        if run.config["method"] == "deep"
    ]
    assert figure.table.rows[2][1] == min(
        run.records[0]["test_rmse"] for run in deep
    )  # where validation is best
    assert len([row for row in figure.data if row["method"] == "depth 3, implicit"]) == len(deep)


def test_optimizers_are_ordered_by_their_best_rate_and_say_where_they_diverged() -> None:
    figure = drawn()["optimizers"]
    order = list(dict.fromkeys(row["optimizer"] for row in figure.data))
    recover = {"adam", "adamax", "nadam"} & set(order)  # in the sample
    assert set(order[: len(recover)]) == recover
    text = words(figure)
    assert "rate 0.02" in text
    assert "diverged" in text
    assert "3 of 3" in text


def test_recovered_needs_the_exact_rank() -> None:
    run = of("weights")[0]
    exact = change(run, error=1e-9, rank=run.config["rank"], status="converged")
    found = setting([exact, change(exact, rank=30), change(exact, error=1e-4), change(exact, error=None)])
    assert found is not None
    assert (found.share, found.diverged, found.lost) == ("1 of 4", 1, False)


def test_initialization_of_one_method_alone() -> None:
    deep = [run for run in of("inits") if run.config["method"] == "deep"]
    (figure,) = figures(deep)
    assert len(figure.panels) == 1
    assert len(drawn()["inits"].panels) == 2


def test_cost_shows_the_fastest_deep_network_to_each_target_and_keeps_all() -> None:
    figure = drawn()["cost"]
    assert len(figure.panels) == 4
    assert figure.table is not None
    shown = [(row[0], row[1]) for row in figure.table.rows if str(row[1]).startswith("depth")]
    assert [route for _, route in shown] == [
        "depth 4, adam, lr 0.001",  # first to 1e-2
        "depth 4, gd, lr 3",  # first to 1e-4
        "depth 4, adam, lr 0.001",  # lowest error where neither is reached
    ]
    assert len(figure.data) == 10
    assert "not reached; error 0.24" in words(figure)


@pytest.mark.slow
def test_cost_over_seeds_has_intervals_and_counts_what_was_not_reached() -> None:
    cost = [run for run in sample("full") if run.config["group"] == "cost"]
    for run in cost[:1]:
        run.records[0]["seconds_0.0001"] = None
    (figure,) = figures(cost)
    text = words(figure)
    assert "(reached in 2 of 3)" in text
    assert "explicit, as published" in text
    assert "[" in text


def test_regression_separates_dense_and_sparse_truths() -> None:
    figure = drawn()["regression"]
    assert figure.table is not None
    assert [row[:2] for row in figure.table.rows][:2] == [
        ("gradient descent from zero", "dense"),
        ("gradient descent from zero", "sparse"),
    ]
    assert "minimum ℓ2 norm" in words(figure)


def test_infinite_errors_are_larger_than_all_others() -> None:
    found = median([1.0, math.inf, 3.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (3.0, 1.0, math.inf)
    lost = median([1.0, math.inf])
    assert lost is not None
    assert lost.value == math.inf
    assert median([]) is None


def test_a_diverged_run_counts_as_infinite_error_and_in_no_other_median() -> None:
    run = of("weights")[0]
    lost = change(run, status="diverged", error=0.5)
    assert errors([lost]) == [math.inf]
    assert values([lost, change(run, effective_rank=None, status="budget")], "effective_rank") == []


def test_settings_in_words() -> None:
    assert [short(v) for v in (1e-6, 3e-4, 1e-3, 0.03, 1.0, 500.0, 1e5)] == [
        "1e−6",
        "0.0003",
        "0.001",
        "0.03",
        "1",
        "500",
        "1e5",
    ]


def test_the_figures_make_a_page(tmp_path: Path) -> None:
    page = render_report([StudySection("story", "Story", [], [], list(drawn().values()), runs())])
    for id in IDS:
        assert f'id="story-{id}"' in page
