"""Which matrices of a model are penalized, and with which weights."""

from __future__ import annotations

import fnmatch
import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from overt.linalg import Factored
from overt.linalg.convolution import operator_norm_factor, periodic_grid
from overt.linalg.spectrum import widen
from overt.penalties.adapters import Adapter, adapters_of
from overt.penalties.tangent import is_sharded

__all__ = ["Layer", "Selector", "check_layer_weights", "check_selectors", "layers_of", "product_layer"]

# A name or a pattern of it, a type of module, or a function of name and module.
Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]

Kind = Literal["matrix", "operator", "factored"]

# What wrappers put before the names of parameters.
_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")


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
        The parameter; or the factors U and V, with a scaling applied to U.
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

    def matrix(self) -> Tensor | Factored:
        """(m, n) as a tensor or factors, whole and attached to the graph; of an operator its kernel."""
        whole = [_whole(t) for t in self.tensors]
        if self.kind == "factored":
            return Factored(whole[0], whole[1])
        return whole[0] if self.kind == "operator" or whole[0].ndim == 2 else whole[0].flatten(1)

    def norm(self) -> Tensor:
        """‖W‖_F, 0-d, differentiable, with gradient 0 at the zero matrix."""
        if self.kind == "factored":
            U, V = (widen(_whole(t)) for t in self.tensors)
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


def product_layer(W: Tensor) -> Layer:
    """The end-to-end matrix of a model."""
    return Layer("product", 1.0, "matrix", (W,), ())


def layers_of(
    model: nn.Module,
    select: Sequence[Selector] | None,
    weights: Mapping[Selector, float],
    *,
    operators: bool = False,
    grid: int | Sequence[int] = 16,
) -> list[Layer]:
    """The layers of a model as it is now, in the order of its parameters, without those of weight 0."""
    adapters = [a for a in adapters_of(model) if _chosen(a.name, a.module, select)]
    inside = {id(p) for a in adapters_of(model) for p in a.parameters}
    layers = [_adapter_layer(a, _weight_of(a.name, a.module, weights)) for a in adapters]
    for name, module, p in _matrices_of(model):
        if id(p) in inside or not _chosen(name, module, select):
            continue
        weight = _weight_of(name, module, weights)
        convolution = module if operators and isinstance(module, _ConvNd) and p is module.weight else None
        layers.append(_parameter_layer(name, p, weight, convolution, grid))
    # A frozen matrix cannot follow a penalty. All frozen, the value is still of interest.
    moving = [layer for layer in layers if any(p.requires_grad for p in layer.parameters)]
    return [layer for layer in (moving or layers) if layer.weight > 0]


def check_selectors(value: object, name: str) -> tuple[Selector, ...]:
    """`value` as a tuple of selectors; TypeError for anything else."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    for item in values:
        if not (isinstance(item, str) or callable(item)):
            raise TypeError(
                f"{name}: expected names or patterns such as 'encoder.*', types of modules, functions of "
                f"(name, module), or a list of these; got {item!r}"
            )
    return tuple(values)


def check_layer_weights(value: object) -> dict[Selector, float]:
    """`value` as a dict from selectors to finite numbers ≥ 0."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"layer_weights must map selectors to numbers ≥ 0, got {type(value).__name__}")
    for selector, weight in value.items():
        check_selectors(selector, "layer_weights")
        number = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not (number and math.isfinite(weight) and weight >= 0):
            raise ValueError(f"layer_weights: {selector!r} needs a finite number ≥ 0, got {weight!r}")
    return {selector: float(weight) for selector, weight in value.items()}


def _matrices_of(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, owner and value of each parameter of two or more dimensions, shared ones once."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, p in module.named_parameters(recurse=False):
            if p.ndim >= 2 and id(p) not in seen:
                seen.add(id(p))
                yield _clean(f"{prefix}.{name}" if prefix else name), module, p


def _clean(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(f".{wrapper}", ".")
        while name.startswith(wrapper):
            name = name[len(wrapper) :]
    return name


def _chosen(name: str, module: nn.Module, select: Sequence[Selector] | None) -> bool:
    return select is None or any(_matches(name, module, selector) for selector in select)


def _matches(name: str, module: nn.Module, selector: Selector) -> bool:
    if isinstance(selector, str):
        owner = name.rpartition(".")[0]
        return fnmatch.fnmatchcase(name, selector) or fnmatch.fnmatchcase(owner, selector)
    if isinstance(selector, type):
        return isinstance(module, selector)
    return bool(selector(name, module))


def _weight_of(name: str, module: nn.Module, weights: Mapping[Selector, float]) -> float:
    """Of the first selector that matches; 1 where none does."""
    return next((w for selector, w in weights.items() if _matches(name, module, selector)), 1.0)


def _adapter_layer(adapter: Adapter, weight: float) -> Layer:
    A, B = adapter.parameters
    # W = scaling · B A = U Vᵀ with U = scaling · B and V = Aᵀ.
    return Layer(adapter.name, weight, "factored", (_whole(B) * adapter.scaling, _whole(A).mT), (A, B))


def _parameter_layer(
    name: str, p: Tensor, weight: float, convolution: _ConvNd | None, grid: int | Sequence[int]
) -> Layer:
    if convolution is None:
        return Layer(name, weight, "matrix", (p,), (p,))
    geometry: dict[str, Any] = {
        "stride": tuple(convolution.stride),
        "dilation": tuple(convolution.dilation),
        "groups": convolution.groups,
    }
    size = periodic_grid(p, grid, stride=geometry["stride"], dilation=geometry["dilation"])
    return Layer(name, weight, "operator", (p,), (p,), size, tuple(geometry.items()))


def _whole(tensor: Tensor) -> Tensor:
    """A tensor that processes share (``DTensor``) gathered, differentiably; any other as it is."""
    return cast(Any, tensor).full_tensor() if is_sharded(tensor) else tensor


def _root(square: Tensor) -> Tensor:
    """√ of a number ≥ 0, with gradient 0 at 0."""
    positive = square > 0
    return torch.where(positive, square, torch.ones_like(square)).sqrt() * positive


def _flat_shape(tensor: Tensor) -> tuple[int, int]:
    return tensor.shape[0], math.prod(tensor.shape[1:])
