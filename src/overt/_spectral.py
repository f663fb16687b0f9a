"""Differentiable functions of a spectrum: one decomposition for value and gradient U diag(f′(σ)) Vᵀ."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from overt._rules import Rule
from overt.linalg.checks import compute_dtype
from overt.linalg.decompositions import rescale, scaled_singular_values, spectral_gradient, spectral_parts
from overt.linalg.spectrum import first_order_only


def of_matrix(W: Tensor, rule: Rule, degree: int | None) -> Tensor:
    """Apply a rule to the singular values of a finite matrix; half precision gives a float32 value.

    ``degree`` is the degree of homogeneity of the functional, 0 or 1, or None if it is not homogeneous.
    """
    W = W.to(compute_dtype(W.dtype))
    if torch.is_grad_enabled() and W.requires_grad:
        if torch._C._are_functorch_transforms_active():
            return cast(Tensor, _OfMatrixFunctional.apply(W, rule, degree)[0])  # type: ignore[no-untyped-call]
        return cast(Tensor, _OfMatrix.apply(W, rule, degree))  # type: ignore[no-untyped-call]
    s, scale = scaled_singular_values(W)
    return _evaluate(s, rule, degree, scale)[0]


def of_spectrum(s: Tensor, rule: Rule, degree: int | None) -> Tensor:
    """Apply a rule to a given spectrum."""
    if torch.is_grad_enabled() and s.requires_grad:
        return cast(Tensor, _OfSpectrum.apply(s, rule, degree)[0])  # type: ignore[no-untyped-call]
    return _evaluate(s, rule, degree)[0]


def frobenius_of_matrix(W: Tensor) -> Tensor:
    """‖W‖_F of a finite matrix from its entries; half precision gives a float32 value."""
    norm = _Frobenius.apply(W.to(compute_dtype(W.dtype)))  # type: ignore[no-untyped-call]
    return cast(Tensor, norm)


def _evaluate(
    s: Tensor, rule: Rule, degree: int | None, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Value and slopes at the spectrum ``s``·``scale``; slopes at zeros are left to the caller.

    f(σ) = σ₁^degree φ(σ/σ₁) has the slopes σ₁^{degree−1} φ′(σ/σ₁): the rule for φ sees numbers up to 1
    only, and no power of a singular value under- or overflows.
    """
    if s.shape[-1] == 0:
        return s.sum(-1), s
    if degree is None:
        return rule(s if scale is None else s * scale)
    tiny = torch.finfo(s.dtype).tiny
    top = s.amax(-1, keepdim=True)
    value, slope = rule(s / top.clamp_min(tiny))
    if scale is not None:
        top = top * scale
    if degree == 1:
        value = value * top.squeeze(-1)
    else:
        # The floor keeps slopes finite where 1/σ₁ is beyond the range of the dtype.
        slope = slope / top.clamp_min(tiny * 2**20)
    # Rules give NaN at an all-zero spectrum only.
    return value.nan_to_num(nan=0.0, posinf=torch.inf), slope


class _OfMatrix(torch.autograd.Function):
    """A function of the singular values of W."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, rule: Rule, degree: int | None) -> Tensor:
        left, S, Vh, scale = spectral_parts(W)
        value, slope = _evaluate(S, rule, degree, scale)
        ctx.save_for_backward(W, left, S, Vh, slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _matrix_gradient(ctx, grads[0]), None, None


class _OfMatrixFunctional(torch.autograd.Function):
    """The same in the form that ``torch.func`` asks for, at some 40 µs more a call."""

    @staticmethod
    def forward(W: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, ...]:
        left, S, Vh, scale = spectral_parts(W)
        value, slope = _evaluate(S, rule, degree, scale)
        return value, left, S, Vh, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Rule, int | None], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _matrix_gradient(ctx, grads[0]), None, None


def _matrix_gradient(ctx: Any, grad: Tensor) -> Tensor:
    W, left, S, Vh, slope = ctx.saved_tensors
    with torch.no_grad():
        gradient = spectral_gradient(left, S, Vh, grad.unsqueeze(-1) * slope, W.shape)
    return first_order_only(gradient, W, grad)


class _OfSpectrum(torch.autograd.Function):
    """A function of a given spectrum."""

    @staticmethod
    def forward(s: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, Tensor]:
        value, slope = _evaluate(s, rule, degree)
        return value, slope.masked_fill(s == 0, 0)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Rule, int | None], output: tuple[Tensor, Tensor]
    ) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        if grads[0] is None:
            return None, None, None
        s, slope = ctx.saved_tensors
        with torch.no_grad():
            gradient = grads[0].unsqueeze(-1) * slope
        return first_order_only(gradient, s, grads[0]), None, None


class _Frobenius(torch.autograd.Function):
    """‖W‖_F from the entries, with the gradient W/‖W‖_F, 0 at the zero matrix."""

    @staticmethod
    def forward(W: Tensor) -> Tensor:
        scaled, scale = rescale(W)
        norm: Tensor = torch.linalg.vector_norm(scaled, dim=(-2, -1))
        return norm if scale is None else norm * scale.squeeze(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        W, norm = ctx.saved_tensors
        with torch.no_grad():
            direction = W / torch.where(norm > 0, norm, 1)[..., None, None]
            gradient = grads[0][..., None, None] * direction
        return first_order_only(gradient, W, grads[0])
