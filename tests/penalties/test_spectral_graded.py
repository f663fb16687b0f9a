"""Penalties of matrices whose singular values span all orders of magnitude down to the rank tolerance."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from overt import functional as F
from overt.linalg import Factored
from overt.penalties import SpectralPenalty
from overt.penalties.functionals import resolve
from overt.penalties.methods import make_solver
from overt.penalties.moments import SketchMoments

FUNCTIONALS = [
    ("nuclear_norm", {}),
    ("normalized_nuclear_norm", {}),
    ("participation_ratio", {}),
    ("schatten_norm", {"p": 1 / 3}),
    ("schatten_norm", {"p": 0.5}),
    ("normalized_schatten_norm", {"p": 1 / 3, "q": 2 / 3}),
    ("effective_rank", {}),
    ("stable_rank", {}),
    ("spectral_norm", {}),
    ("frobenius_norm", {}),
    ("log_det", {"eps": 1e-2}),
]
SHAPES = [(96, 24), (24, 96), (40, 30)]


def spectra(k: int, tolerance: float) -> list[Tensor]:
    """From 1 to just above the tolerance: geometric, a cluster and a floor, three levels."""
    return [
        torch.logspace(0, math.log10(2 * tolerance), k, dtype=torch.float64),
        torch.tensor([1.0] * 5 + [1.5 * tolerance] * (k - 5), dtype=torch.float64),
        torch.tensor([1.0] * 2 + [1e-2] * 2 + [3 * tolerance] * (k - 4), dtype=torch.float64),
    ]


def factors(shape: tuple[int, int], k: int) -> tuple[Tensor, Tensor]:
    draws = (
        torch.randn(size, k, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
        for size in shape
    )
    U, V = (torch.linalg.qr(draw)[0] for draw in draws)
    return U, V


def error(name: str, options: dict, gradient: Tensor, U: Tensor, s: Tensor, V: Tensor) -> float:
    """The largest error along σ u vᵀ or along W, in units of the value."""
    s = s.clone().requires_grad_()
    value = getattr(F, name)(singular_values=s, **options)
    (slope,) = torch.autograd.grad(value, s)
    s = s.detach()
    pulls = torch.einsum("mk,mn,nk->k", U, gradient.double(), V) * s - slope * s
    return float(torch.maximum(pulls.abs().max(), pulls.sum().abs()) / value.detach().abs())


class Matrix(nn.Module):
    def __init__(self, W: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(W)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), FUNCTIONALS)
@pytest.mark.parametrize("method", ["svd", "gram", "auto"])
@pytest.mark.parametrize("every", [1, 5])
def test_single_precision(name: str, options: dict, method: str, every: int) -> None:
    """The Gram matrix in float64 is as exact as the SVD; kept directions are what the SVD gives."""
    for shape in SHAPES:
        U, V = factors(shape, min(shape))
        for s in spectra(min(shape), torch.finfo(torch.float32).eps * max(shape)):
            model = Matrix(((U * s) @ V.mT).float())
            penalty = SpectralPenalty(model, name, options=options, weight=1.0, method=method, every=every)
            value = penalty.penalty()
            (gradient,) = torch.autograd.grad(value, model.weight)
            assert error(name, options, gradient, U, s, V) < 3e-4, (shape, s)
            expected = getattr(F, name)(singular_values=s, **options).item()
            assert value.item() == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_just_above_the_tolerance(shape: tuple[int, int]) -> None:
    U, V = factors(shape, min(shape))
    s = spectra(min(shape), torch.finfo(torch.float32).eps * max(shape))[1]
    W = ((U * s) @ V.mT).float().unsqueeze(0)
    for method in ("svd", "gram"):
        solver = make_solver(resolve("schatten_norm", {"p": 1 / 3}), method, 6, None)
        direction = solver.tangents(W)[0].direction
        assert error("schatten_norm", {"p": 1 / 3}, direction, U, s, V) < 3e-4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), FUNCTIONALS)
def test_double_precision(name: str, options: dict) -> None:
    """The SVD down to the rank tolerance, the Gram matrix down to the root of it, where it stops."""
    for shape in SHAPES:
        U, V = factors(shape, min(shape))
        tolerance = torch.finfo(torch.float64).eps * max(shape)
        for method, least, bound in [("svd", tolerance, 1e-6), ("gram", math.sqrt(tolerance), 1e-3)]:
            for s in spectra(min(shape), least):
                W = ((U * s) @ V.mT).unsqueeze(0)
                tangent = make_solver(resolve(name, options), method, 6, None).tangents(W)[0]
                leaf = W[0].requires_grad_()
                (gradient,) = torch.autograd.grad(tangent(leaf), leaf)
                assert error(name, options, gradient, U, s, V) < bound, (shape, method, s)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), FUNCTIONALS)
def test_factors(name: str, options: dict) -> None:
    for shape in SHAPES:
        U, V = factors(shape, 10)
        for s in spectra(10, torch.finfo(torch.float64).eps * max(shape)):
            W = Factored(((U * s) @ V.mT @ V).unsqueeze(0), V.unsqueeze(0))
            tangent = make_solver(resolve(name, options), "svd", 6, None).factored_tangents(W)[0]
            left = W.U[0].requires_grad_()
            value = tangent(Factored(left, V))
            expected = getattr(F, name)(Factored(left.detach(), V), **options)
            torch.testing.assert_close(value.detach(), expected, rtol=1e-6, atol=0)
            (gradient,) = torch.autograd.grad(value, left)
            assert error(name, options, gradient @ V.mT, U, s, V) < 1e-6, s


def test_directions_of_a_sketch_are_orthonormal() -> None:
    """Down to the smallest squares kept, 1e-6 of the largest: a Gram matrix in float32 was off by 2e-2."""
    U, V = factors((40, 200), 30)
    s = torch.logspace(0, -2.9, 30, dtype=torch.float64)
    moments = SketchMoments(200, p=1.0, floor=1e-3, momentum=0.9, rank=32)
    moments.update(((U * s) @ V.mT).float())
    assert moments.vectors.dtype == torch.float32
    vectors, values = moments.vectors.double(), moments.values.double()
    torch.testing.assert_close(vectors @ vectors.mT, torch.eye(30, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(values / values[0], s.square(), rtol=1e-4, atol=0)
