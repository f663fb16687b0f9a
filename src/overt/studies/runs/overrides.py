"""Fields of a study's configurations that the caller overrides: ``--set key=value`` and TOML files."""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overt._utils.errors import UsageError
from overt.studies.base import StudyConfig

__all__ = ["apply", "parse", "read_toml"]


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the fields of ``key=value`` texts; a value is JSON where it can be read so, else text.

    Raises
    ------
    UsageError
        If there is no ``=``, or a key comes twice.

    Examples
    --------
    >>> parse(["depth=3", "optimizer=adam", "lr=1e-3"])
    {'depth': 3, 'optimizer': 'adam', 'lr': 0.001}
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set takes key=value, such as max_steps=100, got {assignment!r}")
        if key in fields:
            raise UsageError(f"--set gives {key!r} twice; give it once")
        try:
            fields[key] = json.loads(text)
        except ValueError:
            fields[key] = text
    return fields


def read_toml(path: Path) -> dict[str, Any]:
    """Return the fields of a TOML file.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return fields


def apply(configs: Sequence[StudyConfig], fields: Mapping[str, Any], study: str = "") -> list[StudyConfig]:
    """Return the configurations with fields set; those that become equal are kept once.

    Where a study has configurations of several types, a field is set in those that have it. The study's name
    is for messages.

    Raises
    ------
    UsageError
        If no configuration has a field, or a value does not suit it.
    """
    known = {name for config in configs for name in type(config).model_fields}
    for name in fields:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(known))}"
            whose = f" of study {study!r}" if study else ""
            raise UsageError(f"unknown field {name!r}{whose}; {hint}")
    changed: dict[StudyConfig, None] = {}
    for config in configs:
        own = {name: value for name, value in fields.items() if name in type(config).model_fields}
        try:
            new = type(config).model_validate({**config.model_dump(), **own}) if own else config
        except ValidationError as error:
            whose = f"study {study!r}: " if study else ""
            raise UsageError(f"{whose}{_fault(error)}") from error
        changed[new] = None
    return list(changed)


def _fault(error: ValidationError) -> str:
    """The first fault in one line; checks of our own name the field already."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
