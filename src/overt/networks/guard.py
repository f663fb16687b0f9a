"""Looking at a model without leaving a trace in it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = ["Mode", "buffers_kept", "check_module", "untouched"]

Mode = Literal["eval", "train", "as is"]


def check_module(model: object, name: str = "model") -> nn.Module:
    """`model` itself, unwrapped from ``torch.compile`` and (distributed) data parallelism.

    Raises
    ------
    TypeError
        It is no ``torch.nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return check_module(inner, name)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return check_module(model.module, name)
    return model


@contextmanager
def untouched(model: nn.Module, mode: Mode = "eval") -> Iterator[None]:
    """Put a model into evaluation mode for the time of a with block, and everything back after it.

    Restored bit for bit: the mode of each module, which parameters require gradients, each ``grad`` (the same
    tensor object, set aside meanwhile), buffers such as running statistics, and the states of the random
    generators of torch (CPU and CUDA), NumPy and Python. Gradients are enabled inside, automatic mixed
    precision and inference mode are off.

    Raises
    ------
    RuntimeError
        The block changed a parameter in place.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = list(model.parameters())
    grads = [(p, p.grad, p.requires_grad) for p in parameters]
    versions = [_version(p) for p in parameters]
    devices = {tensor.device.type for tensor in (*parameters, *model.buffers())}
    try:
        for p in parameters:
            p.grad = None
        if mode != "as is":
            model.train(mode == "train")
        with ExitStack() as stack:
            stack.enter_context(buffers_kept(model))
            stack.enter_context(_random_states())
            for kind in devices - {"meta"}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            yield
    finally:
        for module, training in modes:
            module.training = training
        for p, grad, requires_grad in grads:
            p.requires_grad_(requires_grad)
            p.grad = grad
    if [_version(p) for p in parameters] != versions:
        raise RuntimeError(
            "a parameter of the model was changed while the model was being measured; what is recorded must "
            "only look: work on a copy (copy.deepcopy(model)) instead"
        )


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put all buffers back after a with block: the same tensor objects, with what they held."""
    buffers = [
        (module, name, b, b.detach().clone())
        for module in model.modules()
        for name, b in module._buffers.items()
        if b is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer
                if not _same(buffer, before):
                    buffer.copy_(before)


def _version(p: Tensor) -> int:
    return -1 if p.is_inference() else p._version


def _same(a: Tensor, b: Tensor) -> bool:
    if a.is_floating_point():  # a NaN equals itself here
        return bool(((a == b) | (a.isnan() & b.isnan())).all())
    return torch.equal(a, b)


@contextmanager
def _random_states() -> Iterator[None]:
    """Put the states of all global random generators back."""
    python = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            if numpy_state is not None:
                numpy.random.set_state(numpy_state)
