"""Forward passes over all inputs, in chunks that fit a memory budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from overt.networks.batches import Inputs, batches
from overt.networks.jacobian import bytes_per_input, leaf
from overt.networks.target import Target
from overt.networks.verifying import verify

__all__ = ["Passes", "wide_dtype"]


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
    device, dtype
        Of the inputs.
    """

    def __init__(
        self,
        target: Target,
        inputs: Inputs,
        *,
        memory_budget: int,
        vectors: int = 0,
        whole: bool = False,
        max_samples: int | None = None,
        keep: bool = False,
    ) -> None:
        self.target = target
        self._source = batches(inputs, device=_device(target.model), max_samples=max_samples)
        first = next(self._source, None)
        if first is None:
            raise ValueError("inputs: there is no batch; a generator that was used up gives none")
        self._first: Tensor | None = first
        self.shape = tuple(first.shape[1:])
        self.device, self.dtype = first.device, first.dtype
        self.outputs = verify(target, first)
        self._verified = len(first) > 1  # one input alone cannot tell whether inputs depend on one another
        per_input = bytes_per_input(target, first, vectors=vectors, whole=whole)
        self.chunk = max(1, memory_budget // per_input)
        self._kept = [first, *self._source] if keep else None
        self.count = sum(map(len, self._kept)) if self._kept else 0

    @property
    def input_size(self) -> int:
        """Number D of entries of one input."""
        return math.prod(self.shape)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (x, y): inputs to differentiate with respect to, and their outputs (n, K)."""
        source: Iterable[Tensor]
        if self._kept is not None:
            source = self._kept
        elif self._first is None:
            raise ValueError("the inputs were gone through already")
        else:
            source, self._first = chain([self._first], self._source), None
        for batch in source:
            if not self._verified and len(batch) > 1:
                verify(self.target, batch)
                self._verified = True
            for part in torch.split(batch, self.chunk):
                x = leaf(part)
                yield x, self.target(x)


def _device(model: object) -> torch.device | None:
    if not isinstance(model, nn.Module):
        return None
    return next((parameter.device for parameter in model.parameters()), None)
