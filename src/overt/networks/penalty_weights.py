"""The matrices among a model's parameters: their names, who holds them, and what they are computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from overt.networks.adapters import Adapter
from overt.networks.selection import Owners

__all__ = ["Matrix", "matrices_of", "owners_of_adapter"]

# What wrappers put before the names of parameters.
_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")


@dataclass(frozen=True, eq=False)
class Matrix:
    """A tensor of a module that may be a matrix to penalize.

    Attributes
    ----------
    owners
        Every name of it, with the module that holds it under that name; the first is the one to report.
    attribute : str
        Its name in the first module.
    parameters : tuple of Tensor
        What it is made of: itself, or what it is computed from.
    compute : callable
        The tensor as the layer uses it, computed now where it is no parameter.
    """

    owners: tuple[tuple[str, nn.Module], ...]
    attribute: str
    parameters: tuple[Tensor, ...]
    compute: Callable[[], Tensor]


def matrices_of(model: nn.Module) -> list[Matrix]:
    """Every parameter of two or more dimensions and every parametrized tensor, shared ones once.

    A parametrized tensor counts as the layer uses it, and what it is computed from does not count: those of
    ``torch.nn.utils.parametrizations``, and of the older ``weight_norm``, ``spectral_norm`` and ``prune``.
    """
    found: dict[tuple[int, ...], Matrix] = {}
    for matrix in _each(model):
        key = tuple(id(p) for p in matrix.parameters)
        first = found.get(key)
        found[key] = matrix if first is None else replace(first, owners=(*first.owners, *matrix.owners))
    return list(found.values())


def owners_of_adapter(adapter: Adapter) -> Owners:
    """The layer that holds an adapter, and the layer that it adapts, whose type is the familiar one."""
    base = getattr(adapter.module, "base_layer", None)
    modules = (adapter.module, base) if isinstance(base, nn.Module) else (adapter.module,)
    return [(adapter.name, module) for module in modules]


def _each(model: nn.Module) -> Iterator[Matrix]:
    inside: set[int] = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        if id(module) in inside:
            continue
        path = _clean(f"{prefix}." if prefix else "")
        hooked = dict(_hooked(module))
        sources = {id(p) for parameters, _ in hooked.values() for p in parameters}
        for name, p in module.named_parameters(recurse=False):
            if p.ndim >= 2 and p.numel() > 0 and id(p) not in sources:
                yield Matrix(((f"{path}{name}", module),), name, (p,), partial(getattr, module, name))
        for name, (parameters, compute) in hooked.items():
            yield Matrix(((f"{path}{name}", module),), name, parameters, compute)
        if is_parametrized(module):
            lists = cast(nn.ModuleDict, module.parametrizations)
            inside.update(id(part) for part in lists.modules())
            for name, chain in lists.items():
                if parameters := tuple(chain.parameters()):
                    compute = partial(_parametrized, module, name)
                    yield Matrix(((f"{path}{name}", module),), name, parameters, compute)


def _parametrized(module: nn.Module, name: str) -> Tensor:
    """The tensor, its parametrization in evaluation mode: spectral normalization would go on iterating."""
    parts = [m for m in cast(Any, module.parametrizations)[name].modules() if m.training]
    try:
        for part in parts:
            part.training = False
        return cast(Tensor, getattr(module, name))
    finally:
        for part in parts:
            part.training = True


def _hooked(module: nn.Module) -> Iterator[tuple[str, tuple[tuple[Tensor, ...], Callable[[], Tensor]]]]:
    """What hooks compute before each forward pass: by ``torch.nn.utils`` before its parametrizations."""
    for hook in cast(Any, module)._forward_pre_hooks.values():
        if hasattr(hook, "compute_weight"):
            # Spectral normalization makes no step of its power iteration unless it is asked to.
            name, compute = hook.name, partial(hook.compute_weight, module)
            if hasattr(hook, "n_power_iterations"):
                compute = partial(compute, do_power_iteration=False)
        elif hasattr(hook, "apply_mask"):
            name, compute = hook._tensor_name, partial(hook.apply_mask, module)
        else:
            continue
        known = module._parameters
        parameters = tuple(p for end in ("orig", "g", "v") if (p := known.get(f"{name}_{end}")) is not None)
        if parameters:
            yield name, (parameters, compute)


def _clean(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(f".{wrapper}", ".")
        while name.startswith(wrapper):
            name = name[len(wrapper) :]
    return name
