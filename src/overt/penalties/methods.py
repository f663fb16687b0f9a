"""Which decomposition a penalty uses, and the tangents that come from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from overt.linalg import Factored, rank_tolerance
from overt.linalg.decompositions import factored_decomposition, full_precision, thin_svd
from overt.linalg.gram import gram_spectrum
from overt.linalg.polar import has_fast_bfloat16, polar_iteration
from overt.linalg.polar_coefficients import Quintic, polar_coefficients
from overt.penalties.functionals import Form, Functional
from overt.penalties.tangent import FactoredTangent, Tangent

Method = Literal["auto", "svd", "gram", "polar"]

# Measured on one core with AVX-512, float32: from here on the iteration in bfloat16 is the faster one. For
# elongated matrices each step of it costs more, the Gram matrix less.
_POLAR_FROM = {"cpu": 512, "cuda": 64}
_POLAR_FROM_ELONGATED = {"cpu": 2048, "cuda": 64}
# The smallest singular value, relative to the largest, that so many steps bring to one, within two percent
# (five with one step). Those below it are pulled less, in proportion to their size: a smoothed nuclear norm.
_LOWER = {1: 0.4, 2: 0.15, 3: 0.05, 4: 0.01, 5: 3e-3}
_LOWER_AT_MOST = 1e-3


@dataclass(frozen=True)
class Solver:
    """How a functional is evaluated.

    Attributes
    ----------
    functional : Functional
    method : Method
    steps : int
        Of the polar iteration.
    precision : torch.dtype or None
        Of the Gram matrix or the polar iteration; None for float64 in the one, and in the other bfloat16
        where the device multiplies it in hardware, float32 otherwise.
    """

    functional: Functional
    method: Method = "auto"
    steps: int = 6
    precision: torch.dtype | None = None
    coefficients: tuple[Quintic, ...] = ()

    def method_for(self, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Method:
        """The method for matrices of a shape: what was asked for, or what is fastest and exact enough.

        ``"auto"`` keeps to the SVD in float64. In float32 it takes the Gram matrix in float64 for elongated
        matrices, as exact as the SVD there, and the polar iteration for large ones.
        """
        if self.functional.rule is None:
            return "svd"
        if self.method != "auto":
            return "svd" if self.method == "polar" and self.functional.polar_form is None else self.method
        if dtype == torch.float64 or self.functional.name == "frobenius_norm":
            return "svd"
        small, large = min(shape[-2:]), max(shape[-2:])
        thresholds = _POLAR_FROM_ELONGATED if large >= 2 * small else _POLAR_FROM
        fast = device.type == "cuda" or has_fast_bfloat16(device)
        if self.functional.polar_form and fast and small >= thresholds.get(device.type, math.inf):
            return "polar"
        if device.type == "cuda" or (large >= 2 * small and device.type == "cpu"):
            return "gram"
        return "svd"

    def tangents(self, W: Tensor) -> list[Tangent]:
        """One for each of a batch of detached matrices, shape (b, m, n), float32 or float64."""
        if self.functional.rule is None:
            return [_tangent_of_callable(self.functional.of_matrix, matrix) for matrix in W]
        with torch.no_grad(), full_precision(W.device):
            method = self.method_for(W.shape, W.dtype, W.device)
            form = self.functional.polar_form
            if method == "polar" and form is not None:
                direction = self._polar(W)
                offset = direction.new_zeros(W.shape[0])
            else:
                by_gram = method == "gram"
                U, S, Vh = (*self._by_gram(W), None) if by_gram else thin_svd(W)
                m, n = W.shape[-2:]
                weights, offset, form = self._weights(S, rank_tolerance(S, m, n))
                if Vh is None:
                    # U diag(g) Vᵀ = Q diag(g/σ) Qᵀ W for the vectors Q of the smaller side. Qᵀ W, as small
                    # as σ, comes first: Q diag(g/σ) Qᵀ would round at the size of its largest g/σ.
                    ratio = (weights / torch.where(S > 0, S, 1)).unsqueeze(-1)
                    direction = U @ (ratio * (U.mT @ W)) if m <= n else (W @ U) @ (ratio * U.mT)
                else:
                    direction = (U * weights.unsqueeze(-2)) @ Vh
            return [Tangent(d, o, form) for d, o in zip(direction, offset, strict=True)]

    def factored_tangents(self, W: Factored) -> list[FactoredTangent]:
        """One for each of a batch of factored matrices; the direction is held as factors, too."""
        with torch.no_grad(), full_precision(W.device):
            U, S, Vh = factored_decomposition(W.U, W.V)
            m, n = W.shape[-2:]
            weights, offset, form = self._weights(S, rank_tolerance(S, m, n))
            if self.functional.degree is None and form == "linear" and self.functional.rule is not None:
                # The zeros beyond the factors' width count in log_det.
                offset = offset + max(0, min(m, n) - S.shape[-1]) * self.functional.rule(S.new_zeros(1))[0]
            left, right = U * weights.unsqueeze(-2), Vh.mT
            return [FactoredTangent(a, b, o, form) for a, b, o in zip(left, right, offset, strict=True)]

    def block_tangent(self, kernel: Tensor, blocks_of: Callable[[Tensor], Tensor], copies: float) -> Tangent:
        """Of a detached kernel, as the block-diagonal matrix whose blocks are a linear function of it.

        Parameters
        ----------
        kernel : Tensor
        blocks_of : callable
            From a kernel to its blocks (…, m, n).
        copies : float
            ‖blocks‖_F / ‖kernel‖_F, the same for all kernels.
        """
        with torch.no_grad(), full_precision(kernel.device):
            blocks = blocks_of(kernel)
            form = self.functional.polar_form
            if self.method == "polar" and form is not None:
                direction = polar_iteration(blocks, self.coefficients)
                offset = kernel.new_zeros(())
            else:
                U, S, Vh = thin_svd(blocks)
                spectrum = S.reshape(1, -1).sort(descending=True)
                tolerance = rank_tolerance(spectrum.values, blocks.shape[-2], blocks.shape[-1])
                weights, offsets, form = self._weights(spectrum.values, tolerance)
                back = torch.zeros_like(weights).scatter(-1, spectrum.indices, weights).reshape(S.shape)
                direction, offset = (U * back.unsqueeze(-2)) @ Vh, offsets[0]
            # ⟨D, blocks⟩ = ⟨pulled back, kernel⟩.
            pulled = torch.func.vjp(blocks_of, kernel)[1](direction)[0]
            return Tangent(pulled if form == "linear" else pulled / copies, offset, form)

    def block_tangent_of_callable(self, kernel: Tensor, blocks_of: Callable[[Tensor], Tensor]) -> Tangent:
        """As `block_tangent`, for a function of the block-diagonal matrix of blocks (groups, m, n)."""
        return _tangent_of_callable(
            lambda X: self.functional.of_matrix(cast(Any, torch).block_diag(*blocks_of(X))), kernel
        )

    def _by_gram(self, W: Tensor) -> tuple[Tensor, Tensor]:
        # Where "auto" comes to a Gram matrix, bfloat16 was meant for the iteration.
        return gram_spectrum(W, None if self.precision == torch.bfloat16 else self.precision)

    def _polar(self, W: Tensor) -> Tensor:
        dtype = self.precision
        if dtype is None:
            half = W.dtype == torch.float32 and has_fast_bfloat16(W.device)
            dtype = torch.bfloat16 if half else W.dtype
        # One matrix without its batch dimension: a plain product is faster than a batched one.
        if W.shape[0] == 1:
            return polar_iteration(W[0], self.coefficients, dtype).to(W.dtype).unsqueeze(0)
        return polar_iteration(W, self.coefficients, dtype).to(W.dtype)

    def _weights(self, S: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor, Form]:
        """Weights of the directions u vᵀ of a batch of spectra (b, k), descending, and the offsets (b,)."""
        zero = (tolerance >= S) | (S == 0)
        form, degree, rule = self.functional.polar_form, self.functional.degree, self.functional.rule
        if form is not None:
            return torch.ones_like(S).masked_fill(zero, 0), S.new_zeros(S.shape[0]), form
        assert rule is not None
        if degree is None:
            value, slope = rule(S)
            slope = slope.masked_fill(zero, 0)
            return slope, value - (slope * S).sum(-1), "linear"
        # Divided by the largest, so that nothing over- or underflows.
        top = S[..., :1]
        unit = S / torch.where(top > 0, top, torch.ones_like(top))
        value, slope = rule(unit)
        slope = slope.masked_fill(zero, 0)
        if degree == 1:
            return slope, S.new_zeros(S.shape[0]), "linear"
        return slope * torch.linalg.vector_norm(unit, dim=-1, keepdim=True), value, "ratio"


def make_solver(functional: Functional, method: Method, steps: int, precision: torch.dtype | None) -> Solver:
    """With the coefficients of the iteration, which are computed once."""
    return Solver(
        functional, method, steps, precision, polar_coefficients(steps, _LOWER.get(steps, _LOWER_AT_MOST))
    )


def _tangent_of_callable(function: Callable[[Tensor], Tensor], W: Tensor) -> Tangent:
    with torch.enable_grad():
        X = W.detach().requires_grad_()
        value = function(X)
        (gradient,) = torch.autograd.grad(value, X)
    return Tangent(gradient, value.detach() - (gradient * W).sum(), "linear")
