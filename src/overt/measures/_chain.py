"""A network as a chain x^i = A^i φ(x^{i−1}) + b^i."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt.measures._matrices import CONVOLUTIONS

__all__ = ["Link", "chain_of"]

_HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Flatten, nn.Dropout)


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
        weight = self.layer.weight.detach().double()
        if isinstance(self.layer, nn.Linear):
            repeats = h[0].numel() // self.layer.in_features  # a linear layer acts on each position
            return math.sqrt(float(weight.square().sum()) * repeats)
        squares: Tensor = torch.func.functional_call(
            self.layer,
            {"weight": self.layer.weight.detach().square(), **_no_bias(self.layer)},
            (torch.ones_like(h[:1]),),
        )
        return math.sqrt(float(squares.detach().double().sum()))

    @property
    def homogeneous(self) -> bool:
        """Whether φ and the layer are positively homogeneous: no bias, and nothing but ReLU between."""
        modules = (*self.before, *self.after)
        return self.layer.bias is None and all(isinstance(module, _HOMOGENEOUS) for module in modules)


def _no_bias(layer: nn.Module) -> dict[str, Tensor]:
    bias = getattr(layer, "bias", None)
    return {} if bias is None else {"bias": torch.zeros_like(bias)}


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
    for name, module in model.named_children():
        full = f"{prefix}{name}"
        inner = _flat(module, f"{full}.") if isinstance(module, nn.Sequential) else [(full, module)]
        found.extend(inner)
    return found
