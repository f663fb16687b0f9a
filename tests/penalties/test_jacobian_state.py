"""What calls of the Jacobian penalty change and what they do not; its settings and state as plain data."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from overt.linalg import make_basis
from overt.penalties import CompositionPenalty, JacobianPenalty


def inputs(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def network(size=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(size, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def state(penalty):
    return {name: value.clone() for name, value in penalty.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("basis", "size"), [("identity", 6), ("eigen", 6), ("eigen", 300)])
def test_looking_changes_nothing(basis, size):
    penalty = JacobianPenalty(network(size), basis=basis, every=2, weight=0.5)
    other = copy.deepcopy(penalty)
    x, y = inputs(5, size), 100 * inputs(5, size, seed=1)
    for k in range(4):
        penalty.penalty(x)
        before = state(penalty)
        with torch.no_grad():
            looked = [penalty.penalty(y).item() for _ in range(2)]
        valued = penalty.value(y)
        assert looked == [pytest.approx(0.5 * valued.item())] * 2
        assert valued.requires_grad
        penalty.report(y)
        assert same(before, state(penalty))
        other.penalty(x)
        assert same(before, state(other)), k


class Ignoring(nn.Module):
    """A network that does not look at its last input."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.clone().index_fill(1, torch.tensor([x.shape[1] - 1]), 0.0))


def spoiled(x, value, column=0):
    x = x.clone()
    x[0, column] = value
    return x


REFUSED = {
    "none": lambda x: None,
    "integers": lambda x: x.long(),
    "empty": lambda x: x[:0],
    "wider": lambda x: torch.cat([x, x], 1),
    "another rank": lambda x: x[:, :, None],
    "NaN": lambda x: spoiled(x, torch.nan),
    "infinite": lambda x: spoiled(x, torch.inf),
    "NaN where nobody looks": lambda x: spoiled(x, torch.nan, -1),
    "infinite where nobody looks": lambda x: spoiled(x, torch.inf, -1),
    "squares beyond the dtype": lambda x: spoiled(x, 1e300, -1),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(("basis", "size"), [("identity", 6), ("eigen", 6), ("eigen", 300)])
@pytest.mark.parametrize("before", [0, 2])
def test_a_refused_batch_changes_nothing(basis, size, refused, before):
    model = Ignoring(network(size))
    penalty = JacobianPenalty(model, basis=basis, weight=0.5, scaling="std")
    for k in range(before):
        penalty.penalty(inputs(5, size, seed=k))
    held, moments, bad = state(penalty), penalty.moments, refused(inputs(5, size, seed=7))
    with pytest.raises((TypeError, ValueError)):
        penalty.penalty(bad)
    assert same(held, state(penalty))
    assert penalty.moments is moments
    twin = JacobianPenalty(model, basis=basis, weight=0.5, scaling="std")
    twin.load_state_dict(held)
    assert penalty.penalty(inputs(5, size, seed=9)).item() == twin.penalty(inputs(5, size, seed=9)).item()


@pytest.mark.parametrize(("basis", "size"), [("identity", 6), ("eigen", 6), ("eigen", 300)])
def test_a_jacobian_whose_squares_are_too_large_changes_nothing(basis, size):
    model = network(size).float()
    penalty = JacobianPenalty(model, basis=basis, weight=0.5)
    x = inputs(5, size, dtype=torch.float32)
    penalty.penalty(x)
    held, weight = state(penalty), model[2].weight.detach().clone()
    with torch.no_grad():
        model[2].weight *= 1e25
    for call in (penalty.penalty, penalty.value):
        with pytest.raises(ValueError, match="Jacobian is too large"):
            call(x)
    assert same(held, state(penalty))
    with torch.no_grad():
        model[2].weight.copy_(weight)
    assert penalty.penalty(x).isfinite()


def test_a_value_has_the_gradient_of_the_next_penalty_in_line():
    model, x = network(), inputs(6, 6)
    penalty = JacobianPenalty(model, p=1.0, weight=1.0, seed=3, refresh=1, momentum=0.5)
    for k in range(2):
        penalty.penalty(inputs(6, 6, seed=k + 1))
    twin = JacobianPenalty(model, p=1.0, weight=1.0, seed=3, refresh=1, momentum=0.5)
    twin.load_state_dict(penalty.state_dict())
    twin.calls -= 1  # `penalty` counts first, so that it draws what `value` does
    a, b = penalty.value(x), twin.penalty(x)
    torch.testing.assert_close(a, b)
    weight = model[0].weight
    torch.testing.assert_close(*(torch.autograd.grad(value, weight)[0] for value in (a, b)))


@pytest.mark.parametrize(("basis", "size"), [("identity", 6), ("eigen", 6), ("eigen", 300)])
def test_averages_follow_the_dtype_of_the_inputs(basis, size):
    model = network(size)
    penalty = JacobianPenalty(model, p=1.0, basis=basis, weight=1.0)
    for k in range(11):  # beyond the first calls, at each of which there is a new eigendecomposition
        penalty.penalty(inputs(5, size, seed=k))
    wanted = copy.deepcopy(penalty).penalty(inputs(5, size)).item()
    model.float()
    found = penalty.penalty(inputs(5, size, dtype=torch.float32))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted, rel=1e-3)
    stored = JacobianPenalty(model, p=1.0, basis=basis)
    stored.load_state_dict(penalty.state_dict())
    model.double()
    assert stored.penalty(inputs(5, size)).dtype == torch.float64


