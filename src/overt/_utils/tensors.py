"""Checks of matrices and spectra at the boundary of the library."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)
_SUPPORTED = (torch.float64, torch.float32, *_HALF)


def check_float_tensor(value: object, name: str) -> Tensor:
    """Return ``value`` if it is a real floating-point tensor; refuse anything else in words.

    Raises
    ------
    TypeError
        If ``value`` is not a tensor, or is sparse, complex, integer or boolean.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}: expected a torch.Tensor, got {type(value).__name__}; convert it with torch.as_tensor"
        )
    if value.layout != torch.strided:
        raise TypeError(f"{name}: sparse tensors ({value.layout}) are not supported; use .to_dense()")
    if value.is_complex():
        raise TypeError(
            f"{name}: complex matrices ({value.dtype}) are not supported; for a known complex spectrum "
            "pass the absolute values as singular_values="
        )
    if value.dtype not in _SUPPORTED:
        raise TypeError(
            f"{name}: expected a float64, float32, bfloat16 or float16 tensor, got {value.dtype}; "
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
            f"{name}: expected a matrix or a batch of matrices (..., m, n), got shape {tuple(W.shape)}; "
            "give a vector as W[None, :], or its spectrum as singular_values="
        )
    return W


def require_finite(W: Tensor, name: str = "W") -> None:
    """Refuse NaN and infinite entries.

    One sum settles the usual case: a non-finite entry makes it non-finite. Only then are entries looked at.

    Raises
    ------
    ValueError
        If any entry is NaN or infinite.
    """
    if math.isfinite(W.detach().sum().item()):
        return
    bad = int((~torch.isfinite(W.detach())).sum())
    if bad:
        raise ValueError(
            f"{name}: {bad} of {W.numel()} entries are NaN or infinite; remove them, or look for a diverging "
            "step (a learning rate that is too large) before this call"
        )


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
        raise ValueError(f"{name}: expected a spectrum (..., k), got a scalar; give it as a 1-D tensor")
    if s.numel() == 0:
        return s
    low, high = s.detach().aminmax()
    if not (low.item() >= 0 and math.isfinite(high.item())):
        require_finite(s, name)
        raise ValueError(
            f"{name}: singular values are not negative, but the smallest one given is {low.item():.6g}; "
            "take absolute values if these are eigenvalues or a Fourier spectrum"
        )
    return s


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that a decomposition of a ``dtype`` matrix runs in: float32 for half precision."""
    return torch.float32 if dtype in _HALF else dtype
