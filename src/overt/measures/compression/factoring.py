"""Layers as two thinner ones: a Linear as two, a convolution as a thinner one and one of size 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt._utils.tensors import compute_dtype
from overt.linalg import svd
from overt.networks.kinds import CONVOLUTIONS
from overt.networks.weights import is_quantized

_SPATIAL = ("stride", "padding", "dilation", "padding_mode")


class _Pair(nn.Sequential):
    """Two layers in place of one."""

    @property
    def bias(self) -> Tensor | None:
        """The bias of the second layer."""
        return cast("Tensor | None", self[1].bias)

    def _weights(self) -> tuple[Tensor, Tensor]:
        return cast(Tensor, self[0].weight), cast(Tensor, self[1].weight)


class FactoredLinear(_Pair):
    """x ↦ A (B x) + b: two ``nn.Linear`` of inner width r in place of one. Attributes as of ``nn.Linear``."""

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__(first, second)
        self.in_features, self.out_features = first.in_features, second.out_features

    @property
    def rank(self) -> int:
        """Inner width r."""
        return len(self._weights()[0])

    @property
    def weight(self) -> Tensor:
        """The product of the two weights, formed on request."""
        B, A = self._weights()
        return A @ B


class FactoredConv(_Pair):
    """A convolution to r channels (for each group) and one of kernel size 1 that mixes them.

    Attributes as of ``nn.Conv1d/2d/3d``.
    """

    groups: int

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(first, second)
        self.in_channels, self.out_channels = first.in_channels, second.out_channels
        for name in ("kernel_size", "groups", *_SPATIAL):
            setattr(self, name, getattr(first, name))

    @property
    def rank(self) -> int:
        """Inner channels of each group."""
        return len(self._weights()[0]) // self.groups

    @property
    def weight(self) -> Tensor:
        """The kernel of the two layers together, formed on request."""
        B, A = self._weights()
        by_group = A.reshape(self.groups, -1, self.rank) @ B.reshape(self.groups, self.rank, -1)
        return by_group.reshape(len(A), *B.shape[1:])


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer that can be factored, with its singular value decomposition.

    Attributes
    ----------
    name, module
        The layer, and its first name in the model.
    U, S, Vh
        Factors of its weight, a batch of one matrix for each group: (g, m, k), (g, k), (g, k, n).
    """

    name: str
    module: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    U: Tensor
    S: Tensor
    Vh: Tensor

    @property
    def full_rank(self) -> int:
        """Largest rank of a group."""
        return self.S.shape[-1]

    @property
    def entries(self) -> int:
        """Numbers in the weight."""
        return self.module.weight.numel()

    def price(self, rank: int) -> int:
        """Numbers in the weight at a rank: for each group r(m + n), or mn if that is fewer."""
        (groups, m, _), n = self.U.shape, self.Vh.shape[-1]
        return groups * min(rank * (m + n), m * n)

    def thrifty(self, rank: int) -> bool:
        """Whether two factors of this rank are fewer numbers than the weight."""
        return self.price(rank) < self.entries

    def truncated(self, rank: int) -> Tensor:
        """The weight at a rank, in its own shape; the weight itself where factoring saves nothing."""
        if not self.thrifty(rank):
            return self.module.weight.detach()
        A, B = self.factors(rank)
        return (A @ B).reshape(self.module.weight.shape).to(self.module.weight.dtype)

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """U√Σ, (g, m, r), and √Σ Vᵀ, (g, r, n): balanced, so that training may go on from them."""
        root = self.S[:, :rank].sqrt()
        return self.U[:, :, :rank] * root.unsqueeze(-2), root.unsqueeze(-1) * self.Vh[:, :rank]

    def error(self, rank: int) -> float:
        """‖W − W_r‖_F/‖W‖_F."""
        power = self.S.double().square()
        total = float(power.sum())
        return math.sqrt(float(power[:, rank:].sum()) / total) if total > 0 else 0.0

    def energy_rank(self, energy: float) -> int:
        """Smallest rank that keeps this share of Σσ², groups together."""
        power = self.S.double().square().sum(0)
        total = float(power.sum())
        if total == 0:
            return 1
        missing = total - power.cumsum(0)
        # The slack is the rounding error of the sum, so that energy=1 keeps all non-zero values.
        allowed = (1 - energy) * total + len(power) * torch.finfo(power.dtype).eps * total
        return 1 + int((missing > allowed).sum())

    def build(self, rank: int, cache: dict[tuple[int, int], nn.Parameter]) -> nn.Module:
        """Two layers of this rank; weights that were one parameter in several layers share their factors."""
        A, B = self.factors(rank)
        weight = self.module.weight
        pair = _empty_pair(self.module, rank)
        for part, (layer, values) in enumerate(zip(pair, (B, A), strict=True)):
            key = (id(weight), part)
            if key not in cache:
                held = values.reshape(layer.weight.shape).to(dtype=weight.dtype).contiguous().clone()
                cache[key] = nn.Parameter(held, requires_grad=weight.requires_grad)
            layer.weight = cache[key]
        if self.module.bias is not None:
            pair[1].bias = self.module.bias
        kind = FactoredLinear if isinstance(self.module, nn.Linear) else FactoredConv
        return kind(*pair).train(self.module.training)


