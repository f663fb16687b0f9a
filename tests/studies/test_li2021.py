"""Li, Luo & Lyu 2021: the greedy algorithm, small real runs, verdicts in made-up worlds, figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from worlds import changed, outcomes, run, runs

from overt.problems import CompletionProblem, matrix_completion
from overt.studies import RunContext
from overt.studies.li2021 import study
from overt.studies.li2021.among import plateau
from overt.studies.li2021.flows import SCALES
from overt.studies.li2021.glrl import critical_points
from overt.studies.li2021.path import climbs, farthest
from overt.studies.li2021.settings import FlowsConfig, PathConfig

TINY = {"n": 6, "rank": 2, "n_observed": 30, "condition_number": 4.0, "seed": 0}


def execute(tmp_path, config):
    return study.execute(config, RunContext(tmp_path, lambda line: None))


@pytest.mark.slow
def test_critical_points_of_a_seen_matrix_are_its_truncations():
    """Where every entry is observed, greedy learning is the singular value decomposition (Eckart & Young)."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    U, s, Vt = torch.linalg.svd(X, full_matrices=False)
    for r, point in enumerate(critical_points(CompletionProblem.from_dense(X), 3), start=1):
        assert torch.allclose(point.W, (U[:, :r] * s[:r]) @ Vt[:r], rtol=0, atol=1e-4)
        assert point.loss == pytest.approx(float((s[r:] ** 2).sum()) / 30, rel=1e-6)
        assert point.gradient < 1e-6


@pytest.mark.slow
def test_critical_points_are_critical():
    problem = matrix_completion((8, 8), rank=2, n_observed=56, seed=1, min_per_line=2)
    points = critical_points(problem, 2)
    for r, point in enumerate(points, start=1):
        values = torch.linalg.svdvals(point.W)
        assert int((values > 1e-6 * values[0]).sum()) == r
        W = point.W.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(problem.loss(W), W)
        U, _, Vt = torch.linalg.svd(point.W)
        tangent = torch.cat([(gradient @ Vt[:r].T).ravel(), (U[:, :r].T @ gradient).ravel()])
        assert float(tangent.norm()) < 1e-4 * float(problem.adjoint(problem.y).norm())
    assert points[1].loss < points[0].loss
    assert problem.error(points[1].W) < 1e-3


def test_plateau_is_the_time_near_a_level():
    times, losses = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([2.0, 1.05, 1.0, 0.95, 0.0])
    assert plateau(times, losses, 1.0, 0.05) == pytest.approx(2.0)
    assert plateau(times, losses, 1.0, 0.025) == pytest.approx(1.0)
    assert plateau(times, losses, 5.0, 0.05) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_flow_passes_the_points(tmp_path, depth):
    scale = 1e-10 if depth == 2 else 1e-4
    output = execute(tmp_path, FlowsConfig(depth=depth, init_scale=scale, until=1e-4, **TINY))
    (record,), arrays = output.records, output.arrays
    assert record["status"] == "converged"
    assert max(record["distances"]) < 0.05
    assert record["nearest_times"] == sorted(record["nearest_times"])
    assert record["nearest_losses"][0] == pytest.approx(record["critical_losses"][0], rel=0.05)
    assert len(record["plateaus"]) == 1
    assert record["plateaus"][0] > 0
    assert record["error"] <= 1e-5 < record["raw_error"]
    assert arrays["distances"].shape == (len(arrays["time"]), 2)
    far = execute(tmp_path, FlowsConfig(depth=depth, init_scale=0.1, until=1e-4, **TINY)).records[0]
    assert far["distances"][0] > 2 * record["distances"][0]
    assert far["plateaus"][0] < record["plateaus"][0]


@pytest.mark.slow
def test_path(tmp_path):
    config = PathConfig(smallest=0.02, largest=1.0, number=2, max_steps=800, lr=2e-2, **TINY)
    small, large = execute(tmp_path, config).records
    assert (small["weight"], large["weight"]) == (0.02, 1.0)
    assert large["numerical_rank"] < small["numerical_rank"]
    assert large["effective_rank"] < small["effective_rank"]
    (tmp_path / "zero").mkdir()
    zero = execute(tmp_path / "zero", PathConfig(method="weight 0", max_steps=800, **TINY)).records
    assert [one["weight"] for one in zero] == [0.0]
    assert zero[0]["loss"] < 1e-3 < large["loss"]


def test_weights_of_a_path():
    config = PathConfig(seed=0)
    assert len(config.weights) == 12
    assert (config.weights[0], config.weights[-1]) == (3e-3, pytest.approx(3.0))
    np.testing.assert_allclose(np.diff(np.log(config.weights)), np.log(1000) / 11)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (FlowsConfig, {"rank": 7, "n": 6}),
        (FlowsConfig, {"n_observed": 37, "n": 6}),
        (PathConfig, {"number": 1}),
        (PathConfig, {"smallest": 0.0}),
        (FlowsConfig, {"unknown": 1}),
    ],
)
def test_refused(kind, fields):
    with pytest.raises(ValidationError):
        kind(seed=0, **fields)


