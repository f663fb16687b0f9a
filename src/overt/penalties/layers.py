"""Which matrices of a model are penalized, and with which weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import Module

from overt.linalg import Factored, svd
from overt.linalg.convolution import kernel_blocks, operator_norm_factor, periodic_grid
from overt.linalg.decompositions import full_precision, thin_svd
from overt.linalg.spectrum import widen
from overt.networks.adapters import Adapter
from overt.networks.distributed import computed, is_sharded, whole
from overt.networks.kinds import Layout, Role
from overt.networks.selection import Selector, chosen, weight_of
from overt.networks.weights import Weight, check_readable, readable, weights_of

Kind = Literal["matrix", "grouped", "operator", "factored"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One matrix of a model, and what it is made of.

    Attributes
    ----------
    name : str
        Of the parameter, of the adapter, or ``"product"``.
    weight : float
        Factor of its term.
    kind : "matrix", "grouped", "operator" or "factored"
        ``"grouped"``: the block diagonal of the matrices of a grouped convolution.
    tensors : tuple of Tensor
        The matrix as the model uses it; or the factors U and V, with a scaling applied to U.
    parameters : tuple of Tensor
        What it is made of.
    grid, geometry
        Of a convolution that is penalized as an operator, or of its groups.
    cut : callable or None
        From a parameter that holds several matrices to a view of this one.
    """

    name: str
    weight: float
    kind: Kind
    tensors: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    grid: tuple[int, ...] = ()
    geometry: tuple[tuple[str, Any], ...] = ()
    cut: Callable[[Tensor], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, n) of the matrix; of a convolution with groups or as an operator the shape of its kernel."""
        if self.kind == "factored":
            return (self.tensors[0].shape[-2], self.tensors[1].shape[-2])
        return _flat_shape(self.tensors[0]) if self.kind == "matrix" else tuple(self.tensors[0].shape)

    @property
    def in_blocks(self) -> bool:
        """Whether the matrix is block-diagonal, with a kernel for its blocks."""
        return self.kind in ("grouped", "operator")

    @property
    def moves(self) -> bool:
        """Whether a parameter of it is trained."""
        return any(p.requires_grad for p in self.parameters)

    def part_of(self, tensor: Tensor) -> Tensor:
        """What of a parameter, or of its gradient, belongs to this matrix: all, or one of several."""
        return tensor if self.cut is None else self.cut(tensor)

    def matrix(self) -> Tensor | Factored:
        """(m, n) as a tensor or factors, whole, with its graph; of a matrix in blocks its kernel."""
        first, *rest = (whole(t) for t in self.tensors)
        if self.kind == "factored":
            return Factored(first, rest[0])
        return first if self.in_blocks or first.ndim == 2 else first.flatten(1)

    def dense(self) -> Tensor:
        """(m, n) as a tensor, whatever it is held as."""
        W = self.matrix()
        if isinstance(W, Factored):
            return W.dense()
        return cast(Any, torch).block_diag(*self.blocks(W)) if self.in_blocks else W

    def blocks(self, kernel: Tensor) -> Tensor:
        """The blocks (…, m, n) of a matrix in blocks, of a kernel of its shape."""
        if self.kind == "operator":
            return kernel_blocks(kernel, self.grid, **dict(self.geometry))
        groups = dict(self.geometry)["groups"]
        return kernel.reshape(groups, -1, kernel.shape[1:].numel())

    @property
    def copies(self) -> float:
        """‖blocks‖_F / ‖kernel‖_F."""
        stride = dict(self.geometry).get("stride", 1)
        return operator_norm_factor(self.grid, stride) if self.kind == "operator" else 1.0

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
        return cast(Tensor, norm if self.kind != "operator" else norm * self.copies)

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
        """Singular values, detached, in descending order but for those of a matrix in blocks."""
        W = self.matrix()
        if isinstance(W, Factored):
            return svd(Factored(W.U.detach(), W.V.detach()))[1]
        W = widen(W.detach())
        return thin_svd(self.blocks(W))[1].flatten() if self.in_blocks else svd(W)[1]


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
    layers = []
    for weight in weights_of(model):
        # A depthwise kernel is a set of filters, but a matrix as an operator on signals.
        role: Role = "matrix" if operators and weight.convolution is not None else weight.role
        plain = select is None and not weights
        every = weight.owners if plain else [*weight.owners, *weight.member_owners()]
        if not chosen(every, select, role):
            continue
        for layer, member in _layers(weight, operators, grid):
            if plain:
                layers.append(layer)
                continue
            owners = [*weight.owners, *weight.member_owners(member)]
            if chosen(owners, select, role):
                layers.append(replace(layer, weight=weight_of(owners, weights, role)))
    # A frozen matrix cannot follow a penalty. All frozen, the value is still of interest.
    moving = [layer for layer in layers if layer.moves]
    return [layer for layer in (moving or layers) if layer.weight > 0]


def _layers(
    weight: Weight, operators: bool, grid: int | Sequence[int]
) -> Iterator[tuple[Layer, tuple[int, ...] | None]]:
    """One layer for each matrix of a weight, of factor 1, and which of several it is."""
    check_readable(weight)
    if weight.adapter is not None:
        yield _of_adapter(weight, weight.adapter), None
        return
    value = _value(weight)
    layout = weight.layout(value.ndim) if weight.held is not None else None
    for name, member, W in weight.parts(value):
        kind, geometry, size = _geometry(weight, W, operators, grid)
        cut = None if layout is None else partial(_member, layout=layout, member=member)
        layer = Layer(name, 1.0, kind, (W,), weight.parameters, size, geometry, cut)
        yield layer, None if cut is None else member


def _of_adapter(weight: Weight, adapter: Adapter) -> Layer:
    with full_precision(weight.parameters[0].device):
        W = adapter.matrix(lambda p: widen(whole(p)))
    if isinstance(W, Factored):
        return Layer(weight.name, 1.0, "factored", (W.U, W.V), weight.parameters)
    return Layer(weight.name, 1.0, "matrix", (widen(W),), weight.parameters)


def _member(tensor: Tensor, layout: Layout, member: tuple[int, ...]) -> Tensor:
    return layout(tensor)[member]


def _geometry(
    weight: Weight, W: Tensor, operators: bool, grid: int | Sequence[int]
) -> tuple[Kind, tuple[tuple[str, Any], ...], tuple[int, ...]]:
    conv = weight.convolution
    if conv is None:
        return "matrix", (), ()
    groups = ("groups", weight.groups)
    if not operators:
        return ("matrix", (), ()) if weight.groups == 1 else ("grouped", (groups,), ())
    stride, dilation = tuple(conv.stride), tuple(conv.dilation)
    size = periodic_grid(W, grid, stride=stride, dilation=dilation)
    return "operator", (("stride", stride), ("dilation", dilation), groups), size


def _value(weight: Weight) -> Tensor:
    """The tensor as its layer uses it: a parameter, sharded as it is, or what is computed from whole ones."""
    if weight.held is not None:
        W = readable(cast(Tensor, weight.compute()))
        # Several matrices are cut from the whole tensor: its shards may lie along any dimension.
        return W if weight.layout(W.ndim) is None else whole(W)
    with full_precision(next((p.device for p in weight.parameters), torch.device("cpu"))):
        return computed(weight.owners[0][1], cast(Callable[[], Tensor], weight.compute))


def _root(square: Tensor) -> Tensor:
    """√ of a number ≥ 0, with gradient 0 at 0."""
    positive = square > 0
    return torch.where(positive, square, torch.ones_like(square)).sqrt() * positive


def _flat_shape(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[0], math.prod(tensor.shape[1:])
