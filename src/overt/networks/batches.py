"""Inputs as batches: from a tensor, a DataLoader or any iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

__all__ = ["EMBEDDING_HINT", "Inputs", "batches"]

Inputs = Tensor | Iterable[object]

EMBEDDING_HINT = (
    "integers have no derivative: for token ids measure from the embeddings, with the embeddings as inputs "
    "and forward=lambda model, e: model(inputs_embeds=e)"
)


def batches(
    inputs: Inputs, *, device: torch.device | None = None, max_samples: int | None = None
) -> Iterator[Tensor]:
    """Batches of inputs (n, *shape), detached, on a device, until ``max_samples`` inputs are through.

    Raises
    ------
    TypeError, ValueError
        If a batch is no real floating-point tensor or a pair that starts with one, is empty, has another
        shape than the first, or holds NaN or infinite entries.
    """
    source: Iterable[object] = [inputs] if isinstance(inputs, Tensor) else inputs
    if isinstance(inputs, tuple):
        raise TypeError("inputs: got a tuple; give the inputs alone, or a list or DataLoader of batches")
    if isinstance(inputs, (str, bytes, dict)) or not isinstance(source, Iterable):
        raise TypeError(
            "inputs: expected a tensor (n, *shape), a DataLoader or an iterable of batches, got "
            f"{type(inputs).__name__}"
        )
    left, shape = max_samples, None
    for batch in source:
        x = _tensor(batch)
        if shape is not None and x.shape[1:] != shape:
            raise ValueError(
                f"inputs: a batch has inputs of shape {tuple(x.shape[1:])}, the first {tuple(shape)}"
            )
        shape = x.shape[1:]
        if left is not None:
            x = x[:left]
            left -= len(x)
        yield x.detach().to(device=device)
        if left == 0:
            return


def _tensor(batch: object) -> Tensor:
    x = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
    if not isinstance(x, Tensor):
        raise TypeError(
            f"inputs: expected batches of tensors, or pairs (inputs, targets), got {type(batch).__name__}; "
            "for other batches give an iterable that picks the inputs"
        )
    if not x.is_floating_point():
        kind = "complex inputs are not supported" if x.is_complex() else EMBEDDING_HINT
        raise TypeError(f"inputs: expected floating-point inputs, got {x.dtype}; {kind}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(
            f"inputs: expected a batch (n, *shape) that is not empty, got shape {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("inputs: a batch holds NaN or infinite entries; remove those inputs")
    return x
