"""Gradients where singular values span all orders of magnitude down to the rank tolerance.

A gradient U diag(f′(σ)) Vᵀ of a quasi-norm is largest where σ is smallest, so errors of U, of V and of their
product show in the directions of large σ. They are measured along σ u vᵀ, in units of the value.
"""

from __future__ import annotations

import math

import pytest
import torch
from matrix_corpus import FUNCTIONALS, Case, gaussian, quasi_norm
from torch import Tensor

import overt.functional as F
from overt.linalg import Factored

SHAPES = [(96, 24), (24, 96), (40, 30), (64, 4), (1, 30)]
# Measured: 4e-8 in float64 and 3e-5 in float32. With U = W V diag(1/σ): 7e5 and 1.
BOUNDS = {torch.float64: 1e-6, torch.float32: 3e-4}
# From the number of singular values and the rank tolerance relative to the largest.
SPECTRA = {
    "geometric": lambda k, tol: torch.logspace(0, math.log10(2 * tol), k),
    "a cluster above a floor": lambda k, tol: _cluster(k, 1.5 * tol),
    "a cluster above what counts as zero": lambda k, tol: _cluster(k, 0.3 * tol),
    "one just above the tolerance": lambda k, tol: _ones_but_the_last(k, 1.5 * tol),
    "one just below the tolerance": lambda k, tol: _ones_but_the_last(k, 0.3 * tol),
    "three levels": lambda k, tol: _cluster(k, 3 * tol, (1.0, 1.0, 1e-3, 1e-3)),
    "rank one": lambda k, tol: _cluster(k, 0.0, (1.0,)),
    "equal": lambda k, tol: torch.ones(k),
}


def _cluster(k: int, floor: float, top: tuple[float, ...] = (1.0,) * 5) -> Tensor:
    kept = top[: max(1, k - 1)]
    return torch.tensor([*kept, *[floor] * (k - len(kept))])


def _ones_but_the_last(k: int, last: float) -> Tensor:
    return torch.tensor([*[1.0] * (k - 1), last if k > 1 else 1.0])


def tolerance_of(W: Tensor) -> float:
    dtype = W.dtype if W.dtype == torch.float64 else torch.float32
    return torch.finfo(dtype).eps * max(W.shape)


