"""Simple corruptions of images with values from 0 to 1, each with two strengths, without any chance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from overt._utils.checks import check_choice

__all__ = ["CORRUPTIONS", "corrupt", "corrupted"]

CORRUPTIONS: dict[str, tuple[float, float]] = {
    "noise": (0.1, 0.3),  # standard deviation of Gaussian noise, values cut to [0, 1]
    "blur": (1.0, 2.0),  # standard deviation of the Gaussian, in pixels
    "contrast": (0.5, 0.25),  # factor of the distance from the image's mean
    "shift": (2.0, 4.0),  # pixels; a quarter of the images each up, down, left and right
}


def corrupted(images: Tensor) -> Iterator[tuple[str, float, Tensor]]:
    """Each corruption at each strength: its name, the strength and the images (n, 1, h, w)."""
    for name, strengths in CORRUPTIONS.items():
        for strength in strengths:
            yield name, strength, corrupt(images, name, strength)


def corrupt(images: Tensor, name: str, strength: float) -> Tensor:
    """The images under one corruption, the same at every call."""
    check_choice(name, "name", CORRUPTIONS)
    if name == "noise":
        generator = torch.Generator().manual_seed(20_260_101)
        noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
        return (images + strength * noise.to(images.device)).clamp(0, 1)
    if name == "blur":
        return _blurred(images, strength)
    if name == "contrast":
        mean = images.mean((-2, -1), keepdim=True)
        return mean + strength * (images - mean)
    return _shifted(images, round(strength))


def _blurred(images: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    at = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    columns = torch.nn.functional.conv2d(images, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return torch.nn.functional.conv2d(columns, kernel.view(1, 1, 1, -1), padding=(0, reach))


def _shifted(images: Tensor, pixels: int) -> Tensor:
    h, w = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (pixels,) * 4)
    found = torch.empty_like(images)
    for turn, (dy, dx) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        top, left = pixels * (1 + dy), pixels * (1 + dx)
        found[turn::4] = padded[turn::4, :, top : top + h, left : left + w]
    return found
