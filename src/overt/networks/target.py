"""What is differentiated: a model's outputs, a function of them, or the activations of one of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from overt._utils.checks import check_callable, check_choice
from overt.networks.batches import Batch
from overt.networks.modules import Forward, Model, unwrapped

Outputs = Literal["logits", "probabilities", "margin"]
OutputMap = Outputs | Callable[[Any], Tensor]


class Target:
    """The map from a batch of inputs (n, *shape) to rows of numbers (n, K) whose Jacobian is taken.

    Parameters
    ----------
    model
        Module or function of a batch; wrappers of it are looked through.
    outputs
        ``"logits"``: the output as it is; ``"probabilities"``: its softmax over the last dimension;
        ``"margin"``: its largest entry minus the second largest; or a function of what the model, or the
        layer, returns, such as ``lambda y: y[0]`` for a tuple.
    layer
        Name of a submodule whose output takes the place of the model's.
    forward
        How the model is called, ``forward(model, x)``; by default ``model(x)``. Side inputs follow x, or are
        given by name.

    Raises
    ------
    TypeError, ValueError
        Unknown map, unknown layer, a layer of a function.
    """

    def __init__(
        self,
        model: Model,
        outputs: OutputMap = "logits",
        layer: str | None = None,
        forward: Forward | None = None,
    ) -> None:
        check_callable(model, "model", remedy="give a torch.nn.Module or a function of a batch")
        self.model = unwrapped(model)
        self.outputs = outputs if callable(outputs) else check_choice(outputs, "outputs", Outputs)
        self.forward = forward
        self.layer = None if layer is None else _find_layer(self.model, layer)
        self._name = layer

    def __call__(self, x: Tensor | Batch) -> Tensor:
        """Outputs in rows, shape (n, K)."""
        return self.mapped(self.raw(x), len(x))

    def raw(self, x: Tensor | Batch) -> Any:
        """What the model, or the layer, returns."""
        batch = x if isinstance(x, Batch) else Batch(x)
        # A model may work in place, which neither a leaf nor the next pass would stand.
        batch = batch.at(batch.x.clone())
        return self._run(batch) if self.layer is None else self._activations(batch, self.layer)

    def rows_of(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The outputs as a function of the inputs alone, beside what goes with them in a batch."""
        return lambda x: self(batch.at(x))

    def mapped(self, raw: Any, count: int) -> Tensor:
        """What the model returned for `count` inputs, as outputs in rows, shape (count, K)."""
        y = self._picked(raw) if callable(self.outputs) else self._named(self._as_tensor(raw))
        if y.is_complex() or not y.is_floating_point():
            raise TypeError(f"model: expected real floating-point outputs, got {y.dtype}")
        if y.ndim == 0 or len(y) != count:
            remedy = "; a loss has one value for all: take the logits" if y.ndim == 0 else ""
            raise ValueError(
                f"model: expected one output for each of the {count} inputs, in the first dimension, got "
                f"shape {tuple(y.shape)}{remedy}"
            )
        return y.reshape(len(y), -1)

    def _picked(self, raw: Any) -> Tensor:
        """What a function of the outputs makes of them."""
        try:
            y = self.outputs(raw)
        except (LookupError, AttributeError, TypeError) as error:
            raise TypeError(
                f"outputs: the function fails on what the model returns, {_described(raw)} "
                f"({type(error).__name__}: {error})"
            ) from error
        if not isinstance(y, Tensor):
            raise TypeError(f"outputs: expected the function to return a tensor, got {_described(y)}")
        return y

    def _as_tensor(self, output: Any) -> Tensor:
        """The tensor in an output: itself, or the one that is called logits."""
        if isinstance(output, Tensor):
            return output
        logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        kind = _described(output)
        if self.layer is not None:
            raise TypeError(
                f"layer: expected {self._name!r} to return a tensor, got {kind}; pick the tensor with "
                "outputs=lambda y: y[0]"
            )
        raise TypeError(
            f"model: expected a tensor, or an output with .logits, got {kind}; pick the tensor with "
            "outputs=lambda y: y[0], or with forward=lambda model, x: model(x)[0]"
        )

    def _run(self, batch: Batch) -> Any:
        return (
            batch.given_to(self.model) if self.forward is None else batch.given_with(self.forward, self.model)
        )

    def _activations(self, batch: Batch, layer: nn.Module) -> Any:
        seen: list[Any] = []

        def keep(*event: Any) -> Any:
            output = event[2]
            # Two copies: what comes after may overwrite its own, or what the output is a view of.
            seen.append(_copy(output))
            return _copy(output)

        handle = layer.register_forward_hook(keep)
        try:
            self._run(batch)
        finally:
            handle.remove()
        if len(seen) != 1:
            raise ValueError(
                f"layer: {self._name!r} ran {len(seen)} times in one forward pass; name a layer that runs "
                "once"
            )
        return seen[0]

    def _named(self, y: Tensor) -> Tensor:
        if self.outputs == "logits":
            return y
        if y.ndim not in (2, 3) or y.shape[-1] < 2:
            raise ValueError(
                f"outputs: {self.outputs!r} needs outputs (n, classes) or (n, tokens, classes), got shape "
                f"{tuple(y.shape)}; pass a function such as torch.sigmoid, or lambda y: y.softmax(1)"
            )
        if self.outputs == "probabilities":
            return y.softmax(-1)
        top = y.topk(2, dim=-1).values
        return top[..., 0] - top[..., 1]


def _find_layer(model: Model, name: str) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError(
            "layer: a function has no layers; pass a torch.nn.Module, or a function up to the layer"
        )
    layers: dict[str, nn.Module] = dict(model.named_modules())
    if name not in layers or not name:
        known = ", ".join(key for key in list(layers)[1:13])
        raise ValueError(
            f"layer: no submodule {name!r}; there are {known}{', …' if len(layers) > 13 else ''}"
        )
    return layers[name]


def _described(output: Any) -> str:
    """The type of an output, and what it is made of."""
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"{kind} of {', '.join(map(str, output)) or 'nothing'}"
    if isinstance(output, (tuple, list)):
        return f"{kind} of {', '.join(type(item).__name__ for item in output) or 'nothing'}"
    return kind


def _copy(output: Any) -> Any:
    """The output, or what it is made of, with copies of its tensors."""
    return tree_map_only(Tensor, torch.clone, output)
