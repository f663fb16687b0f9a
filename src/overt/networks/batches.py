"""Inputs as batches: from a tensor, a DataLoader or any iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import kind_of, message

Inputs = Tensor | Iterable[object]

EMBEDDING_HINT = (
    "integers have no derivative: for token ids measure from the embeddings, with the embeddings as inputs "
    "and forward=lambda model, e: model(inputs_embeds=e)"
)
_PENALTY_HINT = "give the batch of inputs, penalty(x), and for token ids their embeddings"
_BATCH = 256


def check_inputs(x: object, name: str = "x", hint: str = _PENALTY_HINT) -> Tensor:
    """`x` if it is a batch (n, …) of one input or more that derivatives can be taken at.

    Raises
    ------
    TypeError, ValueError
        It is no floating-point tensor, has fewer than two dimensions or is empty.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        complex_valued = isinstance(x, Tensor) and x.is_complex()
        kind = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else kind_of(x)
        remedy = "complex inputs are not supported" if complex_valued else hint
        raise TypeError(f"{name} must be a floating-point tensor (n, …), got {kind}; {remedy}")
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} must be a batch (n, …) that is not empty, got shape {tuple(x.shape)}")
    return x


def differentiable_batches(
    inputs: Inputs, *, device: torch.device | None = None, max_samples: int | None = None
) -> Iterator[Tensor]:
    """Batches of inputs (n, *shape), detached, on a device, until ``max_samples`` inputs are through.

    A tensor is one batch. Otherwise as `batches_of`.

    Raises
    ------
    TypeError, ValueError
        If a batch is no real floating-point tensor or a tuple that starts with one, is empty, has another
        shape than the first, or holds NaN or infinite entries.
    """
    if isinstance(inputs, tuple):
        raise TypeError("inputs must not be a tuple; give the inputs alone, or a list of batches")
    left, shape = max_samples, None
    for batch in _each([inputs] if isinstance(inputs, Tensor) else inputs):
        x = check_inputs(_first(batch), "inputs", EMBEDDING_HINT)
        if not bool(torch.isfinite(x).all()):
            raise ValueError("inputs: a batch holds NaN or infinite entries; remove those inputs")
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


def batches_of(inputs: Any, device: torch.device | None = None) -> Iterator[Tensor]:
    """Batches (B, …) from a tensor (N, …), or a DataLoader of tensors or of tuples that begin with one.

    They may be of any dtype: token ids will do.

    Raises
    ------
    TypeError, ValueError
        `inputs` is something else, or holds no example.
    """
    count = 0
    for batch in _each(inputs):
        x = _first(batch)
        if x.ndim == 0:
            raise TypeError(message("inputs", "batches (B, …) of tensors", batch))
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
    for batch in _each(data):
        pair = batch[:2] if isinstance(batch, (tuple, list)) else ()
        if len(pair) < 2 or not all(isinstance(t, Tensor) for t in pair):
            raise TypeError(f"the data must yield batches (inputs, targets) of tensors, got {_word(batch)}")
        count += pair[0].shape[0]
        yield pair[0].detach().to(device=device), pair[1].detach().to(device=device)
    if count == 0:
        raise ValueError("the data to evaluate on hold no example; give at least one")


def _each(inputs: Any) -> Iterator[Any]:
    if isinstance(inputs, Tensor):
        yield from torch.split(inputs, _BATCH) if inputs.ndim and inputs.shape[0] else (inputs,)
    elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes, dict)):
        yield from inputs
    else:
        raise TypeError(
            f"inputs must be a tensor (n, …), a DataLoader or an iterable of batches, got {kind_of(inputs)}"
        )


def _first(batch: object) -> Tensor:
    """The inputs of a batch: itself, or the first of a tuple."""
    x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(x, Tensor):
        raise TypeError(
            f"inputs must yield tensors, or tuples that begin with one, got {_word(batch)}; for other "
            "batches give a generator that picks the tensor"
        )
    return x


def _word(batch: object) -> str:
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    return kind_of(batch)
