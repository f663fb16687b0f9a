"""Inputs as batches, with what goes beside them: from a tensor, a dict, a DataLoader or any iterable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import kind_of, message

Inputs = Tensor | Mapping[str, Tensor] | Iterable[object]
OneBatch = Tensor | Mapping[str, Tensor]
SideInputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor] | None

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


@dataclass(frozen=True)
class Batch:
    """Inputs x (n, …), and what a model takes beside each of them.

    Attributes
    ----------
    x : Tensor
        What derivatives are taken by.
    args, named
        Side inputs, tensors (n, …), in the order in which they follow x, and by name.
    name : str, optional
        By which name x is given; by none it comes first.
    """

    x: Tensor
    args: tuple[Tensor, ...] = ()
    named: Mapping[str, Tensor] = field(default_factory=dict)
    name: str | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        return self._each(lambda tensor: tensor[rows])

    def at(self, x: Tensor) -> Batch:
        """The same side inputs with other x."""
        return Batch(x, self.args, self.named, self.name)

    def to(self, device: torch.device | None) -> Batch:
        """All of it, detached, on a device."""
        return self._each(lambda tensor: tensor.detach().to(device=device))

    def split(self, size: int) -> Iterator[Batch]:
        """Parts of at most so many inputs."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def given_to(self, model: Callable[..., Any]) -> Any:
        """``model(x, *args, **named)``, x by its name if it has one."""
        by_name = {} if self.name is None else {self.name: self.x}
        return model(*(() if by_name else (self.x,)), *self.args, **by_name, **self.named)

    def given_with(self, forward: Callable[..., Any], model: Any) -> Any:
        """``forward(model, x, *args, **named)``."""
        return forward(model, self.x, *self.args, **self.named)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        named = {key: change(tensor) for key, tensor in self.named.items()}
        return Batch(change(self.x), tuple(map(change, self.args)), named, self.name)


def batch_of(inputs: object, side_inputs: object = None) -> Batch:
    """A batch from a tensor or a tuple that begins with one, with side inputs, or from a dict.

    The first entry of a dict are the inputs, the others side inputs by name.

    Raises
    ------
    TypeError, ValueError
        They are something else, or side inputs are of another length.
    """
    if isinstance(inputs, Mapping):
        if side_inputs is not None:
            raise TypeError("side_inputs: a dict of inputs holds its own; leave side_inputs out")
        (name, x), *others = inputs.items() if inputs else [("inputs", inputs)]
        if not isinstance(x, Tensor):
            raise TypeError(message("inputs", "a tensor, or a dict whose first entry is one", inputs))
        return Batch(x, (), _beside(dict(others), len(x), "inputs"), str(name))
    x = _first(inputs)
    if side_inputs is None:
        return Batch(x)
    if isinstance(side_inputs, Mapping):
        return Batch(x, (), _beside(side_inputs, len(x), "side_inputs"))
    listed = side_inputs if isinstance(side_inputs, (tuple, list)) else (side_inputs,)
    return Batch(x, tuple(_beside(dict(enumerate(listed)), len(x), "side_inputs").values()))


def _beside(tensors: Mapping[Any, object], count: int, name: str) -> dict[Any, Tensor]:
    for key, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            expected = "a tensor, or a tuple or dict of tensors (n, …)"
            raise TypeError(message(f"{name}[{key!r}]", expected, tensor, _SHARED))
        if tensor.ndim == 0 or len(tensor) != count:
            shape = tuple(tensor.shape)
            raise ValueError(
                f"{name}[{key!r}] must have one entry for each of {count} inputs, got {shape}; {_SHARED}"
            )
    return dict(tensors)


_SHARED = "what all inputs share belongs into forward="


def differentiable_batch(x: object, side_inputs: object = None) -> Batch:
    """A batch, see `batch_of`, whose inputs derivatives can be taken at, see `check_inputs`."""
    batch = batch_of(x if isinstance(x, Mapping) else check_inputs(x), side_inputs)
    check_inputs(batch.x)
    return batch


def differentiable_batches(
    inputs: Inputs,
    *,
    side_inputs: SideInputs = None,
    device: torch.device | None = None,
    max_samples: int | None = None,
) -> Iterator[Batch]:
    """Batches of inputs (n, *shape), detached, on a device, until ``max_samples`` inputs are through.

    A tensor, or a dict, is one batch. Otherwise as `batches_of`.

    Raises
    ------
    TypeError, ValueError
        If a batch is none, its inputs are no real floating-point tensor, are empty, have another shape than
        the first, or hold NaN or infinite entries; side inputs beside what is no tensor.
    """
    if isinstance(inputs, tuple):
        raise TypeError("inputs must not be a tuple; give the inputs alone, or a list of batches")
    whole = isinstance(inputs, (Tensor, Mapping))
    if side_inputs is not None and not whole:
        raise TypeError(
            f"side_inputs go with inputs that are a tensor, got {kind_of(inputs)}; let it yield dicts, the "
            "inputs first and what goes beside them by name"
        )
    left, shape = max_samples, None
    for item in [inputs] if whole else _each(inputs):
        batch = batch_of(item, side_inputs)
        x = check_inputs(
            batch.x, "inputs" if batch.name is None else f"inputs[{batch.name!r}]", EMBEDDING_HINT
        )
        if not bool(torch.isfinite(x).all()):
            raise ValueError("inputs: a batch holds NaN or infinite entries; remove those inputs")
        if shape is not None and x.shape[1:] != shape:
            raise ValueError(
                f"inputs: a batch has inputs of shape {tuple(x.shape[1:])}, the first {tuple(shape)}, and M "
                "is over the entries of one; pad to one shape, with the mask as a side input"
            )
        shape = x.shape[1:]
        if left is not None:
            batch = batch[:left]
            left -= len(batch)
        yield batch.to(device)
        if left == 0:
            return


def batches_of(inputs: Any, device: torch.device | None = None) -> Iterator[Batch]:
    """Batches (B, …) from a tensor (N, …), a dict, or a DataLoader of tensors, dicts or tuples.

    Of a tuple the first is taken, of a dict all, see `batch_of`. They may be of any dtype: token ids will do.

    Raises
    ------
    TypeError, ValueError
        `inputs` is something else, or holds no example.
    """
    count = 0
    for item in _each(inputs):
        batch = batch_of(item)
        if batch.x.ndim == 0:
            raise TypeError(message("inputs", "batches (B, …) of tensors", item))
        count += len(batch)
        yield batch.to(device)
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
    elif isinstance(inputs, Mapping):
        yield inputs
    elif isinstance(inputs, Iterable) and not isinstance(inputs, (str, bytes)):
        yield from inputs
    else:
        raise TypeError(
            f"inputs must be a tensor (n, …), a dict of tensors, a DataLoader or an iterable of batches, got "
            f"{kind_of(inputs)}"
        )


def _first(batch: object) -> Tensor:
    """The inputs of a batch: itself, or the first of a tuple."""
    x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(x, Tensor):
        raise TypeError(
            f"inputs must yield tensors, dicts of them or tuples that begin with one, got {_word(batch)}; "
            "for other batches give a generator that picks the tensor"
        )
    return x


def _word(batch: object) -> str:
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {', '.join(type(item).__name__ for item in batch) or 'nothing'}"
    return kind_of(batch)
