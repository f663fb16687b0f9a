"""Forward passes whose gradient is differentiated once more."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as tf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from overt.networks.guard import evaluated

MIXING = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
STOCHASTIC = (*MIXING, nn.modules.dropout._DropoutNd, nn.RReLU, nn.MultiheadAttention)

_ONCE_ONLY = {
    "Attention": (
        "its fused attention kernel has no second derivative; compute y under "
        "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
    ),
    "CompiledFunction": "a compiled backward pass has no second derivative; compute y with the eager model",
}

_CHECKPOINTED = (
    "model: activation checkpointing runs parts of it anew in the backward pass, with the dropout or the "
    "batch statistics of training mode, which the penalty's own forward pass does without; switch "
    "checkpointing off, or put these layers into evaluation mode"
)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def eager(function: _Function) -> _Function:
    """The function, which a step under ``torch.compile`` runs as it is, with all that it calls."""
    # The public decorator imports the compiler at once, this one when it is called; optimizers use it too.
    return cast(_Function, cast(Any, torch)._disable_dynamo(function))


@contextmanager
def deterministic(
    *models: nn.Module, seed: int = 0, device: torch.device | None = None, twice: bool = True
) -> Iterator[None]:
    """A forward pass whose gradient can be differentiated, each output depending on its own input alone.

    Layers that mix the inputs of a batch or draw random numbers, and no others, are in evaluation mode, and
    recurrent layers without dropout. What is drawn all the same, by functions, is drawn from `seed`, and the
    global random state is left as it was. Compiled parts run eagerly. Unless `twice` is False, attention is
    done by matrix products and recurrent layers without cuDNN, for these kernels have first derivatives only;
    and the second derivative of a rectifier, which is 0, is left out rather than handed on as zeros: that
    spares a backward pass through the whole network.
    """
    modules = [module for model in models for module in model.modules()]
    layers = [module for module in modules if isinstance(module, STOCHASTIC) and _at_work(module)]
    recurrent = [(module, module.dropout) for module in modules if isinstance(module, nn.RNNBase)]
    changed = bool(layers) or any(module.training and rate > 0 for module, rate in recurrent)
    try:
        for module, _ in recurrent:
            module.dropout = 0.0
        with ExitStack() as stack:
            stack.enter_context(evaluated(*layers))
            if "torch._dynamo" in sys.modules:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if twice and recurrent and (device is None or device.type == "cuda"):
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            if changed:
                stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(_CHECKPOINTED))
            stack.enter_context(drawing_from(seed, device))
            if twice:
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                stack.enter_context(_NoZeros())
            yield
    except RuntimeError as error:
        if _CHECKPOINTED in str(error):
            raise ValueError(_CHECKPOINTED) from error
        raise
    finally:
        for module, rate in recurrent:
            module.dropout = rate


def _at_work(layer: nn.Module) -> bool:
    """Whether a layer mixes or draws as it is: in training mode, and not with a rate of 0."""
    rate = getattr(layer, "dropout" if isinstance(layer, nn.MultiheadAttention) else "p", 1.0)
    return layer.training and (isinstance(layer, MIXING) or rate > 0)


@contextmanager
def drawing_from(seed: int, device: torch.device | None) -> Iterator[None]:
    """Global random numbers are those of `seed`, and their state is put back after the with block."""
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


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
