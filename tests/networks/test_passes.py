"""Passes over all inputs, chunk by chunk, and the products with the Jacobian that they are made for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.networks.jacobian import bytes_per_input, jacobian_rows, leaf, saved_bytes, vector_jacobian
from overt.networks.passes import Passes, jacobians, verify_adjoint, wide_dtype
from overt.networks.target import Target

DOUBLE = torch.float64


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def squares(A):
    """x ↦ x² A, whose Jacobian at x is Aᵀ diag(2 x)."""
    return lambda x: x.square() @ A


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("outputs", [1, 4, 9])
def test_jacobians_of_all_inputs_whatever_fits_the_memory(chunk, outputs):
    x, A = gaussian(5, 3), gaussian(3, outputs, seed=1)
    target = Target(squares(A))
    graph = saved_bytes(target, x[:2]) - saved_bytes(target, x[:1])
    budget = chunk * bytes_per_input(graph, outputs, 3, whole=True)
    passes = Passes(target, [x[:2], x[2:]], memory_budget=budget, whole=True)
    assert (passes.outputs, passes.input_size, passes.shape) == (outputs, 3, (3,))
    assert passes.chunk in (chunk, chunk + 1)
    found = list(jacobians(passes))
    torch.testing.assert_close(torch.cat(found), torch.einsum("bi,ij->bji", 2 * x, A))
    assert max(map(len, found)) == min(3, passes.chunk)
    assert not any(J.requires_grad for J in found)


def test_inputs_are_gone_through_once_unless_they_are_kept():
    x, target = gaussian(5, 3), Target(squares(gaussian(3, 2)))
    once = Passes(target, [x[:2], x[2:]], memory_budget=1 << 20)
    assert (once.count, [len(part) for part, *_ in once]) == (0, [2, 3])
    with pytest.raises(ValueError, match="gone through already"):
        list(once)
    kept = Passes(target, [x[:2], x[2:]], memory_budget=1 << 20, keep=True)
    for _ in range(2):
        torch.testing.assert_close(torch.cat([part.detach() for part, *_ in kept]), x)
    assert kept.count == 5
    some = Passes(target, x, memory_budget=1, max_samples=4, keep=True)
    assert (some.count, some.chunk, [len(part) for part, *_ in some]) == (4, 1, [1] * 4)
    with pytest.raises(ValueError, match="there is no batch"):
        Passes(target, [], memory_budget=1)


def test_room_is_left_for_the_graph_and_for_what_is_kept_of_the_jacobian():
    x = gaussian(2, 10)
    for outputs in (3, 30):
        plain = bytes_per_input(100, outputs, 10)
        assert bytes_per_input(200, outputs, 10) - plain == 2 * 100
        assert bytes_per_input(100, outputs, 10, vectors=7) - plain == 2 * 7 * 8 * 10
        # All rows, and the copies that a decomposition makes.
        assert bytes_per_input(100, outputs, 10, whole=True) >= 3 * 8 * 10 * outputs
        assert bytes_per_input(100, outputs, 10, whole=True) > plain
    deep = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(10, 10), nn.Tanh()))).to(DOUBLE)
    # Each further layer keeps the ten numbers that its activation gave, 80 bytes for each input.
    assert saved_bytes(deep, x) - saved_bytes(nn.Sequential(*deep[:2]), x) >= 2 * 3 * 80


def test_a_row_of_the_jacobian_has_no_graph_unless_asked_for():
    x, A = leaf(gaussian(2, 3)), gaussian(3, 2, seed=1)
    y, r = squares(A)(x), gaussian(2, 2, seed=2)
    plain, again = vector_jacobian(y, x, r), vector_jacobian(y, x, r, graph=True)
    assert (plain.requires_grad, again.requires_grad) == (False, True)
    torch.testing.assert_close(plain, 2 * x.detach() * (r @ A.T))
    list(jacobian_rows(y, x))  # lets go of the graph with its last row
    with pytest.raises(RuntimeError, match="second time"):
        vector_jacobian(y, x, r)


def test_outputs_without_inputs_have_a_jacobian_of_zero_or_are_refused():
    x, w = leaf(gaussian(2, 3)), leaf(gaussian(2, 2))
    assert not vector_jacobian(2 * w, x, torch.ones_like(w)).any()
    for y in (2 * w, w.detach()):
        with pytest.raises(ValueError, match="x: the outputs do not depend on it"):
            vector_jacobian(y, x, torch.ones_like(w), strict=True)


class Half(torch.autograd.Function):
    """x², whose second derivative is too small by half of it."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * (gradient + gradient.detach()) / 2


def test_an_operation_whose_second_derivative_is_wrong_is_found():
    x, u, r, A = gaussian(3, 3), gaussian(3, 3, seed=1), gaussian(3, 4, seed=2), gaussian(3, 4, seed=3)
    verify_adjoint(squares(A), x, u, r)
    verify_adjoint(squares(A.float()), x.float(), u.float(), r.float())
    with pytest.raises(ValueError, match="do not agree"):
        verify_adjoint(lambda z: Half.apply(z) @ A, x, u, r)


def test_what_no_jacobian_can_be_taken_of_is_refused():
    def refused(model, match, x=None):
        with pytest.raises(ValueError, match=match):
            Passes(Target(model), gaussian(3, 2) if x is None else x, memory_budget=1 << 20)

    refused(lambda x: x.detach(), "do not depend on the inputs")
    refused(lambda x: x - x.sum(0), "depends on the other inputs")
    refused(lambda x: x + x.flip(0).cumsum(0).flip(0), "depends on the other inputs")
    refused(lambda x: torch.cat([x[:1], x[1:] + x[:1]]), "depends on the other inputs")
    refused(lambda x: torch.cat([x[:1] + x[1:2], x[1:]]), "depends on the other inputs")
    for x in (torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])):
        refused(lambda x: 1 / x, "outputs are NaN or infinite", x)
    refused(lambda x: x.sqrt(), "entries .the first is input 1", torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


def test_sums_are_kept_in_double_precision_where_there_is_one():
    assert [wide_dtype(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [
        DOUBLE,
        DOUBLE,
        torch.float32,
    ]
