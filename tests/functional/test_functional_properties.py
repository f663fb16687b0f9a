"""Invariances and bounds, over drawn matrices."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matrix_corpus import FUNCTIONALS, gaussian, orthogonal, quasi_norm
from torch import Tensor

import overt.functional as F
from overt.linalg import Factored

HOMOGENEOUS = [name for name, case in FUNCTIONALS.items() if case.degree is not None]


@st.composite
def matrices(draw: st.DrawFn, full_rank: bool = False) -> Tensor:
    """Gaussian, rank-deficient, tied and sparse matrices, up to 7×7, of scale 1e-30 to 1e30."""
    m, n = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    seed = draw(st.integers(0, 10_000))
    kind = "gaussian" if full_rank else draw(st.sampled_from(["gaussian", "low rank", "ties", "sparse"]))
    W = gaussian(m, n, seed)
    if kind == "low rank":
        r = draw(st.integers(1, min(m, n)))
        W = gaussian(m, r, seed) @ gaussian(r, n, seed + 1)
    elif kind == "ties":
        W = orthogonal(max(m, n), seed)[:m, :n]
    elif kind == "sparse":
        W = W * (W > 0)
    return W * 10.0 ** draw(st.integers(-30, 30))


def close(actual: Tensor, expected: Tensor, functional: str) -> None:
    rtol = 1e-3 if quasi_norm(functional) else 1e-10
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-12 if functional == "log_det" else 0.0)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@given(W=matrices(), seed=st.integers(0, 100))
def test_orthogonal_invariance(functional: str, W: Tensor, seed: int) -> None:
    case, (m, n) = FUNCTIONALS[functional], W.shape
    if functional == "log_det" and W.any():
        W = W / W.abs().max()  # at 1e11 the rounding of a zero singular value is far above eps
    close(case(orthogonal(m, seed) @ W @ orthogonal(n, seed + 1)), case(W), functional)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@given(W=matrices())
def test_transpose_and_permutation_and_sign(functional: str, W: Tensor) -> None:
    case = FUNCTIONALS[functional]
    close(case(W.T), case(W), functional)
    close(case(W.flip(0)), case(W), functional)
    close(case(-W), case(W), functional)


@pytest.mark.parametrize("functional", HOMOGENEOUS)
@given(W=matrices(), exponent=st.integers(-30, 30))
def test_homogeneity(functional: str, W: Tensor, exponent: int) -> None:
    case, c = FUNCTIONALS[functional], 10.0**exponent
    assert case.degree is not None
    close(case(c * W), c**case.degree * case(W), functional)


@pytest.mark.parametrize("functional", FUNCTIONALS)
@given(W=matrices())
def test_padding_with_zeros_changes_nothing_but_log_det(functional: str, W: Tensor) -> None:
    case = FUNCTIONALS[functional]
    padded = torch.nn.functional.pad(W, (0, 1, 0, 1))
    added = math.log(0.5) if functional == "log_det" else 0.0
    close(case(padded), case(W) + added, functional)


@given(W=matrices())
def test_bounds(W: Tensor) -> None:
    if not W.any():
        return
    k, slack = min(W.shape), 1 + 1e-12
    rank, stable = F.effective_rank(W).item(), F.stable_rank(W).item()
    ratio, participation = F.normalized_nuclear_norm(W).item(), F.participation_ratio(W).item()
    assert 1 / slack <= stable <= k * slack
    assert 1 / slack <= ratio <= math.sqrt(k) * slack
    assert ratio**2 == pytest.approx(participation)
    # Rényi entropies of σ/Σσ decrease in their order: effective rank is of order 1, participation of order 2.
    assert 1 / slack <= participation <= rank * slack
    assert rank <= k * slack
    assert F.spectral_norm(W) <= F.frobenius_norm(W) * slack
    assert F.frobenius_norm(W) <= F.nuclear_norm(W) * slack


@given(W=matrices(), p=st.floats(0.2, 4.0), q=st.floats(0.2, 4.0))
def test_schatten_norms_decrease_in_p(W: Tensor, p: float, q: float) -> None:
    p, q = min(p, q), max(p, q)
    assert F.schatten_norm(W, q) <= F.schatten_norm(W, p) * (1 + 1e-9)
    if W.any():
        assert F.normalized_schatten_norm(W, p, q) >= 1 - 1e-9


@pytest.mark.parametrize("functional", FUNCTIONALS)
@given(W=matrices(full_rank=True), seed=st.integers(0, 100))
def test_gradient_is_equivariant(functional: str, W: Tensor, seed: int) -> None:
    case, (m, n) = FUNCTIONALS[functional], W.shape
    s = torch.linalg.svdvals(W)
    if s[-1] < 1e-3 * s[0]:
        return
    P, Q = orthogonal(m, seed), orthogonal(n, seed + 1)
    first, second = W.clone().requires_grad_(), (P @ W @ Q).requires_grad_()
    case(first).backward()
    case(second).backward()
    assert first.grad is not None
    assert second.grad is not None
    size = max(first.grad.abs().max().item(), 1 / s[0].item() if case.degree == 0 else 0.0)
    torch.testing.assert_close(second.grad, P @ first.grad @ Q, rtol=0, atol=1e-8 * size)


@pytest.mark.parametrize("functional", [name for name in HOMOGENEOUS if FUNCTIONALS[name].degree == 0])
@given(W=matrices())
def test_scale_invariants_have_no_slope_along_the_matrix(functional: str, W: Tensor) -> None:
    W = W.requires_grad_()
    FUNCTIONALS[functional](W).backward()
    assert W.grad is not None
    along = (W.grad * W.detach()).sum().item()
    assert abs(along) <= 1e-3 if quasi_norm(functional) else abs(along) <= 1e-9


@given(W=matrices(), r=st.integers(1, 8), seed=st.integers(0, 100))
def test_factored_agrees_with_dense(W: Tensor, r: int, seed: int) -> None:
    factored = Factored(gaussian(W.shape[0], r, seed), gaussian(W.shape[1], r, seed + 1))
    torch.testing.assert_close(
        F.singular_values(factored)[: min(*W.shape, r)],
        torch.linalg.svdvals(factored.dense())[:r],
        rtol=1e-9,
        atol=1e-12,
    )