def layers_to_factor(model: nn.Module) -> tuple[list[Layer], dict[str, str]]:
    """The layers of a model that can be factored, and why each other weighted layer cannot.

    Layers that share one weight are all listed, with one decomposition.
    """
    layers: list[Layer] = []
    refused: dict[str, str] = {}
    owners, adapted = _owners(model), _adapted(model)
    parts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            continue
        reason = _refusal(module, owners)
        if reason is None and id(module) in adapted and module._parameters:
            reason = "it is part of an adapted layer; merge the adapter first (in PEFT: merge_and_unload())"
        if reason is not None:
            refused[name] = reason
            continue
        if type(module) is not nn.Linear and not isinstance(module, CONVOLUTIONS):
            continue
        weight = module.weight
        assert isinstance(weight, Tensor)
        if id(weight) not in parts:
            groups = module.groups if isinstance(module, CONVOLUTIONS) else 1
            rows = weight.detach().flatten(1)
            parts[id(weight)] = svd(rows.reshape(groups, -1, rows.shape[1]).to(compute_dtype(rows.dtype)))
        layers.append(Layer(name, module, *parts[id(weight)]))
    return layers, refused


def _owners(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that hold each parameter."""
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for p in module._parameters.values():
            if p is not None:
                owners.setdefault(id(p), []).append(module)
    return owners


def _adapted(model: nn.Module) -> set[int]:
    """What lies in layers with adapters, which are merged into a weight that factors would not have."""
    return {
        id(part)
        for module in model.modules()
        if hasattr(module, "adapter_layer_names") and "base_layer" in module._modules
        for part in module.modules()
    }


def _refusal(module: nn.Module, owners: dict[int, list[nn.Module]]) -> str | None:
    """Why a module with a weight is not factored; None if it is, or has no weight."""
    held = [p for p in module._parameters.values() if p is not None and p.ndim >= 2]
    if nn.utils.parametrize.is_parametrized(module):
        return "its weight is parametrized; remove the parametrization first"
    if not held:
        return None
    if any(p.is_meta for p in held):
        return "its weight is on the meta device and has no values here"
    if any(is_quantized(p) for p in held):
        return "its weight is quantized, which factors would not be"
    if type(module) is not nn.Linear and type(module) not in CONVOLUTIONS:
        return f"a {type(module).__name__} is not factored, only nn.Linear and nn.Conv1d/2d/3d are"
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has forward hooks, which its factors would lose; remove them first"
    others = {type(owner) for owner in owners[id(module.weight)]}
    if len(others) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in others - {type(module)}))
        return f"its weight is tied to the weight of a {names}"
    return None


def _empty_pair(layer: Any, rank: int) -> tuple[Any, Any]:
    """Two layers of the right shapes; on the meta device, so that nothing is drawn or allocated."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return (
            nn.Linear(layer.in_features, rank, bias=False, device="meta"),
            nn.Linear(rank, layer.out_features, bias=bias, device="meta"),
        )
    kind, inner = type(layer), rank * layer.groups
    shared: dict[str, Any] = {"groups": layer.groups, "device": "meta"}
    spatial = {name: getattr(layer, name) for name in _SPATIAL}
    return (
        kind(layer.in_channels, inner, layer.kernel_size, bias=False, **spatial, **shared),
        kind(inner, layer.out_channels, 1, bias=bias, **shared),
    )
