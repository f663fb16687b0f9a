"""The factored matrix."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import overt.linalg
from overt.linalg import Factored


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_it_is_the_product(batch: tuple[int, ...]) -> None:
    U, V = gaussian(*batch, 5, 2), gaussian(*batch, 4, 2, seed=1)
    W = Factored(U, V)
    assert W.shape == (*batch, 5, 4)
    assert W.ndim == len(batch) + 2
    assert W.dtype == torch.float64
    assert W.device.type == "cpu"
    assert torch.equal(W.dense(), U @ V.mT)
    torch.testing.assert_close(W.mT.dense(), W.dense().mT)
    X = gaussian(*batch, 4, 3, seed=2)
    torch.testing.assert_close(W @ X, W.dense() @ X)
    torch.testing.assert_close(W @ X, W.dense() @ X)
    assert W.to(dtype=torch.float32).dtype == torch.float32


def test_vector_product() -> None:
    W, x = Factored(gaussian(5, 2), gaussian(4, 2, seed=1)), gaussian(4, seed=2)
    torch.testing.assert_close(W @ x, W.dense() @ x)


def test_it_is_frozen() -> None:
    W = Factored(gaussian(5, 2), gaussian(4, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        W.U = gaussian(5, 2)  # type: ignore[misc]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"pass the right factor as \(n, r\), not \(r, n\)"):
        Factored(gaussian(5, 2), gaussian(2, 4))
    with pytest.raises(ValueError, match=r"got U \(5, 2\) and V \(3, 4, 2\)"):
        Factored(gaussian(5, 2), gaussian(3, 4, 2))
    with pytest.raises(TypeError, match=r"V must have the dtype of U, torch\.float64, got torch\.float32"):
        Factored(gaussian(5, 2), gaussian(4, 2).float())
    with pytest.raises(ValueError, match="V must be on the device of U"):
        Factored(gaussian(5, 2), gaussian(4, 2).to("meta"))
    with pytest.raises(ValueError, match="U must be a matrix"):
        Factored(gaussian(5), gaussian(4, 5))
    with pytest.raises(TypeError, match="V must be real"):
        Factored(gaussian(5, 2), gaussian(4, 2).to(torch.complex128))


def test_public_names() -> None:
    assert sorted(overt.linalg.__all__) == list(overt.linalg.__all__)
    assert all(hasattr(overt.linalg, name) for name in overt.linalg.__all__)


def test_sums_and_differences_are_held_as_factors_too() -> None:
    A, B = (Factored(gaussian(2, 4, r), gaussian(2, 3, r, seed=1)) for r in (1, 2))
    assert (A + B).U.shape == (2, 4, 3)
    torch.testing.assert_close((A + B).dense(), A.dense() + B.dense())
    torch.testing.assert_close((A - B).dense(), A.dense() - B.dense())
