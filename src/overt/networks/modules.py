"""What a model is inside its wrappers, its modules by their names without them, and where it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from overt._utils.checks import message

Model = nn.Module | Callable[[Any], Any]
Forward = Callable[..., Any]
"""How a model is called: ``forward(model, x)``, side inputs after x or by name."""

# Where ``torch.compile``, FSDP and activation checkpointing keep the module that they wrap.
_WRAPPED_AS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def unwrapped(model: Any) -> Any:
    """The model inside ``torch.compile`` and (distributed) data parallelism; any other as it is.

    A compiled backward pass frees what a second one needs, and a second pass through
    ``DistributedDataParallel`` counts as another step.
    """
    while True:
        if isinstance(model, nn.Module):
            inner = _wrapped(model)
        else:
            inner = getattr(model, "_torchdynamo_orig_callable", None)
        if inner is None:
            return model
        model = inner


def check_module(model: object, name: str = "model") -> nn.Module:
    """`model` without its wrappers, see `unwrapped`; TypeError if it is no ``torch.nn.Module``."""
    if not isinstance(model, nn.Module):
        raise TypeError(message(name, "a torch.nn.Module", model))
    found: nn.Module = unwrapped(model)
    return found


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module by each of its names; a wrapper, around the model or inside, adds nothing to a name.

    The same module comes as often as it is there: weights are shared by modules, too.
    """
    yield from _walk(model, "")


def device_of(model: object) -> torch.device | None:
    """The device of the model's first parameter or buffer; None if it has neither, or is a function."""
    if not isinstance(model, nn.Module):
        return None
    return next((tensor.device for group in (model.parameters(), model.buffers()) for tensor in group), None)


def _walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    while (inner := _wrapped(module)) is not None:
        module = inner
    yield name, module
    for part, child in module._modules.items():
        if child is not None:
            yield from _walk(child, f"{name}.{part}" if name else part)


def _wrapped(module: nn.Module) -> nn.Module | None:
    if not module._modules:
        return None
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inside: nn.Module = module.module
        return inside
    # A module that holds anything else is none of theirs, whatever it calls its parts.
    if len(module._modules) == 1 and not module._parameters:
        (key,) = module._modules
        return module._modules[key] if key in _WRAPPED_AS else None
    return _trained_copy(module)


def _trained_copy(module: nn.Module) -> nn.Module | None:
    """What acts of a module that PEFT trains whole (``modules_to_save``): a copy of it, or the original."""
    copies, original = (module._modules.get(name) for name in ("modules_to_save", "original_module"))
    if not isinstance(copies, nn.ModuleDict) or original is None:
        return None
    at_work = () if getattr(module, "disable_adapters", False) else getattr(module, "active_adapters", ())
    return next((copies[key] for key in at_work if key in copies), original)
