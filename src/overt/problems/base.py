"""The protocol of all problems and the checks they share."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as nnf

from overt.linalg import Factored

__all__ = ["Problem", "check_iterate", "check_values", "mean_squared", "relative_error"]


@runtime_checkable
class Problem(Protocol):
    """A linear inverse problem: find W from y = 𝒜(W) (+ noise).

    ``shape`` is that of the unknown, (m, n) or (d,); ``y`` has shape (k,); ``truth`` is None where it is not
    known.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def y(self) -> Tensor: ...
    @property
    def truth(self) -> Tensor | None: ...
    @property
    def name(self) -> str: ...
    @property
    def n_observed(self) -> int: ...

    def measure(self, W: Tensor, /) -> Tensor:
        """𝒜(W), shape (k,); linear and differentiable in W."""
        ...

    def adjoint(self, z: Tensor, /) -> Tensor:
        """𝒜*(z) of the unknown's shape: ⟨𝒜(W), z⟩ = ⟨W, 𝒜*(z)⟩ for all W and z."""
        ...

    def loss(self, W: Tensor, /) -> Tensor:
        """Mean squared residual ‖𝒜(W) − y‖² / k, a 0-d tensor."""
        ...

    def error(self, W: Tensor, /) -> float:
        """How far W is from the truth, or from held-out values; NaN where neither is known."""
        ...

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Problem:
        """The same problem in another precision or on another device."""
        ...


def check_values(values: object, name: str, *, ndim: int, like: Tensor | None = None) -> Tensor:
    """`values` as a finite real floating tensor with `ndim` dimensions, on the dtype and device of `like`.

    Raises
    ------
    TypeError
        Not a tensor, not real floating, or of another dtype than `like`.
    ValueError
        Another number of dimensions, another device than `like`, NaN or infinite entries.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}; use torch.as_tensor")
    if not values.dtype.is_floating_point:
        raise TypeError(f"{name} must hold real floating numbers, got {values.dtype}; convert it first")
    if values.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), got shape {tuple(values.shape)}")
    if like is not None and values.dtype != like.dtype:
        raise TypeError(
            f"{name} has dtype {values.dtype} but the observations have {like.dtype}; make them equal"
        )
    if like is not None and values.device != like.device:
        raise ValueError(
            f"{name} is on {values.device} but the observations are on {like.device}; move one of them"
        )
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise ValueError(f"{name} holds {bad} NaN or infinite value(s); leave unobserved entries out instead")
    return values


def check_iterate(W: object, shape: tuple[int, ...], like: Tensor, *, name: str = "W") -> Tensor:
    """Refuse an argument whose shape or dtype does not fit the problem; costs about a microsecond."""
    if not isinstance(W, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(W).__name__}")
    if W.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(W.shape)}")
    if W.dtype != like.dtype:
        raise TypeError(
            f"{name} has dtype {W.dtype} but the problem holds {like.dtype}; "
            f"use problem.to(dtype={W.dtype}) or cast {name}"
        )
    return W


def mean_squared(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference; one fused kernel forward and backward."""
    return nnf.mse_loss(prediction, target)


def relative_error(difference: float, reference: float) -> float:
    """difference / reference, and the difference itself where the reference is zero."""
    return difference / reference if reference > 0 else difference


def error_against(truth: Tensor | None, W: Tensor, like: Tensor) -> float:
    """‖W − truth‖ / ‖truth‖, NaN where the truth is not known; for a truth of zero the denominator is 1."""
    if truth is None:
        return math.nan
    with torch.no_grad():
        check_iterate(W, tuple(truth.shape), like)
        distance = float(torch.linalg.vector_norm(W - truth))
        return relative_error(distance, float(torch.linalg.vector_norm(truth)))


def factors_of(W: Tensor | Factored) -> tuple[Tensor, Tensor] | None:
    """(U, V) of an overt.Factored, None for a tensor."""
    if isinstance(W, Tensor):
        return None
    if isinstance(W, Factored):
        return W.U, W.V
    raise TypeError(f"W must be a torch.Tensor or overt.Factored, got {type(W).__name__}")


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(torch.linalg.vector_norm(values)) / math.sqrt(values.numel())
