"""Razin & Cohen 2020: the flow against layers in small steps, tensor ranks, plan, verdicts, runs, figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from overt.models import CPTensor, DeepLinear
from overt.studies import Run, RunContext
from overt.studies.razin2020.claims import CLAIMS, GROUPS
from overt.studies.razin2020.config import RazinConfig
from overt.studies.razin2020.execute import bound, network
from overt.studies.razin2020.figures import figures
from overt.studies.razin2020.flow import Target, gradient_flow
from overt.studies.razin2020.ranks import cp_residual, tensor_rank
from overt.studies.razin2020.rules import FUNCTIONALS, judge
from overt.studies.razin2020.study import study
from overt.studies.runs.identity import config_hash
from overt.studies.runs.records import dump_lines, load_lines

SEEDS = range(5)
NAMES = ("nuclear norm", "Frobenius norm", "spectral norm", "Schatten ½", "Schatten ⅔")


def run(record, arrays=None, **fields):
    config = RazinConfig(**fields)
    name = config_hash("razin2020", 1, config)
    return Run(
        "razin2020",
        name,
        config.model_dump(mode="json"),
        [{"loss": 0.0, "status": "converged", **record}],
        arrays or {},
        {"status": "done"},
    )


def verdict(claim, runs):
    found = {one.claim: one for one in judge(runs)}
    assert list(found) == [one.id for one in CLAIMS]
    for estimate in found[claim].estimates:
        assert math.isfinite(estimate.value)
    json.dumps(found[claim].reason, allow_nan=False)
    return found[claim].outcome


# ---- what runs are made of --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("determinant", ["positive", "negative"])
def test_flow_is_that_of_the_layers(depth, determinant):
    """The oracle: the layers themselves in very small steps of gradient descent."""
    config = RazinConfig(group="entry", depth=depth, determinant=determinant, init_scale=0.3, seed=1)
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
    config = RazinConfig(group="entry", depth=3, seed=0)
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
        model = network(RazinConfig(group="entry", init=init, determinant=determinant, seed=seed))
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
    config = RazinConfig(group="entry", corner=0.05, seed=0)
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


def test_plans():
    for preset in ("quick", "full"):
        configs = study.plan(preset, 0)
        assert len(set(configs)) == len(configs)
        assert {config.group for config in configs} == set().union(*GROUPS.values())
        assert len({config.seed for config in configs}) == (3 if preset == "quick" else 10)
    assert {config.seed for config in study.plan("quick", 7)} == {7, 8, 9}
    assert study.concerns({"group": "tensor"}, "R5")
    assert not study.concerns({"group": "tensor"}, "R1")


SMALL = {
    "entry": {"depth": 2, "loss_target": 1e-3},
    "perturbed": {"depth": 2, "loss_target": 1e-3, "corner": 0.3},
    "descent": {"max_steps": 200},
    "tensor": {"n": 4, "n_observed": 40, "components": 8, "max_steps": 100, "optimizer": "grouprmsprop"},
    "which": {"n": 8, "rank": 1, "n_observed": 50, "max_steps": 300, "lr": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("group", SMALL)
def test_one_small_run_of_each_kind(group, tmp_path, monkeypatch):
    monkeypatch.setattr("overt.studies.razin2020.which.DESCENT_STEPS", 20)
    config = RazinConfig(group=group, seed=0, **SMALL[group])
    output = study.execute(config, RunContext(tmp_path, lambda line: None))
    (record,) = load_lines(dump_lines(output.records))
    if group == "entry":
        assert record["loss"] == pytest.approx(1e-3, rel=1e-3)
        assert output.arrays["singular_values"].shape == (*output.arrays["loss"].shape, 2)
    if group == "which":
        assert set(record["excess"]) == set(FUNCTIONALS)
        assert record["values"]["one huge entry"]["effective_rank"] < 1.1
        assert record["values"]["one huge entry"]["rank"] > record["values"]["truth"]["rank"]
    if group == "tensor":
        assert record["zero_filling"] == pytest.approx(math.sqrt(24 / 64), rel=0.5)
    assert study.label(config).startswith(group)


def test_refusals():
    with pytest.raises(ValueError, match="optimizer"):
        RazinConfig(group="descent", optimizer="nope", seed=0)
    with pytest.raises(ValueError, match="observed"):
        RazinConfig(group="tensor", n=2, n_observed=9, seed=0)


# ---- verdicts ---------------------------------------------------------------------------------------------


def flows(
    slope=-0.5, least=1.0, growth=100.0, rank=1.001, distance=0.5, entry=1000.0, low=1.0, rise=1.0, n=5
):
    runs = []
    for depth in (2, 3, 4):
        for seed in range(n):
            record = {
                "loss": 5e-7,
                "slope": slope + 1e-3 * seed,
                "least_over_bound": least,
                "open_entry": entry,
                "bound": 998.0,
                "entry_at_1e-4": 70.0,
                "growth": dict.fromkeys(NAMES, growth),
                "effective_rank": rank,
                "effective_rank_start": 1.5,
                "rank_distance": distance,
            }
            runs.append(run(record, trajectory(entry), group="entry", depth=depth, seed=seed))
            below = {"open_entry": low * rise, "entry_at_1e-4": low}
            runs.append(
                run(
                    record | below,
                    trajectory(low),
                    group="entry",
                    depth=depth,
                    determinant="negative",
                    seed=seed,
                )
            )
    return runs


def trajectory(end):
    loss = 10.0 ** np.arange(-0.5, -6.2, -0.25)
    entry = np.geomspace(0.5, max(end, 0.6), len(loss))
    return {"loss": loss, "entry": entry, "singular_values": np.stack([entry + 1, 1 / (entry + 1)], axis=1)}


def test_nothing_is_inconclusive():
    assert {one.outcome for one in judge([])} == {"inconclusive"}
    assert figures([]) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"slope": -0.3}, "not reproduced"),
        ({"least": 0.9}, "not reproduced"),
        ({"slope": -0.549, "n": 1}, "inconclusive"),
        ({"slope": math.nan}, "not reproduced"),
    ],
)
def test_r1(fields, expected):
    assert verdict("R1", flows(**fields)) == expected


def steps(entry=30.0, determinant=1e-6, loss=1e-3, kept=5, n=5):
    runs = []
    for seed in range(n):
        good = seed < kept
        record = {"loss": loss, "bound": 20.0, "open_entry": entry if good else 5.0}
        record["determinant"] = determinant if good else -1.0
        runs.append(run(record, group="descent", depth=2, lr=0.05, init="balanced", seed=seed))
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"entry": 19.0}, "not reproduced"),
        ({"determinant": -1e-9}, "not reproduced"),
        ({"determinant": math.nan}, "not reproduced"),
        ({"kept": 0}, "not reproduced"),
        ({"kept": 4}, "inconclusive"),
        ({"loss": 0.2}, "inconclusive"),
        ({"loss": math.nan}, "inconclusive"),
    ],
)
def test_r7(fields, expected):
    assert verdict("R7", steps(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"growth": 2.0}, "not reproduced"),
        ({"rank": 1.2}, "not reproduced"),
        ({"distance": 2.0}, "not reproduced"),
    ],
)
def test_r2(fields, expected):
    assert verdict("R2", flows(**fields)) == expected


def test_r2_between():
    runs = flows()
    runs[0].records[0]["growth"]["Schatten ½"] = 3.0
    assert verdict("R2", runs) == "inconclusive"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"low": 500.0}, "not reproduced"),
        ({"rise": 2.0}, "not reproduced"),
        ({"n": 1}, "inconclusive"),
    ],
)
def test_r3(fields, expected):
    assert verdict("R3", flows(**fields)) == expected


def perturbations(power=-1.0, over=1.001, spread=0.0, seeds=SEEDS):
    runs = []
    for depth in (2, 3, 4):
        for seed in seeds:
            for corner in (0.1, 0.01):
                least = 1 / corner
                entry = over * corner ** (power + spread * (seed - 2))
                record = {
                    "open_entry": entry,
                    "bound": min(least, entry) if over >= 1 else least,
                    "loss": 1e-9,
                }
                runs.append(
                    run(record, group="perturbed", depth=depth, corner=corner, loss_target=1e-9, seed=seed)
                )
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"power": -0.5}, "not reproduced"),
        ({"over": 0.9}, "not reproduced"),
        ({"spread": 0.06}, "inconclusive"),
    ],
)
def test_r4(fields, expected):
    assert verdict("R4", perturbations(**fields)) == expected


def tensors(error=0.01, lost=0, exact=True, seeds=SEEDS):
    runs = []
    for order, count in ((3, 300), (4, 1000)):
        for rank in (1, 3):
            for seed in seeds:
                record = {
                    "error": 0.9 if seed < lost else error,
                    "tensor_rank": rank if exact else rank + 1,
                    "zero_filling": 0.7,
                }
                options = {"order": order, "rank": rank, "n_observed": count, "init_scale": 1e-4}
                runs.append(run(record, group="tensor", seed=seed, **options))
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"error": 0.3}, "not reproduced"),
        ({"exact": False}, "not reproduced"),
        ({"lost": 2}, "inconclusive"),
        ({"error": None}, "not reproduced"),
    ],
)
def test_r5(fields, expected):
    assert verdict("R5", tensors(**fields)) == expected


def least(rank=0.0, smooth=0.5, nuclear=0.1, misses=0, same=False, seeds=range(10)):
    runs = []
    for seed in seeds:
        excess = {"rank": 1.0 if seed < misses else rank, "effective_rank": smooth}
        excess |= {"normalized_nuclear_norm": smooth, "nuclear_norm": nuclear}
        record = {
            "excess": excess,
            "descents": {name: {"drop": 0.001, "moved": 0.0} for name in FUNCTIONALS if name != "rank"},
            "values": {
                "network": dict.fromkeys(FUNCTIONALS, 2.0),
                "truth": dict.fromkeys(FUNCTIONALS, 2.0),
                "minimum nuclear norm": dict.fromkeys(FUNCTIONALS, 2.0 if same else 1.5),
            },
        }
        runs.append(run(record, group="which", n=20, rank=2, n_observed=160, seed=seed))
    return runs


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "reproduced"),
        ({"rank": 0.5}, "not reproduced"),
        ({"nuclear": 0.0}, "not reproduced"),
        ({"misses": 3}, "inconclusive"),
        ({"same": True}, "inconclusive"),
    ],
)
def test_r6(fields, expected):
    assert verdict("R6", least(**fields)) == expected


@pytest.mark.parametrize(("drop", "share"), [(0.0099, 1.0), (0.0101, 0.0)])
def test_r6_says_where_a_functional_is_minimised_locally(drop, share):
    runs = least()
    for one in runs:
        for found in one.records[0]["descents"].values():
            found["drop"] = drop
    (r6,) = [one for one in judge(runs) if one.claim == "R6"]
    local = [one.value for one in r6.estimates if "descent lowers" in one.label]
    assert local == [share] * 3


@pytest.mark.slow
def test_figures():
    runs = [*flows(), *perturbations(), *tensors(), *least()]
    found = figures(runs)
    assert [figure.id for figure in found] == [
        "open-entry",
        "norms-and-rank",
        "perturbed",
        "tensors",
        "which",
    ]
    assert all(figure.panels and figure.data and figure.caption for figure in found)


def test_a_deep_linear_model_is_what_the_network_is():
    assert isinstance(network(RazinConfig(group="descent", seed=0)), DeepLinear)


@pytest.mark.parametrize(
    ("claim", "make"), [("R1", flows), ("R2", flows), ("R3", flows), ("R5", tensors), ("R6", least)]
)
def test_runs_that_were_stopped_are_no_evidence(claim, make):
    runs = make()
    assert verdict(claim, runs) == "reproduced"
    for one in runs:
        one.records[0].update(loss=0.05, status="budget", message="max_steps=9 used up at training loss 0.05")
    assert verdict(claim, runs) == "inconclusive"


def test_the_message_tells_the_loss_of_r6():
    runs = least()
    for one in runs:
        one.records[0].update(status="budget", message="max_steps=9 used up at training loss 3e-09")
    assert verdict("R6", runs) == "reproduced"


def test_one_setting_changed():
    fewer = [run(one.records[0], **(one.config | {"n_observed": 140})) for one in [*least(), *tensors()]]
    fewer = list({one.hash: one for one in fewer}.values())
    assert verdict("R5", fewer) == verdict("R6", fewer) == "reproduced"
    zero = [run(one.records[0], **(one.config | {"corner": 0.0})) for one in perturbations()]
    zero = list({one.hash: one for one in zero}.values())
    assert "positive values of corner" in {one.claim: one.reason for one in judge(zero)}["R4"]
    assert figures(zero) == []
