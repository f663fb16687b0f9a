"""Which matrices of a model are penalized, and with which weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.conv import _ConvNd

from overt.linalg import Factored, svd
from overt.linalg.convolution import kernel_blocks, operator_norm_factor, periodic_grid
from overt.linalg.decompositions import full_precision
from overt.linalg.gram import spectral_decomposition
from overt.linalg.spectrum import widen
from overt.networks.adapters import Adapter, adapters_of
from overt.networks.distributed import computed, is_sharded, whole
from overt.networks.penalty_weights import Matrix, matrices_of, owners_of_adapter
from overt.networks.selection import Selector, chosen, weight_of

__all__ = ["Layer", "layers_of", "product_layer"]

Kind = Literal["matrix", "operator", "factored"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One matrix of a model, and what it is made of.

    Attributes
    ----------
    name : str
        Of the parameter, of the adapter, or ``"product"``.
    weight : float
        Factor of its term.
    kind : "matrix", "operator" or "factored"
    tensors : tuple of Tensor
        The matrix as the model uses it; or the factors U and V, with a scaling applied to U.
    parameters : tuple of Tensor
        What it is made of.
    grid, geometry
        Of a convolution that is penalized as an operator.
    """

    name: str
    weight: float
    kind: Kind
    tensors: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    grid: tuple[int, ...] = ()
    geometry: tuple[tuple[str, Any], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, n) of the matrix; of an operator the shape of its kernel."""
        if self.kind == "factored":
            return (self.tensors[0].shape[-2], self.tensors[1].shape[-2])
        return tuple(self.tensors[0].shape) if self.kind == "operator" else _flat_shape(self.tensors[0])

    @property
    def moves(self) -> bool:
        """Whether a parameter of it is trained."""
        return any(p.requires_grad for p in self.parameters)

    def matrix(self) -> Tensor | Factored:
        """(m, n) as a tensor or factors, whole and attached to the graph; of an operator its kernel."""
        first, *rest = (whole(t) for t in self.tensors)
        if self.kind == "factored":
            return Factored(first, rest[0])
        return first if self.kind == "operator" or first.ndim == 2 else first.flatten(1)

    def norm(self) -> Tensor:
        """‖W‖_F, 0-d, differentiable, with gradient 0 at the zero matrix."""
        if self.kind == "factored":
            U, V = (widen(whole(t)) for t in self.tensors)
            with full_precision(U.device):
                return _root(((U.mT @ U) * (V.mT @ V)).sum())
        W = self.tensors[0]
        norm = (
            _root(cast(Any, W.square().sum()).full_tensor())
            if is_sharded(W)
            else torch.linalg.vector_norm(widen(W))
        )
        if self.kind == "operator":
            norm = norm * operator_norm_factor(self.grid, dict(self.geometry)["stride"])
        return cast(Tensor, norm)

    def term(self, value: Tensor, cap: float | None, floor: float | None) -> Tensor:
        """weight · value · max(1, ‖W‖_F / cap) · min(1, ‖W‖_F / floor), a guard that is None being 1."""
        if cap is not None or floor is not None:
            norm = self.norm()
            if cap is not None:
                value = value * (norm / cap).clamp_min(1.0)
            if floor is not None:
                value = value * (norm / floor).clamp_max(1.0)
        return value if self.weight == 1.0 else self.weight * value

    def spectrum(self) -> Tensor:
        """Singular values, detached, in descending order but for those of an operator."""
        W = self.matrix()
        if isinstance(W, Factored):
            return svd(Factored(W.U.detach(), W.V.detach()))[1]
        W = widen(W.detach())
        if self.kind == "operator":
            blocks = kernel_blocks(W, self.grid, **dict(self.geometry))
            return spectral_decomposition(blocks)[1].flatten()
        return svd(W)[1]


def product_layer(W: Tensor) -> Layer:
    """The end-to-end matrix of a model."""
    return Layer("product", 1.0, "matrix", (widen(W),), ())


def layers_of(
    model: Module,
    select: Sequence[Selector] | None,
    weights: Mapping[Selector, float],
    *,
    operators: bool = False,
    grid: int | Sequence[int] = 16,
) -> list[Layer]:
    """The layers of a model as it is now, in the order of its parameters, without those of weight 0."""
    layers: list[Layer] = []
    adapters = adapters_of(model)
    inside = {id(p) for a in adapters for p in a.parameters}
    for adapter in adapters:
        owners = owners_of_adapter(adapter)
        if chosen(owners, select):
            layers.append(_adapter_layer(adapter, weight_of(owners, weights)))
    for matrix in matrices_of(model):
        if not any(id(p) in inside for p in matrix.parameters) and chosen(matrix.owners, select):
            layers += _matrix_layer(matrix, weight_of(matrix.owners, weights), operators, grid)
    # A frozen matrix cannot follow a penalty. All frozen, the value is still of interest.
    moving = [layer for layer in layers if layer.moves]
    return [layer for layer in (moving or layers) if layer.weight > 0]


def _adapter_layer(adapter: Adapter, weight: float) -> Layer:
    A, B = adapter.parameters
    # W = scaling · B A = U Vᵀ with U = scaling · B and V = Aᵀ.
    U, V = widen(whole(B)) * adapter.scaling, widen(whole(A)).mT
    return Layer(adapter.name, weight, "factored", (U, V), (A, B))


def _matrix_layer(
    matrix: Matrix, weight: float, operators: bool, grid: int | Sequence[int]
) -> tuple[Layer, ...]:
    """One layer, or none for a parametrized vector."""
    name, W, parameters = matrix.owners[0][0], _value(matrix), matrix.parameters
    if W.ndim < 2 or W.numel() == 0:
        return ()
    module = next((m for _, m in matrix.owners if isinstance(m, _ConvNd)), None)
    if not operators or module is None or matrix.attribute != "weight":
        return (Layer(name, weight, "matrix", (W,), parameters),)
    stride, dilation = tuple(module.stride), tuple(module.dilation)
    size = periodic_grid(W, grid, stride=stride, dilation=dilation)
    geometry = (("stride", stride), ("dilation", dilation), ("groups", module.groups))
    return (Layer(name, weight, "operator", (W,), parameters, size, geometry),)


def _value(matrix: Matrix) -> Tensor:
    """The matrix as its layer uses it: a parameter, sharded as it is, or what is computed from whole ones."""
    module = matrix.owners[0][1]
    if module._parameters.get(matrix.attribute) is not None:
        return matrix.compute()
    with full_precision(matrix.parameters[0].device):
        return computed(module, matrix.compute)


def _root(square: Tensor) -> Tensor:
    """√ of a number ≥ 0, with gradient 0 at 0."""
    positive = square > 0
    return torch.where(positive, square, torch.ones_like(square)).sqrt() * positive


def _flat_shape(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[0], math.prod(tensor.shape[1:])
