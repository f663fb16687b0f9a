"""Records as strict JSON that keeps every number: non-finite floats are written as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["dump_lines", "dump_object", "load_lines", "load_object"]

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
        If a text is one of those three strings.
    """
    lines = []
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise TypeError(f"records[{number}] must be a dict, got {type(record).__name__}")
        lines.append(
            json.dumps(_encode(record, f"records[{number}]"), allow_nan=False, separators=(", ", ": "))
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
    return (json.dumps(_encode(value, "value"), allow_nan=False, indent=2) + "\n").encode()


def load_object(data: bytes) -> dict[str, Any]:
    """Return one JSON object.

    Raises
    ------
    ValueError
        If it is not one.
    """
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"it is no JSON object but {type(value).__name__}")
    decoded: dict[str, Any] = _decode(value)
    return decoded


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


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
