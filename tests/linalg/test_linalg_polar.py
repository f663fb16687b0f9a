"""The polar factor by matrix multiplication, against the singular value decomposition."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.linalg import polar
from overt.linalg.polar import has_fast_bfloat16
from overt.linalg.polar_coefficients import polar_coefficients

module = sys.modules[has_fast_bfloat16.__module__]  # overt.linalg.polar is the function


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(W: torch.Tensor) -> torch.Tensor:
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)
    return U @ Vh


def with_spectrum(values: list[float], m: int, n: int) -> torch.Tensor:
    k = len(values)
    U, V = torch.linalg.qr(gaussian(m, k))[0], torch.linalg.qr(gaussian(n, k, seed=1))[0]
    return (U * torch.tensor(values, dtype=torch.float64)) @ V.T


@given(m=st.integers(1, 12), n=st.integers(1, 12), exponent=st.integers(-250, 250), seed=st.integers(0, 1000))
def test_against_the_decomposition(m: int, n: int, exponent: int, seed: int) -> None:
    W = gaussian(m, n, seed=seed)
    s = torch.linalg.svdvals(W)
    if s[-1] < 2e-3 * torch.linalg.vector_norm(W):
        return
    torch.testing.assert_close(polar(W * 10.0**exponent, steps=12), exact(W), rtol=0, atol=1e-10)


def test_nuclear_norm_after_eight_and_ten_steps() -> None:
    """Measured on a Gaussian 256×512 matrix: 0.03 % after eight single-precision steps, exact after ten."""
    W = gaussian(256, 512).float()
    nuclear = torch.linalg.svdvals(W.double()).sum()
    for steps, tolerance in [(8, 5e-4), (10, 1e-6)]:
        value = (polar(W, steps=steps).double() * W.double()).sum()
        assert abs(value / nuclear - 1).item() < tolerance
    coarse = (polar(W.bfloat16(), steps=10).double() * W.double()).sum()
    assert abs(coarse / nuclear - 1).item() < 1e-2


def test_more_steps_reach_smaller_singular_values() -> None:
    W = with_spectrum([1.0, 1e-2, 1e-5], 8, 3)
    errors = [(polar(W, steps=k) - exact(W)).abs().max().item() for k in (6, 8, 12, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2
    assert errors[-1] < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_singular_values_come_within_a_percent_in_eight_steps(seed: int) -> None:
    """The claim of the docstring, on a spectrum that fills [1e-3, 1]."""
    W = with_spectrum([10.0 ** (-3 * i / 19) for i in range(20)], 30, 20)
    W = W * torch.linalg.vector_norm(W) ** -1 * (1 + seed / 10)
    s = torch.linalg.svdvals(polar(W, steps=8))
    small = torch.linalg.svdvals(W / torch.linalg.vector_norm(W)) >= 1e-3
    assert (s - 1).abs()[small].max().item() < 1e-2


def test_zero_and_rank_deficient_matrices_stay_finite() -> None:
    assert not polar(torch.zeros(4, 3)).any()
    W = with_spectrum([3.0, 1.0], 6, 5)
    U, _, Vh = torch.linalg.svd(W)
    torch.testing.assert_close(polar(W), U[:, :2] @ Vh[:2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 3, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    assert polar(torch.zeros(shape)).shape == shape


def test_batch_is_each_alone() -> None:
    W = gaussian(3, 5, 4)
    W[1] *= 1e-200
    for whole, single in zip(polar(W), W, strict=True):
        torch.testing.assert_close(whole, polar(single))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_follows_the_input(dtype: torch.dtype) -> None:
    W = gaussian(6, 4).to(dtype)
    result = polar(W)
    assert result.dtype == dtype
    # In float64 rounding is not that of the result alone: its order is the processor's own.
    atol = (50 if dtype == torch.float64 else 20) * torch.finfo(dtype).eps
    torch.testing.assert_close(result.double(), exact(W.double()), rtol=0, atol=atol)


def test_the_iteration_runs_in_the_precision_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    W, coefficients = gaussian(6, 4).float(), polar_coefficients(8)
    for dtype, expected in ((None, torch.float32), (torch.bfloat16, torch.bfloat16)):
        assert module.polar_iteration(W, coefficients, dtype).dtype == expected
    for known in (True, False):
        monkeypatch.setattr(module, "_CPU_BFLOAT16", known)
        assert module.has_fast_bfloat16(torch.device("cpu")) is known
        assert not module.has_fast_bfloat16(torch.device("meta"))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="steps must be an integer ≥ 1, got 0"):
        polar(torch.eye(3), steps=0)
    with pytest.raises(TypeError, match=r"steps must be an integer ≥ 1, got 2\.0"):
        polar(torch.eye(3), steps=2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="W: 1 of 4 entries are NaN"):
        polar(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="W must be a matrix"):
        polar(torch.ones(3))


def test_the_published_coefficients_are_the_best_ones_for_a_thousandth() -> None:
    """Both are damped up to the last step; the published ones were rounded up a little."""
    published, computed = polar_coefficients(8), polar_coefficients(8, lower=1e-3)
    torch.testing.assert_close(torch.tensor(published), torch.tensor(computed), rtol=5e-4, atol=0)
    assert polar_coefficients(11)[8:] == ((1.875, -1.25, 0.375),) * 3


@pytest.mark.parametrize("low", [0.999997, 0.9999, 0.9, 0.5, 0.1, 0.03])
def test_the_best_quintic_has_four_errors_of_one_size_and_alternating_sign(low: float) -> None:
    """Chebyshev's criterion, which no other odd polynomial of degree five meets."""
    ((a, b, c),) = polar_coefficients(1, lower=low)
    x = torch.linspace(low, 1, 20001, dtype=torch.float64)
    errors = 1 - (a * x + b * x**3 + c * x**5)
    peaks = errors[0], errors[: 20001 // 2].min(), errors[20001 // 2 :].max(), errors[-1]
    largest = errors.abs().max().item()
    assert largest < 0.8
    if low > 0.9999:  # rounding is all that is left
        assert largest < 1e-15
        return
    torch.testing.assert_close(
        torch.stack(peaks), largest * torch.tensor([1, -1, 1, -1]).double(), rtol=1e-3, atol=1e-15
    )


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(768, 768), (800, 770), (771, 900)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_mirrored_products_of_large_matrices_are_the_plain_ones(shape, dtype, monkeypatch):
    W = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    if dtype.is_complex:
        W = W + 1j * W.flip(0)
    assert min(shape) >= module.MIRROR_FROM
    polar_iteration = module.polar_iteration
    mirrored = polar_iteration(W, polar_coefficients(4))
    monkeypatch.setattr(module, "MIRROR_FROM", 10**9)
    plain = polar_iteration(W, polar_coefficients(4))
    assert mirrored.shape == W.shape
    if dtype == torch.bfloat16:  # the processor decides how much is rounded: no more if mirrored
        exact = polar_iteration(W.float(), polar_coefficients(4))
        errors = [torch.linalg.matrix_norm(one.float() - exact) for one in (mirrored, plain)]
        assert errors[0] < 1.05 * errors[1] < 0.2 * torch.linalg.matrix_norm(exact)
    else:
        assert torch.linalg.matrix_norm(mirrored - plain, 2) < 1e-4
