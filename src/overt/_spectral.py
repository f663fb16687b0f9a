"""Differentiable functions of a spectrum: one decomposition for value and gradient U diag(f′(σ)) Vᵀ."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from overt._rules import Rule
from overt.linalg.decompositions import rescale, scaled_singular_values
from overt.linalg.spectrum import (
    first_order_only,
    spectral_gradient,
    spectral_parts,
    spectral_weights,
    widen,
)


def of_matrix(W: Tensor, rule: Rule, degree: int | None) -> Tensor:
    """Apply a rule to the singular values of a matrix; half precision gives a float32 value.

    ``degree`` is the degree of homogeneity of the functional, 0 or 1, or None if it is not homogeneous.
    """
    W = widen(W)
    if torch.is_grad_enabled() and W.requires_grad:
        if torch._C._are_functorch_transforms_active():
            return cast(Tensor, _OfMatrixFunctional.apply(W, rule, degree)[0])  # type: ignore[no-untyped-call]
        return cast(Tensor, _OfMatrix.apply(W, rule, degree))  # type: ignore[no-untyped-call]
    s, scale = scaled_singular_values(W)
    return _evaluate(s, scale, rule, degree)[0]


def of_spectrum(s: Tensor, rule: Rule, degree: int | None) -> Tensor:
    """Apply a rule to a given spectrum."""
    if torch.is_grad_enabled() and s.requires_grad:
        return cast(Tensor, _OfSpectrum.apply(s, rule, degree)[0])  # type: ignore[no-untyped-call]
    return _rescale_and_evaluate(s, rule, degree)[0]


def frobenius_of_matrix(W: Tensor) -> Tensor:
    """‖W‖_F from its entries; half precision gives a float32 value."""
    norm = _Frobenius.apply(widen(W))  # type: ignore[no-untyped-call]
    return cast(Tensor, norm)


def _evaluate(s: Tensor, scale: Tensor | None, rule: Rule, degree: int | None) -> tuple[Tensor, Tensor]:
    """Value and slopes at the spectrum ``s``·``scale``; slopes at zeros are left to the caller.

    f(cσ) = c^degree f(σ) has the slopes c^{degree−1} f′(σ), so no power of the scale under- or overflows.
    """
    if s.shape[-1] == 0:
        return s.sum(-1), s
    if scale is None:
        return rule(s)
    if degree is None:
        return rule(s, scale)
    value, slope = rule(s)
    if degree == 1:
        return value * scale.squeeze(-1), slope
    # The floor keeps slopes finite where 1/scale is beyond the range of the dtype.
    return value, slope / scale.clamp_min(torch.finfo(s.dtype).tiny * 2**20)


def _rescale_and_evaluate(s: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, Tensor]:
    if s.shape[-1] == 0 or degree is None:
        return _evaluate(s, None, rule, degree)
    top = s.amax(-1, keepdim=True).clamp_min(torch.finfo(s.dtype).tiny)
    return _evaluate(s / top, top, rule, degree)


class _OfMatrix(torch.autograd.Function):
    """A function of the singular values of W, with factors and slopes kept from the one decomposition."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, rule: Rule, degree: int | None) -> Tensor:
        value, *parts = _value_and_parts(W, rule, degree)
        ctx.save_for_backward(W, *parts)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _matrix_gradient(ctx, grads[0]), None, None


class _OfMatrixFunctional(torch.autograd.Function):
    """The same in the form that ``torch.func.grad`` asks for, at some 40 µs more a call; not for ``vmap``."""

    @staticmethod
    def forward(W: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, ...]:
        return _value_and_parts(W, rule, degree)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Rule, int | None], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _matrix_gradient(ctx, grads[0]), None, None


def _value_and_parts(W: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, ...]:
    Q, U, S, Vh, scale = spectral_parts(W.detach())
    value, slope = _evaluate(S, scale, rule, degree)
    return value, Q, U, spectral_weights(S, slope, W.shape), Vh


def _matrix_gradient(ctx: Any, grad: Tensor) -> Tensor:
    W, Q, U, weights, Vh = ctx.saved_tensors
    with torch.no_grad():
        weights = (grad.unsqueeze(-1) if grad.ndim else grad) * weights
        gradient = spectral_gradient(Q, U, weights, Vh, W.shape)
    return first_order_only(gradient, W, grad)


class _OfSpectrum(torch.autograd.Function):
    """A function of a given spectrum."""

    @staticmethod
    def forward(s: Tensor, rule: Rule, degree: int | None) -> tuple[Tensor, Tensor]:
        value, slope = _rescale_and_evaluate(s, rule, degree)
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
