"""Checks of tensors, with the exceptions and the style of message of :mod:`overt._utils.checks`."""

from __future__ import annotations

import cmath
import math
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import message

__all__ = [
    "check_dtype",
    "check_float_tensor",
    "check_index",
    "check_matrix",
    "check_same_kind",
    "check_spectrum",
    "compute_dtype",
    "is_finite",
    "require_finite",
]

_HALF = (torch.float16, torch.bfloat16)
_SUPPORTED = (torch.float64, torch.float32, *_HALF)
_DIVERGED = (
    "remove them, or look for a step that diverges (a learning rate that is too large) before this call"
)


def check_float_tensor(value: object, name: str) -> Tensor:
    """Return ``value`` if it is a dense, real floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(message(name, "a torch.Tensor", value, "convert it with torch.as_tensor"))
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got the layout {value.layout}; use .to_dense()")
    if value.is_complex():
        raise TypeError(
            f"{name} must be real, got {value.dtype}; of a complex spectrum take the absolute values"
        )
    if value.dtype not in _SUPPORTED:
        raise TypeError(
            f"{name} must be a float64, float32, bfloat16 or float16 tensor, got {value.dtype}; "
            "convert it with .double()"
        )
    return value


def check_matrix(value: object, name: str = "W") -> Tensor:
    """Return ``value`` if it is a real floating-point tensor of shape (..., m, n).

    Raises
    ------
    TypeError
        If ``value`` is not a real floating-point tensor.
    ValueError
        If ``value`` has fewer than two dimensions.
    """
    W = check_float_tensor(value, name)
    if W.ndim < 2:
        raise ValueError(
            f"{name} must be a matrix or a batch of matrices (..., m, n), got shape {tuple(W.shape)}; "
            "give a vector as W[None, :], a spectrum as singular_values="
        )
    return W


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite.

    A non-finite entry makes the sum non-finite, so single entries are read only where the sum is.
    """
    tensor = tensor.detach()
    wide = torch.float32 if tensor.dtype.itemsize < 4 else tensor.dtype
    return cmath.isfinite(tensor.sum(dtype=wide).item()) or bool(torch.isfinite(tensor).all())


def require_finite(W: Tensor, name: str = "W", *, remedy: str = _DIVERGED) -> None:
    """Refuse NaN and infinite entries.

    Raises
    ------
    ValueError
        If any entry is NaN or infinite.
    """
    if not is_finite(W):
        bad = int((~torch.isfinite(W.detach())).sum())
        raise ValueError(f"{name}: {bad} of {W.numel()} entries are NaN or infinite; {remedy}")


def check_spectrum(value: object, name: str = "singular_values") -> Tensor:
    """Return ``value`` if it is a finite, non-negative, real floating-point tensor of shape (..., k).

    Raises
    ------
    TypeError
        If ``value`` is not a real floating-point tensor.
    ValueError
        If it is a scalar, or holds NaN, infinite or negative entries.
    """
    s = check_float_tensor(value, name)
    if s.ndim < 1:
        raise ValueError(f"{name} must be a spectrum (..., k), got a 0-d tensor; give it as a 1-D tensor")
    if s.numel() == 0:
        return s
    low, high = s.detach().aminmax()
    if not (low.item() >= 0 and math.isfinite(high.item())):
        require_finite(s, name)
        raise ValueError(
            f"{name} must not be negative, got {low.item():.6g}; "
            "take absolute values if these are eigenvalues or a Fourier spectrum"
        )
    return s


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that a decomposition of a ``dtype`` matrix runs in: float32 for half precision."""
    return torch.float32 if dtype in _HALF else dtype


def check_dtype(dtype: object) -> torch.dtype:
    """`dtype` if it is a real floating type; torch's default if it is None."""
    if dtype is None:
        return torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype):
        raise TypeError(message("dtype", "a torch.dtype", dtype))
    if not dtype.is_floating_point:
        raise ValueError(message("dtype", "a real floating type", dtype))
    return dtype


def check_same_kind(
    value: Any, name: str, like: Any, whose: str, *, remedy: str = "convert one of them with .to()"
) -> None:
    """Refuse a tensor or factored matrix that differs in dtype or device from ``like``, called ``whose``."""
    if value.dtype != like.dtype:
        raise TypeError(f"{name} must have the dtype of {whose}, {like.dtype}, got {value.dtype}; {remedy}")
    if value.device != like.device:
        raise ValueError(
            f"{name} must be on the device of {whose}, {like.device}, got {value.device}; {remedy}"
        )


def check_index(value: object, name: str, size: int, like: Tensor) -> Tensor:
    """``value`` as int64, if it holds one index in 0 … ``size`` − 1 for each entry of the vector ``like``."""
    if not isinstance(value, Tensor):
        raise TypeError(message(name, "a torch.Tensor of integers", value, "convert it with torch.as_tensor"))
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, got {value.dtype}")
    if value.shape != like.shape:
        raise ValueError(
            f"{name} must have shape {tuple(like.shape)}, one index for each value, got {tuple(value.shape)}"
        )
    if value.device != like.device:
        raise ValueError(
            f"{name} must be on {like.device} as the values, got {value.device}; move one of them"
        )
    index = value.to(torch.int64)
    low, high = map(int, index.aminmax()) if index.numel() else (0, 0)
    if low < 0 or high >= size:
        raise ValueError(f"{name} must lie in 0 … {size - 1}, got {low if low < 0 else high}")
    return index
