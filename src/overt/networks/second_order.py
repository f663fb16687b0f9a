"""Forward passes whose gradient is differentiated once more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as tf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from overt.networks.guard import traceless

MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)

_ONCE_ONLY = {
    "Attention": (
        "its fused attention kernel has no second derivative; compute y under "
        "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
    ),
    "CompiledFunction": "a compiled backward pass has no second derivative; compute y with the eager model",
}

CHECKPOINTED = (
    "model: activation checkpointing runs parts of it anew in the backward pass, with the dropout or the "
    "batch statistics of training mode, which the penalty's own forward pass does without; switch "
    "checkpointing off, or put these layers into evaluation mode"
)


class CheckpointedError(ValueError):
    """Parts of a model would run anew in another mode."""


_Function = TypeVar("_Function", bound=Callable[..., Any])


def eager(function: _Function) -> _Function:
    """The function, which a step under ``torch.compile`` runs as it is, with all that it calls."""
    # The public decorator imports the compiler at once, this one when it is called; optimizers use it too.
    return cast(_Function, cast(Any, torch)._disable_dynamo(function))


@contextmanager
def deterministic(
    parts: Sequence[nn.Module],
    device: torch.device | None = None,
    *,
    twice: bool = True,
    recomputed: bool = False,
    draws: bool = True,
) -> Iterator[None]:
    """A forward pass in evaluation mode that leaves no trace, whose gradient can be differentiated.

    Every module of `parts` is in evaluation mode, for dropout may be anywhere: in a function that asks
    ``self.training`` too. What the pass changes in modules and the global random states are put back, those
    of NumPy and Python if the pass `draws` from them. Compiled parts run eagerly. Unless `twice` is False,
    attention is done by matrix products and recurrent layers without cuDNN, for these kernels have first
    derivatives only; and the second derivative of a rectifier, which is 0, is left out rather than handed on
    as zeros: that spares a backward pass through the whole network.

    Raises
    ------
    CheckpointedError
        Activation checkpointing in a model that is in training mode, unless `recomputed` says that its parts
        are the same map there.
    """
    changed = any(part.training for part in parts)
    recurrent = any(isinstance(part, nn.RNNBase) for part in parts)
    try:
        with ExitStack() as stack:
            stack.enter_context(traceless(parts, device, draws=draws))
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if twice and recurrent and (device is None or device.type == "cuda"):
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            if changed and not recomputed:
                stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTED))
            if twice:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                stack.enter_context(_NoZeros())
            yield
    except RuntimeError as error:
        if CHECKPOINTED in str(error):
            raise CheckpointedError(CHECKPOINTED) from error
        raise


@contextmanager
def graph_of_its_own(wanted: bool = True) -> Iterator[None]:
    """Gradients on, under ``no_grad`` and ``inference_mode`` too."""
    with torch.inference_mode(False), torch.set_grad_enabled(wanted):
        yield


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
        # By another name than relu, which a mode further out would take for a rectifier once more.
        y = x.clamp_min_(0) if inplace else x.clamp_min(0)
        if inplace:
            ctx.mark_dirty(x)
        # The result, as PyTorch's own saves it: activation checkpointing makes it anew outside of the mode.
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (y,) = ctx.saved_tensors
        return None if gradients[0] is None else gradients[0] * (y > 0), None


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
