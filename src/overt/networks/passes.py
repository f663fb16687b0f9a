"""Forward passes over all inputs, checked, in chunks that fit a memory budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from overt.networks.batches import Batch, Inputs, SideInputs, differentiable_batches
from overt.networks.jacobian import (
    Rows,
    bytes_per_input,
    jacobian_blocks,
    jacobian_vector,
    leaf,
    require_finite_rows,
    saved_bytes,
    vector_jacobian,
)
from overt.networks.modules import device_of
from overt.networks.rows import (
    first_outputs,
    require_independence,
    require_repeatable,
    require_same_anywhere,
)
from overt.networks.target import Target

_LOOKED_AT = 16  # inputs among which places are exchanged


class Chunk(NamedTuple):
    """Inputs to differentiate with respect to, their outputs (n, K), and the map from one to the other."""

    x: Tensor
    y: Tensor
    rows: Rows


def wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype that sums are kept in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


class Passes:
    """Forward passes, chunk by chunk; the first input is looked at when it is made.

    It can be gone through once, or, with ``keep``, as often as wanted: then all inputs are held. With
    ``whole``, chunks leave room for the whole Jacobians of their inputs; with ``vectors``, for as many draws.

    Attributes
    ----------
    shape : tuple of int
        Shape of one input.
    outputs : int
        Number K of outputs.
    chunk : int
        Largest number of inputs of one pass.
    count : int
        Number of inputs, where they are held.
    least : int
        Number of inputs that there are at least: those of the first batch.
    device, dtype
        Of the inputs.
    """

    def __init__(
        self,
        target: Target,
        inputs: Inputs,
        *,
        memory_budget: int,
        side_inputs: SideInputs = None,
        vectors: int = 0,
        whole: bool = False,
        max_samples: int | None = None,
        keep: bool = False,
    ) -> None:
        self.target = target
        self._source = differentiable_batches(
            inputs, side_inputs=side_inputs, device=device_of(target.model), max_samples=max_samples
        )
        first = next(self._source, None)
        if first is None:
            raise ValueError("inputs: there is no batch; a generator that was used up gives none")
        self._first: Batch | None = first
        x = first.x
        self.shape, self.least = tuple(x.shape[1:]), len(x)
        self.device, self.dtype = x.device, x.dtype
        self.outputs = _verify(target, first[:2])
        two, one = (_graph(target, first[:n]) for n in (2, 1))
        per_input = bytes_per_input(
            two - one if len(x) > 1 else two, self.outputs, self.input_size, vectors=vectors, whole=whole
        )
        self.chunk = max(1, memory_budget // per_input)
        self._verified = False
        self._look_at(first)
        self._kept = [first, *self._source] if keep else None
        self.count = sum(map(len, self._kept)) if self._kept else 0

    @property
    def input_size(self) -> int:
        """Number D of entries of one input."""
        return math.prod(self.shape)

    def __iter__(self) -> Iterator[Chunk]:
        """The inputs with their outputs, chunk by chunk."""
        source: Iterable[Batch]
        if self._kept is not None:
            source = self._kept
        elif self._first is None:
            raise ValueError("the inputs were gone through already")
        else:
            source, self._first = chain([self._first], self._source), None
        for batch in source:
            self._look_at(batch)
            for part in batch.split(self.chunk):
                x, rows = leaf(part.x), self.target.rows_of(part)
                y = rows(x)
                if y.shape[1] != self.outputs:
                    raise ValueError(
                        f"model: a batch has {y.shape[1]} outputs for an input, the first {self.outputs}; "
                        "pad to one length, or choose outputs of one size with outputs="
                    )
                yield Chunk(x, y, rows)

    def _look_at(self, batch: Batch) -> None:
        """Once there are two inputs in a batch; one alone cannot tell whether it depends on others."""
        if self._verified or len(batch) < 2:
            return
        if self._first is not batch:
            _verify(self.target, batch[:2])
        few = batch[: max(2, min(self.chunk, _LOOKED_AT))]
        require_same_anywhere(lambda part: self.target(part.at(leaf(part.x))), few)
        self._verified = True


def jacobians(passes: Passes) -> Iterator[Tensor]:
    """Jacobians (n, K, D) of the points, chunk by chunk."""
    for x, y, rows in passes:
        J = y.new_empty(len(x), passes.outputs, passes.input_size)
        start = 0
        for block in jacobian_blocks(rows, x, y):
            J[:, start : start + block.shape[1]] = block.flatten(2)
            start += block.shape[1]
        require_finite_rows(J)
        yield J.detach()


def verify_adjoint(forward: Rows, x: Tensor, u: Tensor, r: Tensor) -> None:
    """Check ⟨J u, r⟩ = ⟨u, Jᵀr⟩ for u of the shape of x and r of the shape of the outputs.

    An operation that hides that it cannot be differentiated twice gives J u = 0, and would go unnoticed.

    Raises
    ------
    ValueError
        If they differ.
    """
    x = leaf(x)
    image, adjoint = jacobian_vector(forward, x, u), vector_jacobian(forward(x), x, r)
    one, other = (image * r).double().sum(), (u * adjoint).double().sum()
    size = image.double().norm() * r.double().norm() + u.double().norm() * adjoint.double().norm()
    if bool((one - other).abs() > torch.finfo(x.dtype).eps ** 0.5 * size):
        raise ValueError(
            "method: 'lanczos' needs forward-mode or second derivatives, and those of an operation of the "
            "model do not agree with its first; use method='sketch'"
        )


def _graph(target: Target, batch: Batch) -> int:
    return saved_bytes(lambda x: first_outputs(target, batch.at(x)), batch.x)


def _verify(target: Target, batch: Batch) -> int:
    """Check on two inputs that the forward pass can be measured; returns its number K of outputs.

    Raises
    ------
    ValueError
        If the forward pass fails, or if its outputs have no gradient, differ between two passes, or depend on
        the other inputs of the batch.
    """
    x = leaf(batch.x)
    y = first_outputs(target, batch.at(x))
    if not bool(torch.isfinite(y).all()):
        raise ValueError("model: its outputs are NaN or infinite; measure a model that has not diverged")
    require_repeatable(y, target(batch.at(x)))
    require_finite_rows(vector_jacobian(y, x, torch.ones_like(y)))
    require_independence(x, y)
    return y.shape[1]
