"""Seeded draws, on the CPU in double precision and then cast: dtype and device never change them."""

from __future__ import annotations

import torch
from torch import Tensor

from overt._utils.checks import check_seed

__all__ = ["generator_from", "normal", "seeded"]


def seeded(seed: int) -> torch.Generator:
    """A new CPU generator; TypeError or ValueError where `seed` is None or no seed."""
    return torch.Generator().manual_seed(check_seed(seed))


def generator_from(seed: int | None, generator: torch.Generator | None = None) -> torch.Generator | None:
    """The generator to draw from: a new one from `seed`, or the given one, or None for torch's own default.

    Raises
    ------
    TypeError
        `seed` is not an integer, or `generator` is not a ``torch.Generator``.
    ValueError
        Both are given, `seed` is out of range, or `generator` is not a CPU generator.
    """
    if generator is not None:
        if seed is not None:
            raise ValueError("give either seed or generator, not both")
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got a {type(generator).__name__}")
        if generator.device.type != "cpu":
            raise ValueError(
                f"generator must be a CPU generator, got one on {generator.device}; draws are made on the CPU"
            )
        return generator
    return None if seed is None else seeded(seed)


def normal(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal entries, CPU, float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
