"""Selectors of layers: names or patterns of names, types of modules, predicates, roles.

Embeddings, heads and tables are left out of what is selected unless a selector asks for them: by their full
name, by ``"embeddings"`` or ``"heads"``, by the type ``nn.Embedding``, or, but for tables, by a function.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import nn

from overt._utils.checks import check_number, message
from overt.networks.kinds import EMBEDDINGS, Role

# A name or a pattern of it, a type of module, or a function of name and module.
Selector = str | type[nn.Module] | Callable[[str, nn.Module], bool]

# Each name of one matrix with the module that holds it under that name: several where weights are tied.
Owners = Sequence[tuple[str, nn.Module]]

ROLES: Mapping[str, Role] = {"adapters": "adapter", "embeddings": "embedding", "heads": "head"}
_LEFT_OUT = ("embedding", "head", "table")


def check_selectors(value: object, name: str) -> tuple[Selector, ...]:
    """`value` as a tuple of selectors; TypeError for anything else."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    for item in values:
        if isinstance(item, nn.Module):
            raise TypeError(
                f"{name}: got the module {type(item).__name__} itself; give its name, such as "
                f"'encoder.*', or its type, {type(item).__name__}"
            )
        if not (isinstance(item, str) or callable(item)):
            expected = (
                "names or patterns such as 'encoder.*', types of modules, functions of (name, module), or a "
                "list of these"
            )
            raise TypeError(message(name, expected, item))
    return tuple(values)


def check_layer_weights(value: object) -> dict[Selector, float]:
    """`value` as a dict from selectors to finite numbers ≥ 0."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(message("layer_weights", "a mapping from selectors to numbers ≥ 0", value))
    for selector, weight in value.items():
        check_selectors(selector, "layer_weights")
        check_number(weight, f"layer_weights[{selector!r}]", least=0)
    return {selector: float(weight) for selector, weight in value.items()}


def chosen(owners: Owners, select: Sequence[Selector] | None, role: Role = "matrix") -> bool:
    """Whether a matrix is selected under any of its names; all that are not left out where there is none."""
    if select is None:
        return role not in _LEFT_OUT
    return any(
        _matches(owners, selector, role) and (role not in _LEFT_OUT or _asks(owners, selector, role))
        for selector in select
    )


def weight_of(owners: Owners, weights: Mapping[Selector, float], role: Role = "matrix") -> float:
    """Of the first selector that matches; 1 where none does."""
    return next((weight for selector, weight in weights.items() if _matches(owners, selector, role)), 1.0)


def unmatched(selectors: Iterable[Selector], matrices: Iterable[tuple[Owners, Role]]) -> list[str]:
    """The names and patterns that belong to no matrix; of types and functions none is expected to."""
    known = list(matrices)
    return [
        selector
        for selector in selectors
        if isinstance(selector, str) and not any(_matches(owners, selector, role) for owners, role in known)
    ]


def passed_over(selectors: Iterable[Selector], matrices: Iterable[tuple[Owners, Role]]) -> list[str]:
    """The patterns that select nothing, since all that they match is left out."""
    known = list(matrices)
    return [
        selector
        for selector in selectors
        if isinstance(selector, str) and not any(chosen(owners, (selector,), role) for owners, role in known)
    ]


def _asks(owners: Owners, selector: Selector, role: Role) -> bool:
    """Whether a selector that matches asks for what is left out."""
    if isinstance(selector, str):
        return ROLES.get(selector) == role or any(
            selector in (name, name.rpartition(".")[0]) for name, _ in owners
        )
    if isinstance(selector, type):
        return role == "embedding" and issubclass(selector, EMBEDDINGS)
    return role != "table"


def _matches(owners: Owners, selector: Selector, role: Role) -> bool:
    if isinstance(selector, str) and ROLES.get(selector) == role:
        return True
    return any(_matches_one(name, module, selector) for name, module in owners)


def _matches_one(name: str, module: nn.Module, selector: Selector) -> bool:
    if isinstance(selector, str):
        owner = name.rpartition(".")[0]
        # A name itself comes first: in a pattern the brackets of "experts.up[1]" stand for a set of letters.
        return name == selector or fnmatch.fnmatchcase(name, selector) or fnmatch.fnmatchcase(owner, selector)
    if isinstance(selector, type):
        return isinstance(module, selector)
    return bool(selector(name, module))


def selector_name(selector: object) -> str:
    """A selector, or another function, as text."""
    return selector if isinstance(selector, str) else getattr(selector, "__qualname__", repr(selector))
