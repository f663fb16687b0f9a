"""Values of the functionals against their definitions."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from matrix_corpus import CORPUS, FUNCTIONALS, REGULAR, dense_value, gaussian, quasi_norm, with_spectrum
from torch import Tensor

import overt.functional as F
from overt.linalg import Factored


def close(actual: Tensor, expected: Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=0.0)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("matrix", [name for name in CORPUS if not name.startswith("zero and")])
def test_value_is_the_definition(functional: str, matrix: str) -> None:
    case, W = FUNCTIONALS[functional], CORPUS[matrix]
    if not W.any() and functional != "log_det":
        assert case(W) == 0
        return
    # A zero singular value comes out as 1e-17, whose cube root is 1e-6.
    loose = quasi_norm(functional) and matrix not in REGULAR
    close(case(W), dense_value(case, W), rtol=1e-4 if loose else 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("matrix", CORPUS)
def test_value_with_gradient_is_the_value_without(functional: str, matrix: str) -> None:
    case, W = FUNCTIONALS[functional], CORPUS[matrix]
    tracked = case(W.clone().requires_grad_())
    assert tracked.requires_grad
    loose = quasi_norm(functional) and matrix not in REGULAR
    close(tracked.detach(), case(W), rtol=1e-4 if loose else 1e-10)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_given_spectrum(functional: str) -> None:
    case, W = FUNCTIONALS[functional], gaussian(5, 4)
    s = torch.linalg.svdvals(W)
    close(case(singular_values=s), case(W))
    close(case(singular_values=s.flip(0)), case(W))
    close(case(singular_values=torch.stack([s, 2 * s])), case(torch.stack([W, 2 * W])))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_factored_is_the_product(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for m, n, r in [(6, 4, 4), (7, 5, 8), (4, 9, 1)]:
        W = Factored(gaussian(m, r, 1), gaussian(n, r, 2))
        k = min(m, n, r)
        if functional == "log_det":
            close(case(W), case(W.dense()))
        else:
            close(case(W), case(singular_values=torch.linalg.svdvals(W.dense())[:k]))


def test_factored_counts_the_zeros_it_does_not_hold() -> None:
    W = Factored(gaussian(6, 2, 1), gaussian(5, 2, 2))
    close(F.log_det(W, 0.5), F.log_det(W.dense(), 0.5))
    assert F.singular_values(W).shape == (2,)


def test_factored_does_not_form_the_product() -> None:
    n = 100_000  # the product would take 80 GB
    W = Factored(gaussian(n, 2, 1).requires_grad_(), gaussian(n, 2, 2))
    F.normalized_nuclear_norm(W).backward()
    assert 1 < F.effective_rank(W) <= 2


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_batch_is_each_matrix_alone(functional: str) -> None:
    case = FUNCTIONALS[functional]
    batch = torch.stack([gaussian(4, 3, seed) for seed in range(6)])
    batch[1] *= 1e-25
    batch[2] *= 1e20
    batch[3] = 0
    alone = torch.stack([case(W) for W in batch])
    close(case(batch), alone)
    close(case(batch.reshape(2, 3, 4, 3)), alone.reshape(2, 3))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_batch_of_extreme_scales(functional: str) -> None:
    case = FUNCTIONALS[functional]
    if case.degree is None:
        pytest.skip("not homogeneous")
    W = gaussian(4, 4)
    values = case(torch.stack([W, 1e-300 * W, 1e300 * W]))
    for value, scale in zip(values, (1.0, 1e-300, 1e300), strict=True):
        close(value, case(W) * scale**case.degree)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 4, 3), (3, 0), (0, 3), (0, 0), (2, 0, 3)])
def test_empty(functional: str, shape: tuple[int, ...]) -> None:
    W = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    value = FUNCTIONALS[functional](W)
    assert value.shape == shape[:-2]
    assert not value.any()
    value.sum().backward()
    assert W.grad is not None
    assert W.grad.shape == shape


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_non_contiguous(functional: str) -> None:
    case, base = FUNCTIONALS[functional], gaussian(12, 10)
    W = base[::2, ::3]
    assert not W.is_contiguous()
    close(case(W), case(W.contiguous()))
    close(case(base.T), case(base.T.contiguous()))
    close(case(base[:1].expand(3, 10)), case(base[:1].repeat(3, 1)), rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_lower_precision(functional: str, dtype: torch.dtype) -> None:
    case, W = FUNCTIONALS[functional], gaussian(5, 4, dtype=dtype)
    tracked = W.clone().requires_grad_()
    value = case(tracked)
    value.backward()
    assert value.dtype == dtype
    assert tracked.grad is not None
    assert tracked.grad.dtype == dtype
    exact = case(W.double())
    torch.testing.assert_close(value.detach().double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_half_precision_is_computed_in_single(functional: str) -> None:
    case, W = FUNCTIONALS[functional], gaussian(5, 4, dtype=torch.float16)
    assert torch.equal(case(W), case(W.float()).half())
    U, V = gaussian(5, 2, dtype=torch.bfloat16), gaussian(4, 2, dtype=torch.bfloat16)
    value = case(Factored(U, V))
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, case(Factored(U.float(), V.float())).bfloat16())


@pytest.mark.parametrize(
    "functional", ["effective_rank", "normalized_nuclear_norm", "log_det", "schatten_norm p=0.5"]
)
def test_against_fifty_digits(functional: str) -> None:
    W = with_spectrum([1.0, 0.3, 1e-3, 1e-5], 6, 4, seed=3)
    with mpmath.workdps(50):
        s = [mpmath.mpf(x) for x in mpmath.svd_r(mpmath.matrix(W.tolist()), compute_uv=False)]
        total, square = mpmath.fsum(s), mpmath.fsum(x * x for x in s)
        exact = {
            "effective_rank": mpmath.exp(-mpmath.fsum(x / total * mpmath.log(x / total) for x in s)),
            "normalized_nuclear_norm": total / mpmath.sqrt(square),
            "log_det": mpmath.fsum(mpmath.log(x * x + mpmath.mpf("0.5")) for x in s),
            "schatten_norm p=0.5": mpmath.fsum(mpmath.sqrt(x) for x in s) ** 2,
        }[functional]
    assert FUNCTIONALS[functional](W).item() == pytest.approx(float(exact), rel=1e-11)


def test_log_det_is_the_determinant() -> None:
    for W in (gaussian(6, 4), gaussian(4, 6), with_spectrum([2.0, 1.0], 5, 5)):
        gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
        close(F.log_det(W, 1e-3), torch.logdet(gram + 1e-3 * torch.eye(len(gram), dtype=W.dtype)))


@pytest.mark.parametrize("scale", [1e-30, 1e-200, 1e30, 1e200])
def test_log_det_at_extreme_scales(scale: float) -> None:
    W = torch.diag(torch.tensor([scale, 2 * scale], dtype=torch.float64))
    expected = 2 * math.log(math.hypot(scale, 1e-15)) + 2 * math.log(math.hypot(2 * scale, 1e-15))
    assert F.log_det(W, 1e-30).item() == pytest.approx(expected, rel=1e-12)


def test_zero_matrix_has_the_documented_values() -> None:
    W = torch.zeros(4, 3, dtype=torch.float64)
    for name, case in FUNCTIONALS.items():
        expected = 3 * math.log(0.5) if name == "log_det" else 0.0
        for value in (case(W), case(singular_values=torch.zeros(3, dtype=torch.float64))):
            assert value.item() == pytest.approx(expected, rel=1e-15, abs=0.0)


def test_small_exponents_overflow_only_where_the_ratio_does() -> None:
    W = torch.eye(100, dtype=torch.float64)
    assert F.normalized_schatten_norm(W, 0.01, 0.0101).item() == pytest.approx(100 ** (1 / 0.01 - 1 / 0.0101))
    assert F.schatten_norm(W, 0.001).item() == math.inf


def test_subnormal_matrix_stays_finite() -> None:
    W = (1e-310 * gaussian(4, 4)).requires_grad_()
    for case in FUNCTIONALS.values():
        value = case(W)
        (gradient,) = torch.autograd.grad(value, W)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_numbers_of_numpy() -> None:
    W = gaussian(4, 3)
    close(F.schatten_norm(W, np.float32(0.5)), F.schatten_norm(W, 0.5))
    close(F.normalized_schatten_norm(W, np.int64(1), np.float64(3)), F.normalized_schatten_norm(W, 1, 3))
    close(F.log_det(W, np.float32(0.5)), F.log_det(W, 0.5))
