"""One algorithm in four forms: rules on made-up runs, the two steps by hand, one run of each kind."""

from __future__ import annotations

import pytest
import torch
from worlds import changed, outcomes, runs

from overt.features import reweighting_root
from overt.features.linear import minimum_norm
from overt.problems import matrix_completion
from overt.studies import RunContext
from overt.studies.claims.quantities import MissingRunsError
from overt.studies.one_algorithm.fewest import FewestConfig, as_few, fewest
from overt.studies.one_algorithm.methods import FormConfig, instance_of
from overt.studies.one_algorithm.seconds import SecondsConfig
from overt.studies.one_algorithm.steps import StepsConfig, majorized
from overt.studies.one_algorithm.study import study
from overt.studies.runs.records import dump_lines, load_lines

ALL = [claim.id for claim in study.claims]
YES = {claim.id: "supported" if claim.kind == "own" else "reproduced" for claim in study.claims}
NO = {claim.id: "refuted" if claim.kind == "own" else "not reproduced" for claim in study.claims}
OPEN = {claim.id: claim.open for claim in study.claims}


def world(config):
    """Each claim holds."""
    if config.part == "steps":
        return {"difference": 1e-12}
    blind = config.method in ("machine 1", "weight 0")
    found = config.rho >= (2.5 if blind else 1.5)
    raw = {"machine": 0.01, "depth": 0.1}.get(config.method.split()[0], 0.05)
    rank = 6.0 - 0.9 * float(config.method[-1]) if config.method[-1].isdigit() else 2.0
    seconds = {"machine 3": 0.1, "irls": 0.05, "depth 3": 0.3}.get(config.method, 2.0)
    timed = config.part == "seconds"
    return {
        "error": 1e-14 if found else 0.5,
        "raw_error": raw,
        "effective_rank": rank,
        "relative_gradient": 1e-4,
        "seconds": seconds,
        "seconds_to_recovery": seconds if timed and found else None,
        "status": "budget" if config.method == "penalty" and not timed else "converged",
    }


def told(some_world):
    return outcomes(study, runs(study, some_world))


def where(method, value, otherwise):
    """A field that one method has other values of."""
    return lambda config: value if getattr(config, "method", "") == method else world(config).get(otherwise)


def test_every_claim_can_hold():
    assert told(world) == YES
    assert outcomes(study, runs(study, world, "quick")) == YES


@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("OA1", {"raw_error": where("depth 4", 1e-3, "raw_error")}),
        ("OA2", {"error": where("machine 3", 0.5, "error")}),
        ("OA3", {"error": where("irls", 0.5, "error")}),
        ("OA4", {"error": where("machine 3", 0.5, "error")}),
        ("OA5", {"effective_rank": where("machine 4", 5.0, "effective_rank")}),
        ("OA5", {"effective_rank": where("depth 2", 2.0, "effective_rank")}),
        ("OA6", {"error": where("machine 1", 1e-14, "error")}),
        ("OA6", {"error": where("weight 0", 1e-14, "error")}),
        ("OA7", {"difference": 1e-3}),
        ("OA8", {"seconds_to_recovery": where("machine 3", 1.0, "seconds_to_recovery")}),
        ("OA9", {"seconds_to_recovery": where("irls", 3.0, "seconds_to_recovery")}),
    ],
)
def test_every_claim_can_fail(claim, change):
    assert told(changed(world, **change))[claim] == NO[claim]


@pytest.mark.parametrize(
    ("claim", "method"), [("OA1", "depth 3"), ("OA4", "penalty"), ("OA5", "depth 2"), ("OA8", "depth 3")]
)
def test_runs_that_their_budget_ended_decide_nothing(claim, method):
    """Neither claim says anything of what training would still have done."""
    missed = {"OA1": {"raw_error": 0.005}, "OA5": {"effective_rank": 3.0}}.get(claim, {"error": 0.5})

    def stopped(config):
        if getattr(config, "method", "") != method:
            return world(config)
        cut = {"status": "budget", "relative_gradient": 1.0 if method == "penalty" else None, "loss": 0.1}
        return world(config) | cut | missed | {"seconds": 0.05, "seconds_to_recovery": None}

    assert told(stopped)[claim] == OPEN[claim]


def test_a_penalty_that_stands_still_and_misses_the_matrix_counts_against_it():
    missed = changed(world, error=where("penalty", 0.5, "error"), status="converged")
    assert told(missed)["OA4"] == "refuted"


