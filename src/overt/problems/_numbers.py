"""Checks of the numbers that describe an instance; numpy's are accepted and become Python's."""

from __future__ import annotations

import math
import numbers
from typing import Any

from overt.problems._indices import check_shape

__all__ = ["check_count", "check_integer", "check_noise", "check_number", "plain_shape"]


def plain_shape(shape: Any) -> tuple[int, int]:
    """The shape with numpy's integers as Python's."""
    return check_shape(tuple(map(_plain, shape)) if isinstance(shape, (tuple, list)) else shape)


def _plain(size: object) -> object:
    return size if isinstance(size, bool) or not isinstance(size, numbers.Integral) else int(size)


def check_noise(value: object) -> float:
    noise = check_number(value, "noise")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    return noise


def check_count(value: object, name: str) -> int:
    count = check_integer(value, name)
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")
    return count


def check_integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an int, got {value!r}")
    return int(value)


def check_number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)
