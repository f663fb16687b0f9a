"""Razin & Cohen 2020: the flow against layers in small steps, tensor ranks, verdicts, runs, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from worlds import changed, outcomes, runs

from overt.models import CPTensor
from overt.problems import CompletionProblem
from overt.studies import RunContext, Skip
from overt.studies.razin2020.flow import Target, gradient_flow
from overt.studies.razin2020.growth import GrowthConfig
from overt.studies.razin2020.perturbed import PerturbedConfig
from overt.studies.razin2020.ranks import cp_residual, tensor_rank
from overt.studies.razin2020.settings import FUNCTIONALS, SMOOTH, StepsConfig, WhichConfig
from overt.studies.razin2020.study import study
from overt.studies.razin2020.tensors import TensorsConfig
from overt.studies.razin2020.two_by_two import NORMS, bound, network
from overt.studies.runs.records import dump_lines, load_lines
from overt.training import train


def execute(tmp_path, config):
    output = study.execute(config, RunContext(tmp_path, lambda line: None))
    (record,) = load_lines(dump_lines(output.records))
    return record, output.arrays


# ---- what runs are made of --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("determinant", ["positive", "negative"])
def test_flow_is_that_of_the_layers(depth, determinant):
    """The oracle: the layers themselves in very small steps of gradient descent."""
    config = GrowthConfig(depth=depth, determinant=determinant, init_scale=0.3, seed=1)
    model, target = network(config), Target(1.0, 1.0, 0.0)
    path = gradient_flow(model.product().detach(), depth, target, loss_target=5e-2, max_time=1e3, rtol=1e-7)
    wanted = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    seen = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    loss = torch.tensor(1.0)
    while float(loss.detach()) > 5e-2:
        optimizer.zero_grad()
        loss = 0.5 * (seen * (model.product() - wanted)).square().sum()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(path.products[-1], model.product().detach().numpy(), atol=2e-2)
    assert path.losses[-1] == pytest.approx(5e-2, rel=1e-3)


@pytest.mark.slow
def test_flow_keeps_the_sign_of_the_determinant_and_the_bound():
    config = GrowthConfig(depth=3, seed=0)
    path = gradient_flow(
        network(config).product().detach(),
        3,
        Target(1.0, 1.0, 0.0),
        loss_target=1e-4,
        max_time=1e9,
        rtol=1e-6,
    )
    late = path.losses < 0.1
    assert (np.abs(path.products[late, 0, 0]) >= (1 - 1e-3) * bound(path.losses[late], config)).all()
    assert (np.diff(path.losses) <= 1e-12).all()


@pytest.mark.parametrize("init", ["balanced", "gaussian"])
@pytest.mark.parametrize("determinant", ["positive", "negative"])
def test_start_has_the_wanted_determinant(init, determinant):
    for seed in range(6):
        model = network(GrowthConfig(init=init, determinant=determinant, seed=seed))
        W = model.product().detach()
        assert (float(W[0, 0] * W[1, 1] - W[0, 1] * W[1, 0]) > 0) == (determinant == "positive")
        if init == "balanced":
            first, second = list(model.weights)[:2]
            torch.testing.assert_close(second.T @ second, first @ first.T, atol=1e-12, rtol=0)


def test_flow_refuses_a_start_without_direction():
    with pytest.raises(ValueError, match="singular values"):
        gradient_flow(
            torch.eye(2, dtype=torch.float64), 2, Target(1.0, 1.0, 0.0), loss_target=0.1, max_time=1.0
        )


def test_bound_is_attained_by_no_smaller_entry():
    """Matrices with det W > 0 at random: none has a smaller open entry than the bound."""
    config = GrowthConfig(corner=0.05, seed=0)
    rng = np.random.default_rng(0)
    W = np.array([[0.0, 1.0], [1.0, 0.05]]) + 0.05 * rng.standard_normal((5000, 2, 2))
    W[:, 0, 0] = rng.uniform(0, 60, 5000)
    W = W[W[:, 0, 0] * W[:, 1, 1] - W[:, 0, 1] * W[:, 1, 0] > 0]
    target = Target(1.0, 1.0, 0.05)
    loss = np.array([target.loss(one) for one in W])
    assert len(W) > 100
    assert (np.abs(W[:, 0, 0]) >= bound(loss, config)).all()


@pytest.mark.slow
def test_tensor_rank():
    tensor = CPTensor((5, 6, 7), 2, 1.0, seed=3, dtype=torch.float64).product().detach()
    rank, residuals = tensor_rank(tensor, limit=3, seed=0)
    assert rank == 2
    assert residuals[0] > 0.05 > residuals[1]
    assert tensor_rank(tensor, limit=1, seed=0)[0] == 2  # more than the limit
    assert cp_residual(torch.zeros(2, 2, 2, dtype=torch.float64), 1, seed=0) == 0.0


@pytest.mark.parametrize("depth", [2, 3])
def test_descent_is_that_of_the_library(depth, tmp_path):
    """Its loss is the mean of three squares: two thirds of ℓ."""
    config = StepsConfig(depth=depth, lr=0.05, horizon=5.0, init_scale=0.3, seed=1)
    record, _ = execute(tmp_path, config)
    nan = float("nan")
    problem = CompletionProblem.from_dense(torch.tensor([[nan, 1.0], [1.0, 0.0]], dtype=torch.float64))
    other = train(network(config), problem, optimizer="gd", lr=0.05 * 1.5, max_steps=100, tolerance=1e-30)
    assert record["steps"] == 100
    assert record["open_entry"] == pytest.approx(float(other.W[0, 0]), rel=1e-10)
    assert record["loss"] == pytest.approx(1.5 * float(problem.loss(other.W)), rel=1e-10)
    assert record["determinant"] == pytest.approx(float(torch.linalg.det(other.W)), rel=1e-8)


SMALL = [
    GrowthConfig(depth=2, loss_target=1e-3, seed=0),
    PerturbedConfig(depth=2, loss_target=1e-3, corner=0.3, seed=0),
    StepsConfig(depth=2, seed=0),
    TensorsConfig(n=4, n_observed=40, components=8, max_steps=100, seed=0),
    WhichConfig(n=8, rank=1, n_observed=32, max_steps=300, descent_steps=20, lr=0.5, seed=0),
]


@pytest.mark.slow
@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.part)
def test_one_small_run_of_each_kind(config, tmp_path):
    record, arrays = execute(tmp_path, config)
    assert record["status"] in ("converged", "budget")
    if config.part in ("growth", "perturbed"):
        assert record["loss"] == pytest.approx(1e-3, rel=1e-3)
        assert record["least_over_bound"] > 0.999
        assert arrays["singular_values"].shape == (*arrays["loss"].shape, 2)
    if config.part == "steps":
        assert record["determinant"] <= 0 < record["crossed_at"] < 20
    if config.part == "which":
        truth, convex = (record["values"][name] for name in ("truth", "minimum nuclear norm"))
        assert convex["nuclear norm"] < 0.99 * truth["nuclear norm"]
        assert set(record["excess"]) == set(FUNCTIONALS)
        assert record["values"]["one huge entry"]["effective rank"] < 1.1
        assert record["values"]["one huge entry"]["rank"] > truth["rank"]
    if config.part == "tensors":
        assert record["zero_filling"] == pytest.approx(math.sqrt(24 / 64), rel=0.5)


def test_instances_that_cannot_tell_are_not_taken(tmp_path):
    with pytest.raises(Skip, match="agree in all of 2"):
        execute(tmp_path, WhichConfig(n=8, rank=1, n_observed=64, draws=2, max_steps=10, seed=0))


def test_refusals():
    with pytest.raises(ValueError, match="corner"):
        PerturbedConfig(corner=0.0, seed=0)
    with pytest.raises(ValueError, match="observed"):
        TensorsConfig(n=2, n_observed=9, seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def theory(config):
    """What the paper says, and steps that cross at a time that is linear in log 1/rate, at depth 2 alone."""
    if config.part == "growth":
        entry = 1000.0 if config.determinant == "positive" else 1.0
        return {
            "loss": 5e-7,
            "slope": -0.5,
            "least_over_bound": 1.001,
            "open_entry": entry,
            "late_growth": 14.0 if entry > 1 else 1.0,
            "growth": dict.fromkeys(NORMS, 100.0),
            "effective_rank": 1.001,
            "effective_rank_start": 1.5,
            "rank_distance": 0.5,
        }
    if config.part == "perturbed":
        return {"open_entry": 1 / config.corner, "over_bound": 1.0001}
    if config.part == "steps":
        if config.depth > 2:
            return {"crossed_at": None, "time": config.horizon, "status": "budget"}
        time = 5 - math.log(config.lr)
        return {"crossed_at": time, "time": time}
    if config.part == "tensors":
        return {"error": 0.01, "tensor_rank": config.rank, "zero_filling": 0.7}
    return {"excess": {"rank": 0.0} | dict.fromkeys(SMOOTH, 0.3), "drops": dict.fromkeys(SMOOTH, 0.001)}


YES = {
    **dict.fromkeys(("R1", "R2", "R3", "R4", "R5"), "reproduced"),
    **dict.fromkeys(("R6", "R7", "R8", "R9"), "supported"),
}


def at_depth_2(function):
    """A number of the steps of depth 2; that of all other runs stays."""
    return lambda config: (
        function(config)
        if (config.part, getattr(config, "depth", 0)) == ("steps", 2)
        else theory(config).get("crossed_at")
    )


def excess(**values):
    return {**dict.fromkeys(SMOOTH, 0.3), "rank": 0.0} | values


@pytest.mark.parametrize(
    ("claim", "record", "expected"),
    [
        ("R1", {"slope": -0.3}, "not reproduced"),
        ("R1", {"least_over_bound": 0.9}, "not reproduced"),
        ("R1", {"slope": None}, "not reproduced"),
        ("R2", {"growth": dict.fromkeys(NORMS, 2.0)}, "not reproduced"),
        ("R2", {"growth": dict.fromkeys(NORMS, 100.0) | {"Schatten ½": 2.0}}, "not reproduced"),
        ("R2", {"effective_rank": 1.2}, "not reproduced"),
        ("R2", {"effective_rank_start": 1.0001}, "not reproduced"),
        ("R2", {"rank_distance": 2.0}, "not reproduced"),
        ("R3", {"open_entry": 500.0}, "not reproduced"),
        ("R3", {"late_growth": 2.0}, "not reproduced"),
        ("R4", {"open_entry": 30.0}, "not reproduced"),
        ("R4", {"over_bound": 0.9}, "not reproduced"),
        ("R5", {"error": 0.3}, "not reproduced"),
        ("R5", {"tensor_rank": 4}, "not reproduced"),
        ("R5", {"error": None}, "not reproduced"),
        ("R5", {"error": lambda c: 0.01 if c.seed < 7 else 0.5}, "inconclusive"),
        ("R6", {"excess": excess(rank=0.5)}, "refuted"),
        ("R6", {"excess": excess(**{"nuclear norm": 0.0})}, "refuted"),
        ("R6", {"excess": lambda c: excess(rank=0.5 * (c.seed % 2))}, "undecided"),
        ("R7", {"crossed_at": at_depth_2(lambda c: None)}, "refuted"),
        ("R7", {"crossed_at": at_depth_2(lambda c: 9.0 if c.lr > 2e-4 else None)}, "refuted"),
        ("R8", {"crossed_at": at_depth_2(lambda c: 1 / c.lr)}, "refuted"),
        ("R8", {"crossed_at": at_depth_2(lambda c: c.lr**-0.5)}, "refuted"),
        ("R8", {"crossed_at": at_depth_2(lambda c: 12.0)}, "refuted"),
        ("R8", {"crossed_at": at_depth_2(lambda c: None)}, "refuted"),
        ("R9", {"crossed_at": 12.0, "status": "converged"}, "refuted"),
        ("R9", {"time": 40.0}, "undecided"),  # the others were not followed for long enough
    ],
)
def test_verdicts(claim, record, expected):
    assert outcomes(study, runs(study, theory)) == YES
    assert outcomes(study, runs(study, changed(theory, **record)))[claim] == expected


def test_runs_that_were_stopped_are_no_evidence():
    def stopped(config):
        unknown = {"status": "budget", "loss": 0.05, "crossed_at": None, "time": 10.0, "error": 0.5}
        return theory(config) | unknown

    assert set(outcomes(study, runs(study, stopped)).values()) == {"inconclusive", "undecided"}


@pytest.mark.slow
def test_figures():
    some = runs(study, theory, "quick")
    loss = 10.0 ** np.arange(-0.5, -6.2, -0.25)
    for one in some:
        if one.config["part"] == "growth":
            entry = np.geomspace(0.5, 1000.0, len(loss))
            sigma = np.stack([entry + 1, 1 / (entry + 1)], axis=1)
            one.arrays.update(loss=loss, entry=entry, singular_values=sigma)
    found = {figure.id: figure for figure in study.figures(some)}
    assert list(found) == ["which", "tensors-3", "paths", "crossing", "perturbed"]
    assert all(figure.panels and figure.data and figure.caption for figure in found.values())
    assert len(found["paths"].panels) == 4
