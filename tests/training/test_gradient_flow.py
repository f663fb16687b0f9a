"""Gradient flow against exact solutions and small steps, and the singular values' velocity against a flow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from overt.linalg import Factored
from overt.models import DeepLinear
from overt.problems import CompletionProblem, matrix_completion, matrix_sensing
from overt.training import Recording, gradient_flow, singular_value_velocity, train

F64 = torch.float64


def problem(n=8, rank=2, seed=0):
    return matrix_completion((n, n), rank=rank, n_observed=40, seed=seed, min_per_line=rank)


def network(depth, n=8, init="balanced", scale=0.05, seed=0):
    return DeepLinear((n,) * (depth + 1), init=init, scale=scale, seed=seed, dtype=F64)


class Vector(nn.Module):
    """Parameters w as a 1×n matrix."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w], dtype=F64))

    def product(self):
        return self.w


@pytest.mark.slow
@pytest.mark.parametrize("method", ["DOP853", "RK45", "LSODA", "Radau", "BDF"])
def test_linear_flow_is_exact(method):
    target = torch.tensor([[1.0, -2.0, 3.0]], dtype=F64)
    flow = gradient_flow(
        Vector([0.0, 0.0, 5.0]), CompletionProblem.from_dense(target), [0.0, 0.3, 1.7], method=method
    )
    start = torch.tensor([[0.0, 0.0, 5.0]], dtype=F64)
    for t, W, loss in zip([0.0, 0.3, 1.7], flow.records, flow.losses, strict=True):
        exact = target + (start - target) * math.exp(-2 * t / 3)  # the loss is the mean of three squares
        assert torch.allclose(W, exact, rtol=0, atol=1e-6)
        assert loss == pytest.approx(float((exact - target).square().mean()), rel=1e-5)
    assert flow.status == "end"
    assert flow.times == [0.0, 0.3, 1.7]


def test_logistic_growth_of_two_factors():
    """σ of a 1×1 matrix at depth 2 obeys σ̇ = 4 σ (1 − σ): a logistic curve."""
    one = CompletionProblem.from_dense(torch.ones(1, 1, dtype=F64))
    model = DeepLinear((1, 1, 1), init="identity", scale=1e-4, dtype=F64)
    times = np.linspace(0, 4, 9)
    flow = gradient_flow(model, one, times.tolist(), rtol=1e-10)
    exact = 1 / (1 + (1 / 1e-4 - 1) * np.exp(-4 * times))
    assert [float(W) for W in flow.records] == pytest.approx(exact, rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_small_steps_come_to_the_flow(depth):
    """Gradient descent of rate η after T/η steps, with an error that halves with η."""
    data, end = problem(), 2.0
    flow = gradient_flow(network(depth, scale=0.5), data, [end])
    gaps = []
    for lr in (0.02, 0.01):
        result = train(
            network(depth, scale=0.5),
            data,
            optimizer="gd",
            lr=lr,
            max_steps=round(end / lr),
            recording=Recording(per_decade=1),
        )
        gaps.append(float((result.W - flow.records[-1]).norm()))
    assert gaps[1] < 0.02 * float(flow.records[-1].norm())
    assert gaps[1] == pytest.approx(gaps[0] / 2, rel=0.1)


def test_records_follow_the_steps():
    model = network(2)
    flow = gradient_flow(model, problem(), 5.0, fractions=(0.25, 1.0), record=lambda t, m: t)
    assert len(flow.times) == 1 + 2 * flow.n_steps
    assert flow.records == flow.times
    assert flow.times == sorted(flow.times)
    assert flow.times[-1] == 5.0
    ends = flow.times[2::2]
    assert flow.times[1] == pytest.approx(0.25 * ends[0])
    assert flow.n_evaluations > flow.n_steps


def test_steps_do_not_change_what_is_recorded():
    steps = gradient_flow(network(3), problem(), 5.0)
    again = gradient_flow(network(3), problem(), steps.times)
    for first, second in zip(steps.records, again.records, strict=True):
        assert torch.allclose(first, second, rtol=0, atol=1e-7)


def test_model_is_left_at_the_last_state():
    model = network(2)
    flow = gradient_flow(model, problem(), 3.0)
    assert torch.equal(model.product().detach(), flow.records[-1])


def test_ends_by_loss():
    data = problem()
    flow = gradient_flow(network(2), data, 1e9, until_loss=0.1)
    assert flow.status == "loss"
    assert flow.losses[-1] <= 0.1 < flow.losses[-2]
    assert all(a >= b for a, b in zip(flow.losses, flow.losses[1:], strict=False))


def test_ends_by_budget():
    flow = gradient_flow(network(2), problem(), 1e9, max_steps=3)
    assert (flow.status, flow.n_steps) == ("budget", 3)
    assert "max_steps" in flow.message


def test_frozen_parameters_stay():
    model = network(2)
    model.weights[0].requires_grad_(False)
    before = [w.detach().clone() for w in model.weights]
    gradient_flow(model, problem(), [1.0])
    assert torch.equal(model.weights[0], before[0])
    assert not torch.equal(model.weights[1], before[1])


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"times": [1.0, 0.5]}, ValueError, "times"),
        ({"times": [-1.0, 1.0]}, ValueError, "times"),
        ({"times": []}, ValueError, "times"),
        ({"times": math.inf}, ValueError, "times"),
        ({"times": 0.0}, ValueError, "times"),
        ({"fractions": (0.5, 1.5)}, ValueError, "fractions"),
        ({"fractions": ()}, ValueError, "fractions"),
        ({"method": "Euler"}, ValueError, "method"),
        ({"until_loss": math.nan}, ValueError, "until_loss"),
        ({"rtol": 0.0}, ValueError, "rtol"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"model": DeepLinear((8, 8, 8), seed=0)}, TypeError, "float64"),
        ({"model": "deep"}, TypeError, "model"),
    ],
)
def test_refuses(options, error, word):
    arguments = {"model": network(2), "problem": problem(), "times": 1.0} | options
    with pytest.raises(error, match=word):
        gradient_flow(**arguments)


