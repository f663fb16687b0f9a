"""Passes that are differentiated twice: rectifiers, layers that draw, operations with one derivative only."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as tf

from overt.networks.guard import parts_of
from overt.networks.second_order import check_twice_differentiable, deterministic, eager, graph_of_its_own


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_place(rectify):
    """The rectifier's effect on its argument, without its result."""

    def run(h):
        h = h * 1
        rectify(h)
        return h

    return run


RECTIFIERS = {
    "functional": tf.relu,
    "keyword": lambda h: tf.relu(input=h),
    "torch": torch.relu,
    "method": lambda h: h.relu(),
    "module": nn.ReLU(),
    "in place by position": in_place(lambda h: tf.relu(h, True)),
    "in place by keyword": in_place(lambda h: tf.relu(h, inplace=True)),
    "not in place": lambda h: tf.relu(h, inplace=False) + 0 * h,
    "functional in place": in_place(tf.relu_),
    "torch in place": in_place(torch.relu_),
    "method in place": in_place(lambda h: h.relu_()),
    "module in place": in_place(nn.ReLU(inplace=True)),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_rectifiers_have_their_values_and_both_derivatives(name):
    A, x = gaussian(4, 4).requires_grad_(), gaussian(6, 4, seed=1)
    x[0] = 0
    y = torch.where(x @ A > 0, x @ A, 0)
    (plain,) = torch.autograd.grad(y.square().sum(), A)
    with deterministic([nn.Identity()]):
        h = x @ A
        found = RECTIFIERS[name](h)
    torch.testing.assert_close(found, y)
    assert torch.equal(h, x @ A)
    (slope,) = torch.autograd.grad(found.square().sum(), A, create_graph=True)
    torch.testing.assert_close(slope, plain)
    # Σ max(h, 0)² has the second derivative 2 where h > 0.
    (second,) = torch.autograd.grad((slope * gaussian(4, 4, seed=2)).sum(), A)
    torch.testing.assert_close(second, x.T @ (2 * (x @ gaussian(4, 4, seed=2)) * (x @ A.detach() > 0)))


def test_the_slope_of_a_rectifier_has_no_graph_back_to_its_argument():
    h = gaussian(5).requires_grad_()
    with deterministic([nn.Identity()]):
        y = tf.relu(h)
    (slope,) = torch.autograd.grad(y, h, torch.ones(5).double(), create_graph=True)
    assert not slope.requires_grad
    assert torch.equal(slope, (h > 0).double())


class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.run = nn.GRU(3, 3, num_layers=2, dropout=0.5)
        self.attend = nn.MultiheadAttention(2, 1, dropout=0.5)
        self.own = nn.Sequential()  # whatever asks its mode in a function


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_in_evaluation_mode_and_put_back(fails):
    model = Drawing()
    model.attend.eval()
    before = [(m.training, getattr(m, "dropout", None)) for m in model.modules()]
    seen = {}
    with pytest.raises(KeyError) if fails else graph_of_its_own(), deterministic(parts_of(model)):
        seen = {name: m.training for name, m in model.named_modules()}
        assert model.run.dropout == 0.0
        if fails:
            raise KeyError
    assert seen == {name: name == "run" for name, _ in model.named_modules()}
    assert [(m.training, getattr(m, "dropout", None)) for m in model.modules()] == before


def test_the_global_random_state_stays():
    state = torch.get_rng_state()
    with deterministic([nn.Identity()]):
        tf.dropout(torch.ones(100), 0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="of its own"), deterministic([nn.Identity()]):
        raise RuntimeError("of its own")


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_graph_where_there_is_none(context):
    with context():
        for wanted in (True, False):
            with graph_of_its_own(wanted):
                assert torch.ones(2, requires_grad=True).mul(2).requires_grad is wanted
                assert not torch.is_inference_mode_enabled()


class Attention(torch.autograd.Function):
    """Named like a fused kernel."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


def test_operations_with_a_first_derivative_only_are_found_wherever_they_are():
    x = gaussian(3).requires_grad_()
    shared = x.exp()
    for _ in range(40):  # 2⁴⁰ paths through 40 nodes
        shared = shared + shared
    check_twice_differentiable(shared)
    check_twice_differentiable(x.detach())
    with pytest.raises(ValueError, match="its fused attention kernel has no second derivative"):
        check_twice_differentiable(x.sin() + (Attention.apply(x) * shared).exp())


@pytest.mark.slow  # imports the compiler
def test_an_eager_function_is_the_function():
    assert eager(lambda a, b=2: a + b)(1, b=3) == 4
