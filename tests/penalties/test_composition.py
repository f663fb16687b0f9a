"""The composition penalty: an upper bound of the Jacobian's nuclear norm, tight at balance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import CompositionPenalty


def maps(balanced: bool):
    """h and g of a linear map W = g h, balanced so that the bound is tight, or not."""
    W = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    share = 0.5 if balanced else 0.2
    h, g = nn.Linear(6, 5, bias=False).double(), nn.Linear(5, 5, bias=False).double()
    with torch.no_grad():
        h.weight.copy_(torch.diag(s**share) @ Vh)
        g.weight.copy_(U @ torch.diag(s ** (1 - share)))
    return h, g, F.nuclear_norm(W).item()


def x(count=10):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("estimator", ["vjp", "denoising"])
def test_it_is_the_nuclear_norm_of_a_balanced_composition_and_more_of_any_other(estimator):
    count = 10 if estimator == "vjp" else 20_000  # probes in whole blocks are exact, noise is not
    h, g, nuclear = maps(balanced=True)
    tight = CompositionPenalty(h, g, weight=1.0, estimator=estimator).penalty(x(count)).item()
    assert tight == pytest.approx(nuclear, rel=1e-9 if estimator == "vjp" else 0.02)
    h, g, nuclear = maps(balanced=False)
    assert CompositionPenalty(h, g, weight=1.0, estimator=estimator).penalty(x(count)).item() > 1.05 * nuclear


@pytest.mark.slow
def test_minimizing_it_over_the_factors_shrinks_singular_values():
    """min ½‖gh − A‖² + λ·½(‖g‖² + ‖h‖²) is A with its singular values shrunk by λ (Srebro 2004)."""
    h, g, _ = maps(balanced=False)
    A = (g.weight @ h.weight).detach()
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    weight = s[2].item()
    penalty = CompositionPenalty(h, g, weight=weight)
    optimizer = torch.optim.SGD([h.weight, g.weight], lr=0.02)
    for _ in range(2000):
        optimizer.zero_grad()
        ((g.weight @ h.weight - A).square().sum() / 2 + penalty.penalty(x())).backward()
        optimizer.step()
    wanted = U @ torch.diag((s - weight).clamp_min(0)) @ Vh
    assert ((g.weight @ h.weight - wanted).norm() / wanted.norm()).item() < 0.02


def test_both_estimators_agree_on_a_network():
    torch.manual_seed(0)
    h = nn.Sequential(nn.Linear(6, 8), nn.Tanh()).double()
    g = nn.Linear(8, 3).double()
    many = x(20_000)
    found = [
        CompositionPenalty(h, g, weight=1.0, estimator=estimator, sigma=1e-3).penalty(many).item()
        for estimator in ("vjp", "denoising")
    ]
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_gradients_reach_both_maps_and_weight_zero_is_free():
    h, g, _ = maps(balanced=True)
    CompositionPenalty(h, g).penalty(x()).backward()
    assert h.weight.grad is not None
    assert g.weight.grad is not None
    assert CompositionPenalty(h, g, weight=0.0).penalty(x()).item() == 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"estimator": "exact"}, ValueError, "estimator"),
        ({"sigma": 0}, ValueError, "sigma"),
        ({"seed": 1.5}, TypeError, "seed"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options, error, match):
    h, g, _ = maps(balanced=True)
    with pytest.raises(error, match=match):
        CompositionPenalty(h, g, **options)
    with pytest.raises(TypeError, match="outer"):
        CompositionPenalty(h, 3)
    with pytest.raises(TypeError, match="x"):
        CompositionPenalty(h, g).penalty(torch.zeros(3, 6, dtype=torch.int64))


def cut(at, inplace):
    torch.manual_seed(1)
    layers = [nn.Linear(6, 5), nn.ReLU(inplace), nn.Linear(5, 4), nn.ReLU(inplace), nn.Linear(4, 3)]
    model = nn.Sequential(*layers).double()
    return model[:at], model[at:]


@pytest.mark.parametrize("estimator", ["vjp", "denoising"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_layers_that_work_in_place_change_nothing(at, estimator):
    found = []
    for inplace in (False, True):
        h, g = cut(at, inplace)
        value = CompositionPenalty(h, g, 1.0, estimator=estimator).penalty(x())
        found.append([value, *torch.autograd.grad(value, [h[0].weight, g[-1].weight])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("estimator", ["vjp", "denoising"])
def test_the_inputs_stay_as_they_are(estimator):
    torch.manual_seed(0)
    h, g = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 4)).double(), nn.Linear(4, 3).double()
    given = x()
    CompositionPenalty(h, g, estimator=estimator).penalty(given).backward()
    assert torch.equal(given, x())


@pytest.mark.parametrize("estimator", ["vjp", "denoising"])
def test_what_is_not_finite_is_refused(estimator):
    h, g = cut(2, inplace=False)
    with pytest.raises(ValueError, match="not finite"):
        CompositionPenalty(h, g, estimator=estimator).penalty(x() * torch.nan)


@pytest.mark.parametrize("estimator", ["vjp", "denoising"])
def test_looking_does_not_count(estimator):
    h, g = cut(2, inplace=False)
    penalty, twin = (CompositionPenalty(h, g, 1.0, estimator=estimator) for _ in range(2))
    for count in range(3):
        assert penalty.penalty(x()).item() == twin.penalty(x()).item()
        with torch.no_grad():
            assert penalty.penalty(x()).item() == pytest.approx(penalty.value(x()).item())
        assert int(penalty.calls) == count + 1