def test_without_runs_nothing_is_decided():
    assert outcomes(study, []) == OPEN
    assert study.figures([]) == []


def test_seeds_that_disagree_decide_nothing():
    def mixed(config):
        machine = getattr(config, "method", "") == "machine 3"
        return world(config) | ({"error": 0.5} if machine and config.seed % 2 else {})

    assert told(mixed)["OA2"] == OPEN["OA2"]
    assert (
        told(changed(world, difference=lambda config: 1e-12 if config.seed % 2 else 1e-3))["OA7"]
        == OPEN["OA7"]
    )


def test_the_fewest_observations_are_those_from_which_on_all_levels_are_recovered():
    made = [run for run in runs(study, world) if run.config["part"] == "fewest" and run.config["seed"] == 0]
    made = [run for run in made if run.config["problem"] == "sensing"]
    assert fewest(made, ["machine 3"]) == 1.6
    assert fewest(made, ["machine 1"]) == 3.0
    assert as_few(["machine 1"], ["machine 3"])(made) == pytest.approx(3.0 / 1.6)
    for run in made:  # a hole in the middle
        if (run.config["method"], run.config["rho"]) == ("machine 3", 2.0):
            run.records[0]["error"] = 1.0
    assert fewest(made, ["machine 3"]) == 3.0
    for run in made:
        run.records[0]["error"] = 1.0
    with pytest.raises(MissingRunsError, match="machine 1 or machine 3 recover the matrix at no rho"):
        as_few(["machine 1"], ["machine 3"])(made)


@pytest.mark.parametrize("alpha", [0.5, 0.75])
def test_the_majorizer_is_minimized(alpha):
    """Against the definition: the weighted norm, minimized over the null space of the data by hand."""
    problem = matrix_completion((6, 5), rank=1, n_observed=16, seed=0)
    W = minimum_norm(problem, torch.eye(5, dtype=torch.float64))
    found = majorized(problem, W, alpha, 0.3)
    s, vectors = torch.linalg.eigh(W.mT @ W)
    weight = vectors @ torch.diag((s.clamp_min(0) + 0.09) ** -alpha) @ vectors.mT
    seen = torch.zeros(6, 5, dtype=torch.bool)
    seen[problem.rows, problem.cols] = True
    for row in range(6):
        free, fixed = ~seen[row], seen[row]
        rest = -torch.linalg.inv(weight[free][:, free]) @ weight[free][:, fixed] @ found[row, fixed]
        torch.testing.assert_close(found[row, free], rest)
    root = reweighting_root(W.mT @ W + 0.09 * torch.eye(5), alpha)
    torch.testing.assert_close(minimum_norm(problem, root), found)


def test_instances_have_as_many_observations_as_they_say():
    for problem in ("completion", "sensing"):
        config = FormConfig(problem=problem, n=10, rank=2, rho=1.5, seed=0)
        made = instance_of(config)
        assert made.n_observed == config.n_observed == 54
        assert made.oversampling(2) == pytest.approx(1.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        *(
            FewestConfig(n=8, rank=1, rho=3.0, method=method, problem=problem, max_steps=60, seed=0)
            for method in ("irls", "irls told", "machine 3", "depth 2", "penalty", "weight 0")
            for problem in ("completion", "sensing")
        ),
        *(SecondsConfig(n=8, rank=1, rho=3.0, method=m, max_steps=200, seed=0) for m in ("penalty", "irls")),
        StepsConfig(n=8, rank=1, rounds=5, seed=0),
    ],
    ids=lambda config: f"{config.part}-{getattr(config, 'method', '')}-{config.problem}",
)
def test_one_small_run_of_each_kind(config, tmp_path):
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    if config.part == "steps":
        assert record["difference"] < 1e-9
        return
    assert {"error", "raw_error", "effective_rank", "seconds", "status", "loss"} <= set(record)
    if config.part == "seconds":
        assert (record["seconds_to_recovery"] is None) == (record["error"] > 1e-5)
        return
    assert ("relative_gradient" in record) == (config.method == "penalty")
    if config.method in ("irls", "irls told", "machine 3"):
        assert record["error"] < 1e-10


@pytest.mark.slow
def test_figures_of_made_up_runs():
    figures = {figure.id: figure for figure in study.figures(runs(study, world))}
    assert list(figures) == ["fewest", "raw", "dial", "steps", "seconds"]
    assert all(figure.data for figure in figures.values())
