"""Kept directions: which layers they are of, and how they are stored and taken up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from overt._utils.tensors import compute_dtype
from overt.networks.distributed import is_sharded, whole
from overt.penalties.functionals import Form
from overt.penalties.layers import Layer
from overt.penalties.tangent import FactoredTangent, Tangent

Kept = Tangent | FactoredTangent

_CALLS = "calls"


def key_of(layers: Sequence[Layer]) -> tuple[tuple[Any, ...], ...]:
    """What has to be the same for kept directions to be of these layers; the name comes first."""
    return tuple(
        (layer.name, layer.kind, layer.shape, layer.tensors[0].device, layer.tensors[0].dtype)
        for layer in layers
    )


def stored(key: tuple[tuple[Any, ...], ...], kept: Sequence[Kept], calls: int) -> dict[str, Tensor]:
    """The directions by the names of their layers, and the number of calls since they were made."""
    found = {_CALLS: torch.tensor(calls)}
    for (name, *_), tangent in zip(key, kept, strict=True):
        for part in _parts(isinstance(tangent, FactoredTangent)):
            found[f"kept.{name}.{part}"] = getattr(tangent, part)
    return found


def restored(state: Mapping[str, Tensor], layers: Sequence[Layer], form: Form) -> tuple[list[Kept], int]:
    """The directions and the number of calls that :func:`stored` gave, on the devices of the layers.

    Raises
    ------
    ValueError
        The state is of other layers.
    """
    wanted = {_CALLS}
    for layer in layers:
        wanted |= {f"kept.{layer.name}.{part}" for part in _parts(layer.kind == "factored")}
    if set(state) != wanted:
        raise ValueError(
            f"the penalty's state is of other layers: {', '.join(sorted(set(state) ^ wanted))} differ; load "
            "that of the same model, or none and call refresh()"
        )
    return [_tangent(layer, state, form) for layer in layers], int(state[_CALLS])


def split(state_dict: Mapping[str, Any], prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What of a module's state dict :func:`stored` gave, without the prefix, and the rest, with it."""
    own = {
        name: value
        for name, value in state_dict.items()
        if name == prefix + _CALLS or name.startswith(f"{prefix}kept.")
    }
    rest = {name: value for name, value in state_dict.items() if name not in own}
    return {name.removeprefix(prefix): value for name, value in own.items()}, rest


def fitting(kept: Kept, layer: Layer) -> Kept:
    """What is kept, sharded as the parameter is now: FSDP2 gathers it from forward to backward pass."""
    if isinstance(kept, FactoredTangent) or is_sharded(kept.direction) == is_sharded(layer.tensors[0]):
        return kept
    return like(kept, layer)


def like(tangent: Tangent, layer: Layer) -> Tangent:
    """The direction in the shape of the parameter, and sharded as it is."""
    W = layer.tensors[0]
    direction = tangent.direction if is_sharded(W) else whole(tangent.direction)
    direction = direction.reshape(W.shape).contiguous()
    if is_sharded(W) and not is_sharded(direction):
        from torch.distributed.tensor import distribute_tensor

        shared = cast(Any, W)
        direction = distribute_tensor(direction, shared.device_mesh, shared.placements, src_data_rank=None)
    return Tangent(direction, tangent.offset, tangent.form)


def _parts(factored: bool) -> tuple[str, ...]:
    return ("left", "right", "offset") if factored else ("direction", "offset")


def _tangent(layer: Layer, state: Mapping[str, Tensor], form: Form) -> Kept:
    W = layer.tensors[0]
    factored = layer.kind == "factored"
    *directions, offset = (
        state[f"kept.{layer.name}.{part}"].detach().to(W.device, compute_dtype(W.dtype), copy=True)
        for part in _parts(factored)
    )
    shapes = [tuple(d.shape) for d in directions]
    rank = shapes[0][-1:]
    expected = [(n, *rank) for n in layer.shape] if factored else [tuple(W.shape)]
    if shapes != expected or offset.ndim or not all(_finite(t) for t in (*directions, offset)):
        raise ValueError(
            f"the penalty's state does not fit the layer {layer.name!r}: directions of shape {shapes}, or "
            f"not finite, for a matrix of shape {layer.shape}; call refresh() instead of loading it"
        )
    if factored:
        return FactoredTangent(directions[0], directions[1], offset, form)
    return like(Tangent(directions[0], offset, form), layer)


def _finite(tensor: Tensor) -> bool:
    return is_sharded(tensor) or bool(torch.isfinite(tensor).all())
