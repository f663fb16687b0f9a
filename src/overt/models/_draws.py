"""Seeded draws, on the CPU in double precision and then cast: dtype and device never change them."""

from __future__ import annotations

import numbers

import torch
from torch import Tensor

from overt.linalg import orthonormal_basis

__all__ = ["generator_from", "normal", "orthonormal"]


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
            raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
        if generator.device.type != "cpu":
            raise ValueError(
                f"generator must be a CPU generator (draws are made there), got {generator.device}"
            )
        return generator
    if seed is None:
        return None
    return torch.Generator().manual_seed(_check_seed(seed))


def _check_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"seed must be an int, got {type(seed).__name__}")
    number = int(seed)
    if not 0 <= number < 2**63:
        raise ValueError(f"seed must lie in 0 … 2**63-1, got {seed}")
    return number


def normal(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal entries, CPU, float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def orthonormal(rows: int, columns: int, *, generator: torch.Generator | None) -> Tensor:
    """Haar-distributed (rows, columns) matrix with orthonormal columns, rows >= columns.

    The Q factor of a Gaussian matrix, R having a positive diagonal (Mezzadri 2007, section 5).
    """
    return orthonormal_basis(normal(rows, columns, generator=generator))
