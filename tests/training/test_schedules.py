"""Schedules of the penalty's weight and of the learning rate."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.problems import matrix_completion
from overt.training import (
    Constant,
    HoldUntilCollapse,
    Schedule,
    Stopping,
    Warmup,
    log_spaced,
    train,
)

COLLAPSED = torch.tensor([5.0, 4.0, 1e-3, 1e-3, 1e-4, 0.0])
OPEN = torch.tensor([5.0, 4.0, 1.0, 0.5, 0.3, 0.1])


@pytest.mark.parametrize("schedule", [Constant(0.1), HoldUntilCollapse()])
def test_what_all_schedules_do(schedule):
    assert isinstance(schedule, Schedule)
    schedule.reset()
    assert schedule.observe(0, OPEN, 1.0) is False
    state = json.loads(json.dumps(schedule.state_dict()))
    schedule.load_state_dict(state)
    assert schedule.state_dict() == state
    with pytest.raises(ValueError, match="state"):
        schedule.load_state_dict({"other": 1})
    assert " at 0x" not in repr(schedule)


class Steps(Schedule):
    """One of a user's own: the weight is all that it says."""

    def weight(self, step):
        return 0.1 if step < 5 else 0.0


def test_a_schedule_of_ones_own_overrides_the_weight_alone():
    problem = matrix_completion((6, 6), rank=1, n_observed=25, seed=0)
    model = DeepLinear((6, 6), scale=1e-3, seed=0, dtype=torch.float64)
    penalty = SpectralPenalty(model, of="product")
    result = train(model, problem, penalty=penalty, schedule=Steps(), max_steps=8)
    found = dict(zip(result.trace.column("step"), result.trace.column("weight"), strict=True))
    assert found == {step: 0.1 if step < 5 else 0.0 for step in log_spaced(8)}
    with pytest.raises(TypeError, match="abstract"):
        Schedule()


def test_only_a_schedule_is_one():
    class Lookalike:
        reset = weight = observe = state_dict = load_state_dict = None

    model = DeepLinear((6, 6), seed=0)
    problem = matrix_completion((6, 6), rank=1, n_observed=25, seed=0, dtype=torch.float32)
    with pytest.raises(TypeError, match=r"schedule must be a Schedule such as HoldUntilCollapse\(\), got"):
        train(model, problem, penalty=SpectralPenalty(model), schedule=Lookalike())


def test_warmup_rises_and_decays():
    factor = Warmup(4, total=14, final=0.1)
    assert [factor(t) for t in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(4) == 1.0
    assert factor(9) == pytest.approx(0.55)
    assert factor(14) == factor(100) == pytest.approx(0.1)
    assert Warmup()(0) == Warmup()(10**9) == 1.0


def watch(schedule: HoldUntilCollapse, spectra, loss: float = 1e-3) -> list[bool]:
    return [schedule.observe(25 * i, s, loss) for i, s in enumerate(spectra)]


def test_holds_until_patience_is_used_up_then_releases_then_ends():
    schedule = HoldUntilCollapse(patience=3, release_steps=50, hold=0.02)
    assert schedule.weight(0) == 0.02
    assert watch(schedule, [OPEN, COLLAPSED, COLLAPSED]) == [False] * 3
    assert schedule.rank is None
    assert schedule.weight(75) == 0.02
    assert schedule.observe(75, COLLAPSED, 1e-3) is False
    assert (schedule.rank, schedule.collapsed_at) == (2, 75)
    assert schedule.weight(76) == 0.0
    assert schedule.observe(100, OPEN, 1e-3) is False
    assert schedule.observe(125, OPEN, 1e-3) is True
    assert schedule.rank == 2
    schedule.reset()
    assert schedule.rank is None
    assert schedule.weight(0) == 0.02


def test_without_a_hold_the_penalty_keeps_its_weight():
    assert HoldUntilCollapse().weight(0) is None


@pytest.mark.parametrize(
    ("spectra", "loss", "why"),
    [
        ([COLLAPSED, COLLAPSED, OPEN, COLLAPSED, COLLAPSED], 1e-3, "the gap went away in between"),
        ([COLLAPSED] * 5, 0.5, "the data are not fitted"),
        (
            [torch.tensor([5.0, 4.0 * 0.8**i, 1e-3, 1e-3, 1e-3, 1e-3]) for i in range(5)],
            1e-3,
            "the last value still falls",
        ),
        ([torch.tensor([5.0, 4.0, 3.0, 1e-3])] * 5, 1e-3, "that is no low rank"),
        ([torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.9, 0.1])] * 5, 1e-3, "there is no gap"),
        ([torch.tensor([5.0, 0.2, 0.1, 0.05])] * 5, 1e-3, "the gap is too small"),
    ],
)
def test_is_not_taken_in(spectra, loss, why):
    schedule = HoldUntilCollapse(patience=3)
    watch(schedule, spectra, loss)
    assert schedule.rank is None, why