@pytest.mark.parametrize(("basis", "size"), [("identity", 6), ("eigen", 6), ("eigen", 300)])
def test_averages_follow_the_device_of_the_inputs(basis, size):
    """The device without data stands for one that there is not here."""
    penalty = JacobianPenalty(network(size), basis=basis)
    penalty.penalty(inputs(5, size))
    moved = penalty.moments.fork()
    moved.follow(torch.zeros(5, size, device="meta"))
    assert {b.device.type for b in moved.buffers()} == {"meta"}
    assert {b.device.type for b in penalty.moments.buffers()} == {"cpu"}


@pytest.mark.cuda
def test_a_checkpoint_of_one_device_goes_on_on_another():
    model = network()
    penalty = JacobianPenalty(model, p=1.0)
    penalty.penalty(inputs(5, 6))
    resumed = JacobianPenalty(model.cuda(), p=1.0)
    resumed.load_state_dict(penalty.state_dict())
    for k in range(12):
        assert resumed.penalty(inputs(5, 6, seed=k).cuda()).isfinite()


def test_the_state_of_a_new_penalty_makes_a_used_one_new():
    model = network()
    new, used = JacobianPenalty(model), JacobianPenalty(model)
    fresh = state(new)
    wanted = new.penalty(inputs(5, 6)).item()
    used.penalty(10 * inputs(5, 6, seed=1))
    used.load_state_dict(fresh)
    assert used.moments is None
    assert used.penalty(inputs(5, 6)).item() == wanted


def test_descriptions_tell_penalties_apart():
    model = network()
    U = torch.linalg.qr(inputs(6, 6))[0]
    options = [
        {},
        {"seed": 1},
        {"outputs": "probabilities"},
        {"outputs": torch.sigmoid},
        {"layer": "0"},
        {"basis": "fourier"},
        {"basis": "fourier", "dims": (0,)},
        {"basis": make_basis("fourier", (6,))},
        {"basis": U},
        {"basis": -U},
        {"basis": U[:3]},
        {"basis": U.to(torch.complex128)},
    ]
    described = [str(JacobianPenalty(model, **choice).describe()) for choice in options]
    described += [str(CompositionPenalty(model, cuts=1, seed=seed).describe()) for seed in (0, 1)]
    assert len(set(described)) == len(described)
    assert all("tensor(" not in words for words in described)
