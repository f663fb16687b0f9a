"""Modular addition: rules on made-up runs, the pairs, the networks and penalties, small runs."""

from __future__ import annotations

import math

import pytest
import torch
from worlds import changed, outcomes, runs

from overt import JacobianPenalty
from overt.studies import RunContext
from overt.studies.grokking import training as T
from overt.studies.grokking.learning import METHODS
from overt.studies.grokking.networks import make_network, pairs
from overt.studies.grokking.settings import LearningConfig
from overt.studies.grokking.study import study
from overt.studies.runs.records import dump_lines, load_lines

YES = {claim.id: "supported" if claim.kind == "own" else "reproduced" for claim in study.claims}
NO = {claim.id: "refuted" if claim.kind == "own" else "not reproduced" for claim in study.claims}
OPEN = {claim.id: claim.open for claim in study.claims}
STEPS = {
    "weight decay": 500,
    "nuclear": 250,
    "jacobian 2": 100,
    "jacobian 1": 130,
    "fourier 1": 60,
    "weight 0": None,
}


def record(steps, budget, pace=0.01):
    """A run that generalizes after so many steps, if its budget lets it."""
    reached = steps is not None and steps < budget
    took = steps if reached else budget
    return {
        "status": "reached" if reached else "budget",
        "steps": took,
        "seconds": pace * took,
        "steps_to_generalize": steps if reached else None,
        "seconds_to_generalize": pace * took if reached else None,
    }


def world(config, steps=STEPS, pace=None):
    """Each claim holds."""
    usual = steps[config.method]
    if usual is not None:
        usual = usual * (1.5 if config.share < 0.6 else 1.0) * (1.0 if config.setting == 1 else 1.3)
        usual += config.seed % 3
    pace = (pace or {}).get(config.method, 0.02 if config.method in ("jacobian 2", "fourier 1") else 0.01)
    return record(usual, config.max_steps, pace)


def told(some_world):
    return outcomes(study, runs(study, some_world))


def with_(**steps):
    return lambda config: world(config, STEPS | {name.replace("_", " "): n for name, n in steps.items()})


def test_every_claim_can_hold():
    assert told(world) == YES


@pytest.mark.parametrize(
    ("claim", "some_world"),
    [
        ("GK1", lambda c: record(300 if c.share < 0.6 else 400, 1500)),
        ("GK2", with_(weight_0=300)),
        ("GK3", with_(nuclear=520)),
        ("GK4", with_(jacobian_2=510)),
        ("GK5", with_(fourier_1=120)),
        ("GK5", with_(jacobian_1=40)),
        ("GK6", with_(jacobian_2=510)),
        ("GK7", lambda c: world(c, pace={"jacobian 2": 0.2})),
        ("GK8", with_(jacobian_2=400)),
    ],
)
def test_every_claim_can_fail(claim, some_world):
    assert told(some_world)[claim] == NO[claim]


@pytest.mark.parametrize("claim", YES)
def test_budgets_that_end_all_runs_decide_nothing(claim):
    assert told(lambda config: record(None, config.max_steps))[claim] == OPEN[claim]


def test_a_gain_below_the_bar_decides_nothing():
    assert told(with_(nuclear=450))["GK3"] == OPEN["GK3"]
    assert told(with_(jacobian_2=350))["GK4"] == OPEN["GK4"]


def test_an_arm_that_no_budget_was_enough_for_took_longer():
    """Weight decay is not seen to generalize: a penalty that does in a tenth of the budget is sooner."""
    found = told(with_(weight_decay=None))
    assert found["GK4"] == "supported"
    assert found["GK2"] == OPEN["GK2"]


def test_one_modulus_is_enough_against_a_claim():
    def one_cell(config):
        slow = config.method == "nuclear" and config.modulus == 47
        return world(config, STEPS | {"nuclear": 700} if slow else STEPS)

    assert told(one_cell)["GK3"] == "refuted"


def test_a_run_that_diverged_has_no_time():
    lost = changed(world, status=lambda c: "diverged" if c.method == "jacobian 2" else world(c)["status"])
    lost = changed(
        lost, steps_to_generalize=lambda c: None if c.method == "jacobian 2" else world(c)["steps"]
    )
    assert told(lost)["GK4"] != "supported"


def test_without_runs_nothing_is_decided():
    assert outcomes(study, []) == OPEN
    assert study.figures([]) == []


def test_methods_have_as_many_settings():
    assert {len(knob) for knob in T.KNOBS.values()} == {3}
    for preset in ("quick", "full"):
        for network in ("mlp", "transformer"):
            some = [config for config in study.plan(preset, 0) if config.network == network]
            counts = {m: sum(config.method == m for config in some) for m in METHODS}
            assert len(set(counts.values())) == 1