def test_the_rank_may_change_before_it_counts():
    schedule = HoldUntilCollapse(patience=3)
    three = torch.tensor([5.0, 4.0, 1.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])
    two = torch.tensor([5.0, 4.0, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])
    watch(schedule, [three, three, two, two, two])
    assert (schedule.rank, schedule.collapsed_at) == (2, 100)


@given(
    st.integers(1, 5),
    st.lists(st.floats(1.0, 10.0), min_size=5, max_size=5),
    st.floats(-6, 6),
    st.floats(0.0, 0.009),
)
def test_finds_the_rank_whatever_the_scale(rank, values, exponent, noise):
    head = sorted(values[:rank], reverse=True)
    spectrum = torch.tensor([*head, *[noise * head[-1]] * (12 - rank)], dtype=torch.float64) * 10.0**exponent
    schedule = HoldUntilCollapse(patience=2)
    watch(schedule, [spectrum, spectrum])
    assert schedule.rank == rank


def test_interrupted_observation_goes_on():
    whole, first, second = (HoldUntilCollapse(patience=4) for _ in range(3))
    watch(whole, [COLLAPSED] * 4)
    watch(first, [COLLAPSED] * 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for i in (2, 3):
        second.observe(25 * i, COLLAPSED, 1e-3)
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"rank": 1.5, "collapsed_at": None, "candidate": None, "count": 0, "level": 0.0},
        {"rank": None, "collapsed_at": None, "candidate": None, "count": "0", "level": 0.0},
        {"rank": None, "collapsed_at": None, "candidate": None, "count": 0, "level": None},
    ],
)
def test_a_wrong_state_is_refused(state):
    with pytest.raises(ValueError, match="not a state of HoldUntilCollapse"):
        HoldUntilCollapse().load_state_dict(state)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Constant(-1.0),
        lambda: Constant(math.nan),
        lambda: Constant(math.inf),
        lambda: HoldUntilCollapse(gap=1.0),
        lambda: HoldUntilCollapse(patience=0),
        lambda: HoldUntilCollapse(release_steps=-1),
        lambda: HoldUntilCollapse(drift=0.0),
        lambda: HoldUntilCollapse(fit=-1.0),
        lambda: HoldUntilCollapse(hold=-1.0),
        lambda: Warmup(-1),
        lambda: Warmup(10, total=5),
        lambda: Warmup(final=2.0),
    ],
)
def test_wrong_arguments_are_refused(build):
    with pytest.raises(ValueError, match="must be"):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Constant("1"),
        lambda: Constant(True),
        lambda: Warmup(total="9"),
        lambda: HoldUntilCollapse(patience=1.5),
        lambda: HoldUntilCollapse(hold="0.1"),
    ],
)
def test_arguments_of_another_kind_are_refused(build):
    with pytest.raises(TypeError, match="must be"):
        build()


@pytest.mark.slow
def test_the_penalty_at_depth_one_finds_the_rank_and_the_release_removes_its_bias():
    problem = matrix_completion((20, 20), rank=1, n_observed=120, seed=0)
    model = DeepLinear((20, 20), scale=1e-3, seed=0, dtype=torch.float64)
    penalty = SpectralPenalty(model, of="product", weight=0.05)
    schedule = HoldUntilCollapse(release_steps=200)
    result = train(model, problem, lr=1e-2, penalty=penalty, schedule=schedule, max_steps=6000)
    assert result.status == "converged", result.message
    assert schedule.rank == 1
    assert schedule.collapsed_at is not None
    held = [row for row in result.trace if row["step"] <= schedule.collapsed_at]
    assert {row["weight"] for row in held} == {0.05}
    assert result.trace[-1]["weight"] == 0.0
    assert problem.error(result.W) < 0.05


def test_a_schedule_that_never_ends_leaves_the_budget():
    problem = matrix_completion((6, 6), rank=1, n_observed=25, seed=0)
    model = DeepLinear((6, 6), scale=1e-3, seed=0, dtype=torch.float64)
    penalty = SpectralPenalty(model, of="product", weight=0.05)
    schedule, stopping = Steps(), Stopping(stall_steps=1)
    result = train(model, problem, penalty=penalty, schedule=schedule, max_steps=40, stopping=stopping)
    assert result.status == "budget"
    assert result.trace.column("weight")[-1] == 0.0
