"""The spectrum of periodic convolutions, against the matrix of torch's own convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as tf

from overt.linalg.convolution import kernel_blocks, operator_norm_factor, operator_spectrum, periodic_grid


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operator(kernel: torch.Tensor, grid: tuple[int, ...], stride, dilation, groups: int) -> torch.Tensor:
    """The matrix of the convolution of signals that wrap around, column by column."""
    d = len(grid)
    size = kernel.shape[1] * groups
    basis = torch.eye(size * torch.Size(grid).numel(), dtype=kernel.dtype).reshape(-1, size, *grid)
    pad = [n for i in reversed(range(d)) for n in (0, dilation[i] * (kernel.shape[2 + i] - 1))]
    convolve = {1: tf.conv1d, 2: tf.conv2d, 3: tf.conv3d}[d]
    wrapped = tf.pad(basis, pad, mode="circular")
    return convolve(wrapped, kernel, stride=stride, dilation=dilation, groups=groups).flatten(1).T


CASES = [
    ((3, 2, 3), (8,), (1,), (1,), 1),
    ((3, 2, 3), (8,), (2,), (1,), 1),
    ((4, 1, 3), (9,), (3,), (2,), 2),
    ((2, 3, 3, 3), (5, 4), (1, 1), (1, 1), 1),
    ((4, 2, 3, 2), (6, 4), (2, 1), (1, 2), 2),
    ((3, 1, 3, 3), (4, 4), (2, 2), (1, 1), 3),
    ((2, 2, 2, 1, 2), (3, 2, 2), (1, 2, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize(("shape", "grid", "stride", "dilation", "groups"), CASES)
def test_blocks_have_the_singular_values_of_the_operator(shape, grid, stride, dilation, groups):
    kernel = gaussian(*shape)
    blocks = kernel_blocks(kernel, grid, stride=stride, dilation=dilation, groups=groups)
    found = torch.linalg.svdvals(blocks).flatten().sort(descending=True).values
    dense = operator(kernel, grid, stride, dilation, groups)
    expected = torch.linalg.svdvals(dense)
    k = min(len(found), len(expected))
    torch.testing.assert_close(found[:k], expected[:k], rtol=1e-10, atol=1e-10)
    assert not bool((found[k:] > 1e-10).any() or (expected[k:] > 1e-10).any())
    norm = torch.linalg.vector_norm(kernel) * operator_norm_factor(grid, stride)
    torch.testing.assert_close(norm, torch.linalg.matrix_norm(dense))


@pytest.mark.parametrize(("shape", "grid", "stride", "dilation", "groups"), CASES)
def test_the_spectrum_is_that_of_all_blocks(shape, grid, stride, dilation, groups):
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    blocks = kernel_blocks(gaussian(*shape), grid, **options)
    expected = torch.linalg.svdvals(blocks).flatten().sort(descending=True).values
    found = operator_spectrum(gaussian(*shape).requires_grad_(), grid, **options)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_without_stride_dilation_and_groups_they_are_one():
    kernel, grid, ones = gaussian(3, 2, 3, 2), (5, 4), {"stride": 1, "dilation": 1}
    plain = operator_spectrum(kernel, grid, **ones, groups=1)
    assert torch.equal(operator_spectrum(kernel, grid), plain)
    assert torch.equal(kernel_blocks(kernel, grid), kernel_blocks(kernel, grid, **ones, groups=1))
    assert periodic_grid(kernel, 1) == periodic_grid(kernel, 1, **ones) == (3, 2)
    assert operator_norm_factor(grid) == operator_norm_factor(grid, 1) == pytest.approx(20**0.5)


def test_differentiable():
    kernel = gaussian(2, 1, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda k: torch.view_as_real(kernel_blocks(k, (4, 2), stride=(2, 1))), (kernel,)
    )


def test_grids():
    kernel = torch.zeros(2, 2, 3, 3)
    assert periodic_grid(kernel, 16) == (16, 16)
    assert periodic_grid(kernel, (1, 7), stride=(1, 2), dilation=(4, 1)) == (9, 8)
    with pytest.raises(ValueError, match=r"grid must be 2 multiples of the stride \(2, 2\), got \(5, 5\)"):
        kernel_blocks(kernel, (5, 5), stride=2)
    with pytest.raises(ValueError, match="stride must be a tuple of 2 integers"):
        kernel_blocks(kernel, (4, 4), stride=(1, 1, 1))
    with pytest.raises(ValueError, match="groups: 3 does not divide"):
        kernel_blocks(kernel, (4, 4), groups=3)
    with pytest.raises(ValueError, match="kernel must have shape"):
        kernel_blocks(torch.zeros(2, 2), ())
    with pytest.raises(TypeError, match="kernel"):
        kernel_blocks(torch.zeros(2, 2, 3, dtype=torch.int64), (4,))


def test_taps_beyond_the_grid_wrap_around():
    kernel = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wrapped = kernel[..., :3].clone()
    wrapped[..., :2] += kernel[..., 3:]
    torch.testing.assert_close(kernel_blocks(kernel, (3,)), kernel_blocks(wrapped, (3,)))
