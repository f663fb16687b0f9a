"""The measure study's verdicts and figures on made-up runs."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import changed, outcomes, runs

from overt.studies.measure.study import study


def hoped_for(config):
    """Every claim holds."""
    if config.part == "collapse":
        return {"worst_error": 1e-15, "least_cost_ratio": 1.0, "cost_ratio": 1.001, "status": "done"}
    if config.part == "factors":
        rank = 40.0 * (0.5 if config.depth == 5 else 1.0) * (0.3 if config.scale == 1e-4 else 1.0)
        return {"effective_rank": rank, "start_effective_rank": 60.0, "status": "reached"}
    value = 0.4
    if config.model == "conv" and config.data != "permuted":
        value = 0.8
    return {
        "alignment": value,
        "start_alignment": 0.3,
        "corrected_alignment": value - 0.3,
        "status": "reached",
    }


YES = {"M1": "reproduced", "M2": "reproduced", **{f"M{k}": "supported" for k in range(3, 14)}}


def only(part, **values):
    """A change of the records of one part."""

    def change(config):
        return {**hoped_for(config), **(values if config.part == part else {})}

    return change


def swapped(config):
    """Fully connected networks ahead."""
    found = hoped_for(config)
    if config.part == "alignment" and config.model == "fc":
        found |= {"alignment": 0.9, "corrected_alignment": 0.9}
    return found


def kept_where_permuted(config):
    """Convolution ahead on permuted images as well."""
    found = hoped_for(config)
    if config.part == "alignment" and config.model == "conv":
        found |= {"alignment": 0.8, "corrected_alignment": 0.5}
    return found


@pytest.mark.parametrize(
    ("claim", "world", "expected"),
    [
        ("M1", only("collapse", worst_error=1e-9), "not reproduced"),
        ("M2", only("collapse", least_cost_ratio=0.99), "not reproduced"),
        ("M2", only("collapse", cost_ratio=1.1), "not reproduced"),
        ("M2", only("collapse", cost_ratio=1.03), "inconclusive"),
        ("M3", only("factors", effective_rank=70.0), "refuted"),
        ("M4", only("factors", effective_rank=40.0), "undecided"),
        ("M5", only("factors", effective_rank=40.0), "undecided"),
        ("M6", only("factors", effective_rank=40.0), "supported"),
        ("M7", swapped, "refuted"),
        ("M8", swapped, "refuted"),
        ("M8", kept_where_permuted, "refuted"),
        ("M9", swapped, "refuted"),
        ("M10", only("alignment", start_alignment=0.95), "refuted"),
        ("M11", swapped, "refuted"),
        ("M12", swapped, "refuted"),
        ("M13", kept_where_permuted, "refuted"),
    ],
)
def test_verdicts(claim, world, expected):
    assert outcomes(study, runs(study, hoped_for)) == YES
    assert outcomes(study, runs(study, world))[claim] == expected


@pytest.mark.parametrize(("factor", "value"), [("width", 256), ("lr", 0.3), ("batch_size", 10)])
def test_one_factor_that_matters_is_enough_against_m6(factor, value):
    def world(config):
        found = hoped_for(config)
        if config.part == "factors" and getattr(config, factor) == value:
            found["effective_rank"] *= 1.3 if factor != "batch_size" else 0.7
        return found

    assert outcomes(study, runs(study, world))["M6"] == "refuted"


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_depth_must_lower_the_rank_from_both_starts(scale):
    def world(config):
        found = hoped_for(config)
        if config.part == "factors" and config.depth == 5 and config.scale == scale:
            found["effective_rank"] = 50.0
        return found

    assert outcomes(study, runs(study, world))["M4"] == "refuted"


def test_networks_that_did_not_come_to_the_loss_are_no_evidence():
    found = outcomes(study, runs(study, changed(hoped_for, status="budget")))
    assert {found[f"M{k}"] for k in range(3, 14)} == {"undecided"}


def test_without_the_data_set_claims_on_images_are_skipped():
    some = runs(study, hoped_for)
    for one in some:
        if one.config["part"] != "collapse":
            one.meta.update(status="skipped", reason="no data")
    found = outcomes(study, some)
    assert found["M1"] == "reproduced"
    assert {found[f"M{k}"] for k in range(3, 14)} == {"skipped"}


@pytest.mark.slow
def test_figures():
    some = runs(study, hoped_for, "quick")
    for one in some:
        one.arrays["step"] = np.array([0, 1, 10, 100])
        one.arrays["effective_rank"] = np.array([60.0, 50.0, 45.0, 40.0])
        one.arrays["singular_values"] = np.geomspace(1, 1e-3, 48).reshape(4, 12)
        one.arrays["fourier_values"] = one.arrays["data_fourier_values"] = np.ones((14, 14))
    found = {figure.id: figure for figure in study.figures(some)}
    expected = ["alignment", "pictures", "trajectories", "scales", "collapse", "cost"]
    assert [name for name in found if not name.startswith("rank-by")] == expected
    assert sum(name.startswith("rank-by") for name in found) == 5
    assert all(figure.panels or figure.images for figure in found.values())
