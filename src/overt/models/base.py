"""What the models of this room have in common."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["EndToEnd", "check_depth", "check_dtype", "check_scale", "check_size"]


@runtime_checkable
class EndToEnd(Protocol):
    """A model whose parameters combine into one end-to-end linear map."""

    def product(self) -> Tensor:
        """The end-to-end map, differentiable with respect to the parameters."""
        ...


def check_size(value: object, name: str) -> int:
    """`value` as a positive int, else TypeError or ValueError naming the argument `name`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a positive int, got {value!r}")
    number = int(value)
    if number < 1:
        raise ValueError(f"{name} must be a positive int, got {value}")
    return number


def check_depth(depth: object) -> int:
    """`depth` as a positive int."""
    return check_size(depth, "depth")


def check_scale(scale: object) -> float:
    """`scale` as a finite, positive float."""
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real):
        raise TypeError(f"scale must be a positive number, got {scale!r}")
    number = float(scale)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"scale must be finite and positive (zero is a saddle point), got {scale}")
    return number


def cast_layers(
    layers: Iterable[Tensor], scale: float, dtype: torch.dtype, device: torch.device | str | None
) -> list[Tensor]:
    """The layers in `dtype` on `device`; ValueError if that cannot hold them or their end-to-end scale."""
    info = torch.finfo(dtype)
    cast = [layer.to(dtype=dtype, device=device) for layer in layers]
    if not info.tiny <= scale <= info.max or not all(bool(torch.isfinite(layer).all()) for layer in cast):
        raise ValueError(
            f"scale={scale:g} is beyond what {dtype} can hold ({info.tiny:.2g} … {info.max:.2g}); choose "
            "another scale or dtype=torch.float64"
        )
    return cast


def check_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """`dtype`, or torch's default; must be a real floating type."""
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be a torch.dtype, got {dtype!r}")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a real floating type, got {dtype}")
    return dtype
