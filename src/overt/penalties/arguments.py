"""Checks of the arguments of penalties."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, get_args

from overt.penalties.layers import Selector


def one_of(value: Any, choices: Any, name: str) -> Any:
    """`value` if it is one of the strings of a Literal type, else ValueError."""
    known = get_args(choices)
    if value not in known:
        raise ValueError(f"{name} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {value!r}")
    return value


def positive_int(value: object, name: str) -> int:
    """`value` as an int ≥ 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer ≥ 1, got {value!r}")
    if int(value) < 1:
        raise ValueError(f"{name} must be an integer ≥ 1, got {value}")
    return int(value)


def check_grid(value: int | Sequence[int]) -> int | tuple[int, ...]:
    """`value` as an int ≥ 1 or a tuple of them."""
    if isinstance(value, (list, tuple)):
        return tuple(positive_int(v, "grid") for v in value)
    return positive_int(value, "grid")


def check_norm_floor(value: object) -> float | None:
    """`value` as a finite positive float, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"norm_floor must be a positive number or None, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"norm_floor must be a finite positive number or None (no floor), got {value}")
    return number


def selector_name(selector: Selector) -> str:
    """A selector as text."""
    return selector if isinstance(selector, str) else getattr(selector, "__qualname__", repr(selector))
