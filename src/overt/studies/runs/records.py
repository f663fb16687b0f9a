"""Records as strict JSON that keeps every number: non-finite floats are written as text.

What is read back is bounded, so that no file ends the command that reads it: values nest at most `DEEPEST`
deep, numbers lie in the range of floats, and text can be written as UTF-8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from overt._utils.checks import kind_of
from overt._utils.reading import parse_json

__all__ = ["DEEPEST", "check_bounds", "dump_lines", "dump_object", "load_lines", "load_object"]

DEEPEST = 64

_LARGEST = int(np.finfo(np.float64).max)
_TOO_DEEP = f"it is nested more than {DEEPEST} deep"
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dump_lines(records: list[dict[str, Any]]) -> bytes:
    """Return records as JSON lines.

    NumPy's numbers become plain ones; NaN and infinities, which JSON lacks, become the strings
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which `load_lines` turns back.

    Raises
    ------
    TypeError
        If a value is not text, a number, a boolean, None, or lists and dicts of these.
    ValueError
        If a text is one of those three strings, or a value is out of the bounds of `check_bounds`.
    """
    lines = []
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise TypeError(f"records[{number}] must be a dict, got {type(record).__name__}")
        lines.append(
            json.dumps(_encoded(record, f"records[{number}]"), allow_nan=False, separators=(", ", ": "))
        )
    return "".join(f"{line}\n" for line in lines).encode()


def load_lines(data: bytes) -> list[dict[str, Any]]:
    """Return the records of JSON lines.

    Raises
    ------
    ValueError
        If a line is not a JSON object; the message names it.
    """
    records = []
    for number, line in enumerate(data.decode().splitlines(), 1):
        try:
            records.append(load_object(line.encode()))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return records


def dump_object(value: Mapping[str, Any]) -> bytes:
    """Return one JSON object, indented, with the same rules as `dump_lines`."""
    return (json.dumps(_encoded(value, "value"), allow_nan=False, indent=2) + "\n").encode()


def load_object(data: bytes) -> dict[str, Any]:
    """Return one JSON object.

    Raises
    ------
    ValueError
        If it is not one, or out of the bounds of `check_bounds`.
    """
    value = parse_json(data.decode())
    if not isinstance(value, dict):
        raise ValueError(f"it is no JSON object but {kind_of(value)}")
    check_bounds(value)
    decoded: dict[str, Any] = _decode(value)
    return decoded


def check_bounds(value: Any, depth: int = 0) -> None:
    """Refuse what reads as JSON but that nothing can work with.

    Raises
    ------
    ValueError
        If lists and dicts nest more than `DEEPEST` deep, a number is beyond the range of floats, or a text
        holds half a character.
    """
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, int):
        if abs(value) > _LARGEST:
            raise ValueError("it holds a whole number beyond the range of floats")
    elif isinstance(value, float):
        if math.isinf(value):
            raise ValueError("it holds a number beyond the range of floats")
    elif isinstance(value, list | dict):
        if depth >= DEEPEST:
            raise ValueError(_TOO_DEEP)
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            check_bounds(item, depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds text with half a character (a lone surrogate)") from None


def _encoded(value: Any, where: str) -> Any:
    """The value as JSON has it, checked to be one that is read back."""
    try:
        encoded = _encode(value, where)
    except RecursionError as error:
        raise ValueError(f"{where}: {_TOO_DEEP}") from error
    try:
        check_bounds(encoded)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return encoded


def _encode(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str):
        if value in _NON_FINITE:
            raise ValueError(f"{where} is the text {value!r}, which stands for a number; spell it otherwise")
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list | tuple):
        return [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} must have text as keys, got {key!r}")
        return {str(key): _encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise TypeError(
        f"{where} must be text, a number, a boolean, None, a list or a dict, got {type(value).__name__}; "
        "convert it with .item() or .tolist(), or return it among the arrays"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    return value
