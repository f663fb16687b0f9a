"""DeepDiagonal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from overt.models import DeepDiagonal


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [1e-6, 0.5])
def test_halves_start_at_the_scale(depth, scale):
    model = DeepDiagonal(4, depth, scale, dtype=torch.float64)
    torch.testing.assert_close(model.u.detach() ** depth, torch.full((4,), scale, dtype=torch.float64))
    assert torch.equal(model.product(), torch.zeros(4, dtype=torch.float64))
    unsigned = DeepDiagonal(4, depth, scale, signed=False, dtype=torch.float64)
    torch.testing.assert_close(unsigned.product().detach(), torch.full((4,), scale, dtype=torch.float64))
    assert unsigned.v is None
    assert len(unsigned.weights) == len(list(unsigned.parameters())) == 1


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_product_and_forward_against_loops(depth):
    model = DeepDiagonal(3, depth, 0.1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(3, generator=generator, dtype=torch.float64))
    oracle = [u**depth - v**depth for u, v in zip(model.u.tolist(), model.v.tolist(), strict=True)]
    torch.testing.assert_close(model.product().detach(), torch.tensor(oracle, dtype=torch.float64))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    sums = [sum(a * b for a, b in zip(row, oracle, strict=True)) for row in x.tolist()]
    expected = torch.tensor(sums, dtype=torch.float64)
    torch.testing.assert_close(model(x).detach(), expected)


def test_gradient_of_the_product_leaves_the_start():
    model = DeepDiagonal(3, 3, 1e-3, dtype=torch.float64)
    model.product().sum().backward()
    expected = torch.full((3,), 3 * (1e-3) ** (2 / 3), dtype=torch.float64)
    torch.testing.assert_close(model.u.grad, expected)
    torch.testing.assert_close(model.v.grad, -expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim"),
        ({"dim": 2.5}, TypeError, "dim"),
        ({"depth": 0}, ValueError, "depth"),
        ({"depth": -2}, ValueError, "depth"),
        ({"depth": 1.5}, TypeError, "depth"),
        ({"scale": 0}, ValueError, "scale"),
        ({"dtype": torch.complex64}, ValueError, "dtype"),
    ],
)
def test_refusals_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        DeepDiagonal(**{"dim": 3, **arguments})


def test_numbers_of_numpy_and_a_scale_beyond_the_dtype():
    model = DeepDiagonal(np.int64(3), depth=np.int32(2), scale=np.float32(0.25), signed=False)
    assert torch.equal(model.u.detach(), torch.full((3,), 0.5))
    with pytest.raises(ValueError, match=r"beyond what torch\.float32 can hold"):
        DeepDiagonal(3, depth=2, scale=1e-50, dtype=torch.float32)
