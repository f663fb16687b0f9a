"""Gradients: U diag(f′(σ)) Vᵀ, finite everywhere, and what is documented where there is none."""

from __future__ import annotations

import pytest
import torch
from matrix_corpus import (
    CORPUS,
    FUNCTIONALS,
    REGULAR,
    Case,
    dense_gradient,
    gaussian,
    orthogonal,
    with_spectrum,
)
from torch import Tensor

import overt.functional as F
from overt.linalg import Factored


def gradient(case: object, W: Tensor) -> Tensor:
    W = W.detach().clone().requires_grad_()
    (result,) = torch.autograd.grad(case(W).sum(), W)  # type: ignore[operator]
    return result


def close(actual: Tensor, expected: Tensor, rtol: float = 1e-10) -> None:
    """Compare relative to the largest entry."""
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=rtol * expected.abs().max().item())


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("matrix", REGULAR)
def test_gradient_is_the_closed_form(functional: str, matrix: str) -> None:
    case, W = FUNCTIONALS[functional], REGULAR[matrix]
    # A spectrum of 1 … 1e-6 turns rounding of 1e-16 into 1e-10 in the vectors of the smallest value.
    rtol = 1e-8 if "ill" in matrix else 1e-10
    expected = dense_gradient(case, W)
    if case.degree == 0 and min(W.shape) == 1:  # constant: what is left is rounding
        assert gradient(case, W).abs().max() <= 1e-14 / torch.linalg.vector_norm(W)
        return
    close(gradient(case, W), expected, rtol)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (7, 2), (2, 8), (1, 3), (2, 3, 4)])
def test_gradcheck(functional: str, shape: tuple[int, ...]) -> None:
    W = gaussian(1, int(torch.tensor(shape).prod())).reshape(shape).requires_grad_()
    assert torch.autograd.gradcheck(FUNCTIONALS[functional], W)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_gradcheck_of_a_spectrum(functional: str) -> None:
    s = torch.tensor([[3.0, 0.2, 1.0], [0.5, 4.0, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: FUNCTIONALS[functional](singular_values=x), s)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("sizes", [(5, 4, 2), (3, 4, 3), (4, 3, 5)])
def test_gradcheck_of_factors(functional: str, sizes: tuple[int, int, int]) -> None:
    m, n, r = sizes
    U, V = gaussian(m, r, 1).requires_grad_(), gaussian(n, r, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: FUNCTIONALS[functional](Factored(u, v)), (U, V))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_finite_difference_along_a_line(functional: str) -> None:
    case, W, direction, h = FUNCTIONALS[functional], gaussian(30, 12), gaussian(30, 12, seed=5), 1e-5
    slope = (case(W + h * direction) - case(W - h * direction)) / (2 * h)
    assert (gradient(case, W) * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("matrix", CORPUS)
def test_gradient_is_finite_everywhere(functional: str, matrix: str) -> None:
    assert gradient(FUNCTIONALS[functional], CORPUS[matrix]).isfinite().all()


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_zero_matrix_has_gradient_zero(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for shape in [(3, 4), (8, 2), (2, 3, 3)]:
        assert not gradient(case, torch.zeros(shape, dtype=torch.float64)).any()
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    case(singular_values=s).backward()
    assert s.grad is not None
    assert not s.grad.any()
    U = torch.zeros(4, 2, dtype=torch.float64, requires_grad=True)
    case(Factored(U, gaussian(3, 2))).backward()
    assert U.grad is not None
    assert not U.grad.any()


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(6, 6), (20, 4), (4, 20)])
def test_rank_deficiency_keeps_to_the_range(functional: str, shape: tuple[int, int]) -> None:
    """At rank 2 the gradient is that of the two singular values, with no part outside their spaces."""
    case, (m, n) = FUNCTIONALS[functional], shape
    left, right = orthogonal(m)[:, :2], orthogonal(n, 1)[:, :2]
    s = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    W = (left * s.detach()) @ right.T
    (slope,) = torch.autograd.grad(case.definition(s), s)
    # Exponents below 1 feel the rounding of the zero singular values in the value, and so in the slopes.
    close(gradient(case, W), (left * slope) @ right.T, rtol=1e-3 if "p=0." in functional else 1e-10)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_ties_are_treated_alike(functional: str) -> None:
    """The gradient is equivariant, so no choice of singular vectors among tied values shows in it."""
    case, W = FUNCTIONALS[functional], with_spectrum([2.0, 2.0, 1.0, 1.0], 4, 6)
    P, Q = orthogonal(4, 7), orthogonal(6, 8)
    close(gradient(case, P @ W @ Q), P @ gradient(case, W) @ Q, rtol=1e-9)
    eye = torch.eye(4, dtype=torch.float64)
    result = gradient(case, eye)
    close(result + 1, result[0, 0] * eye + 1)


def test_spectral_norm_shares_its_slope_among_ties() -> None:
    close(
        gradient(F.spectral_norm, 3 * torch.eye(4, dtype=torch.float64)),
        torch.eye(4, dtype=torch.float64) / 4,
    )


def test_nuclear_norm_has_the_smallest_subgradient() -> None:
    W = torch.diag(torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64))
    close(gradient(F.nuclear_norm, W), torch.diag(torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)))


