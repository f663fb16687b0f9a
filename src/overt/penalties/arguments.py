"""Checks of the arguments of penalties."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, get_args


def one_of(value: Any, choices: Any, name: str) -> Any:
    """`value` if it is one of the strings of a Literal type, else ValueError."""
    known = get_args(choices)
    if value not in known:
        raise ValueError(f"{name} must be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}, got {value!r}")
    return value


def whole_number(value: object, name: str, least: int = 1) -> int:
    """`value` as an int ≥ `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer ≥ {least}, got {value!r}")
    if int(value) < least:
        raise ValueError(f"{name} must be an integer ≥ {least}, got {value}")
    return int(value)


def number_in(
    value: object, name: str, low: float, high: float, *, low_open: bool = False, high_open: bool = False
) -> float:
    """`value` as a float between two ends."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    above = number > low if low_open else number >= low
    below = number < high if high_open else number <= high
    if not (above and below):
        ends = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ValueError(f"{name} must lie in {ends}, got {value}")
    return number


def check_grid(value: int | Sequence[int]) -> int | tuple[int, ...]:
    """`value` as an int ≥ 1 or a tuple of them."""
    if isinstance(value, (list, tuple)):
        return tuple(whole_number(v, "grid") for v in value)
    return whole_number(value, "grid")


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


def selector_name(selector: object) -> str:
    """A selector of layers, or another function, as text."""
    return selector if isinstance(selector, str) else getattr(selector, "__qualname__", repr(selector))
