"""Looking at a model without leaving a trace in it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["eval", "train", "as is"]


@contextmanager
def evaluated(*modules: nn.Module) -> Iterator[None]:
    """Put modules and all that they hold into evaluation mode, and each of them back as it was."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(_in_mode(module, "eval"))
        yield


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
    parameters = list(model.parameters())
    grads = [(p, p.grad, p.requires_grad) for p in parameters]
    versions = [_version(p) for p in parameters]
    devices = {tensor.device.type for tensor in (*parameters, *model.buffers())}
    try:
        for p in parameters:
            p.grad = None
        with ExitStack() as stack:
            stack.enter_context(_in_mode(model, mode))
            stack.enter_context(buffers_kept(model))
            stack.enter_context(_random_states())
            stack.enter_context(_plain_gradients(devices - {"meta"}))
            yield
    finally:
        for p, grad, requires_grad in grads:
            p.requires_grad_(requires_grad)
            p.grad = grad
    if [_version(p) for p in parameters] != versions:
        raise RuntimeError(
            "a parameter of the model was changed while the model was being measured; what is recorded must "
            "only look: work on a copy (copy.deepcopy(model)) instead"
        )


@contextmanager
def measuring(model: Any, *, train: bool = False) -> Iterator[None]:
    """Leave a model, or a function, untouched while its Jacobian is taken; compiled parts run eagerly.

    With `train` the model stays in the mode that it is in.

    Raises
    ------
    ValueError
        With `train`, if a layer in training mode mixes the inputs of a batch or draws random numbers.
    """
    accelerator = torch.accelerator.current_accelerator()
    with ExitStack() as stack:
        stack.enter_context(_plain_gradients({"cpu", "cpu" if accelerator is None else accelerator.type}))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if isinstance(model, nn.Module):
            if train:
                _refuse_training_mode(model)
            stack.enter_context(untouched(model, "as is" if train else "eval"))
        yield


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put all buffers back after a with block: the same tensor objects, with what they held, or None."""
    buffers = [
        (module, name, b, None if b is None else b.detach().clone())
        for module in model.modules()
        for name, b in module._buffers.items()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer
                if buffer is None or before is None:
                    continue
                if buffer.shape != before.shape:
                    buffer.resize_(before.shape)
                if not _same(buffer, before):
                    buffer.copy_(before)


@contextmanager
def _in_mode(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Set the flags themselves: ``eval()`` of a layer may do more, such as merge its adapter."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, training in before:
            module.training = training if mode == "as is" else mode == "train"
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _plain_gradients(devices: set[str]) -> Iterator[None]:
    """Gradients on, automatic mixed precision off on these kinds of devices, inference mode off."""
    with ExitStack() as stack:
        for kind in devices:
            stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


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


def _refuse_training_mode(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not module.training:
            continue
        where = f"model: {name or 'the model'} ({type(module).__name__})"
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(
                f"{where} is in training mode, where an output depends on all inputs of the batch, so that "
                "there is no Jacobian of one input; measure with train=False, or put this layer alone into "
                "evaluation mode"
            )
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
            raise ValueError(f"{where} updates its statistics in training mode; measure with train=False")
        dropout = isinstance(module, nn.modules.dropout._DropoutNd)
        rate = module.p if dropout else getattr(module, "dropout", 0.0)
        if isinstance(rate, float) and rate > 0:
            raise ValueError(
                f"{where} drops entries at random (p={rate:g}) in training mode; measure with train=False, "
                "or set its rate to 0"
            )
