"""Depth as a name of p, the default weight, and the warning of a model that has become constant."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from overt import JacobianPenalty


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(size=20, outputs=1, width=48, activation=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(size, width), activation(), nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def train(
    model, x, y, penalty, *, steps=300, loss=nn.functional.mse_loss, optimizer=torch.optim.AdamW, lr=4e-3
):
    moving = optimizer(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(moving, steps)
    draws = generator()
    for _ in range(steps):
        rows = torch.randint(len(x), (64,), generator=draws)
        batch = x[rows].requires_grad_()
        outputs = model(batch)
        moving.zero_grad()
        (loss(outputs, y[rows]) + penalty.penalty(batch, outputs)).backward()
        moving.step()
        schedule.step()
    return model


def staircase(seed=0, scale=1.0):
    x = torch.randn(300, 20, generator=generator(seed)).sign()
    return x, scale * (x[:, :1] + x[:, :1] * x[:, 1:2])


@pytest.mark.parametrize(("depth", "p"), [(1, 2.0), (2, 1.0), (3, 2 / 3), (1.5, 4 / 3)])
def test_depth_is_another_name_of_p(depth, p):
    model, x = network(), torch.randn(6, 20, generator=generator())
    deep, plain = JacobianPenalty(model, depth=depth), JacobianPenalty(model, p)
    assert deep.p == p
    assert deep.describe() == plain.describe()
    assert deep.penalty(x).item() == plain.penalty(x).item()


def test_the_default_weight_is_smaller_below_one():
    model = network()
    assert [JacobianPenalty(model, p).weight for p in (2.0, 1.0, 2 / 3, 0.5)] == [1e-2, 1e-2, 1e-3, 1e-3]
    assert JacobianPenalty(model).p == 1
    assert JacobianPenalty(model, 0.5, weight=0.3).weight == 0.3


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"p": 1.0, "depth": 2}, ValueError, r"p, depth: p=1\.0 and depth=2 are two names of one thing"),
        ({"depth": 0.5}, ValueError, "depth must be a finite number ≥ 1"),
        ({"depth": float("nan")}, ValueError, "depth must be"),
        ({"depth": "deep"}, TypeError, "depth must be"),
        ({"weight": "small"}, TypeError, "weight must be"),
        ({"depth": 1, "normalized": True}, ValueError, "normalized with p=2"),
    ],
)
def test_names_and_weights_that_cannot_be_meant_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        JacobianPenalty(network(), **options)


# Warnings are errors in these tests, so that a false alarm is a failure.
@pytest.mark.parametrize("basis", ["identity", "eigen"])
@pytest.mark.parametrize(
    ("p", "weight"), [(2 / 3, "auto"), (2 / 3, 0.03), (0.5, "auto"), (1.0, "auto"), (1.0, 0.1), (2.0, 1.0)]
)
def test_ordinary_training_gives_no_warning(p, weight, basis):
    x, y = staircase()
    model = network()
    penalty = JacobianPenalty(model, p, basis, weight)
    train(model, x, y, penalty)
    assert penalty.moments.trace() > 1e-2


@pytest.mark.parametrize("kind", ["tanh", "classes", "sgd", "large", "small targets", "normalized", "share"])
def test_ordinary_training_of_other_kinds_gives_no_warning(kind):
    x, y = staircase(scale=0.1 if kind == "small targets" else 1.0)
    model = network(outputs=3 if kind == "classes" else 1, activation=nn.Tanh if kind == "tanh" else nn.ReLU)
    options = {"normalized": {"normalized": True}, "share": {"share": 0.02, "momentum": 0.5}}.get(kind, {})
    if kind == "large":
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(3)
    penalty = JacobianPenalty(model, 2 / 3, "identity", **options)
    more = {}
    if kind == "classes":
        y, more = (
            (x[:, 0] + x[:, 1] + 1).div(2).round().long().clamp(0, 2),
            {"loss": nn.functional.cross_entropy},
        )
    if kind == "sgd":
        more = {"optimizer": torch.optim.SGD, "lr": 0.05}
    train(model, x, y, penalty, **more)


@pytest.mark.parametrize(
    ("p", "basis", "activation"), [(2 / 3, "identity", nn.ReLU), (0.5, "eigen", nn.Tanh)]
)
def test_a_model_that_becomes_constant_is_told_once_with_a_remedy(p, basis, activation):
    x, y = staircase()
    model = network(activation=activation)
    penalty = JacobianPenalty(model, p, basis, 1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, x, y, penalty)
    (one,) = caught
    assert one.category is RuntimeWarning
    assert "the model is constant, or nearly" in str(one.message)
    assert "weight=1); start again with a tenth of the weight" in str(one.message)
    assert model(x).std() < 1e-2 * y.std()


def test_looking_gives_no_warning():
    model, x = network(), torch.randn(6, 20, generator=generator())
    penalty = JacobianPenalty(model, 2 / 3, momentum=0.0)
    penalty.penalty(x)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1e-3)
        penalty.penalty(x)
    penalty.value(x)
    penalty.report(x)
    with pytest.warns(RuntimeWarning, match="has fallen to"):
        penalty.penalty(x)
