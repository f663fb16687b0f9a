"""Checks of arguments, in one style of message: which argument, what it must be, what came, what to do.

Each check returns the value that it accepts. It raises a TypeError for a value of the wrong kind, and a
ValueError for one of the right kind that is out of range. NumPy's numbers become Python's; a bool is not a
number.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar, get_args

__all__ = [
    "check_callable",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_numbers",
    "check_seed",
    "check_sizes",
    "is_integer",
    "is_number",
    "kind_of",
    "message",
    "optional",
]

_Checked = TypeVar("_Checked")


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer, Python's or NumPy's, and not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number, Python's or NumPy's, NaN and infinity included, and not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """The type of a value in words: ``an int``, ``a Tensor``."""
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def message(name: str, expected: str, value: object, remedy: str = "") -> str:
    """The line of a refusal: ``name must be expected, got value; remedy``."""
    text = repr(value)
    if len(text) > 80 or "\n" in text or " at 0x" in text:
        text = kind_of(value)
    return f"{name} must be {expected}, got {text}" + (f"; {remedy}" if remedy else "")


def check_integer(
    value: object, name: str, *, least: int | None = None, most: int | None = None, remedy: str = ""
) -> int:
    """`value` as an int in least … most."""
    expected = "an integer" + _ends(least, most)
    if not is_integer(value):
        raise TypeError(message(name, expected, value, remedy))
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(message(name, expected, number, remedy))
    return number


def check_number(
    value: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    finite: bool = True,
    remedy: str = "",
) -> float:
    """`value` as a float: `least` ≤ value ≤ `most`, or `above` < value < `below`.

    NaN is always refused, infinity unless `finite` is False.
    """
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        brackets = "[" if above is None else "(", "]" if below is None else ")"
        expected = f"a number in {brackets[0]}{_plain(low)}, {_plain(high)}{brackets[1]}"
    else:
        expected = "a finite number" if finite else "a number"
        expected += _ends(low, high, "≥" if above is None else ">", "≤" if below is None else "<")
    if not is_number(value):
        raise TypeError(message(name, expected, value, remedy))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    inside = not math.isnan(number) and not (finite and math.isinf(number))
    inside = inside and (least is None or number >= least) and (above is None or number > above)
    if not (inside and (most is None or number <= most) and (below is None or number < below)):
        raise ValueError(message(name, expected, value, remedy))
    return number


def check_numbers(value: object, name: str, **limits: Any) -> tuple[float, ...]:
    """`value`, a number or several, as floats within the `limits` of `check_number`."""
    items = _items(value)
    return tuple(check_number(item, name, **limits) for item in ((value,) if items is None else items))


def optional(check: Callable[..., _Checked], value: object, name: str, **limits: Any) -> _Checked | None:
    """``check(value, name, **limits)``, or None where `value` is None."""
    if value is None:
        return None
    limits["remedy"] = "; ".join(filter(None, ["None is fine too", limits.get("remedy")]))
    return check(value, name, **limits)


def check_seed(value: object, name: str = "seed") -> int:
    """`value` as a seed that every generator takes, 0 … 2⁶³ − 1."""
    return check_integer(value, name, least=0, most=2**63 - 1)


def check_choice(value: Any, name: str, choices: Any) -> Any:
    """`value` if it is one of `choices`, a Literal type or a collection of words."""
    known = list(get_args(choices) or choices)
    if not (isinstance(value, str) and value in known):
        *most, last = map(repr, known)
        refusal = ValueError if isinstance(value, str) else TypeError
        raise refusal(message(name, f"{', '.join(most)} or {last}" if most else last, value))
    return value


def check_callable(value: object, name: str, *, remedy: str = "") -> Any:
    """`value` if it can be called."""
    if not callable(value):
        raise TypeError(message(name, "callable", value, remedy))
    return value


def check_flag(value: object, name: str) -> bool:
    """`value` as a bool, Python's or NumPy's."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(message(name, "True or False", value))
    return bool(value)


def check_sizes(
    value: object,
    name: str,
    *,
    length: int | None = None,
    shortest: int = 0,
    least: int = 1,
    remedy: str = "",
) -> tuple[int, ...]:
    """`value` as a tuple of `length` ints ≥ `least`; of `shortest` or more where `length` is None."""
    count = f"{shortest} or more " if shortest else ""
    count = count if length is None else f"{length} "
    expected = f"a tuple of {count}integers ≥ {least}"
    sizes = _items(value)
    if sizes is None or not all(map(is_integer, sizes)):
        raise TypeError(message(name, expected, value, remedy))
    fits = len(sizes) >= shortest and length in (None, len(sizes))
    if not fits or any(size < least for size in sizes):
        raise ValueError(message(name, expected, value, remedy))
    return tuple(map(int, sizes))


def _items(value: Any) -> tuple[Any, ...] | None:
    """The items of `value`; None for a word, a number, a 0-d array and all else that has none."""
    try:
        return None if isinstance(value, (str, bytes)) else tuple(value)
    except TypeError:
        return None


def _ends(low: float | None, high: float | None, at_least: str = "≥", at_most: str = "≤") -> str:
    if low is not None and high is not None:
        return f" from {_plain(low)} to {_plain(high)}"
    if low is not None:
        return f" {at_least} {_plain(low)}"
    return "" if high is None else f" {at_most} {_plain(high)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
