"""The same values and gradients on a CUDA device."""

from __future__ import annotations

import pytest
import torch
from matrix_corpus import FUNCTIONALS, gaussian, with_spectrum

from overt.linalg import Factored, polar

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("shape", [(6, 5), (12, 3), (3, 12), (1, 4), (0, 3)])
def test_cuda_agrees_with_the_processor(functional: str, shape: tuple[int, int]) -> None:
    case = FUNCTIONALS[functional]
    here = gaussian(*shape).requires_grad_()
    there = here.detach().cuda().requires_grad_()
    case(here).backward()
    value = case(there)
    value.backward()
    assert value.device.type == "cuda"
    assert here.grad is not None
    assert there.grad is not None
    torch.testing.assert_close(value.detach().cpu(), case(here).detach(), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(there.grad.cpu(), here.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize("functional", FUNCTIONALS)
def test_cuda_stays_finite(functional: str) -> None:
    case = FUNCTIONALS[functional]
    for W in (torch.zeros(4, 4), torch.eye(4), 1e-15 * torch.eye(4), with_spectrum([1.0, 1.0], 6, 6).float()):
        there = W.cuda().requires_grad_()
        case(there).backward()
        assert there.grad is not None
        assert there.grad.isfinite().all()


def test_cuda_factored_and_polar() -> None:
    U, V = gaussian(30, 2), gaussian(20, 2, 1)
    for case in FUNCTIONALS.values():
        torch.testing.assert_close(
            case(Factored(U.cuda(), V.cuda())).cpu(), case(Factored(U, V)), rtol=1e-9, atol=0
        )
    W = gaussian(8, 5)
    torch.testing.assert_close(polar(W.cuda()).cpu(), polar(W))


def test_cuda_refuses_nan() -> None:
    W = torch.full((3, 3), float("nan"), device="cuda")
    with pytest.raises(ValueError, match="W: 9 of 9"):
        FUNCTIONALS["nuclear_norm"](W)