# ---- what is learned --------------------------------------------------------------------------------------


def test_pairs_are_all_pairs_once():
    data = pairs(7, 0.6, 0)
    x, y = torch.cat((data.train, data.test)), torch.cat((data.train_labels, data.test_labels))
    a, b = x.argmax(-1).T
    assert len(data.train) == 29
    assert torch.equal((a + b) % 7, y)
    assert len({(int(i), int(j)) for i, j in zip(a, b, strict=True)}) == 49
    assert torch.equal(pairs(7, 0.6, 0).train, data.train)
    assert not torch.equal(pairs(7, 0.6, 1).train, data.train)


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_networks_see_both_residues_and_are_seeded(network):
    model, data = make_network(network, 7, 8, 0), pairs(7, 0.5, 0)
    out = model(data.train)
    assert out.shape == (24, 7)
    assert torch.equal(out, make_network(network, 7, 8, 0)(data.train))
    for place in (0, 1):
        moved = data.train.clone()
        moved[:, place] = moved[:, place].roll(1, -1)
        assert not torch.allclose(model(moved), out)


def test_the_fourier_penalty_is_that_of_the_transformed_residues():
    config = LearningConfig(modulus=5, width=6, method="fourier 1", seed=0)
    model, data = make_network("mlp", 5, 6, 0), pairs(5, 0.6, 0)
    penalty = T._penalty(model, config, 1.0)
    assert isinstance(penalty, JacobianPenalty)
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(10, 5, bias=False))
    exact = JacobianPenalty(linear, 1.0, "fourier", 1.0, dims=[1], probes=4000, seed=0)
    x = data.train.clone().requires_grad_()
    found = float(exact.penalty(x, linear(x)).detach())
    rows = torch.fft.fft(linear[1].weight.detach().view(5, 2, 5), norm="ortho")
    expected = float(rows.abs().square().sum(0).sqrt().sum())
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("method", [*METHODS, "jacobian 1"])
def test_one_short_run_of_each_method(method, tmp_path):
    config = LearningConfig(modulus=5, width=8, method=method, max_steps=12, seed=0)
    (record,) = load_lines(dump_lines(study.execute(config, RunContext(tmp_path, lambda line: None)).records))
    assert record["status"] in ("budget", "reached")
    assert record["steps"] == 12 or record["status"] == "reached"
    assert (record["steps_to_generalize"] is None) == (record["status"] == "budget")
    again = study.execute(config, RunContext(tmp_path, lambda line: None)).records[0]
    assert again["accuracy"] == record["accuracy"]


def test_a_run_ends_when_it_generalizes(tmp_path, monkeypatch):
    answers = iter([0.1, 0.5, 0.96, 1.0])
    monkeypatch.setattr(T, "_accuracy", lambda *_: next(answers))
    config = LearningConfig(modulus=5, width=8, max_steps=100, seed=0)
    found = T.run(config, RunContext(tmp_path, lambda line: None))
    assert (found["status"], found["steps_to_generalize"]) == ("reached", 2 * T.EVERY)
    assert found["seconds_to_generalize"] == found["seconds"]


def test_a_loss_that_is_no_number_is_a_divergence(tmp_path, monkeypatch):
    monkeypatch.setattr(T.nnf, "cross_entropy", lambda logits, _: logits.sum() * math.nan)
    config = LearningConfig(modulus=5, width=8, method="weight 0", max_steps=20, seed=0)
    found = T.run(config, RunContext(tmp_path, lambda line: None))
    assert (found["status"], found["steps_to_generalize"]) == ("diverged", None)


@pytest.mark.slow
def test_a_small_network_generalizes_with_the_penalty(tmp_path):
    """At p = 13 and nine tenths of the pairs."""
    config = LearningConfig(modulus=13, share=0.9, method="jacobian 2", setting=2, max_steps=800, seed=0)
    found = T.run(config, RunContext(tmp_path, lambda line: None))
    assert found["best_accuracy"] > 0.5


@pytest.mark.slow
def test_a_small_run_of_the_transformer(tmp_path):
    for method in ("weight decay", "fourier 1", "nuclear"):
        fields = {"network": "transformer", "modulus": 5, "width": 8, "max_steps": 10}
        config = LearningConfig(method=method, seed=0, **fields)
        assert T.run(config, RunContext(tmp_path, lambda line: None))["steps"] == 10


@pytest.mark.slow
def test_figures_of_made_up_runs():
    assert [figure.id for figure in study.figures(runs(study, world))] == ["steps", "seconds", "reached"]
