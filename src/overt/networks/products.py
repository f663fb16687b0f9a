"""Vector–Jacobian products of a batch, with the graph that a penalty on them needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt.networks.probes import draw_probes
from overt.networks.second_order import (
    MIXING,
    check_not_sharded,
    check_twice_differentiable,
    deterministic,
    graph_of_its_own,
)
from overt.networks.target import Target

__all__ = ["Products", "check_inputs", "is_finite"]


@dataclass(eq=False)
class Products:
    """g = J(x)ᵀ v for random v with E[v vᵀ] = I.

    Attributes
    ----------
    target : Target
        The map, of the model without wrappers.
    model : Module
        The model as it was given.
    """

    target: Target
    model: nn.Module
    checked: bool = False

    def __call__(self, x: Tensor, y: Tensor | None, *, share: float, probes: int, seed: int) -> Tensor:
        """g in rows, (probes × n, D), float32 or wider; with a graph if gradients are on.

        Parameters
        ----------
        x, y
            Inputs, and the model's outputs for them with their graph, or None for a forward pass here.
        share, probes
            What part of the batch is used, from the front; products for each input.
        seed
            Of the probes, and of what the model draws in that forward pass.

        Raises
        ------
        ValueError
            Outputs that were not computed from `x`, cannot be differentiated twice or are not finite.
        """
        wanted = torch.is_grad_enabled()
        used = max(1, round(share * len(x)))
        if not self.checked:
            check_not_sharded(self.model)
        with graph_of_its_own():
            if y is None:
                x = leaf(x, used)
                y = self._own_pass(x, seed)
            else:
                y = self._given(x, y)
            self.checked = True
            if not y.requires_grad:
                raise ValueError("x: the outputs do not depend on it")
            y = y[:used]
            generator = torch.Generator().manual_seed(seed)
            found = [self._product(x, y, generator, wanted) for _ in range(probes)]
        g = torch.cat(found).flatten(1) if len(found) > 1 else found[0].flatten(1)
        if not (is_finite(g) and is_finite(y)):
            raise ValueError("the model's Jacobian is not finite on this batch; is the loss still finite?")
        return g.float() if g.dtype in (torch.float16, torch.bfloat16) else g

    def _own_pass(self, x: Tensor, seed: int) -> Tensor:
        with deterministic(self.model, seed=seed, device=x.device), _in_words():
            return self.target(x)

    def _given(self, x: Tensor, y: Tensor) -> Tensor:
        _check_given(self.model, x, y)
        if self.target.layer is not None:
            raise ValueError("y: the activations of a layer are penalized; leave y out")
        if not self.checked:
            check_twice_differentiable(y)
        with _in_words():
            return self.target.mapped(y, len(y))

    def _product(self, x: Tensor, y: Tensor, generator: torch.Generator, graph: bool) -> Tensor:
        v = draw_probes(len(y), y.shape[1], generator=generator, like=y)
        found = torch.autograd.grad(y, x, v, retain_graph=True, create_graph=graph, allow_unused=True)[0]
        if found is None:
            raise ValueError("x: the outputs do not depend on it")
        return found[: len(y)]


def check_inputs(x: object) -> Tensor:
    """`x` if it is a batch of floating-point inputs."""
    if x is None:
        raise TypeError("x: this penalty needs the batch of inputs: penalty(x)")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x: expected a floating-point tensor, got {kind}; pass embeddings for token ids")
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"x: expected a batch (n, ...) of one input or more, got shape {tuple(x.shape)}")
    return x


def leaf(x: Tensor, used: int) -> Tensor:
    """The first inputs of a batch, to differentiate with respect to."""
    x = x[:used].detach()
    return (x.clone() if x.is_inference() else x).requires_grad_()


def is_finite(tensor: Tensor) -> bool:
    """Whether no entry is NaN or infinite, by the sum: much cheaper than looking at each."""
    tensor = tensor.detach()
    wide = torch.float32 if tensor.dtype.itemsize < 4 else tensor.dtype
    return math.isfinite(float(tensor.sum(dtype=wide))) or bool(torch.isfinite(tensor).all())


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        words, remedy, _ = str(error).partition(", or with forward=")
        if not remedy:
            raise
        raise TypeError(words) from error  # the other remedy is one of `overt.measure` alone


def _check_given(model: nn.Module, x: Tensor, y: Tensor) -> None:
    if not x.requires_grad or not isinstance(y, Tensor) or y.grad_fn is None or len(y) != len(x):
        raise ValueError(
            "y: expected the model's outputs for x with their graph, x having required gradients before the "
            "forward pass; or leave y out"
        )
    mixing = [m for m in model.modules() if isinstance(m, MIXING) and m.training]
    if mixing:
        raise ValueError(
            f"y: {type(mixing[0]).__name__} in training mode mixes the inputs of a batch; leave y out, and "
            "the penalty runs a forward pass of its own"
        )
