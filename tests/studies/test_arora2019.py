"""Arora et al. 2019: one small run of each kind, verdicts in made-up worlds, figures."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import changed, outcomes, run, runs

from overt.studies import RunContext, Skip
from overt.studies.arora2019 import study
from overt.studies.arora2019.depths import FULL, DepthsConfig
from overt.studies.arora2019.flow import RatingsConfig, SyntheticConfig
from overt.studies.arora2019.rivals import RivalsConfig
from overt.studies.arora2019.scales import SMALLEST, ScalesConfig
from overt.studies.arora2019.velocities import compare

TINY = {"n": 12, "rank": 1, "n_observed": 80, "seed": 0}
FLOW = TINY | {"leading": 3}


def execute(tmp_path, config):
    return study.execute(config, RunContext(tmp_path, lambda line: None))


# ---- runs -------------------------------------------------------------------------------------------------


def test_regimes_are_what_they_say():
    for size in FULL:
        ratio = size["n_observed"] / (size["rank"] * (2 * size["n"] - size["rank"]))
        least, most = {"fewer": (1.3, 1.4), "few": (1.4, 2.3), "between": (2.3, 4), "many": (2.1, 9)}[
            size["regime"]
        ]
        assert least <= ratio <= most


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (DepthsConfig, {"rank": 13, "n": 12}),
        (DepthsConfig, {"n_observed": 145, "n": 12}),
        (ScalesConfig, {"init_scale": 0.0}),
        (ScalesConfig, {"method": "nuclear norm"}),
        (RivalsConfig, {"strength": 3}),
        (SyntheticConfig, {"n": 5, "rank": 1, "n_observed": 20}),
        (RatingsConfig, {"n_observed": 100_000}),
    ],
)
def test_refused(kind, fields):
    with pytest.raises(ValidationError):
        kind(seed=0, **fields)


@pytest.mark.parametrize(
    "config",
    [
        DepthsConfig(method="depth 3", max_steps=2000, **TINY),
        DepthsConfig(method="nuclear norm", **TINY),
        DepthsConfig(method="depth 2", problem="sensing", max_steps=2000, **TINY),
        ScalesConfig(method="depth 2", init_scale=1e-3, max_steps=4000, **TINY),
        ScalesConfig(method="nuclear norm", init_scale=0.0, **TINY),
        RivalsConfig(method="depth 4", strength=2, max_steps=2000, **TINY),
        RivalsConfig(method="penalty", max_steps=2000, **TINY),
    ],
    ids=lambda config: f"{config.part} {config.method}",
)
def test_one_small_run_of_each_kind_recovers(config, tmp_path):
    (record,) = execute(tmp_path, config).records
    assert record["error"] <= 1e-5
    assert record["error"] <= record["raw_error"] < 0.1
    if config.method != "penalty":
        assert record["true_nuclear_norm"] == pytest.approx(12.0)
        assert record["true_effective_rank"] == pytest.approx(1.0)
    assert ("relative_gradient" in record) == (getattr(config, "weight", 0) > 0)
    assert study.part_of(config.model_dump()).ended(run(study, config, record))


def test_without_depth_and_penalty_nothing_is_found(tmp_path):
    (record,) = execute(tmp_path, RivalsConfig(method="weight 0", max_steps=1000, **TINY)).records
    assert record["loss"] < 1e-6
    assert record["raw_error"] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_flow_follows_the_formula(tmp_path, depth):
    output = execute(tmp_path, SyntheticConfig(depth=depth, until=0.01, **FLOW))
    (record,), arrays = output.records, output.arrays
    assert record["status"] == "converged"
    assert record["deviation"] <= 0.02
    assert record["exponent"] == pytest.approx(1 - 1 / depth, abs=0.01)
    assert record["factor"] == pytest.approx(depth, rel=0.01)
    assert record["other_deviation"] > 0.05
    assert arrays["measured"].shape == arrays["predicted"].shape == (len(arrays["time"]), 3)
    assert len(arrays["loss"]) == len(arrays["time"])


@pytest.mark.slow
def test_unbalanced_flow_does_not(tmp_path):
    """Change one thing, the initialization, and the formula fails."""
    (record,) = execute(tmp_path, SyntheticConfig(init="gaussian", **FLOW)).records
    assert record["deviation"] > 0.02


@pytest.mark.slow
def test_narrow_layers_give_the_flow_of_full_width(tmp_path):
    """With width 2 the product is kept as factors; the formula holds, and zero values are never needed."""
    (record,) = execute(tmp_path, SyntheticConfig(width=2, depth=3, **FLOW | {"leading": 2})).records
    assert record["deviation"] <= 0.02


def test_a_wrong_exponent_is_found():
    """Velocities that grow as σ^{1.5} are not those of depth 2, σ¹."""
    sigma = np.linspace(0.1, 3.0, 40)[:, None]
    slope = np.ones_like(sigma)
    right = compare(sigma, 2 * sigma, 2 * sigma, slope, 2)
    wrong = compare(sigma, 2 * sigma**1.5, 2 * sigma, slope, 2)
    assert right["deviation"] == 0
    assert right["exponent"] == pytest.approx(0.5)
    assert wrong["deviation"] > 0.5
    assert wrong["exponent"] == pytest.approx(0.75)


@pytest.mark.slow
@pytest.mark.data
def test_ratings_flow(tmp_path):
    config = RatingsConfig(n_observed=2000, width=2, leading=2, until=0.5, seed=0)
    assert execute(tmp_path, config).records[0]["deviation"] <= 0.02


def test_ratings_without_data_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(Skip, match="nowhere"):
        execute(tmp_path, RatingsConfig(n_observed=2000, width=2, leading=2, seed=0))


# ---- verdicts ---------------------------------------------------------------------------------------------


def theory(config):
    """What the paper says, and depth that is as exact as a penalty."""
    if config.part in ("synthetic", "ratings"):
        return {"deviation": 1e-5, "other_deviation": 0.3, "exponent": 1 - 1 / config.depth}
    method, few = config.method, getattr(config, "regime", "") != "many"
    deep = method in ("depth 3", "depth 4", "penalty")
    raw = 0.01 if deep or not few else 0.4
    record = {"raw_error": raw, "error": 1e-12 if deep or not few else 0.4}
    record |= {"nuclear_norm": 100.0, "true_nuclear_norm": 100.0}
    record |= {"effective_rank": 5.0 if deep or not few else 14.0}
    if config.part == "scales":
        small = config.init_scale == SMALLEST
        record |= {"raw_error": 0.05 if small else 0.7, "effective_rank": 5.0 if small else 8.0}
        record |= {"nuclear_norm": 101.5 if small and few else 100.0}
    return record


YES = {
    **dict.fromkeys(("A1", "A2", "A3", "A4", "A5", "A6"), "reproduced"),
    "A7": "supported",
    "A8": "supported",
}


def of(part, method, value, other):
    """A number of the runs of one method in a part, and that of all others."""
    return lambda c: value if (c.part, getattr(c, "method", "")) == (part, method) else other(c)


def few_at_depth_4(value):
    few = of("depths", "depth 4", value, usual("raw_error"))
    return lambda config: (
        few(config) if getattr(config, "regime", "") == "few" else usual("raw_error")(config)
    )


def usual(field):
    return lambda config: theory(config).get(field)


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("A1", {"raw_error": of("depths", "depth 3", 0.5, usual("raw_error"))}, "not reproduced"),
        ("A1", {"raw_error": few_at_depth_4(0.3)}, "inconclusive"),
        ("A1", {"effective_rank": of("depths", "depth 4", 15.0, usual("effective_rank"))}, "not reproduced"),
        ("A1", {"raw_error": of("depths", "depth 2", 0.06, usual("raw_error"))}, "not reproduced"),
        ("A2", {"raw_error": of("depths", "depth 3", 0.5, usual("raw_error"))}, "not reproduced"),
        ("A3", {"nuclear_norm": 100.0}, "not reproduced"),
        ("A3", {"effective_rank": 8.0}, "not reproduced"),
        ("A3", {"nuclear_norm": of("scales", "nuclear norm", 95.0, usual("nuclear_norm"))}, "not reproduced"),
        ("A4", {"effective_rank": 5.0}, "not reproduced"),
        ("A4", {"raw_error": 0.3}, "not reproduced"),
        ("A5", {"deviation": 0.021}, "not reproduced"),
        ("A5", {"exponent": 0.7}, "not reproduced"),
        ("A5", {"exponent": None}, "not reproduced"),
        ("A5", {"other_deviation": 0.01}, "not reproduced"),
        ("A6", {"deviation": 0.021}, "not reproduced"),
        ("A7", {"error": of("depths", "depth 4", 0.4, usual("error"))}, "refuted"),
        ("A7", {"error": of("depths", "nuclear norm", 1e-9, usual("error"))}, "refuted"),
        ("A8", {"error": of("rivals", "depth 3", 0.4, usual("error"))}, "refuted"),
        ("A8", {"error": of("rivals", "penalty", 0.4, usual("error"))}, "supported"),
        ("A8", {"error": of("rivals", "weight 0", 1e-9, usual("error"))}, "refuted"),
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, runs(study, theory)) == YES
    assert outcomes(study, runs(study, changed(theory, **record)))[claim] == expected


def test_runs_that_were_stopped_are_no_evidence():
    stopped = outcomes(study, runs(study, changed(theory, status="budget", loss=1e-3)))
    assert set(stopped.values()) == {"inconclusive", "undecided"}
    fitted = runs(study, changed(theory, status="budget", loss=1e-7, relative_gradient=1e-3))
    flows = {"A5": "inconclusive", "A6": "inconclusive"}  # they end by their loss alone
    assert outcomes(study, fitted) == YES | flows


def test_without_ratings_their_claim_is_skipped():
    some = runs(study, theory)
    for one in some:
        if one.config["part"] == "ratings":
            one.records.clear()
            one.meta.update(status="skipped", reason="no data here")
    assert outcomes(study, some) == YES | {"A6": "skipped"}


@pytest.mark.slow
def test_figures():
    some = runs(study, theory, "quick")
    t = np.linspace(0, 1, 20)
    grown = np.outer(t**2 + 1e-3, np.arange(5, 0, -1))
    for one in some:
        if one.config["part"] in ("synthetic", "ratings"):
            one.arrays.update(time=t, singular_values=grown, measured=grown, predicted=grown)
    found = {figure.id: figure for figure in study.figures(some)}
    assert list(found) == [
        "over-completion",
        "over-sensing",
        "rivals",
        "over-scales",
        "synthetic-deviations",
        "synthetic-flow",
        "ratings-deviations",
        "ratings-flow",
    ]
    assert all(figure.panels and figure.data and figure.caption for figure in found.values())
    assert len(found["over-completion"].panels) == 3  # one rank only
