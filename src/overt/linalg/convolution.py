"""The spectrum of a convolution of periodic signals, from the Fourier transform of its kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from overt._utils.tensors import check_float_tensor

__all__ = ["kernel_blocks", "operator_norm_factor", "periodic_grid"]


def kernel_blocks(
    kernel: Tensor,
    grid: Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> Tensor:
    """The blocks of the block-diagonal form of a circular convolution: one matrix a frequency and group.

    A convolution of periodic signals commutes with shifts, so in the Fourier basis it is one matrix
    K̂(f) of shape (out, in) for each frequency f of the grid, and its singular values are those of all of
    these together (Sedghi, Gupta & Long 2019, "The singular values of convolutional layers", Theorem 6). A
    stride s keeps every s-th output, which adds up the s frequencies that alias: the block of a frequency of
    the coarser grid is then [K̂(f₁) … K̂(f_s)]/√s.

    Differentiable in the kernel. Zero padding in place of wrapping changes the operator near the border only.

    Parameters
    ----------
    kernel : Tensor, shape (out, in / groups, k_1, …, k_d)
        As torch's convolutions hold it.
    grid : sequence of d ints
        Size of the signal, see :func:`periodic_grid`. Multiples of the stride, not below the dilated kernel.
    stride, dilation : int or sequence of d ints
    groups : int

    Returns
    -------
    Tensor, complex, shape (F, groups, out / groups, a · in / groups)
        F = Π grid/stride frequencies, a = Π stride. All F frequencies, of which those at f and −f are
        conjugate to each other.

    Raises
    ------
    TypeError
        If ``kernel`` is not a real floating-point tensor.
    ValueError
        If the grid does not fit the kernel, the dilation and the stride.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg.convolution import kernel_blocks
    >>> blocks = kernel_blocks(torch.ones(1, 1, 2), (4,))
    >>> blocks.abs().flatten().round(decimals=3)
    tensor([2.0000, 1.4140, 0.0000, 1.4140])
    """
    check_float_tensor(kernel, "kernel")
    d = kernel.ndim - 2
    if d < 1:
        raise ValueError(f"kernel: expected shape (out, in, k_1, …), got {tuple(kernel.shape)}")
    strides, dilations = _per_dimension(stride, d), _per_dimension(dilation, d)
    _check_grid(kernel, grid, strides, dilations, groups)
    spread = _dilate(kernel, dilations)
    transform = torch.fft.fftn(spread, s=tuple(grid), dim=tuple(range(-d, 0)))
    out, inner = kernel.shape[0] // groups, kernel.shape[1]
    # (g, out, in, N_1, …) with each N_i split into the s_i frequencies that alias, and the N_i/s_i that stay.
    split = [n for g, s in zip(grid, strides, strict=True) for n in (s, g // s)]
    blocks = transform.reshape(groups, out, inner, *split)
    aliased, kept = [3 + 2 * i for i in range(d)], [4 + 2 * i for i in range(d)]
    blocks = blocks.permute(*kept, 0, 1, *aliased, 2)
    a = math.prod(strides)
    result: Tensor = blocks.reshape(-1, groups, out, a * inner) / math.sqrt(a)
    return result


def periodic_grid(
    kernel: Tensor,
    size: int | Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    dilation: Sequence[int] | int = 1,
) -> tuple[int, ...]:
    """The smallest grid that is at least ``size``, holds the dilated kernel and is a multiple of the stride.

    Examples
    --------
    >>> import torch
    >>> from overt.linalg.convolution import periodic_grid
    >>> periodic_grid(torch.zeros(8, 4, 3, 3), 7, stride=2)
    (8, 8)
    """
    d = kernel.ndim - 2
    sizes = _per_dimension(size, d)
    strides, dilations = _per_dimension(stride, d), _per_dimension(dilation, d)
    extents = [s * (k - 1) + 1 for s, k in zip(dilations, kernel.shape[2:], strict=True)]
    least = [max(n, e) for n, e in zip(sizes, extents, strict=True)]
    return tuple(-(-n // s) * s for n, s in zip(least, strides, strict=True))


def operator_norm_factor(grid: Sequence[int], stride: Sequence[int] | int = 1) -> float:
    """‖operator‖_F / ‖kernel‖_F: √ of the outputs of one channel, each of which has a copy of the taps.

    Examples
    --------
    >>> from overt.linalg.convolution import operator_norm_factor
    >>> operator_norm_factor((8, 8), 2)
    4.0
    """
    return math.sqrt(math.prod(grid) / math.prod(_per_dimension(stride, len(grid))))


def _per_dimension(value: int | Sequence[int], d: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * d
    if len(value) != d:
        raise ValueError(f"expected one number for each of {d} dimensions, got {tuple(value)}")
    return tuple(int(v) for v in value)


def _check_grid(
    kernel: Tensor, grid: Sequence[int], strides: tuple[int, ...], dilations: tuple[int, ...], groups: int
) -> None:
    needed = periodic_grid(kernel, tuple(grid), stride=strides, dilation=dilations)
    if needed != tuple(grid):
        raise ValueError(
            f"grid: {tuple(grid)} does not hold the dilated kernel or is no multiple of the stride; "
            f"the smallest one that does is {needed}"
        )
    if groups < 1 or kernel.shape[0] % groups:
        raise ValueError(f"groups: {groups} does not divide the {kernel.shape[0]} channels of the kernel")


def _dilate(kernel: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """Zeros between the taps."""
    for i, step in enumerate(dilations):
        if step > 1:
            dim = 2 + i
            size = step * (kernel.shape[dim] - 1) + 1
            shape = [*kernel.shape[:dim], size, *kernel.shape[dim + 1 :]]
            index = torch.arange(0, size, step, device=kernel.device)
            kernel = kernel.new_zeros(shape).index_copy(dim, index, kernel)
    return kernel
