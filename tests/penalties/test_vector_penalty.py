"""Norms and ratios of norms of a vector as penalties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from overt.models import DeepDiagonal
from overt.penalties import VectorPenalty


class Vector(nn.Module):
    def __init__(self, w: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def product(self) -> Tensor:
        return self.w


@pytest.mark.parametrize(("p", "q"), [(1, 2), (0.5, 2), (0.5, 1), (2, 4), (1, None), (0.5, None), (2, None)])
def test_value_and_gradient(p, q):
    model = Vector([3.0, -0.5, 1.25])
    penalty = VectorPenalty(model, p, q, weight=0.3)

    def oracle(w):
        power = (w.abs() ** p).sum()
        return 0.3 * (power if q is None else power ** (1 / p) / (w.abs() ** q).sum() ** (1 / q))

    torch.testing.assert_close(penalty.penalty(), oracle(model.w))
    assert torch.autograd.gradcheck(lambda w: penalty.penalty(w), model.w)


@pytest.mark.parametrize(("p", "q"), [(1, 2), (0.5, 2), (0.5, 1), (1, None), (0.5, None)])
@pytest.mark.parametrize("w", [[0.0, 0.0], [0.0, 2.0]])
def test_zero_entries_get_finite_gradients(p, q, w):
    model = Vector(w)
    value = VectorPenalty(model, p, q, weight=1.0).penalty()
    value.backward()
    assert math.isfinite(value.item())
    assert bool(torch.isfinite(model.w.grad).all())
    assert model.w.grad[0].item() == 0.0
    if not any(w):
        assert value.item() == 0.0


def test_ratio_is_scale_invariant_until_the_cap():
    model = Vector([3.0, 4.0])
    free, capped = VectorPenalty(model), VectorPenalty(model, norm_cap=5.0)
    w = model.w.detach()
    assert free.value(w).item() == pytest.approx(1.4)
    assert free.value(1e3 * w).item() == pytest.approx(1.4)
    assert capped.value(0.1 * w).item() == pytest.approx(1.4)
    assert capped.value(1e3 * w).item() == pytest.approx(1400.0)


def test_gradient_through_a_deep_diagonal_network():
    model = DeepDiagonal(4, 3, 0.5, dtype=torch.float64)
    with torch.no_grad():
        for i, p in enumerate(model.parameters(), start=1):
            p.add_(torch.linspace(0.1, 0.4 * i, p.numel(), dtype=p.dtype).reshape(p.shape))
    penalty = VectorPenalty(model)
    penalty.penalty().backward()
    w = model.product().detach().requires_grad_()
    (slope,) = torch.autograd.grad(0.01 * w.abs().sum() / w.norm(), w)
    expected = torch.autograd.grad(model.product(), list(model.parameters()), slope)
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 0}, ValueError, "p must be a finite number > 0"),
        ({"p": "1"}, TypeError, "p must be a finite number > 0"),
        ({"q": math.inf}, ValueError, "q must be"),
        ({"p": 2, "q": 1}, ValueError, "q must be larger than p"),
        ({"q": None, "norm_cap": 1.0}, ValueError, "norm_cap is for the ratio"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        VectorPenalty(Vector([1.0]), **arguments)


def test_a_model_without_a_linear_map_is_refused():
    with pytest.raises(ValueError, match="no end-to-end matrix"):
        VectorPenalty(nn.ReLU())


@pytest.mark.parametrize(("p", "q"), [(1, 2), (0.5, 3)])
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200, 1e307])
def test_ratio_at_extreme_scales(p, q, scale):
    plain, model = Vector([3.0, 4.0, 0.0]), Vector([3.0 * scale, 4.0 * scale, 0.0])
    value = VectorPenalty(model, p, q).value()
    torch.testing.assert_close(
        value, VectorPenalty(plain, p, q).value(), rtol=1e-3 if scale < 1e-300 else 1e-12, atol=0
    )
    value.backward()
    assert model.w.grad.isfinite().all()
    if scale > 1e-300:
        VectorPenalty(plain, p, q).value().backward()
        torch.testing.assert_close(model.w.grad * scale, plain.w.grad)


def test_cap_at_extreme_scales():
    assert VectorPenalty(Vector([3e200, 4e200]), norm_cap=5.0).value().item() == pytest.approx(1.4e200)
    assert VectorPenalty(Vector([3e-200, 4e-200]), norm_cap=5.0).value().item() == pytest.approx(1.4)


@pytest.mark.parametrize("q", [2, None])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_entries_that_are_not_finite_are_refused(q, bad):
    with pytest.raises(ValueError, match="w: 1 of 2 entries are NaN or infinite"):
        VectorPenalty(Vector([1.0, bad]), q=q).penalty()


def test_numbers_of_numpy():
    penalty = VectorPenalty(Vector([3.0, 4.0]), np.int64(1), np.float32(2), np.float32(0.5))
    assert (penalty.p, penalty.q, penalty.weight) == (1.0, 2.0, 0.5)
    assert type(penalty.weight) is float


def test_gradient_in_half_precision():
    model = Vector([3e-3, 4e-3]).half()
    VectorPenalty(model).value().backward()
    # (1 − 1.4 w/‖w‖)/‖w‖ at ‖w‖ = 5e-3
    expected = torch.tensor([32.0, -24.0], dtype=torch.float16)
    torch.testing.assert_close(model.w.grad, expected, rtol=2e-2, atol=0)


def test_autocast_and_half_precision_do_not_reach_it():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 9, bias=False), torch.nn.Linear(9, 7, bias=False))
    penalty = VectorPenalty(model)
    expected = penalty.value()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = penalty.value()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    model.bfloat16()
    assert penalty.value().dtype == torch.float32
