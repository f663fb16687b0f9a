"""The singular values of a convolution as a linear operator on whole signals or images."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_sizes, is_integer, message
from overt._utils.tensors import compute_dtype, require_finite
from overt.linalg import singular_values
from overt.linalg.convolution import operator_spectrum
from overt.measures.spectrum import Spectrum
from overt.networks.guard import untouched
from overt.networks.kinds import CONVOLUTIONS, TRANSPOSED, Convolution
from overt.networks.weights import acting

Boundary = Literal["circular", "bound", "own"]

# An operator of this many entries is 0.5 GB in double precision, and its decomposition takes a minute.
_DENSE_ENTRIES = 2**26


def convolution_spectrum(
    conv: Convolution, input_size: int | tuple[int, ...], *, boundary: Boundary = "circular"
) -> Spectrum:
    """Singular values of the linear operator that a convolution applies to its whole input.

    A circular convolution is block-diagonal in the Fourier basis: for each frequency ω, the matrix
    K̂(ω) = Σ_t K[:, :, t] e^{−iω·t} of shape (out, in) maps the channels' coefficients, and the singular
    values of the operator are those of all K̂(ω) together (Sedghi, Gupta & Long 2019). For n positions that
    takes n/2 decompositions of (out, in) matrices instead of one of an (n·out, n·in) matrix.

    With a stride s that divides the size, an output frequency collects the s input frequencies that alias to
    it (s_h·s_w of them in 2-D), and its block is [K̂(ω), K̂(ω + n/s), …]/√s. Dilation spreads the taps over
    the grid, and a tap beyond it wraps around. The singular values of groups are joined. A transposed
    convolution is the transpose of a convolution and has the same singular values.

    Parameters
    ----------
    conv
        ``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d`` or their transposed forms. The bias plays no part.
    input_size
        Spatial size of the layer's input: one number for all dimensions, or one for each.
    boundary
        - ``"circular"``: the operator with circular boundary on this grid, whatever the layer's own padding.
          For zero padding it differs by a matrix whose rank is at most the number of outputs within reach of
          the border, and the shares of singular values in any interval agree as the grid grows (Szegő's
          theorem; Yi 2020 for multi-channel layers).
        - ``"bound"``: the circular operator on a grid enlarged by dilation·(kernel − 1). With stride 1 the
          zero-padded operator, of any padding, is a submatrix of it, so its i-th singular value is at most
          the i-th one here. Refused for other strides.
        - ``"own"``: the dense matrix of the layer with its own padding and stride. Exact, in cubic time;
          refused if the matrix has more than 2²⁶ entries.

    Returns
    -------
    Spectrum
        All min(out·outputs, in·inputs) singular values, descending, in the dtype of the kernel (float32 at
        least).

    Raises
    ------
    TypeError, ValueError
        `conv` is no convolution; a size that does not fit the layer, or that its stride does not divide; an
        unknown `boundary`; a kernel that is not finite.

    References
    ----------
    Sedghi, H., Gupta, V., Long, P. M. (2019). The singular values of convolutional layers. ICLR.
    Yi, X. (2020). Asymptotic singular value distribution of linear convolutional layers. arXiv 2006.07117.

    Examples
    --------
    A 1-D difference has the spectrum |1 − e^{−iω}| = 2 |sin(ω/2)|.

    >>> import torch
    >>> from overt.measures import convolution_spectrum
    >>> conv = torch.nn.Conv1d(1, 1, 2, bias=False)
    >>> conv.weight.data = torch.tensor([[[1.0, -1.0]]])
    >>> convolution_spectrum(conv, 4).values.round(decimals=4)
    tensor([2.0000, 1.4142, 1.4142, 0.0000])
    """
    if not isinstance(conv, (*CONVOLUTIONS, *TRANSPOSED)):
        raise TypeError(message("conv", "an nn.Conv1d, nn.Conv2d, nn.Conv3d or a transposed one", conv))
    check_choice(boundary, "boundary", Boundary)
    size = check_sizes(
        (input_size,) * len(conv.kernel_size) if is_integer(input_size) else input_size,
        "input_size",
        length=len(conv.kernel_size),
        remedy="one integer stands for all",
    )
    kernel = acting(conv, "weight")
    require_finite(kernel, "conv.weight")
    dtype = compute_dtype(kernel.dtype)
    if boundary == "own":
        with untouched(conv):
            return Spectrum(singular_values(_dense(conv, size).to(dtype)))
    stride, dilation = tuple(conv.stride), tuple(conv.dilation)
    if isinstance(conv, TRANSPOSED):  # the grid of the convolution that it transposes
        size = tuple(n * s for n, s in zip(size, stride, strict=True))
    if boundary == "bound":
        if any(s != 1 for s in stride):
            raise ValueError(
                f'boundary="bound" needs stride 1, got {stride}; use boundary="own" or "circular"'
            )
        reach = zip(size, dilation, kernel.shape[2:], strict=True)
        size = tuple(n + d * (k - 1) for n, d, k in reach)
    if any(n % s for n, s in zip(size, stride, strict=True)):
        raise ValueError(
            f"input_size must be a multiple of the stride {stride}, got {size}; crop or pad the input, or "
            'use boundary="own"'
        )
    geometry: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": conv.groups}
    return Spectrum(operator_spectrum(kernel.to(dtype), size, **geometry))


def _dense(conv: Convolution, size: tuple[int, ...]) -> Tensor:
    """The layer's matrix, one row for each input, from its outputs for unit vectors."""
    n = conv.in_channels * math.prod(size)
    with torch.no_grad():
        probe = conv.weight.new_zeros(1, conv.in_channels, *size)
        try:
            m = conv(probe).numel()
        except RuntimeError as error:
            raise ValueError(f"input_size {size} does not fit the layer: {error}") from None
        if n * m > _DENSE_ENTRIES:
            raise ValueError(
                f'boundary="own" needs the dense operator, here {m} × {n}; use "circular" or "bound", or a '
                "smaller input_size"
            )
        offset = conv(probe).flatten()
        rows = [
            conv(units.reshape(-1, conv.in_channels, *size)).flatten(1) - offset
            for units in torch.split(torch.eye(n, dtype=probe.dtype, device=probe.device), 256)
        ]
    return torch.cat(rows)
