"""Forward passes whose gradient is differentiated once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as tf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["check_twice_differentiable", "deterministic", "plain_module"]

MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
STOCHASTIC = (*MIXING, nn.modules.dropout._DropoutNd)

_ONCE_ONLY = {
    "Attention": (
        "its fused attention kernel has no second derivative; compute y under "
        "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
    ),
    "CompiledFunction": "a compiled backward pass has no second derivative; compute y with the eager model",
}


@contextmanager
def deterministic(model: nn.Module) -> Iterator[None]:
    """A forward pass whose gradient can be differentiated, each output depending on its own input alone.

    Layers that mix the inputs of a batch or draw random numbers, and no others, are in evaluation mode;
    attention is done by matrix products, for its fused kernels have first derivatives only; and the second
    derivative of a rectifier, which is 0, is left out rather than handed on as zeros: that spares a backward
    pass through the whole network.
    """
    layers = [module for module in model.modules() if isinstance(module, STOCHASTIC) and module.training]
    for layer in layers:
        layer.training = False
    try:
        with sdpa_kernel(SDPBackend.MATH), _NoZeros():
            yield
    finally:
        for layer in layers:
            layer.training = True


def plain_module(model: nn.Module) -> nn.Module:
    """The module in a wrapper: a second pass confuses DDP's, and a compiled one has no second derivative."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        return plain_module(model.module)
    inner = getattr(model, "_orig_mod", None)
    return plain_module(inner) if isinstance(inner, nn.Module) else model


def check_twice_differentiable(y: Tensor) -> None:
    """ValueError where something in the graph of `y` has a first derivative only, before it is too late."""
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = node.name()
        for part, words in _ONCE_ONLY.items():
            if part in name:
                raise ValueError(f"y: {words}; or leave y out, and the penalty runs a pass of its own")
        waiting.extend(following for following, _ in node.next_functions)


class _Rectified(torch.autograd.Function):
    """max(x, 0), or in place; its gradient has no graph back to x, where PyTorch's own has zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        ctx.set_materialize_grads(False)
        y = x.relu_() if inplace else x.relu()
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y > 0)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (positive,) = ctx.saved_tensors
        return None if gradients[0] is None else gradients[0] * positive, None


_RELU = (tf.relu, torch.relu, Tensor.relu)
_RELU_INPLACE = (tf.relu_, torch.relu_, Tensor.relu_)


class _NoZeros(TorchFunctionMode):
    """Rectifiers are those above while the mode is on, whatever way a model spells them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _RELU or func in _RELU_INPLACE:
            x = args[0] if args else kwargs["input"]
            inplace = func in _RELU_INPLACE or bool(
                kwargs.get("inplace", args[1] if len(args) > 1 else False)
            )
            if type(x) is Tensor and x.requires_grad:
                return _Rectified.apply(x, inplace)  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)
