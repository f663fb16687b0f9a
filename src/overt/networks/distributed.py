"""Tensors that several processes hold together (``DTensor``): seen, gathered, and computed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["computed", "is_sharded", "whole"]


def is_sharded(W: object) -> bool:
    """Whether W is a tensor that several processes hold together (``DTensor``)."""
    # By its attributes, so that torch.distributed need not be there.
    return hasattr(W, "full_tensor") and hasattr(W, "placements")


def whole(W: Tensor) -> Tensor:
    """A tensor that processes share gathered, differentiably; any other as it is."""
    return cast(Tensor, cast(Any, W).full_tensor()) if is_sharded(W) else W


def computed(model: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
    """What a function computes from a model's parameters, with whole ones in the place of shared ones.

    Computed from shards, a product may come out with gradients that are placed otherwise than the parameters,
    which FSDP2 then adds up wrongly, and many operations are not defined at all.
    """
    if not any(is_sharded(p) for p in model.parameters()):
        return compute()
    parameters = {f"model.{name}": whole(p) for name, p in model.named_parameters()}
    return cast(Tensor, torch.func.functional_call(_Computed(model, compute), parameters, ()))


class _Computed(nn.Module):
    """A function as a module, which is what parameters can be swapped in."""

    def __init__(self, model: nn.Module, compute: Callable[[], Tensor]) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self) -> Tensor:
        return self.compute()