def test_given_spectrum_is_taken_at_its_word() -> None:
    s = torch.tensor([1.0, 1e-200, 0.0], dtype=torch.float64, requires_grad=True)
    F.nuclear_norm(singular_values=s).backward()
    assert s.grad is not None
    assert s.grad.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 5), (12, 4), (4, 12)])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float64, c) for c in (1e-300, 1e-100, 1e-30, 1e30, 1e100)]
    + [(torch.float32, c) for c in (1e-30, 1e-15, 1e15)],
)
@pytest.mark.parametrize(
    "functional", [name for name, case in FUNCTIONALS.items() if case.degree is not None]
)
def test_scales(functional: str, dtype: torch.dtype, scale: float, shape: tuple[int, int]) -> None:
    case = FUNCTIONALS[functional]
    W = gaussian(*shape, dtype=dtype)
    assert case.degree is not None
    rtol = 200 * torch.finfo(dtype).eps
    value = case(W * scale).double()
    torch.testing.assert_close(value, case(W).double() * scale**case.degree, rtol=rtol, atol=0)
    # Entries of the gradient of a ratio at scale 1e-30 are of size 1e30.
    scaled = gradient(case, W * scale).double()
    close(scaled, gradient(case, W).double() * scale ** (case.degree - 1), rtol=10 * rtol)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_factors_of_extreme_scales(functional: str) -> None:
    case = FUNCTIONALS[functional]
    if case.degree is None:
        pytest.skip("not homogeneous")
    U, V = gaussian(5, 2, 1), gaussian(4, 2, 2)
    for u, v in [(1e-200, 1e200), (1e-100, 1e-100), (1e120, 1e100)]:
        value = case(Factored(u * U, v * V))
        torch.testing.assert_close(value, case(Factored(U, V)) * (u * v) ** case.degree, rtol=1e-10, atol=0)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_batch_gradient_is_each_alone(functional: str) -> None:
    case = FUNCTIONALS[functional]
    batch = torch.stack([gaussian(4, 3), 1e-20 * gaussian(4, 3, 1), torch.zeros(4, 3, dtype=torch.float64)])
    together = gradient(case, batch)
    for W, result in zip(batch, together, strict=True):
        close(result, gradient(case, W))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_second_order_is_refused_in_words(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for build in (_dense, _factored, _spectrum):
        source, value = build(case)
        (first,) = torch.autograd.grad(value, source, create_graph=True)
        assert first.requires_grad
        with pytest.raises(RuntimeError, match=r"second derivatives .* not implemented"):
            torch.autograd.grad(first.square().sum(), source)


def test_second_order_by_way_of_a_factor_of_the_value_is_refused_too() -> None:
    """The gradient is linear in the incoming one; to leave that out would give 0 without a word."""
    c = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    W, U, V = (gaussian(*shape).requires_grad_() for shape in ((4, 3), (4, 2), (3, 2)))
    for matrix, sources in ((W, (W,)), (Factored(U, V), (U, V))):
        for source in sources:
            value = c * F.singular_values(matrix).sum()
            (first,) = torch.autograd.grad(value, source, create_graph=True)
            with pytest.raises(RuntimeError, match=r"second derivatives .* not implemented"):
                torch.autograd.grad(first.sum(), c)


def _dense(case: Case) -> tuple[Tensor, Tensor]:
    W = gaussian(4, 3).requires_grad_()
    return W, case(W)


def _factored(case: Case) -> tuple[Tensor, Tensor]:
    U = gaussian(4, 2).requires_grad_()
    return U, case(Factored(U, gaussian(3, 2, 1)))


def _spectrum(case: Case) -> tuple[Tensor, Tensor]:
    s = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    return s, case(singular_values=s)


@pytest.mark.slow
@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_torch_func(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for W in (gaussian(4, 3), gaussian(8, 3)):
        close(torch.func.grad(case)(W), gradient(case, W))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_incoming_gradient_scales_the_result(functional: str) -> None:
    case, W = FUNCTIONALS[functional], torch.stack([gaussian(4, 3), gaussian(4, 3, 1)])
    weights = torch.tensor([2.0, -3.0], dtype=torch.float64)
    weighted = gradient(lambda X: (weights * case(X)).sum(), W)
    close(weighted, weights[:, None, None] * gradient(case, W))


def test_gradient_through_one_singular_value() -> None:
    W = gaussian(5, 3)
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)
    close(gradient(lambda X: F.singular_values(X)[1], W), U[:, 1:2] @ Vh[1:2])


def test_changing_the_matrix_before_the_gradient_is_noticed() -> None:
    for shape in [(4, 3), (9, 3)]:
        for call in (F.normalized_nuclear_norm, F.frobenius_norm, F.singular_values):
            W = gaussian(*shape).requires_grad_()
            value = call(W).sum()
            with torch.no_grad():
                W.mul_(2.0)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                value.backward()


def test_gradient_can_be_taken_twice() -> None:
    W = gaussian(4, 3).requires_grad_()
    value = F.normalized_nuclear_norm(W)
    (first,) = torch.autograd.grad(value, W, retain_graph=True)
    first.zero_()
    (second,) = torch.autograd.grad(value, W)
    assert second.any()


@pytest.mark.parametrize("shape", [(6, 5), (12, 3)])
def test_mixed_precision_does_not_reach_in(shape: tuple[int, int]) -> None:
    W = gaussian(*shape, dtype=torch.float32)
    expected = gradient(F.normalized_nuclear_norm, W)
    U, V = gaussian(6, 2, dtype=torch.float32), gaussian(5, 2, 1, dtype=torch.float32)
    factored = F.nuclear_norm(Factored(U, V))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close(gradient(F.normalized_nuclear_norm, W), expected, rtol=1e-6)
        close(F.nuclear_norm(Factored(U, V)), factored, rtol=1e-6)


@pytest.mark.parametrize("functional", [name for name, case in FUNCTIONALS.items() if case.degree == 0])
@pytest.mark.parametrize("scales", [(1e200, 1e200), (1e-200, 1e-200), (1e-310, 1.0), (1e300, 1e-300)])
def test_factors_whose_product_leaves_the_range(functional: str, scales: tuple[float, float]) -> None:
    case = FUNCTIONALS[functional]
    U, V = gaussian(6, 2).requires_grad_(), gaussian(5, 2, seed=1).requires_grad_()
    value = case(Factored(U, V))
    value.backward()
    far = [(factor.detach() * scale).requires_grad_() for factor, scale in zip((U, V), scales, strict=True)]
    far_value = case(Factored(*far))
    far_value.backward()
    torch.testing.assert_close(far_value, value, rtol=1e-8, atol=0)
    for factor, near, scale in zip(far, (U, V), scales, strict=True):
        assert factor.grad.isfinite().all()
        assert factor.grad.count_nonzero()
        if scale > 1e-305:
            torch.testing.assert_close(factor.grad * scale, near.grad, rtol=1e-8, atol=1e-12)


def test_factors_of_a_batch_of_extreme_scales_are_each_alone() -> None:
    far = torch.tensor([[1.0, 1e200, 1e-200], [1e-250, 1.0, 1e250]], dtype=torch.float64)[..., None, None]
    U, V = far * torch.stack([gaussian(6, 5, k) for k in range(6)]).view(2, 3, 6, 5), gaussian(4, 5)
    values = F.normalized_nuclear_norm(Factored(U, V.expand(2, 3, 4, 5)))
    for k in range(6):
        alone = F.normalized_nuclear_norm(Factored(U.view(6, 6, 5)[k], V))
        torch.testing.assert_close(values.view(6)[k], alone, rtol=1e-10, atol=0)


@pytest.mark.parametrize("size", [4, 400])
def test_singular_values_of_factors_below_the_rank_tolerance_have_no_slope(size: int) -> None:
    """The tolerance grows with the longer side, whichever factor has it: 1e-14 is below it for 400 alone."""
    left = torch.eye(4, 2, dtype=torch.float64) * torch.tensor([1.0, 1e-14], dtype=torch.float64)
    right = orthogonal(size)[:, :2]
    for U, V in ((left, right), (right, left)):
        factors = U.clone().requires_grad_(), V.clone().requires_grad_()
        F.nuclear_norm(Factored(*factors)).backward()
        kept = [2 if size == 4 else 1] * 2
        # With G = L D Rᵀ the gradient of the factor of orthonormal columns is L or R times the other one.
        assert [int(torch.linalg.matrix_rank(f.grad, atol=1e-20, rtol=0)) for f in factors] == kept


@pytest.mark.parametrize("shape", [(5, 4), (12, 3)])
def test_log_det_where_singular_values_leave_the_range(shape: tuple[int, int]) -> None:
    B = gaussian(*shape).float()
    W = (B / B.abs().max() * 3e38).requires_grad_()
    wide = W.detach().double().requires_grad_()
    assert wide.detach().norm() > torch.finfo(torch.float32).max
    value, expected = F.log_det(W, 1e-3), F.log_det(wide, 1e-3)
    torch.testing.assert_close(value, expected.float())
    value.backward()
    expected.backward()
    torch.testing.assert_close(W.grad.double() * 3e38, wide.grad * 3e38, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradients_saturate(functional: str, dtype: torch.dtype) -> None:
    case, W = FUNCTIONALS[functional], (gaussian(50, 40) * 1e-7).to(dtype)
    for call in (
        case,
        lambda W: case(Factored(W, torch.ones_like(W[:40]))),
        lambda W: case(singular_values=W.abs()),
    ):
        leaf = W.clone().requires_grad_()
        call(leaf).sum().backward()
        assert leaf.grad.dtype == dtype
        assert leaf.grad.isfinite().all()
