"""A functional near one matrix, from one decomposition of it: exact value and gradient there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from overt.linalg import Factored
from overt.linalg.decompositions import full_precision
from overt.linalg.spectrum import first_order_only, widen
from overt.networks.distributed import is_sharded
from overt.penalties.functionals import Form


@dataclass(frozen=True, eq=False)
class Tangent:
    """The function W ↦ offset + φ(⟨D, W⟩, ‖W‖_F): by its form φ is ⟨D, W⟩, ⟨D, W⟩/‖W‖_F or its square.

    At the matrix W₀ that it was made for, its value and its gradient are those of the functional. Elsewhere
    the direction D is what is kept, and all that depends on the norm follows W: a scale-invariant functional
    stays scale-invariant, its gradient orthogonal to W. For the nuclear norm and its ratios D is the polar
    factor, and the value elsewhere is a lower bound of the true one.

    Attributes
    ----------
    direction : Tensor
        D, of the shape of W.
    offset : Tensor, 0-d
    form : Form
    """

    direction: Tensor
    offset: Tensor
    form: Form

    def __call__(self, W: Tensor) -> Tensor:
        """Value at W, 0-d, differentiable once in W. The zero matrix gives the offset, with gradient 0."""
        if is_sharded(W):
            return self._by_operations(W)
        value: Tensor = _TangentValue.apply(  # type: ignore[no-untyped-call]
            widen(W), self.direction, self.offset, self.form
        )[0]
        return value

    def _by_operations(self, W: Tensor) -> Tensor:
        """For sharded tensors: local products, and one sum over the processes."""
        inner: Tensor = cast(Any, (self.direction * W).sum()).full_tensor()
        if self.form == "linear":
            return self.offset + inner
        ratio: Tensor = inner / _root(cast(Any, (W * W).sum()).full_tensor())
        return self.offset + (ratio if self.form == "ratio" else ratio.square())


@dataclass(frozen=True, eq=False)
class FactoredTangent:
    """The same for W = U Vᵀ held as factors, with the direction D = L Rᵀ held as factors, too."""

    left: Tensor
    right: Tensor
    offset: Tensor
    form: Form

    def __call__(self, W: Factored) -> Tensor:
        """Value at W, 0-d, differentiable once in both factors."""
        with full_precision(W.device):
            U, V = widen(W.U), widen(W.V)
            inner = ((self.left.mT @ U) * (self.right.mT @ V)).sum()
            if self.form == "linear":
                return self.offset + inner
            ratio = inner / _root(((U.mT @ U) * (V.mT @ V)).sum())
            return self.offset + (ratio if self.form == "ratio" else ratio.square())


def _root(square: Tensor) -> Tensor:
    """√, with 1 in the place of 0: what is divided by it is 0 there."""
    positive = square > 0
    return torch.where(positive, square, torch.ones_like(square)).sqrt()


class _TangentValue(torch.autograd.Function):
    """The value, and the factors of D and of W in its gradient, which are kept for the way back."""

    @staticmethod
    def forward(W: Tensor, direction: Tensor, offset: Tensor, form: Form) -> tuple[Tensor, Tensor, Tensor]:
        inner = torch.dot(direction.flatten(), W.flatten())
        one = torch.ones_like(inner)
        if form == "linear":
            return offset + inner, one, torch.zeros_like(inner)
        norm = torch.linalg.vector_norm(W)
        along = torch.where(norm > 0, norm, one).reciprocal()
        ratio = inner * along
        radial = -ratio * along.square()
        if form == "ratio":
            return offset + ratio, along, radial
        return offset + ratio.square(), 2 * ratio * along, 2 * ratio * radial

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Form], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        W, direction, _, ctx.form = inputs
        _, along, radial = output
        ctx.mark_non_differentiable(along, radial)
        ctx.save_for_backward(W, direction, along, radial)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        W, direction, along, radial = ctx.saved_tensors
        with torch.no_grad():
            gradient = direction * (grads[0] * along)
            if ctx.form != "linear":
                gradient = gradient.addcmul_(W, grads[0] * radial)
        if torch.compiler.is_compiling():
            return gradient, None, None, None
        return first_order_only(gradient, W, grads[0]), None, None, None