# ---- verdicts ---------------------------------------------------------------------------------------------


def flow(config):
    """What the paper says: the smaller and the deeper, the nearer and the longer."""
    near = (config.init_scale / 0.1) ** (0.2 if config.depth == 2 else 1.0)
    return {
        "distances": [0.2 * near, 0.3 * near, 1e-3],
        "nearest_times": [1.0, 2.0, 3.0],
        "nearest_losses": [0.101, 0.0101, 1e-9],
        "critical_losses": [0.1, 0.01, 1e-12],
        "plateaus": [1 / near, 2 / near],
        "excess": near,
        "raw_error": near,
        "error": 1e-9,
    }


def theory(config):
    return flow(config) if config.part == "flows" else {}


def path(ranks=(3, 3, 2, 1), far=0.1, gradient=1e-3):
    """The records of a path, the smallest weight first."""
    return [
        {
            "weight": 10.0**k,
            "numerical_rank": rank,
            "effective_rank": float(rank),
            "distances": [far] * 3,
            "relative_gradient": gradient,
            "status": "budget",
        }
        for k, rank in enumerate(ranks)
    ]


def world(records=theory, preset="full", **paths):
    """All runs; those of the path have several records, those of weight zero are far from all points."""
    some = runs(study, records, preset)
    for one in some:
        if one.config["part"] == "path":
            zero = one.config["method"] == "weight 0"
            one.records[:] = path(ranks=(9,), far=0.7) if zero else path(**paths)
    return some


YES = {"L1": "reproduced", "L2": "reproduced", "L3": "reproduced", "L4": "supported"}


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("L1", {"distances": [0.06, 0.01, 1e-3]}, "not reproduced"),
        ("L1", {"nearest_times": [2.0, 2.0, 3.0]}, "not reproduced"),
        ("L1", {"distances": [1e-3, 1e-3, 1e-3]}, "not reproduced"),  # as near from the largest scale
        ("L1", {"distances": [None, 0.01, 1e-3]}, "not reproduced"),
        ("L2", {"plateaus": [1.0, 2.0]}, "not reproduced"),
        ("L2", {"nearest_losses": [0.101, 0.012, 1e-9]}, "not reproduced"),
        ("L2", {"nearest_losses": [0.088, 0.0101, 1e-9]}, "not reproduced"),
        ("L3", {"distances": [0.01, 0.01, 1e-3]}, "not reproduced"),
        ("L3", {"excess": 1e-3}, "not reproduced"),
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, world()) == YES
    assert outcomes(study, world(changed(theory, **record)))[claim] == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ({"ranks": (4, 3, 2, 1)}, "supported"),  # it exceeds the true rank after it took all
        ({"ranks": (3, 3, 3, 1)}, "refuted"),
        ({"ranks": (3, 4, 2, 1)}, "refuted"),
        ({"far": 0.21}, "refuted"),
        ({"far": 0.19}, "supported"),
        ({"gradient": 0.02}, "undecided"),  # it came to rest nowhere
    ],
)
def test_verdicts_of_the_path(paths, expected):
    assert outcomes(study, world(**paths))["L4"] == expected


def test_what_did_not_come_to_rest_is_left_out():
    config = PathConfig(seed=0)
    one = run(study, config, {})
    one.records[:] = path(ranks=(3, 3, 3, 3, 9, 2, 1))
    one.records[4].update(relative_gradient=0.1, distances=[0.0] * 3)
    assert climbs(one)
    assert farthest(one) == 0.1
    assert study.part_of(one.config).ended(one)


def test_a_path_is_better_than_no_penalty():
    some = world(far=0.1)
    for one in some:
        if one.config.get("method") == "weight 0":
            one.records[0]["distances"] = [0.09] * 3
    assert outcomes(study, some)["L4"] == "refuted"


def test_runs_that_were_stopped_are_no_evidence():
    stopped = world(changed(theory, status="budget"), gradient=0.5)
    assert set(outcomes(study, stopped).values()) == {"inconclusive", "undecided"}


@pytest.mark.slow
def test_figures():
    some = world(preset="quick")
    t = np.linspace(0, 10, 30)
    rise = 1 / (1 + np.exp(3 * (np.arange(6) * 3 + 1 - t[:, None])))
    to = np.abs(np.subtract.outer(t, [2.0, 5.0, 9.0])) / 5 + 0.01
    for one in some:
        if one.config["part"] == "flows":
            one.arrays.update(time=t, loss=np.exp(-t), singular_values=rise, distances=to)
    found = {figure.id: figure for figure in study.figures(some)}
    assert list(found) == ["path-and-zero", "explicit-path", "over-initialization", "visits"]
    assert all(figure.panels and figure.data and figure.caption for figure in found.values())
    assert len(found["visits"].panels) == 3 + 1 + 3


def test_scales_start_with_the_smallest():
    assert all(list(scales) == sorted(scales) for scales in SCALES.values())
