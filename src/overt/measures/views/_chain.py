"""A network as a chain x^i = A^i φ(x^{i−1}) + b^i."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt.networks.weights import CONVOLUTIONS, acting

__all__ = ["Link", "chain_of"]

_ASSUMED = (nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout)


@dataclass(frozen=True, eq=False)
class Link:
    """One layer A^i with what comes before it.

    Attributes
    ----------
    name
        Of the layer in the model.
    before
        φ: activations, pooling and reshaping between the layer before and this one; of the first layer what
        comes before it, and of the last one also `after`.
    layer
        ``nn.Linear`` or a convolution.
    after
        What follows the last layer; empty for all others.
    """

    name: str
    before: list[nn.Module]
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    after: list[nn.Module]

    def activate(self, x: Tensor) -> Tensor:
        """φ(x)."""
        for module in self.before:
            x = module(x)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """The layer's output from the output of the layer before."""
        x = self.layer(self.activate(x))
        for module in self.after:
            x = module(x)
        return x

    def linear(self, h: Tensor) -> Tensor:
        """A h without the bias."""
        image: Tensor = self.layer(h)
        return image if self.layer.bias is None else image - self.layer(torch.zeros_like(h[:1]))

    def frobenius(self, h: Tensor) -> float:
        """‖A‖_F of the operator that acts on activations of the shape of h.

        A convolution with squared taps, applied to ones, sums up the squares of all entries of each row.
        """
        weight = acting(self.layer, "weight")
        if isinstance(self.layer, nn.Linear):
            repeats = h[0].numel() // self.layer.in_features  # a linear layer acts on each position
            return math.sqrt(float(weight.double().square().sum()) * repeats)
        squares = self.layer._conv_forward(torch.ones_like(h[:1]), weight.square(), None)
        return math.sqrt(float(squares.double().sum()))

    @property
    def assumed(self) -> bool:
        """Whether the layer is as the theorem has it: no bias, and no activation but ReLU next to it."""
        modules = (*self.before, *self.after)
        return self.layer.bias is None and all(isinstance(module, _ASSUMED) for module in modules)


def chain_of(model: nn.Module) -> list[Link]:
    """The layers of an ``nn.Sequential``, nested or not.

    Raises
    ------
    ValueError
        The model is something else, has normalization layers, or no linear layer.
    """
    if not isinstance(model, nn.Sequential):
        raise ValueError(
            "model: noise stability is defined for chains of layers, an nn.Sequential; got "
            f"{type(model).__name__}. A model with branches has no map from one layer to another"
        )
    links: list[Link] = []
    between: list[nn.Module] = []
    for name, module in _flat(model, ""):
        if isinstance(module, (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
            raise ValueError(
                f"model: {name} is a {type(module).__name__}; the definitions know linear layers and "
                "activations only. Fold a BatchNorm into the layer before it"
            )
        if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
            links.append(Link(name, between, module, []))
            between = []
        elif any(True for _ in module.parameters()):
            raise ValueError(f"model: {name} ({type(module).__name__}) has parameters but is no linear layer")
        else:
            between.append(module)
    if not links:
        raise ValueError("model: there is no nn.Linear or convolution in it")
    last = links[-1]
    links[-1] = Link(last.name, last.before, last.layer, between)
    return links


def _flat(model: nn.Sequential, prefix: str) -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    # Not named_children(), which leaves out the second place of a module that is there twice.
    for name, module in model._modules.items():
        assert module is not None
        full = f"{prefix}{name}"
        inner = _flat(module, f"{full}.") if isinstance(module, nn.Sequential) else [(full, module)]
        found.extend(inner)
    return found
