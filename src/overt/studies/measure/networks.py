"""The networks that are trained on images, with comparable numbers of parameters."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from overt._utils.seeds import generator_from, normal
from overt.studies.measure.images import ImagesConfig

__all__ = ["build", "count_parameters", "matching_width"]

CLASSES = 10


def build(config: ImagesConfig) -> nn.Sequential:
    """The untrained network: He et al. 2015 normal weights times scale^{1/depth}, biases zero."""
    layers = _convolutional(config) if config.model == "conv" else _connected(config)
    # Made without storage, so that torch's own draws neither take place nor move its generator.
    network = nn.Sequential(*layers).to_empty(device="cpu")
    generator = generator_from(config.seed)
    gain = config.scale ** (1 / config.depth)
    weighted = [layer for layer in network if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for index, layer in enumerate(weighted):
            fan_in = layer.weight[0].numel()
            # The last layer, and all layers of a linear network, have no half of the signal to make up for.
            square = 1.0 if config.activation == "linear" or index == len(weighted) - 1 else 2.0
            draws = normal(*layer.weight.shape, generator=generator)
            layer.weight.copy_(gain * math.sqrt(square / fan_in) * draws)
            assert layer.bias is not None
            layer.bias.zero_()
    return network


def count_parameters(network: nn.Module) -> int:
    """Number of weights and biases."""
    return sum(parameter.numel() for parameter in network.parameters())


def matching_width(config: ImagesConfig) -> int:
    """The width at which a fully connected network has as many parameters as the convolutional one."""
    twin = config.model_copy(update={"model": "conv", "depth": max(2, config.depth)})
    wanted = count_parameters(nn.Sequential(*_convolutional(twin)))
    return min(range(1, 1025), key=lambda width: abs(_connected_size(config, width) - wanted))


def _connected_size(config: ImagesConfig, width: int) -> int:
    sizes = [config.side**2, *[width] * (config.depth - 1), CLASSES]
    return sum((before + 1) * after for before, after in pairwise(sizes))


def _connected(config: ImagesConfig) -> list[nn.Module]:
    width = config.width or matching_width(config)
    sizes = [config.side**2, *[width] * (config.depth - 1), CLASSES]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [_linear(before, after), *_activation(config)]
    return layers[: len(layers) - len(_activation(config))]


def _convolutional(config: ImagesConfig) -> list[nn.Module]:
    count = config.depth - 1
    channels = [1, *[config.channels // 2] * (count - 1), config.channels]
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        conv = nn.Conv2d(before, after, 3, padding=1, padding_mode=config.padding, device="meta")
        layers += [conv, *_activation(config)]
    if config.head == "mean":
        return [*layers, _Mean(), _linear(config.channels, CLASSES)]
    positions = (config.side // 2) ** 2
    return [
        *layers,
        nn.AvgPool2d(2),
        nn.Flatten(),
        _linear(config.channels * positions, CLASSES),
    ]


def _activation(config: ImagesConfig) -> list[nn.Module]:
    return [nn.ReLU()] if config.activation == "relu" else []


def _linear(before: int, after: int) -> nn.Linear:
    return nn.Linear(before, after, device="meta")


class _Mean(nn.Module):
    """The mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, height, width) to (n, channels)."""
        return x.mean((-2, -1))
