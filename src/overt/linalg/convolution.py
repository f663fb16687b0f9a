"""The spectrum of a convolution of periodic signals, from the Fourier transform of its kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from overt._utils.checks import check_sizes, is_integer
from overt._utils.tensors import check_float_tensor
from overt.linalg.decompositions import thin_svd


def kernel_blocks(
    kernel: Tensor,
    grid: Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> Tensor:
    """The blocks of the block-diagonal form of a circular convolution: one matrix a frequency and group.

    A convolution of periodic signals commutes with shifts, so in the Fourier basis it is one matrix K̂(f) of
    shape (out, in) for each frequency f of the grid; its singular values are the ones of all these matrices
    (Sedghi, Gupta & Long 2019, "The singular values of convolutional layers", Theorem 6). A stride s adds up
    the s frequencies that alias: the block of a frequency of the coarser grid is [K̂(f₁) … K̂(f_s)]/√s.

    Differentiable in the kernel. Taps beyond the grid wrap around. Zero padding would change the operator
    near the border only.

    Parameters
    ----------
    kernel : Tensor, shape (out, in / groups, k_1, …, k_d)
        As torch's convolutions hold it.
    grid : sequence of d ints
        Size of the signal, multiples of the stride; see :func:`periodic_grid`.
    stride, dilation : int or sequence of d ints
    groups : int

    Returns
    -------
    Tensor, complex, shape (F, groups, out / groups, a · in / groups)
        F = Π grid/stride frequencies, a = Π stride. The blocks at f and −f are conjugate to each other.

    Raises
    ------
    TypeError
        If ``kernel`` is not a real floating-point tensor.
    ValueError
        If the grid is no multiple of the stride, or the groups do not divide the channels.

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
        raise ValueError(f"kernel must have shape (out, in, k_1, …), got {tuple(kernel.shape)}")
    strides, dilations = _per_dimension(stride, d, "stride"), _per_dimension(dilation, d, "dilation")
    _check_grid(kernel, grid, strides, groups)
    transform = torch.fft.fftn(_on_grid(kernel, grid, dilations), dim=tuple(range(-d, 0)))
    out, inner = kernel.shape[0] // groups, kernel.shape[1]
    # (g, out, in, N_1, …) with each N_i split into the s_i frequencies that alias, and the N_i/s_i that stay.
    split = [n for g, s in zip(grid, strides, strict=True) for n in (s, g // s)]
    blocks = transform.reshape(groups, out, inner, *split)
    aliased, kept = [3 + 2 * i for i in range(d)], [4 + 2 * i for i in range(d)]
    blocks = blocks.permute(*kept, 0, 1, *aliased, 2)
    a = math.prod(strides)
    result: Tensor = blocks.reshape(-1, groups, out, a * inner) / math.sqrt(a)
    return result


def operator_spectrum(
    kernel: Tensor,
    grid: Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> Tensor:
    """All singular values of a circular convolution, descending, see :func:`kernel_blocks`; no gradient.

    Examples
    --------
    A difference has the spectrum |1 − e^{−iω}| = 2 |sin(ω/2)|.

    >>> import torch
    >>> from overt.linalg.convolution import operator_spectrum
    >>> operator_spectrum(torch.tensor([[[1.0, -1.0]]]), (4,)).round(decimals=4)
    tensor([2.0000, 1.4142, 1.4142, 0.0000])
    """
    with torch.no_grad():
        blocks = kernel_blocks(kernel, grid, stride=stride, dilation=dilation, groups=groups)
        # A real kernel has K̂(−f) = conj K̂(f): one half of the last axis is enough, its inner part twice.
        coarse = [n // s for n, s in zip(grid, _per_dimension(stride, len(grid), "stride"), strict=True)]
        half = coarse[-1] // 2 + 1
        blocks = blocks.reshape(-1, coarse[-1], *blocks.shape[1:])[:, :half]
        values = thin_svd(blocks)[1]
        both = torch.cat([values.flatten(), values[:, 1 : coarse[-1] - half + 1].flatten()])
        return both.sort(descending=True).values


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
    sizes = _per_dimension(size, d, "size")
    strides, dilations = _per_dimension(stride, d, "stride"), _per_dimension(dilation, d, "dilation")
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
    return math.sqrt(math.prod(grid) / math.prod(_per_dimension(stride, len(grid), "stride")))


def _per_dimension(value: int | Sequence[int], d: int, name: str) -> tuple[int, ...]:
    return check_sizes((value,) * d if is_integer(value) else value, name, length=d)


def _check_grid(kernel: Tensor, grid: Sequence[int], strides: tuple[int, ...], groups: int) -> None:
    if len(grid) != len(strides) or any(n < 1 or n % s for n, s in zip(grid, strides, strict=True)):
        raise ValueError(
            f"grid must be {len(strides)} multiples of the stride {strides}, got {tuple(grid)}; "
            "periodic_grid gives the smallest one that will do"
        )
    if groups < 1 or kernel.shape[0] % groups:
        raise ValueError(f"groups: {groups} does not divide the {kernel.shape[0]} channels of the kernel")


def _on_grid(kernel: Tensor, grid: Sequence[int], dilations: tuple[int, ...]) -> Tensor:
    """The taps at their places on the grid; those beyond it wrap around."""
    for axis, (n, step) in enumerate(zip(grid, dilations, strict=True), start=2):
        places = torch.arange(kernel.shape[axis], device=kernel.device) * step % n
        shape = [*kernel.shape[:axis], n, *kernel.shape[axis + 1 :]]
        kernel = kernel.new_zeros(shape).index_add(axis, places, kernel)
    return kernel
