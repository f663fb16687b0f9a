"""Small image classifiers: fully connected and convolutional, layers as products of linear ones if asked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_integer, check_number, check_sizes

__all__ = ["Network", "SeededDropout", "collapsed", "make_classifier"]


@dataclass(frozen=True)
class Network:
    """The shape of a classifier.

    Attributes
    ----------
    kind : {"mlp", "cnn"}
        Fully connected layers; or 3×3 convolutions of stride 2 and one fully connected layer on top.
    widths : tuple of int
        Of the hidden layers; channels of the convolutions. ReLU after each.
    factors : int
        Each layer is a product of this many linear ones without anything between them (Arora, Cohen & Hazan
        2018; Huh et al. 2021), as wide inside as the rank can be, so that the function class stays the same.
    dropout : float
        Share of the hidden units that is dropped, after each hidden layer.
    """

    kind: Literal["mlp", "cnn"] = "mlp"
    widths: tuple[int, ...] = (128, 128)
    factors: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", ("mlp", "cnn"))
        check_sizes(self.widths, "widths")
        if self.kind == "cnn" and not self.widths:
            raise ValueError("widths must hold one number or more for a cnn, got none")
        check_integer(self.factors, "factors", least=1)
        check_number(self.dropout, "dropout", least=0, below=1)


class SeededDropout(nn.Dropout):
    """Dropout whose masks come from its own generator, which the training loop seeds for each step."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.generator = torch.Generator()

    def forward(self, input: Tensor) -> Tensor:
        """Zero a share p of the entries and divide the others by 1 − p; the identity in evaluation mode."""
        if not self.training or self.p == 0:
            return input
        kept = torch.rand(input.shape, generator=self.generator).to(input.device) >= self.p
        return input * (kept.to(input.dtype) / (1 - self.p))


def make_classifier(
    network: Network, *, shape: Sequence[int] = (1, 28, 28), classes: int = 10, seed: int = 0
) -> nn.Sequential:
    """A new classifier of images (n, *shape) with outputs (n, classes).

    Weights and biases are uniform on ±1/√fan_in, torch's default, from a generator of their own. Of a product
    of linear layers each factor but the first has entries of variance 1/fan_in, so that the product's entries
    have the variance of the plain layer's.

    Examples
    --------
    >>> make_classifier(Network("mlp", (16,)), seed=0)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    channels, height, width = shape
    size = channels * height * width
    if network.kind == "mlp":
        layers.append(nn.Flatten())
    for out in network.widths:
        if network.kind == "cnn":
            layers.append(_convolution(channels, out, network.factors, generator))
            channels, height, width = out, (height + 1) // 2, (width + 1) // 2
            size = channels * height * width
        else:
            layers.append(_linear(size, out, network.factors, generator))
            size = out
        layers.append(nn.ReLU())
        if network.dropout:
            layers.append(SeededDropout(network.dropout))
    if network.kind == "cnn":
        layers.append(nn.Flatten())
    layers.append(_linear(size, classes, network.factors, generator))
    return nn.Sequential(*layers)


def collapsed(model: nn.Sequential) -> nn.Sequential:
    """The same function with each product of linear layers multiplied out, dropout left out; a copy.

    Two networks are then compared weight by weight, whatever they were trained as.
    """
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.Sequential):
            layers.append(_multiplied(layer))
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            layers.append(_multiplied(nn.Sequential(layer)))
        elif isinstance(layer, nn.Flatten):
            layers.append(nn.Flatten())
        elif isinstance(layer, nn.ReLU):
            layers.append(nn.ReLU())
        elif not isinstance(layer, nn.Dropout):
            raise TypeError(f"a {type(layer).__name__} cannot be collapsed; use a model of make_classifier")
    return nn.Sequential(*layers)


def _linear(size: int, out: int, factors: int, generator: torch.Generator) -> nn.Module:
    inner = min(size, out)
    sizes = [size, *[inner] * (factors - 1), out]
    parts = [_empty(nn.Linear, a, b, bias=i == factors - 1) for i, (a, b) in enumerate(pairwise(sizes))]
    return _drawn(parts, size, generator)


def _convolution(channels: int, out: int, factors: int, generator: torch.Generator) -> nn.Module:
    # The first factor has the kernel and its rank, min(9 × channels, out); the others are 1×1.
    inner = min(9 * channels, out)
    sizes = [channels, *[inner] * (factors - 1), out]
    parts: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        kernel, stride, padding = (3, 2, 1) if i == 0 else (1, 1, 0)
        bias = i == factors - 1
        parts.append(_empty(nn.Conv2d, a, b, kernel, stride=stride, padding=padding, bias=bias))
    return _drawn(parts, 9 * channels, generator)


def _empty(kind: type[nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    """A layer whose parameters are not drawn: no draw is taken from torch's global generator."""
    layer: nn.Module = nn.utils.skip_init(kind, *arguments, **options)  # type: ignore[no-untyped-call]
    return layer


def _drawn(parts: list[nn.Module], fan_in: int, generator: torch.Generator) -> nn.Module:
    with torch.no_grad():
        for i, part in enumerate(parts):
            weight: Tensor = part.get_parameter("weight")
            bound = math.sqrt((1.0 if i == 0 else 3.0) / weight[0].numel())
            weight.uniform_(-bound, bound, generator=generator)
        bound = 1 / math.sqrt(fan_in)
        parts[-1].get_parameter("bias").uniform_(-bound, bound, generator=generator)
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _multiplied(product: nn.Sequential) -> nn.Module:
    first, last = product[0], product[-1]
    with torch.no_grad():
        weight = first.get_parameter("weight").double().flatten(1)
        for matrix in _matrices(list(product)[1:]):
            weight = matrix.double() @ weight
        plain: nn.Module
        if isinstance(first, nn.Conv2d):
            out = len(weight)
            plain = _empty(
                nn.Conv2d,
                first.in_channels,
                out,
                first.kernel_size,
                stride=first.stride,
                padding=first.padding,
            )
        else:
            plain = _empty(nn.Linear, first.in_features, len(weight))
        kept = plain.get_parameter("weight")
        plain.to(kept.dtype)
        kept.copy_(weight.reshape(kept.shape))
        plain.get_parameter("bias").copy_(last.get_parameter("bias"))
    return plain


def _matrices(layers: Iterable[nn.Module]) -> Iterator[Tensor]:
    for layer in layers:
        yield layer.get_parameter("weight").flatten(1)