def test_refuses_a_model_without_free_parameters():
    model = network(2).requires_grad_(False)
    with pytest.raises(ValueError, match="requires a gradient"):
        gradient_flow(model, problem(), 1.0)


# ---- the velocity of singular values ------------------------------------------------------------------


def measured(depth, *, init="balanced", data=None, leading=3, delta=2e-3):
    """Singular values along a flow, velocities by central differences, and the gradients there."""
    data = data or problem()
    model = network(depth, init=init, n=data.shape[0])
    flow = gradient_flow(model, data, 1e9, fractions=(0.5 - delta, 0.5, 0.5 + delta), until_loss=1e-3)
    times = np.asarray(flow.times[1:]).reshape(-1, 3)
    products = [flow.records[1 + k : 4 + k] for k in range(0, len(flow.records) - 1, 3)]
    values = np.asarray([[torch.linalg.svdvals(W)[:leading].numpy() for W in three] for three in products])
    rates = (values[:, 2] - values[:, 0]) / (times[:, 2] - times[:, 0])[:, None]
    states = []
    for three in products:
        W = three[1].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(data.loss(W), W)
        states.append((W.detach(), gradient))
    return rates, states


def deviation(rates, states, depth, leading=3):
    """The largest relative deviation of the whole trajectory from the formula of a depth."""
    formula = np.asarray(
        [singular_value_velocity(*state, depth, leading=leading).numpy() for state in states]
    )
    scale = np.maximum(np.abs(formula), 1e-3 * np.abs(formula).max(axis=0))
    return float((np.abs(rates - formula) / scale).max())


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_velocity_is_that_of_the_flow(depth):
    """Within 2 % over the whole trajectory; the formula of any other depth is far outside."""
    rates, states = measured(depth)
    assert len(states) > 5
    assert deviation(rates, states, depth) < 0.02
    for other in {1, 2, 3, 4, 5} - {depth}:
        assert deviation(rates, states, other) > 0.1


@pytest.mark.slow
def test_velocity_in_sensing():
    data = matrix_sensing((6, 6), rank=1, n_measurements=25, seed=1)
    rates, states = measured(3, data=data, leading=2)
    assert deviation(rates, states, 3, leading=2) < 0.02


@pytest.mark.slow
def test_exponent_read_from_the_flow():
    """A wrong exponent with the right factor is seen as well."""
    rates, states = measured(3)
    exponents = []
    for other in (2 / 3, 1 / 2, 3 / 4):
        formula = []
        for W, gradient in states:
            s = torch.linalg.svdvals(W)[:3]
            formula.append(
                (3 * s ** (2 * other) * singular_value_velocity(W, gradient, 1, leading=3)).numpy()
            )
        formula = np.asarray(formula)
        scale = np.maximum(np.abs(formula), 1e-3 * np.abs(formula).max(axis=0))
        exponents.append(float((np.abs(rates - formula) / scale).max()))
    assert exponents[0] < 0.02
    assert min(exponents[1:]) > 0.1


@pytest.mark.slow
def test_unbalanced_layers_do_not_follow_it():
    rates, states = measured(2, init="gaussian")
    assert deviation(rates, states, 2) > 0.1


def test_velocity_of_two_factors():
    torch.manual_seed(0)
    U, V, gradient = torch.randn(7, 2, dtype=F64), torch.randn(5, 2, dtype=F64), torch.randn(7, 5, dtype=F64)
    found = singular_value_velocity(Factored(U, V), gradient, 3)
    assert torch.allclose(found, singular_value_velocity(U @ V.T, gradient, 3, leading=2))


def test_zero_stays_zero_unless_flat():
    W, gradient = torch.zeros(3, 3, dtype=F64), torch.eye(3, dtype=F64)
    assert torch.equal(singular_value_velocity(W, gradient, 2), torch.zeros(3, dtype=F64))
    assert float(singular_value_velocity(W, gradient, 1).abs().max()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"depth": 0}, "depth"),
        ({"depth": 2.0}, "depth"),
        ({"depth": True}, "depth"),
        ({"leading": 4}, "leading"),
        ({"leading": 0}, "leading"),
        ({"gradient": torch.eye(2)}, "gradient"),
    ],
)
def test_velocity_refuses(arguments, word):
    with pytest.raises((TypeError, ValueError), match=word):
        singular_value_velocity(**({"W": torch.eye(3), "gradient": torch.eye(3), "depth": 2} | arguments))
