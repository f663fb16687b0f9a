"""Seeded draws, made on the CPU in double precision and then cast: dtype and device do not change them."""

from __future__ import annotations

import torch
from torch import Tensor

from overt._utils.checks import check_seed, message

__all__ = ["generator_from", "normal", "seeded"]


def seeded(seed: int) -> torch.Generator:
    """A new CPU generator; TypeError or ValueError if `seed` is not one."""
    return torch.Generator().manual_seed(check_seed(seed))


def generator_from(seed: int | None, generator: torch.Generator | None = None) -> torch.Generator | None:
    """A new generator from `seed`, or the given CPU generator, or None for torch's own default."""
    if generator is not None:
        if seed is not None:
            raise ValueError("seed and generator are both given; give one of them")
        if not isinstance(generator, torch.Generator):
            raise TypeError(message("generator", "a torch.Generator", generator))
        if generator.device.type != "cpu":
            raise ValueError(
                f"generator must be a CPU generator, got one on {generator.device}; draws are made on the CPU"
            )
        return generator
    return None if seed is None else seeded(seed)


def normal(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal entries, on the CPU, float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
