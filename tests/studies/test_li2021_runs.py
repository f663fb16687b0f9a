"""The greedy algorithm, plan, small real runs and figures of the study of Li, Luo & Lyu (2021)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from overt.problems import CompletionProblem, matrix_completion
from overt.studies import Run, RunContext
from overt.studies.li2021 import study
from overt.studies.li2021.config import Li2021Config
from overt.studies.li2021.execute import plateau
from overt.studies.li2021.glrl import critical_points
from overt.studies.li2021.plan import plan
from overt.studies.runs.identity import config_hash

TINY = {"n": 6, "rank": 2, "n_observed": 30, "condition_number": 4.0, "seed": 0}


def execute(tmp_path, **fields):
    return study.execute(Li2021Config(**fields), RunContext(tmp_path, lambda line: None))


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
    output = execute(tmp_path, group="flow", depth=depth, init_scale=scale, until=1e-4, **TINY)
    record, arrays = output.records[0], output.arrays
    assert record["status"] == "converged"
    assert max(record["distances"]) < 0.05
    assert record["nearest_times"] == sorted(record["nearest_times"])
    assert record["nearest_losses"][0] == pytest.approx(record["critical_losses"][0], rel=0.05)
    assert len(record["plateaus"]) == 1
    assert record["plateaus"][0] > 0
    assert arrays["distances"].shape == (len(arrays["time"]), 2)
    far = execute(tmp_path, group="flow", depth=depth, init_scale=0.1, until=1e-4, **TINY).records[0]
    assert far["distances"][0] > 2 * record["distances"][0]
    assert far["plateaus"][0] < record["plateaus"][0]


@pytest.mark.slow
def test_path(tmp_path):
    output = execute(tmp_path, group="path", depth=1, weights=(1.0, 0.02), max_steps=200, **TINY)
    assert [record["weight"] for record in output.records] == [0.02, 1.0]
    assert output.records[1]["rank"] < output.records[0]["rank"]


@pytest.mark.parametrize(
    "fields",
    [
        {"group": "flow", "rank": 7, "n": 6},
        {"group": "flow", "n_observed": 37, "n": 6},
        {"group": "path"},
        {"group": "path", "weights": (0.0, 1.0)},
        {"group": "flow", "unknown": 1},
    ],
)
def test_refused(fields):
    with pytest.raises(ValidationError):
        Li2021Config(seed=0, **fields)


@pytest.mark.parametrize(("preset", "seeds"), [("quick", 3), ("full", 10)])
def test_plan(preset, seeds):
    configs = plan(preset, 5)
    assert len(set(configs)) == len(configs)
    groups = Counter(config.group for config in configs)
    assert set(groups) == {"flow", "path"}
    flows = [config for config in configs if config.group == "flow"]
    assert {config.seed for config in flows} == set(range(5, 5 + seeds))
    for depth in (2, 3, 4):
        assert {1e-3, 1e-1} < {config.init_scale for config in flows if config.depth == depth}


def sample():
    """One made-up run for each configuration of the quick plan."""
    runs = []
    for config in plan("quick", 0):
        wobble = 1 + 0.1 * config.seed
        arrays = {}
        if config.group == "flow":
            t = np.linspace(0, 10, 30)
            rise = 1 / (1 + np.exp(3 * (np.arange(6) * 3 + 1 - t[:, None])))
            arrays = {
                "time": t,
                "loss": np.exp(-t),
                "singular_values": rise,
                "effective_rank": 1 + t / 5,
                "distances": np.abs(np.subtract.outer(t, [2.0, 5.0, 9.0])) / 5 + 0.01,
            }
            record = {
                "critical_losses": [0.1, 0.01, 0.0],
                "distances": [0.01 * wobble, 0.02, 0.001],
                "excess": config.init_scale * wobble,
                "status": "converged",
            }
            records = [record]
        else:
            records = [
                {"weight": weight, "effective_rank": 1 + 1 / (1 + weight), "distances": [0.1, 0.2, wobble]}
                for weight in config.weights
            ]
        name = config_hash("li2021", 1, config)
        runs.append(Run("li2021", name, config.model_dump(mode="json"), records, arrays, {"status": "done"}))
    return runs


@pytest.mark.slow
def test_figures():
    found = {figure.id: figure for figure in study.figures(sample())}
    assert list(found) == ["over-time", "saddles", "over-initialization", "explicit-path"]
    for figure in found.values():
        assert figure.panels
        assert figure.data
    assert len(found["over-time"].panels) == 5
    assert "3 seeds" in found["over-initialization"].caption


def test_figures_of_nothing():
    assert study.figures([]) == []
