"""QR and symmetric eigenvalue decompositions."""

from __future__ import annotations

import pytest
import torch

from overt.linalg import eigh, orthonormal_basis, qr


def gaussian(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 6, 3), (1, 1), (0, 3), (3, 0)])
def test_qr(shape: tuple[int, ...]) -> None:
    W = gaussian(*shape)
    Q, R = qr(W)
    k = min(shape[-2:])
    torch.testing.assert_close(Q @ R, W)
    torch.testing.assert_close(Q.mT @ Q, torch.eye(k, dtype=W.dtype).expand(*shape[:-2], k, k))
    assert torch.equal(R, R.triu())
    assert (R.diagonal(dim1=-2, dim2=-1) >= 0).all()
    assert torch.equal(orthonormal_basis(W), Q)


def test_qr_does_not_depend_on_the_signs_that_lapack_chose() -> None:
    W = gaussian(5, 3)
    Q, _ = qr(W)
    torch.testing.assert_close(qr(-W)[0], -Q)
    torch.testing.assert_close(qr(Q)[0], Q)


def test_qr_gradient() -> None:
    assert torch.autograd.gradcheck(qr, gaussian(5, 3).requires_grad_())


def test_half_precision() -> None:
    Q, R = qr(gaussian(5, 3).bfloat16())
    assert Q.dtype == R.dtype == torch.bfloat16


def test_eigh() -> None:
    A = gaussian(2, 4, 4)
    A = A + A.mT
    values, vectors = eigh(A)
    assert (values[..., :-1] >= values[..., 1:]).all()
    torch.testing.assert_close((vectors * values.unsqueeze(-2)) @ vectors.mT, A)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"A must hold square matrices .* got shape \(2, 3\)"):
        eigh(torch.ones(2, 3))
    with pytest.raises(ValueError, match="A: 4 of 4 entries are NaN"):
        eigh(torch.full((2, 2), float("nan")))
    with pytest.raises(ValueError, match="W: 4 of 4 entries are NaN"):
        qr(torch.full((2, 2), float("nan")))
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        qr(torch.ones(2, 2, dtype=torch.int64))
