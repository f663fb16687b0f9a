"""The normalized Jacobian penalty exerts no force along scale, and values are not made of ε."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import JacobianPenalty


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(n_in, n_out=10, seed=0):
    model = nn.Linear(n_in, n_out, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(n_out, n_in, generator=generator(seed)))
    return model


def batch(n_in, count=20, seed=1):
    return torch.randn(count, n_in, dtype=torch.float64, generator=generator(seed))


@pytest.mark.parametrize("p", [2 / 3, 1.0])
@pytest.mark.parametrize("basis", ["eigen", "fourier", "identity"])
@pytest.mark.parametrize("size", [100, 784])
def test_the_normalized_form_has_no_force_along_scale_at_the_default_floor(basis, p, size):
    model = linear(size)
    penalty = JacobianPenalty(model, p=p, basis=basis, normalized=True, weight=1.0)
    for k in range(3):  # the running average lags behind: the map has changed, in scale and otherwise
        (g,) = torch.autograd.grad(penalty.penalty(batch(size, seed=k)), model.weight)
        W = model.weight.detach().clone()
        assert abs(float((g * W).sum() / (g.norm() * W.norm()))) < 1e-9
        with torch.no_grad():
            model.weight.mul_(3).add_(torch.randn(W.shape, generator=generator(k)))


@pytest.mark.parametrize("p", [2 / 3, 1.0])
def test_at_the_default_floor_the_normalized_gradient_is_nearly_the_true_one(p):
    model = linear(784)
    found = JacobianPenalty(model, p=p, normalized=True, weight=1.0).penalty(batch(784))
    wanted = F.normalized_schatten_norm(model.weight, p, 2)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3)
    ours, theirs = (torch.autograd.grad(value, model.weight)[0] for value in (found, wanted))
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-3


def test_descent_on_the_normalized_form_alone_keeps_the_norm():
    model = linear(784)
    with torch.no_grad():
        model.weight.mul_(0.02)
    penalty = JacobianPenalty(model, p=1.0, normalized=True, weight=1.0)
    before = model.weight.detach().norm().item()
    for k in range(50):
        (g,) = torch.autograd.grad(penalty.penalty(batch(784, seed=k)), model.weight)
        with torch.no_grad():
            model.weight.sub_(0.01 * g)
    # A step orthogonal to W makes it longer in the second order alone.
    assert model.weight.detach().norm().item() == pytest.approx(before, rel=0.01)


def test_a_rectifier_network_has_no_force_along_the_scale_of_its_layers():
    torch.manual_seed(0)
    layers = [nn.Linear(784, 16, bias=False), nn.ReLU(), nn.Linear(16, 5, bias=False)]
    model = nn.Sequential(*layers).double()
    value = JacobianPenalty(model, p=1.0, normalized=True, weight=1.0).penalty(batch(784))
    for W, g in zip(model.parameters(), torch.autograd.grad(value, list(model.parameters())), strict=True):
        W = W.detach()
        assert abs(float((g * W).sum() / (g.norm() * W.norm()))) < 1e-9


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("basis", "p"), [("eigen", 2 / 3), ("eigen", 1.0), ("identity", 2 / 3)])
def test_the_value_is_that_of_the_definition_where_most_directions_are_unused(basis, p, normalized):
    """784 times a small ε^{p/2} would be more than ten directions count."""
    model = linear(784)
    if basis == "identity":
        with torch.no_grad():
            model.weight[:, 20:] = 0
    W = model.weight.detach()
    powers = F.singular_values(W).square() if basis == "eigen" else W.square().sum(0)
    wanted = powers.pow(p / 2).sum()
    if normalized:
        wanted = wanted ** (1 / p) / powers.sum().sqrt()
    penalty = JacobianPenalty(model, p=p, basis=basis, normalized=normalized, weight=1.0)
    assert penalty.penalty(batch(784)).item() == pytest.approx(wanted.item(), rel=2e-3)
    assert penalty.penalty(batch(784)).item() <= wanted.item() * (1 + 1e-9)


@pytest.mark.parametrize("complex_basis", [False, True])
def test_the_normalized_gradient_in_a_basis_of_a_subspace_is_that_of_the_definition(complex_basis):
    model, x = linear(8, 5), batch(8, 10)
    dtype = torch.complex128 if complex_basis else torch.float64
    U = torch.linalg.qr(torch.randn(8, 8, dtype=dtype, generator=generator(3)))[0][:3]
    penalty = JacobianPenalty(model, p=1.0, basis=U, normalized=True, weight=1.0, floor=1e-12, momentum=0.0)
    found = penalty.penalty(x)
    powers = (U @ (model.weight.mT @ model.weight).to(dtype) @ U.mH).diagonal().real
    wanted = powers.sqrt().sum() / powers.sum().sqrt()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-6)
    ours, theirs = (torch.autograd.grad(value, model.weight)[0] for value in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


def test_more_directions_than_the_rank_are_said_to_be_cut_off():
    model = linear(300, 100)
    found = []
    for rank in (32, 100):
        penalty = JacobianPenalty(model, p=1.0, rank=rank, weight=1.0)
        for k in range(3):
            value = penalty.penalty(batch(300, 100, seed=k))
        found.append((value.item(), penalty.report(batch(300, 100)).cut_off))
    wanted = F.nuclear_norm(model.weight).item()
    assert found[0][0] > 1.3 * wanted
    assert found[0][1] > 0.4
    assert found[1][0] == pytest.approx(wanted, rel=1e-3)
    assert found[1][1] < 1e-9
