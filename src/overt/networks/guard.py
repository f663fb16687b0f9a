"""Looking at a model without leaving a trace in it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

Mode = Literal["eval", "train", "as is"]


def parts_of(*models: nn.Module) -> list[nn.Module]:
    """Models and all modules that they hold, each once."""
    return list(dict.fromkeys(module for model in models for module in model.modules()))


@contextmanager
def evaluated(*modules: nn.Module) -> Iterator[None]:
    """Put modules and all that they hold into evaluation mode, and each of them back as it was."""
    with _in_mode(parts_of(*modules), "eval"):
        yield


@contextmanager
def traceless(
    parts: Sequence[nn.Module], device: torch.device | None = None, *, draws: bool = True
) -> Iterator[None]:
    """Put modules into evaluation mode for a pass, and all that the pass changes back: see `state_kept`.

    Parameters
    ----------
    parts
        Every single one, see `parts_of`.
    device
        Of the pass: the random state of a GPU is kept for this one alone.
    draws
        Whether the random states of NumPy and Python are put back, too, which takes a while.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    generators = _random_states(gpus) if draws else torch.random.fork_rng(gpus)
    with _in_mode(parts, "eval"), state_kept(parts), generators:
        yield


@contextmanager
def untouched(model: nn.Module, mode: Mode = "eval") -> Iterator[None]:
    """Put a model into evaluation mode for the time of a with block, and everything back after it.

    Restored bit for bit: the mode of each module, which parameters require gradients, each ``grad`` (the same
    tensor object, set aside meanwhile), buffers such as running statistics and attributes such as caches, see
    `state_kept`, and the states of the random generators of torch (CPU and CUDA), NumPy and Python. Gradients
    are enabled inside, automatic mixed precision and inference mode are off.

    Raises
    ------
    RuntimeError
        The block changed a parameter in place.
    """
    parts, parameters = parts_of(model), list(model.parameters())
    grads = [(p, p.grad, p.requires_grad) for p in parameters]
    versions = [_version(p) for p in parameters]
    devices = {tensor.device.type for tensor in (*parameters, *model.buffers())}
    try:
        for p in parameters:
            p.grad = None
        with ExitStack() as stack:
            stack.enter_context(_plain_gradients(devices - {"meta"}))
            stack.enter_context(_in_mode(parts, mode))
            stack.enter_context(state_kept(parts))
            stack.enter_context(_random_states())
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
def state_kept(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Put back what a with block changes in modules: buffers, attributes, lists, dicts and sets among them.

    Meanwhile the modules hold copies of their buffers, so that the tensors themselves are never written: what
    a graph has saved stays valid. Attributes are put back as the objects that they were, a tensor among them
    as it is.
    """
    copies: dict[int, Tensor] = {}
    kept = []
    for module in parts:
        attributes, buffers = vars(module).copy(), dict(module._buffers.items())
        contents = [
            (held, held.copy())
            for name, held in (() if _of_torch(module) else attributes.items())
            if type(held) in _CONTAINERS and name not in _TABLES
        ]
        kept.append((module, attributes, buffers, contents))
        for name, buffer in buffers.items():
            if buffer is not None and not buffer.requires_grad:
                if id(buffer) not in copies:
                    copies[id(buffer)] = buffer.clone()
                module._buffers[name] = copies[id(buffer)]
    try:
        yield
    finally:
        for module, attributes, buffers, contents in kept:
            for held, content in contents:
                held.clear()
                (held.extend if isinstance(held, list) else held.update)(content)
            _put_back(vars(module), attributes)
            if buffers or len(module._buffers):
                _put_back(module._buffers, buffers)


def _put_back(now: Any, before: dict[str, Any]) -> None:
    """A table with the entries that it had; those of scripted modules are no dicts."""
    for name, held in before.items():
        now[name] = held
    if len(now) > len(before):
        for name in [name for name in now.keys() if name not in before]:  # noqa: SIM118
            del now[name]


def _of_torch(module: nn.Module) -> bool:
    """Whether a layer is one of torch's own, which keep nothing in lists or dicts."""
    return type(module).__module__.startswith("torch.nn.modules.")


_CONTAINERS = (list, dict, set)
# What each module has from torch: its own tables of parameters, modules and hooks.
_TABLES = frozenset(vars(nn.Module()))


@contextmanager
def _in_mode(parts: Sequence[nn.Module], mode: Mode) -> Iterator[None]:
    """Set the flags themselves: ``eval()`` of a layer may do more, such as merge its adapter.

    Recurrent layers are evaluated in training mode without dropout, which is the same map: cuDNN
    differentiates them in no other.
    """
    recurrent = [part for part in parts if isinstance(part, nn.RNNBase)] if mode == "eval" else []
    rates = [part.dropout for part in recurrent]
    changed = [] if mode == "as is" else [part for part in parts if part.training != (mode == "train")]
    back = [*changed, *(part for part in recurrent if not part.training)]
    before = [part.training for part in back]
    try:
        for part in changed:
            _flag(part, mode == "train")
        for part in recurrent:
            part.training, part.dropout = True, 0.0
        yield
    finally:
        for part, training in zip(back, before, strict=True):
            _flag(part, training)
        for part, rate in zip(recurrent, rates, strict=True):
            part.dropout = rate


def _flag(module: nn.Module, training: bool) -> None:
    attributes = vars(module)
    if "training" in attributes:  # spares the rest of what setting an attribute of a module does
        attributes["training"] = training
    else:
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


def other_draws() -> tuple[Any, ...]:
    """The states of the random generators of Python and NumPy, to be compared."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    kind, key, *rest = numpy.random.get_state()
    return random.getstate(), kind, key.tobytes(), *rest


@contextmanager
def _random_states(gpus: Sequence[torch.device] | None = None) -> Iterator[None]:
    """Put the states of the global random generators back, of these GPUs or of all."""
    python = random.getstate()
    numpy: Any = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if gpus is None:
        gpus = [torch.device("cuda", k) for k in range(torch.cuda.device_count() if started else 0)]
    with torch.random.fork_rng(devices=gpus):
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
