"""Batches of inputs of any dtype, with or without targets.

:func:`overt.networks.batches.batches` is for inputs that derivatives are taken at; here token ids will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["batches_of", "home_of", "pairs_of"]

_BATCH = 256


def home_of(model: nn.Module) -> torch.device | None:
    """The device of the model's first parameter or buffer; None if it has neither."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return None


def batches_of(inputs: Any, device: torch.device | None = None) -> Iterator[Tensor]:
    """Batches (B, …) from a tensor (N, …), or a DataLoader of tensors or of tuples that begin with one.

    Raises
    ------
    TypeError, ValueError
        `inputs` is something else, or holds no example.
    """
    count = 0
    for batch in _raw(inputs):
        x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not isinstance(x, Tensor) or x.ndim == 0:
            raise TypeError(
                f"inputs must yield tensors (B, …), or tuples that begin with one; got {_word(batch)}. "
                "For other batches give a generator that picks the tensor"
            )
        count += x.shape[0]
        yield x.detach().to(device=device)
    if count == 0:
        raise ValueError("inputs hold no example; give at least one")


def pairs_of(data: Any, device: torch.device | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (inputs, targets) from such a pair of tensors, or from a DataLoader of pairs.

    Raises
    ------
    TypeError, ValueError
        `data` is something else, of two different lengths, or holds no example.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        inputs, targets = data
        if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
            raise ValueError(
                f"(inputs, targets) must be of one length, got shapes {tuple(inputs.shape)} and "
                f"{tuple(targets.shape)}"
            )
        data = zip(torch.split(inputs, _BATCH), torch.split(targets, _BATCH), strict=True)
    count = 0
    for batch in _raw(data):
        if not (
            isinstance(batch, (tuple, list))
            and len(batch) >= 2
            and all(isinstance(t, Tensor) for t in batch[:2])
        ):
            raise TypeError(f"expected batches (inputs, targets) of tensors, got {_word(batch)}")
        count += batch[0].shape[0]
        yield batch[0].detach().to(device=device), batch[1].detach().to(device=device)
    if count == 0:
        raise ValueError("the data to evaluate on hold no example; give at least one")


def _raw(inputs: Any) -> Iterator[Any]:
    if isinstance(inputs, Tensor):
        yield from torch.split(inputs, _BATCH) if inputs.ndim and inputs.shape[0] else (inputs,)
    elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes, dict)):
        yield from inputs
    else:
        raise TypeError(f"expected a tensor (N, …) or a DataLoader, got {type(inputs).__name__}")


def _word(batch: object) -> str:
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    return type(batch).__name__
