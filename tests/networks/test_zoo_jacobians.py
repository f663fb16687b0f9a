"""Measure and Jacobian penalty of every network in the zoo: right, in both modes, without a trace."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from overt import JacobianPenalty, measure
from zoo import ZOO, Animal, animal, minilm

each = pytest.mark.parametrize("name", ZOO)


@cache
def built(name: str) -> Animal:
    return animal(name)


@cache
def jacobians(name: str) -> torch.Tensor:
    """J of each input (n, K, D), that input being alone."""
    found = []
    one = built(name)
    for i, x in enumerate(one.inputs):
        sides = {key: side[i : i + 1] for key, side in one.sides.items()}
        rows = jacobian(lambda z, s=sides: one.forward(one.model.eval(), z[None], **s).flatten(), x)
        found.append(rows.flatten(1))
    return torch.stack(found)


def moment(name: str) -> torch.Tensor:
    J = jacobians(name)
    return torch.einsum("nki,nkj->ij", J, J) / len(J)


def in_training(name: str) -> Animal:
    """With some modules in training mode and others not."""
    one = built(name)
    for i, module in enumerate(one.model.modules()):
        module.training = i % 3 != 1
    return one


def settings(one: Animal) -> dict:
    return {"forward": one.forward}


@each
@pytest.mark.parametrize("budget", [1, 2**30])
def test_the_measure_is_that_of_brute_force_whatever_fits_the_memory(name, budget):
    one, M = built(name), moment(name)
    options = {"side_inputs": one.sides or None, "memory_budget": budget, **settings(one)}
    found = measure(one.model, one.inputs, "identity", **options).values
    torch.testing.assert_close(found, M.diagonal().sqrt(), rtol=1e-6, atol=1e-9)


@each
def test_eigenvalues_and_pointwise_values_are_those_of_brute_force(name):
    one, M = built(name), moment(name)
    options = {"side_inputs": one.sides or None, **settings(one)}
    found = measure(one.model, one.inputs, **options).values
    wanted = torch.linalg.eigvalsh(M).flip(0).clamp_min(0).sqrt()[: len(found)]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 * float(wanted[0]))
    found = measure(one.model, one.inputs, pointwise=True, **options).values
    wanted = torch.linalg.svdvals(jacobians(name))
    # Mamba computes parts of itself in single precision.
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7 * float(wanted.max()))


@each
def test_the_jacobian_penalty_is_that_of_brute_force_on_average_over_probes(name):
    one, J, probes = built(name), jacobians(name), 200
    penalty = JacobianPenalty(one.model, p=2.0, basis="identity", probes=probes, **settings(one))
    found = penalty.value(one.inputs, side_inputs=one.sides or None).item()
    gram = torch.einsum("nki,nli->nkl", J, J)
    spread = (2 * gram.square().sum()).sqrt().item() / len(J) / probes**0.5  # of vᵀ J Jᵀ v, v Gaussian
    assert abs(found - J.square().sum().item() / len(J)) < 4 * spread


@each
def test_both_modes_have_one_measure_and_one_penalty(name):
    one = in_training(name)
    sides = one.sides or None

    def values():
        penalty = JacobianPenalty(one.model, p=1.0, basis="identity", **settings(one))
        measured = measure(one.model, one.inputs, "identity", "sketch", side_inputs=sides, **settings(one))
        return penalty.value(one.inputs, side_inputs=sides).item(), measured.values

    mixed = values()
    one.model.eval()
    evaluated = values()
    assert mixed[0] == pytest.approx(evaluated[0], rel=1e-9)
    torch.testing.assert_close(mixed[1], evaluated[1])


def state(model) -> list:
    """All that a pass could change, as objects and as numbers."""
    rows = [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002
    for module in model.modules():
        rows.append({key: id(held) for key, held in vars(module).items()})
        tensors = {**module._parameters, **module._buffers}
        rows.append({key: (id(t), None if t is None else t.tolist()) for key, t in tensors.items()})
        rows.append(module.training)
    return rows


@each
def test_no_trace_is_left(name):
    one = in_training(name)
    before = state(one.model)
    sides = one.sides or None
    measure(one.model, one.inputs, "identity", "sketch", side_inputs=sides, **settings(one))
    penalty = JacobianPenalty(one.model, p=1.0, **settings(one))
    for _ in range(2):
        penalty(one.inputs, side_inputs=sides).backward()
    assert state(one.model) == before
    one.model.zero_grad()


@each
def test_what_is_closed_over_is_refused_where_it_is_not_cut(name):
    """As silently wrong as it could be: the first masks for whatever inputs come."""
    one = built(name)
    if not one.sides:
        pytest.skip("no side inputs")

    def closed(model, x):
        return one.forward(model, x, **{key: side[: len(x)] for key, side in one.sides.items()})

    with pytest.raises(ValueError, match="side_inputs="):
        measure(one.model, one.inputs, "identity", forward=closed)


@pytest.mark.slow
def test_real_weights():
    one = minilm()
    options = {"side_inputs": one.sides, "forward": one.forward, "max_samples": 2}
    found = measure(one.model, one.inputs, "identity", **options).values
    total = torch.zeros(())
    for i in range(2):
        sides = {key: side[i : i + 1] for key, side in one.sides.items()}
        x = one.inputs[i : i + 1].clone().requires_grad_()
        y = one.forward(one.model, x, **sides)
        rows = [torch.autograd.grad(y[0, k], x, retain_graph=True)[0] for k in range(y.shape[1])]
        total = total + torch.stack(rows).square().sum(0).flatten() / 2
    torch.testing.assert_close(found, total.sqrt(), rtol=1e-4, atol=1e-4 * float(total.max().sqrt()))
