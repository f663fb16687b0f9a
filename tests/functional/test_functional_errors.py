"""What is refused, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matrix_corpus import FUNCTIONALS, gaussian

import overt.functional as F
from overt.linalg import Factored

ALL = {**FUNCTIONALS, "singular_values": F.singular_values}


@pytest.mark.parametrize("functional", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_non_finite_entries(functional: str, bad: float, dtype: torch.dtype) -> None:
    W = gaussian(6, 5, dtype=dtype)
    W[2, 3] = bad
    with pytest.raises(ValueError, match="W: 1 of 30 entries are NaN or infinite"):
        ALL[functional](W)
    with pytest.raises(ValueError, match="V: 1 of 30 entries"):
        ALL[functional](Factored(gaussian(4, 5, dtype=dtype), W))
    if functional != "singular_values":
        with pytest.raises(ValueError, match="singular_values: 1 of 30"):
            ALL[functional](singular_values=W.abs())


def test_infinities_of_both_signs_do_not_cancel() -> None:
    W = gaussian(3, 3)
    W[0, 0], W[1, 1] = math.inf, -math.inf
    with pytest.raises(ValueError, match="W: 2 of 9 entries"):
        F.nuclear_norm(W)


def test_finite_entries_whose_sum_overflows_are_accepted() -> None:
    W = torch.full((3, 3), 1.5e308, dtype=torch.float64)
    assert F.effective_rank(W).item() == pytest.approx(1.0)
    assert F.normalized_nuclear_norm(torch.full((40, 40), 6e4, dtype=torch.float16)).item() == pytest.approx(
        1.0
    )


@pytest.mark.parametrize("functional", ALL)
def test_wrong_kinds(functional: str) -> None:
    call = ALL[functional]
    with pytest.raises(ValueError, match=r"W must be a matrix .* got shape \(5,\)"):
        call(torch.ones(5))
    with pytest.raises(ValueError, match=r"W must be a matrix .* got shape \(\)"):
        call(torch.tensor(1.0))
    with pytest.raises(TypeError, match=r"W must be a float64.* got torch.int64"):
        call(torch.ones(3, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="W must be real"):
        call(torch.ones(3, 3, dtype=torch.complex128))
    with pytest.raises(TypeError, match=r"W must be a torch.Tensor, got a (nd)?array"):
        call(np.ones((3, 3)))


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_one_of_matrix_and_spectrum(functional: str) -> None:
    case, W, s = FUNCTIONALS[functional], gaussian(3, 3), torch.ones(3)
    with pytest.raises(TypeError, match="W is missing; give a matrix"):
        case()
    with pytest.raises(TypeError, match="W and singular_values are both given"):
        case(W, singular_values=s)
    with pytest.raises(TypeError, match="W and singular_values are both given"):
        case(Factored(W, W), singular_values=s)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_wrong_spectra(functional: str) -> None:
    case = FUNCTIONALS[functional]
    with pytest.raises(ValueError, match=r"singular_values must not be negative, got -2"):
        case(singular_values=torch.tensor([1.0, -2.0]))
    with pytest.raises(ValueError, match="singular_values must be a spectrum"):
        case(singular_values=torch.tensor(1.0))
    with pytest.raises(TypeError, match=r"singular_values must be a torch.Tensor, got \["):
        case(singular_values=[1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"singular_values must be a float64.* got torch.int64"):
        case(singular_values=torch.tensor([1, 2]))


@pytest.mark.parametrize("bad", [0, 0.0, -1.0, math.nan])
def test_exponents_above_zero(bad: float) -> None:
    W = gaussian(3, 3)
    with pytest.raises(ValueError, match="p must be a number > 0"):
        F.schatten_norm(W, bad)
    with pytest.raises(ValueError, match="p must be a number > 0"):
        F.normalized_schatten_norm(W, bad, 1.0)
    with pytest.raises(ValueError, match="q must be a number > 0"):
        F.normalized_schatten_norm(W, 1.0, bad)
    with pytest.raises(ValueError, match="eps must be a finite number > 0"):
        F.log_det(W, bad)


@pytest.mark.parametrize("bad", [None, "1", True, torch.tensor(1.0)])
def test_exponents_are_numbers(bad: object) -> None:
    W = gaussian(3, 3)
    with pytest.raises(TypeError, match="p must be a number > 0"):
        F.schatten_norm(W, bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="q must be a number > 0"):
        F.normalized_schatten_norm(W, 1.0, bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="eps must be a finite number > 0"):
        F.log_det(W, bad)  # type: ignore[arg-type]


def test_eps_has_to_fit_the_dtype() -> None:
    with pytest.raises(ValueError, match=r"eps: 1e-300 is below what torch.float32 can hold"):
        F.log_det(gaussian(3, 3, dtype=torch.float32), 1e-300)
    with pytest.raises(ValueError, match="eps must be a finite number"):
        F.log_det(gaussian(3, 3), math.inf)
    assert F.log_det(gaussian(3, 3), 1e-300).isfinite()


@pytest.mark.parametrize("functional", ALL)
def test_sparse_tensors(functional: str) -> None:
    with pytest.raises(TypeError, match=r"W must be a dense tensor.* use .to_dense\(\)"):
        ALL[functional](torch.eye(3, dtype=torch.float64).to_sparse())


def test_singular_values_of_a_product_beyond_the_range() -> None:
    W = Factored(1e200 * gaussian(6, 2), 1e200 * gaussian(5, 2))
    for call in (F.nuclear_norm, F.singular_values, lambda W: F.log_det(W, 1e-3)):
        with pytest.raises(
            ValueError, match=r"singular values of U Vᵀ are beyond what torch.float64 can hold"
        ):
            call(W)