def graded(kind: str, shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W in a dtype, and the U, s, V that it was made of in float64."""
    k = min(shape)
    s = SPECTRA[kind](k, tolerance_of(torch.empty(shape, dtype=dtype))).double()
    U, V = (torch.linalg.qr(gaussian(size, k, seed=size))[0] for size in shape)
    return ((U * s) @ V.mT).to(dtype), U, s, V


def gradient(case: Case, W: Tensor) -> Tensor:
    W = W.clone().requires_grad_()
    (found,) = torch.autograd.grad(case(W).sum(), W)
    return found


def errors(case: Case, found: Tensor, U: Tensor, s: Tensor, V: Tensor) -> tuple[float, float]:
    """The largest error along any σ u vᵀ, and the one along W, Euler's identity; in units of the value."""
    spectrum = s.clone().requires_grad_()
    value = case(singular_values=spectrum)
    (slope,) = torch.autograd.grad(value, spectrum)
    # Directions up to the tolerance have slope 0.
    expected = torch.where(s > tolerance_of(found), slope * s, 0)
    pulls = torch.einsum("mk,mn,nk->k", U, found.double(), V) * s
    along = (found.double() * ((U * s) @ V.mT)).sum()
    unit = value.detach().abs()
    return float((pulls - expected).abs().max() / unit), float((along - expected.sum()).abs() / unit)


def noisy(functional: str, s: Tensor, W: Tensor) -> bool:
    """Whether rounding errors of zeros are part of the value, since an exponent below 1 magnifies them."""
    return quasi_norm(functional) and bool((s <= tolerance_of(W)).any())


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_slope_along_each_direction(functional: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    case = FUNCTIONALS[functional]
    for kind in SPECTRA:
        W, U, s, V = graded(kind, shape, dtype)
        if not noisy(functional, s, W):
            assert max(errors(case, gradient(case, W), U, s, V)) < BOUNDS[dtype], kind


@pytest.mark.parametrize("functional", ["schatten_norm p=0.333", "effective_rank", "nuclear_norm"])
def test_just_above_the_tolerance(functional: str) -> None:
    """The case that went wrong: Euler's identity gave 260 001 in place of 1.892."""
    case = FUNCTIONALS[functional]
    for dtype, bound in BOUNDS.items():
        for shape in [(96, 24), (24, 96)]:
            W, U, s, V = graded("a cluster above a floor", shape, dtype)
            assert max(errors(case, gradient(case, W), U, s, V)) < bound


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_euler_by_the_values_alone(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """⟨∇f(W), W⟩ = degree · f(W) with the value that the functional itself gives."""
    for functional, case in FUNCTIONALS.items():
        if case.degree is None:
            continue
        for kind in SPECTRA:
            W, _, s, _ = graded(kind, shape, dtype)
            if not noisy(functional, s, W):
                value = case(W).item()
                along = (gradient(case, W).double() * W.double()).sum().item()
                assert abs(along - case.degree * value) < BOUNDS[dtype] * value, (functional, kind)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_orthonormal(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """The gradient of the nuclear norm has singular values 1, and 0 at or below the tolerance."""
    for kind in SPECTRA:
        W, _, s, _ = graded(kind, shape, dtype)
        found = torch.linalg.svdvals(gradient(FUNCTIONALS["nuclear_norm"], W))
        expected = (s > tolerance_of(W)).to(dtype)
        torch.testing.assert_close(found, expected, rtol=0, atol=100 * torch.finfo(dtype).eps)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_factored_matrix_has_the_same_slopes(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for kind in SPECTRA:
        for shape in SHAPES:
            W, U, s, V = graded(kind, shape, torch.float64)
            if noisy(functional, s, W):
                continue
            left = (U * s).requires_grad_()
            (found,) = torch.autograd.grad(case(Factored(left, V)), left)
            # ∂f/∂(U S) = (∂f/∂W) V, so that times Vᵀ it is the gradient on the space of W.
            assert max(errors(case, found @ V.mT, U, s, V)) < BOUNDS[torch.float64], (kind, shape)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_rows_of_zeros(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for kind in ("geometric", "three levels"):
        for tall in (True, False):
            W, U, s, V = graded(kind, (40, 12), torch.float64)
            padded = U.new_zeros(80, 12).index_copy(0, torch.arange(1, 80, 2), U)
            s = s.where(s == s[0], 2 * s)  # the tolerance of the padded matrix is larger
            W = (padded * s) @ V.mT
            found = gradient(case, W if tall else W.mT.contiguous())
            found = found if tall else found.mT
            assert max(errors(case, found, padded, s, V)) < BOUNDS[torch.float64]


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(48, 12), (12, 48), (15, 12)])
def test_a_batch_of_all_spectra(functional: str, shape: tuple[int, int]) -> None:
    case = FUNCTIONALS[functional]
    parts = [graded(kind, shape, torch.float64) for kind in SPECTRA]
    found = gradient(case, torch.stack([part[0] for part in parts]))
    for each, (W, U, s, V) in zip(found, parts, strict=True):
        if not noisy(functional, s, W):
            assert max(errors(case, each, U, s, V)) < BOUNDS[torch.float64]


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(40, 10), (10, 40), (12, 10)])
def test_half_precision_of_powers_of_two(functional: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Half precision holds these matrices, in which entries and singular values span 2⁻¹⁰ to 1, exactly."""
    case, k = FUNCTIONALS[functional], 10
    s = 2.0 ** -torch.arange(k, dtype=torch.float64)
    U, V = (
        torch.eye(size, dtype=torch.float64)[torch.randperm(size, generator=torch.Generator().manual_seed(1))]
        for size in shape
    )
    U, V = U[:, :k], V[:, :k]
    found = gradient(case, ((U * s) @ V.mT).to(dtype))
    assert found.dtype == dtype
    assert max(errors(case, found, U, s, V)) < 2 * torch.finfo(dtype).eps


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(60, 10), (10, 60), (12, 10)])
def test_directional_differences_in_double_precision(functional: str, shape: tuple[int, int]) -> None:
    """A float32 gradient against differences of the definition in float64, along drawn directions."""
    case = FUNCTIONALS[functional]
    if functional in ("spectral_norm", "stable_rank") or "inf" in functional:
        pytest.skip("not differentiable at ties, which the cluster has")
    for kind in ("geometric", "a cluster above a floor", "one just above the tolerance"):
        W, _, s, _ = graded(kind, shape, torch.float32)
        found, W = gradient(case, W).double(), W.double()
        step = 1e-3 * float(s[-1])
        for seed in range(3):
            D = gaussian(*shape, seed=seed) / math.sqrt(W.numel())
            ahead, behind = (case.definition(torch.linalg.svdvals(W + sign * step * D)) for sign in (1, -1))
            slope = float(ahead - behind) / (2 * step)
            # σ at the tolerance is known to within a few per cent, and the slope with it.
            scale = float(torch.linalg.vector_norm(found))
            assert float((found * D).sum()) == pytest.approx(slope, rel=0, abs=1e-2 * scale)


def test_one_slope_of_single_precision() -> None:
    """The slope along the first of five σ = 1, the rest at 2e-5: 32.9, which was 73."""
    U, V = (torch.linalg.qr(gaussian(size, 32, seed=size))[0] for size in (128, 32))
    s = torch.tensor([1.0] * 5 + [2e-5] * 27, dtype=torch.float64)
    W = ((U * s) @ V.mT).float().requires_grad_()
    F.schatten_norm(W, 1 / 3).backward()
    assert W.grad is not None
    slope = (U[:, 0] @ W.grad.double() @ V[:, 0]).item()
    assert slope == pytest.approx((s ** (1 / 3)).sum().item() ** 2, rel=1e-3)
