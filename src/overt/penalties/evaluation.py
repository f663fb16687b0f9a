"""Values of a functional over many layers: equal shapes in one call, and directions that are kept."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from overt.linalg import Factored, require_finite
from overt.linalg.decompositions import full_precision
from overt.linalg.spectrum import widen
from overt.penalties.kept import Kept, fitting, key_of, like, restored, stored
from overt.penalties.layers import Layer
from overt.penalties.methods import Solver
from overt.penalties.tangent import FactoredTangent


class Evaluator:
    """A solver on layers, with the directions of the last decomposition and the number of calls since."""

    def __init__(self, solver: Solver, every: int) -> None:
        self.solver = solver
        self.every = every
        self.forget()

    def forget(self) -> None:
        """Decompose at the next call."""
        self._kept: list[Kept] = []
        self._key: tuple[tuple[Any, ...], ...] = ()
        self._calls = 0

    def exact(self, layers: Sequence[Layer]) -> list[Tensor]:
        """f(W) of each layer, decomposed now."""
        values: dict[int, Tensor] = {}
        for group in _groups(layers):
            with full_precision(layers[group[0]].tensors[0].device):
                found = self._exact_group([layers[i] for i in group])
            values.update(zip(group, found, strict=True))
        return [values[i] for i in range(len(layers))]

    def amortized(self, layers: Sequence[Layer]) -> list[Tensor]:
        """f(W) of each layer by the directions kept, which are made anew at each `every`-th call."""
        key = key_of(layers)
        if self._calls % self.every == 0 or key != self._key:
            self._kept, self._key, self._calls = self.tangents(layers), key, 0
        self._calls += 1
        self._kept = [fitting(kept, layer) for kept, layer in zip(self._kept, layers, strict=True)]
        return [
            cast(Any, tangent)(_argument(layer)) for tangent, layer in zip(self._kept, layers, strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """The directions kept and the number of calls since they were made; nothing before the first."""
        return stored(self._key, self._kept, self._calls) if self._kept else {}

    def restore(self, state: Mapping[str, Tensor], layers: Sequence[Layer]) -> None:
        """Go on from what :meth:`state` gave; ValueError if it is of other layers."""
        if not state:
            self.forget()
            return
        kept, calls = restored(state, layers, self.solver.functional.tangent_form)
        self._kept, self._key, self._calls = kept, key_of(layers), calls

    def tangents(self, layers: Sequence[Layer]) -> list[Kept]:
        """What each layer's functional is near its present matrix, for :func:`_argument` of it."""
        made: dict[int, Kept] = {}
        with torch.no_grad():
            for group in _groups(layers):
                members = [layers[i] for i in group]
                with full_precision(members[0].tensors[0].device):
                    tangents = self._tangents_group(members, [layer.matrix() for layer in members])
                for i, layer, tangent in zip(group, members, tangents, strict=True):
                    made[i] = tangent if isinstance(tangent, FactoredTangent) else like(tangent, layer)
        return [made[i] for i in range(len(layers))]

    def _exact_group(self, layers: list[Layer]) -> list[Tensor]:
        matrices = [_wide(layer.matrix()) for layer in layers]
        if self._by_functional(layers[0], matrices[0]):
            function = self.solver.functional.of_matrix
            if not self.solver.functional.named:
                return [function(_wide(layer.dense())) for layer in layers]
            return [function(matrices[0])] if len(matrices) == 1 else list(function(_stack(matrices)))
        tangents = self._tangents_group(layers, matrices)
        return [cast(Any, tangent)(W) for tangent, W in zip(tangents, matrices, strict=True)]

    def _by_functional(self, layer: Layer, W: Tensor | Factored) -> bool:
        """Whether ``overt.functional`` does it: an SVD, outside of compiled code, which it would break."""
        if layer.in_blocks or torch.compiler.is_compiling():
            return not self.solver.functional.named
        if isinstance(W, Factored):
            return True
        return self.solver.method_for(W.shape, W.dtype, W.device) == "svd"

    def _tangents_group(self, layers: list[Layer], matrices: list[Tensor | Factored]) -> Sequence[Kept]:
        stacked = _stack([_detached(W) for W in matrices])
        if isinstance(stacked, Factored):
            _check(stacked.U)
            _check(stacked.V)
            if self.solver.functional.named:
                return self.solver.factored_tangents(stacked)
            raise ValueError("every > 1: a callable cannot be kept for low-rank adapters; name a functional")
        _check(stacked)
        first = layers[0]
        if not first.in_blocks:
            return self.solver.tangents(stacked)
        if self.solver.functional.named:
            return [self.solver.block_tangent(W, first.blocks, first.copies) for W in stacked]
        # Only of groups: `check_settings` refuses a callable on operators.
        return [self.solver.block_tangent_of_callable(W, first.blocks) for W in stacked]


def _groups(layers: Sequence[Layer]) -> list[list[int]]:
    """Indices of layers that can be computed in one call."""
    groups: dict[Hashable, list[int]] = {}
    for i, layer in enumerate(layers):
        first = layer.tensors[0]
        inner = first.shape[-1] if layer.kind == "factored" else 0
        key = (layer.kind, layer.shape, inner, first.dtype, first.device, layer.grid, layer.geometry)
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def _stack(matrices: Sequence[Tensor | Factored]) -> Tensor | Factored:
    if isinstance(matrices[0], Factored):
        pairs = cast(Sequence[Factored], matrices)
        return Factored(torch.stack([W.U for W in pairs]), torch.stack([W.V for W in pairs]))
    tensors = cast(Sequence[Tensor], matrices)
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


def _detached(W: Tensor | Factored) -> Tensor | Factored:
    return _wide(Factored(W.U.detach(), W.V.detach()) if isinstance(W, Factored) else W.detach())


def _wide(W: Tensor | Factored) -> Tensor | Factored:
    return Factored(widen(W.U), widen(W.V)) if isinstance(W, Factored) else widen(W)


def _check(W: Tensor) -> None:
    """Refuse entries that are not finite, where that costs no waiting for a device."""
    if W.device.type == "cpu" and not torch.compiler.is_compiling():
        require_finite(W)


def _argument(layer: Layer) -> Tensor | Factored:
    """What a kept tangent is evaluated at: the parameter in its own shape and sharding, or the factors."""
    return layer.matrix() if layer.kind == "factored" else layer.tensors[0]
