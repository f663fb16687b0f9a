"""Bases: orthonormal, equal to other implementations, differentiable; wrong ones refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.linalg import make_basis

SHAPES = [(1,), (8,), (7,), (4, 8), (5, 3), (2, 4, 4), (2, 3, 5, 6)]
NAMES = ["identity", "fourier", "dct", "haar"]


def gaussian(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fits(name, shape):
    return name != "haar" or all(n & (n - 1) == 0 for n in shape[-2:])


CASES = [(name, shape) for name in NAMES for shape in SHAPES if fits(name, shape)]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_basis_is_orthonormal(name, shape):
    basis = make_basis(name, shape)
    D = basis.size
    c = basis.analyse(torch.eye(D, dtype=torch.float64).reshape(D, *shape))
    assert c.shape == (D, *shape)
    U = c.reshape(D, D).T
    assert torch.allclose(U @ U.mH, torch.eye(D, dtype=U.dtype), atol=1e-13)
    assert basis.complete
    v = gaussian(2, 3, *shape)
    assert basis.power(v).shape == (2, 3, D)
    assert torch.allclose(basis.power(v), make_basis(U.contiguous(), shape).power(v))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [(n, s) for n, s in CASES if len(s) <= 3])
def test_the_gradient_is_that_of_the_power(name, shape):
    v = gaussian(*shape).requires_grad_()
    assert torch.autograd.gradcheck(make_basis(name, shape).power, v)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_transforms_are_the_usual_ones(shape):
    v = gaussian(*shape)
    axes = list(range(max(0, len(shape) - 2), len(shape)))
    dct = scipy.fft.dctn(v.numpy(), type=2, norm="ortho", axes=axes)
    assert np.allclose(make_basis("dct", shape).analyse(v), dct)
    fourier = np.fft.fftn(v.numpy(), norm="ortho", axes=axes)
    assert np.allclose(make_basis("fourier", shape).analyse(v), fourier)


@given(levels=st.integers(0, 5))
def test_haar_wavelets_see_constants_in_one_coefficient_and_steps_in_one_more(levels):
    n = 2**levels
    c = make_basis("haar", (n,)).analyse(torch.ones(n, dtype=torch.float64))
    assert c[0] == pytest.approx(n**0.5)
    assert c[1:].abs().max() < 1e-14 if n > 1 else True
    if n > 1:
        step = torch.ones(n, dtype=torch.float64)
        step[n // 2 :] = -1
        c = make_basis("haar", (n,)).analyse(step)
        assert c[1] == pytest.approx(n**0.5)
        assert c.abs().sum() == pytest.approx(n**0.5)


def test_dims_choose_what_is_transformed():
    v = gaussian(3, 5)
    for dims, expected in (
        ([0], torch.fft.fft(v, dim=0, norm="ortho")),
        ([-1], torch.fft.fft(v, norm="ortho")),
    ):
        assert torch.allclose(make_basis("fourier", (3, 5), dims=dims).analyse(v), expected)
    assert make_basis("haar", (3, 4), dims=[1]).dims == (1,)


def test_half_precision_is_analysed_in_float32():
    c = make_basis("fourier", (4,)).analyse(torch.ones(4, dtype=torch.bfloat16))
    assert c.dtype == torch.complex64


def test_a_few_orthonormal_rows_will_do():
    Q = torch.linalg.qr(gaussian(6, 2))[0].T
    basis = make_basis(Q, (2, 3))
    assert (basis.size, basis.complete) == (2, False)
    v = gaussian(4, 2, 3)
    assert torch.allclose(basis.power(v), (v.flatten(1) @ Q.T).square())
    assert make_basis(basis, (2, 3)) is basis


@pytest.mark.parametrize(
    ("basis", "shape", "options", "error", "message"),
    [
        ("sine", (4,), {}, ValueError, "basis must be 'identity', .* 'haar' or, .* 'eigen', got 'sine'"),
        (3, (4,), {}, TypeError, "basis must be a name, a matrix as a torch.Tensor or a Basis, got 3"),
        ("haar", (6,), {}, ValueError, "powers of two"),
        ("fourier", (4,), {"dims": [1]}, ValueError, "dims must be distinct dimensions"),
        ("fourier", (4,), {"dims": 0}, TypeError, "dims must be a sequence of dimensions"),
        ("fourier", (4,), {"dims": []}, ValueError, "dims must be distinct dimensions"),
        ("fourier", (4, 4), {"dims": [0, -2]}, ValueError, "dims must be distinct dimensions"),
        (torch.eye(4), (3,), {}, ValueError, r"shape \(k, 3\)"),
        (torch.ones(4, 4), (4,), {}, ValueError, "rows are not orthonormal"),
        (torch.eye(4) * torch.nan, (4,), {}, ValueError, "rows are not orthonormal"),
        (torch.eye(4, dtype=torch.int64), (4,), {}, TypeError, "floating matrix"),
        (torch.eye(4), (4,), {"dims": [0]}, ValueError, "leave dims out"),
        (make_basis("dct", (4,)), (5,), {}, ValueError, r"inputs of shape \(5,\), got one for \(4,\)"),
    ],
)
def test_wrong_bases_are_refused(basis, shape, options, error, message):
    with pytest.raises(error, match=message):
        make_basis(basis, shape, **options)


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"ends in \(4,\), got \(3,\)"):
        make_basis("dct", (4,)).analyse(torch.ones(3))
