"""Deep linear networks of full-width circular convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_integer, check_sizes, is_integer, message
from overt._utils.seeds import generator_from, normal
from overt.models.base import check_scale, parameters_of

ConvolutionInit = Literal["gaussian", "orthogonal", "identity", "balanced"]


class DeepCircularConvolution(nn.Module):
    """Chain of L circular convolutions x ↦ w_L ∗ … ∗ w_1 ∗ x, each filter as large as the signal.

    The end-to-end filter h has the discrete Fourier transform ĥ = ŵ_1 ⋯ ŵ_L, element by element, so in the
    Fourier basis the network is a deep diagonal one (Gunasekar, Lee, Soudry & Srebro 2018, "Implicit bias of
    gradient descent on linear convolutional networks"; their last layer is `functional`).

    Parameters
    ----------
    shape
        Length d of the signal, or (height, width) of an image.
    depth
        Number L of filters.
    init
        How the filters start, with the effect on h:

        - ``"gaussian"``: independent normal taps of one common standard deviation (scale /
          D^{(L−1)/2})^{1/L}, D taps a filter; each tap of h then has mean 0 and standard deviation `scale`.
        - ``"orthogonal"``: random all-pass filters |ŵ_j| = scale^{1/L}; convolution with h is `scale` times
          an orthogonal map.
        - ``"identity"``: h = scale · δ, each filter scale^{1/L} · δ; nothing is random.
        - ``"balanced"``: h has independent normal taps of standard deviation `scale`, |ŵ_j| = |ĥ|^{1/L} for
          each j, and the first filter carries the phase: the layers are balanced at each frequency.
    scale
        End-to-end scale, see `init`.
    seed, generator, dtype, device
        As for `DeepLinear`.

    Attributes
    ----------
    weights : torch.nn.ParameterList
        w_1, …, w_L, each of the shape of h.

    Raises
    ------
    TypeError, ValueError
        `shape` not one or two positive ints, `depth` not a positive int, unknown `init`, `scale` not a
        finite positive number, both `seed` and `generator`.

    Examples
    --------
    >>> import torch
    >>> from overt.models import DeepCircularConvolution
    >>> model = DeepCircularConvolution(8, depth=3, init="identity", scale=0.125, dtype=torch.float64)
    >>> x = torch.arange(8, dtype=torch.float64)
    >>> torch.allclose(model(x), 0.125 * x)
    True
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        depth: int = 2,
        init: ConvolutionInit = "gaussian",
        scale: float = 1e-3,
        *,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = check_sizes((shape,) if is_integer(shape) else shape, "shape", shortest=1)
        if len(self.shape) > 2:
            raise ValueError(message("shape", "a length or a pair (height, width)", shape))
        self.depth = check_integer(depth, "depth", least=1)
        self.init = check_choice(init, "init", ConvolutionInit)
        self.scale = check_scale(scale)
        filters = _INITS[self.init](self.shape, self.depth, self.scale, generator_from(seed, generator))
        self.weights = parameters_of(filters, self.scale, dtype, device)

    def product(self) -> Tensor:
        """End-to-end filter h, of the model's shape."""
        weights: list[Tensor] = list(self.weights)
        if len(weights) == 1:
            return weights[0]
        dims = tuple(range(-len(self.shape), 0))
        spectra = torch.fft.rfftn(torch.stack(weights), dim=dims)
        product: Tensor = torch.fft.irfftn(spectra.prod(0), s=self.shape, dim=dims)
        return product

    def forward(self, x: Tensor) -> Tensor:
        """h ∗ x over the last one or two dimensions: (h ∗ x)[i] = Σ_k h[k] x[i − k], indices cyclic."""
        self._check_signal(x)
        dims = tuple(range(-len(self.shape), 0))
        spectrum = torch.fft.rfftn(self.product(), dim=dims) * torch.fft.rfftn(x, dim=dims)
        result: Tensor = torch.fft.irfftn(spectrum, s=self.shape, dim=dims)
        return result

    def functional(self, x: Tensor) -> Tensor:
        """⟨h, x⟩ over the last one or two dimensions."""
        self._check_signal(x)
        return (self.product() * x).sum(dim=tuple(range(-len(self.shape), 0)))

    def extra_repr(self) -> str:
        return f"shape={self.shape}, depth={self.depth}, init={self.init!r}, scale={self.scale:g}"

    def _check_signal(self, x: Tensor) -> None:
        # Without this check, broadcasting would stretch a signal of length 1.
        if tuple(x.shape[-len(self.shape) :]) != self.shape:
            raise ValueError(f"x must end in the dimensions {self.shape}, got shape {tuple(x.shape)}")


def _gaussian(
    shape: tuple[int, ...], depth: int, scale: float, generator: torch.Generator | None
) -> list[Tensor]:
    log_std = (math.log(scale) - 0.5 * (depth - 1) * math.log(math.prod(shape))) / depth
    return [math.exp(log_std) * normal(*shape, generator=generator) for _ in range(depth)]


def _identity(
    shape: tuple[int, ...], depth: int, scale: float, generator: torch.Generator | None
) -> list[Tensor]:
    del generator  # nothing is random here
    delta = torch.zeros(shape, dtype=torch.float64)
    delta.view(-1)[0] = scale ** (1 / depth)
    return [delta.clone() for _ in range(depth)]


def _orthogonal(
    shape: tuple[int, ...], depth: int, scale: float, generator: torch.Generator | None
) -> list[Tensor]:
    root = scale ** (1 / depth)
    return [root * _with_modulus(normal(*shape, generator=generator), 0.0) for _ in range(depth)]


def _balanced(
    shape: tuple[int, ...], depth: int, scale: float, generator: torch.Generator | None
) -> list[Tensor]:
    target = scale * normal(*shape, generator=generator)
    modulus = torch.fft.fftn(target).abs() ** (1 / depth)
    plain = torch.fft.ifftn(modulus).real
    return [_with_modulus(target, 1 / depth), *(plain.clone() for _ in range(depth - 1))]


def _with_modulus(signal: Tensor, power: float) -> Tensor:
    """The real signal of the same phase whose Fourier moduli are raised to `power`."""
    spectrum = torch.fft.fftn(signal)
    modulus = spectrum.abs()
    result: Tensor = torch.fft.ifftn(torch.polar(modulus**power, spectrum.angle())).real
    return result


_INITS = {"gaussian": _gaussian, "orthogonal": _orthogonal, "identity": _identity, "balanced": _balanced}
