"""How a spectral penalty is computed: each method against the SVD, batches, dtypes, guards."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.linalg import polar
from overt.linalg.polar_coefficients import polar_coefficients
from overt.penalties import SpectralPenalty
from overt.penalties.functionals import resolve
from overt.penalties.methods import _LOWER, _LOWER_AT_MOST, make_solver

FUNCTIONALS = [
    ("nuclear_norm", {}),
    ("normalized_nuclear_norm", {}),
    ("participation_ratio", {}),
    ("schatten_norm", {"p": 1}),
    ("normalized_schatten_norm", {"p": 1, "q": 2}),
    ("normalized_schatten_norm", {"p": 0.5, "q": 1.0}),
    ("schatten_norm", {"p": 0.5}),
    ("effective_rank", {}),
    ("stable_rank", {}),
    ("spectral_norm", {}),
    ("frobenius_norm", {}),
    ("log_det", {"eps": 1e-2}),
]


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Matrices(nn.Module):
    def __init__(self, *matrices: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(W.clone()) for W in matrices)


def value_and_gradients(model, **arguments):
    model.zero_grad()
    value = SpectralPenalty(model, **arguments).value()
    value.backward()
    return value.detach(), [p.grad.clone() for p in model.parameters()]


def oracle(model, functional, options):
    """Sum of the functional over the matrices, one by one."""
    model.zero_grad()
    value = sum(getattr(F, functional)(W, **options) for W in model.weights)
    value.backward()
    return value.detach(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(("functional", "options"), FUNCTIONALS)
@pytest.mark.parametrize("method", ["svd", "gram", "polar", "auto"])
def test_value_and_gradient_of_each_method(functional, options, method):
    # Three of one shape, in one call, and others.
    model = Matrices(*(gaussian(6, 6, seed=i) for i in range(3)), gaussian(9, 4), gaussian(3, 8))
    arguments = {"functional": functional, "options": options, "method": method, "polar_steps": 14}
    value, gradients = value_and_gradients(model, **arguments)
    expected, truth = oracle(model, functional, options)
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)
    for found, right in zip(gradients, truth, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-120, 1e-3, 1e120])
@pytest.mark.parametrize("functional", ["normalized_nuclear_norm", "effective_rank"])
def test_gram_at_extreme_scales(functional, scale):
    model = Matrices(gaussian(5, 4) * scale)
    value, (gradient,) = value_and_gradients(model, functional=functional, method="gram")
    expected, (truth,) = oracle(model, functional, {})
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient * scale, truth * scale, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["gram", "polar"])
@pytest.mark.parametrize("functional", ["nuclear_norm", "normalized_nuclear_norm", "participation_ratio"])
def test_zero_and_rank_deficient_matrices(functional, method):
    low = gaussian(6, 2) @ gaussian(2, 5, seed=1)
    model = Matrices(torch.zeros(6, 5, dtype=torch.float64), low)
    value, gradients = value_and_gradients(model, functional=functional, method=method, polar_steps=14)
    expected, truth = oracle(model, functional, {})
    torch.testing.assert_close(value, expected)
    assert not gradients[0].any()
    torch.testing.assert_close(gradients[1], truth[1], rtol=1e-6, atol=1e-6)


def spectra() -> list[torch.Tensor]:
    """A Gaussian matrix, one with a power law, and one of rank eight plus a small rest."""
    U, V = torch.linalg.qr(gaussian(96, 64))[0], torch.linalg.qr(gaussian(64, 64, seed=1))[0]
    power = torch.arange(1, 65, dtype=torch.float64) ** -1.0
    low = torch.cat([torch.linspace(1, 0.2, 8), torch.full((56,), 1e-3)]).double()
    return [gaussian(96, 64, seed=2), (U * power) @ V, (U * low) @ V]


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 3e-3), ("bfloat16", 8e-3)])
def test_stated_error_of_the_polar_method(kind, precision, tolerance):
    W = spectra()[kind].float()
    penalty = SpectralPenalty(Matrices(W), "nuclear_norm", method="polar", precision=precision)
    value = penalty.value()
    truth = torch.linalg.svdvals(W.double()).sum()
    assert abs(value.item() / truth.item() - 1) < tolerance
    (gradient,) = torch.autograd.grad(value, list(penalty.model.parameters()))
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    # Singular values of 1e-3 σ₁ are at the edge of what bfloat16 resolves.
    assert torch.cosine_similarity(gradient.double().flatten(), (U @ Vh).flatten(), dim=0) > (
        0.9 if precision == "bfloat16" else 0.98
    )
    # Nothing large is missed.
    large = torch.linalg.svdvals(W.double()) > 0.05 * torch.linalg.svdvals(W.double())[0]
    pulls = torch.einsum("mk,mn,kn->k", U, gradient.double(), Vh)
    assert (pulls[large] - 1).abs().max() < 3e-2


@pytest.mark.parametrize("steps", range(1, 9))
def test_few_steps_are_made_for_what_they_can_reach(steps):
    """Singular values in the range that the penalty asks of so many steps come near one."""
    lower = _LOWER.get(steps, _LOWER_AT_MOST)
    X = torch.logspace(0, math.log10(lower), 200, dtype=torch.float64)
    for a, b, c in make_solver(resolve("nuclear_norm", {}), "polar", steps, None).coefficients:
        X = a * X + b * X**3 + c * X**5
    assert (X - 1).abs().max() < (0.06 if steps == 1 else 0.03)


def reach(steps, lower):
    """The largest distance from one after the steps, of singular values from `lower` to 1."""
    X = torch.logspace(0, math.log10(lower), 200, dtype=torch.float64)
    for a, b, c in polar_coefficients(steps, lower):
        X = a * X + b * X**3 + c * X**5
    return (X - 1).abs().max()


def test_six_steps_reach_a_thousandth():
    assert reach(6, 1e-3) < 2e-2
    assert reach(4, 0.1) < reach(4, 0.01) < reach(3, 0.01)
    # Each polynomial is the best: no other quintic of a small neighbourhood has a smaller error.
    a, b, c = polar_coefficients(1, 0.2)[0]
    x = torch.linspace(0.2, 1, 2001, dtype=torch.float64)

    def error(a, b, c):
        return (a * x + b * x**3 + c * x**5 - 1).abs().max().item()

    for i in range(3):
        for sign in (-1e-3, 1e-3):
            moved = [a, b, c]
            moved[i] *= 1 + sign
            assert error(*moved) > error(a, b, c)


@pytest.mark.parametrize("steps", [6, 10])
def test_polar_of_float32_follows_the_tight_bound(steps):
    """A Gaussian matrix needs fewer steps when scaled by more than its Frobenius norm."""
    W = gaussian(64, 64)
    U, S, Vh = torch.linalg.svd(W)
    pulls = torch.einsum("mk,mn,kn->k", U, polar(W, steps), Vh)
    assert (pulls[0.1 * S[0] < S] - 1).abs().max() < 2e-2


@pytest.mark.parametrize(
    ("shape", "dtype", "functional", "expected"),
    [
        ((1, 64, 64), torch.float32, "nuclear_norm", {"svd"}),
        ((1, 64, 512), torch.float32, "nuclear_norm", {"gram"}),
        ((4, 1024, 1024), torch.float64, "nuclear_norm", {"svd"}),
        ((4, 64, 512), torch.float64, "nuclear_norm", {"svd"}),
        ((1, 1024, 1024), torch.float32, "effective_rank", {"svd"}),
        # Where bfloat16 is slow the exact method stays.
        ((1, 1024, 1024), torch.float32, "normalized_nuclear_norm", {"polar", "svd"}),
        ((1, 512, 64), torch.float32, "frobenius_norm", {"svd"}),
    ],
)
def test_automatic_choice(shape, dtype, functional, expected):
    solver = make_solver(resolve(functional, {}), "auto", 6, None)
    assert solver.method_for(torch.Size(shape), dtype, torch.device("cpu")) in expected


def test_polar_where_only_an_exact_method_exists():
    solver = make_solver(resolve("effective_rank", {}), "polar", 6, None)
    assert solver.method_for(torch.Size((1, 9, 9)), torch.float32, torch.device("cpu")) == "svd"


@pytest.mark.parametrize("method", ["svd", "gram", "polar"])
def test_autocast_does_not_reach_the_penalty(method):
    model = Matrices(gaussian(20, 12).float(), gaussian(20, 12, seed=1).float())
    arguments = {"method": method, "precision": None if method == "svd" else "float32"}
    expected, truth = value_and_gradients(model, **arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = value_and_gradients(model, **arguments)
        kept = SpectralPenalty(model, every=3, weight=1.0, **arguments).penalty()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(kept, expected, rtol=1e-6, atol=0)
    for found, right in zip(gradients, truth, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["svd", "gram", "polar"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters(method, dtype):
    model = Matrices(gaussian(20, 12).to(dtype))
    value, (gradient,) = value_and_gradients(model, method=method)
    exact = Matrices(model.weights[0].detach().double())
    expected, (truth,) = oracle(exact, "normalized_nuclear_norm", {})
    assert gradient.dtype == dtype
    assert abs(value.item() / expected.item() - 1) < 1e-2
    assert torch.cosine_similarity(gradient.double().flatten(), truth.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("method", ["svd", "gram", "polar"])
def test_entries_that_are_not_finite_are_refused(method):
    model = Matrices(torch.tensor([[1.0, math.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="entries are NaN or infinite"):
        SpectralPenalty(model, method=method).value()


@pytest.mark.parametrize("method", ["gram", "polar"])
def test_second_derivatives_are_refused(method):
    model = Matrices(gaussian(5, 4))
    value = SpectralPenalty(model, method=method).value()
    (gradient,) = torch.autograd.grad(value, list(model.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        gradient.sum().backward()


def test_floor_bounds_the_gradient_and_mirrors_the_cap():
    W = gaussian(6, 6)
    norm = torch.linalg.matrix_norm(W).item()
    model = Matrices(W)
    free = SpectralPenalty(model).value()
    floored = SpectralPenalty(model, norm_floor=0.5 * norm)
    torch.testing.assert_close(floored.value(), free)
    for scale in (1e-1, 1e-6):
        model.weights[0].data = scale * W
        value, (gradient,) = value_and_gradients(model, norm_floor=0.5 * norm)
        torch.testing.assert_close(value, F.nuclear_norm(scale * W) / (0.5 * norm))
        assert torch.linalg.vector_norm(gradient) <= math.sqrt(6) / (0.5 * norm) * (1 + 1e-9)
        unguarded = value_and_gradients(model)[1][0]
        assert torch.linalg.vector_norm(unguarded) > 0.1 / (scale * norm)
    model.weights[0].data = torch.zeros_like(W)
    value, (gradient,) = value_and_gradients(model, norm_floor=1.0)
    assert value.item() == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("method", ["svd", "gram"])
def test_gradient_of_the_guards_against_finite_differences(method):
    for scale in (0.01, 0.3, 3.0):
        model = Matrices(scale * gaussian(4, 3))
        penalty = SpectralPenalty(model, norm_floor=0.5, norm_cap=2.0, method=method)
        (gradient,) = torch.autograd.grad(penalty.value(), list(model.parameters()))
        flat, h = model.weights[0].data.view(-1), 1e-6 * scale
        for i in range(12):
            old = flat[i].item()
            values = []
            for sign in (1, -1):
                flat[i] = old + sign * h
                values.append(penalty.value().item())
            flat[i] = old
            assert gradient.view(-1)[i].item() == pytest.approx(
                (values[0] - values[1]) / (2 * h), rel=1e-5, abs=1e-6
            )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_normalized_penalty_needs_no_other_weight_at_another_scale(scale):
    """Gradient descent on scaled data with a scale-invariant penalty gives the scaled solution."""
    target = gaussian(6, 2) @ gaussian(2, 6, seed=1)

    def solution(c):
        W = nn.Parameter(c * gaussian(6, 6, seed=2))
        model = Matrices(W.detach())
        penalty = SpectralPenalty(model, weight=0.05)
        (parameter,) = model.parameters()
        for _ in range(50):
            loss = (parameter - c * target).square().mean() / c**2 + penalty.penalty()
            (gradient,) = torch.autograd.grad(loss, parameter)
            parameter.data -= 2.0 * c**2 * gradient
        return parameter.detach() / c

    torch.testing.assert_close(solution(scale), solution(1.0), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "qr"}, ValueError, "method must be 'auto', 'svd', 'gram' or 'polar', got 'qr'"),
        ({"conv": "fft"}, ValueError, "conv must be 'kernel' or 'operator'"),
        ({"precision": "float16"}, ValueError, "precision must be"),
        ({"every": 0}, ValueError, "every must be an integer ≥ 1, got 0"),
        ({"every": 1.5}, TypeError, "every must be an integer"),
        ({"polar_steps": True}, TypeError, "polar_steps must be an integer"),
        ({"grid": (8, 0)}, ValueError, "grid must be a tuple of integers ≥ 1"),
        ({"norm_floor": 0}, ValueError, "norm_floor must be a finite number > 0.*None"),
        ({"norm_floor": "x"}, TypeError, "norm_floor must be a finite number > 0"),
        ({"functional": "nuclear_norm", "norm_floor": 1.0}, ValueError, "norm_floor is for scale-invariant"),
        ({"functional": torch.linalg.matrix_norm, "conv": "operator"}, ValueError, "by name"),
    ],
)
def test_wrong_arguments_of_the_computation(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralPenalty(Matrices(gaussian(3, 3)), **arguments)


def test_describe_tells_what_is_not_the_default():
    model = Matrices(gaussian(3, 3))
    penalty = SpectralPenalty(model, method="gram", every=5, norm_floor=0.1, layers="weights.*")
    found = penalty.describe()
    assert (found["method"], found["every"], found["norm_floor"]) == ("gram", 5, 0.1)
    assert found["layers"] == ["weights.*"]
    assert "precision" not in found
    assert copy.deepcopy(penalty).describe() == found
    penalty.every, penalty.norm_floor = 2, None
    assert penalty.describe()["every"] == 2
    assert penalty.norm_floor is None


def test_steps_of_the_iteration_are_described():
    model = Matrices(gaussian(3, 3))
    assert SpectralPenalty(model, polar_steps=8).describe()["polar_steps"] == 8
    assert "polar_steps" not in SpectralPenalty(model).describe()
