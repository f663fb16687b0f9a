"""Fields of a study's configurations that the caller overrides: ``--set key=value`` and TOML files."""

from __future__ import annotations

import difflib
import importlib
import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from overt._utils.checks import message
from overt._utils.errors import UsageError
from overt._utils.files import MIB
from overt.studies.base import StudyConfig
from overt.studies.runs.records import check_bounds
from overt.studies.runs.stored import first_fault

__all__ = ["Sweep", "apply", "parse", "read_toml", "settings"]


@dataclass(frozen=True)
class Sweep:
    """Values of a field that are tried one after the other; each gives a setting that is judged by itself.

    Attributes
    ----------
    values : tuple
    """

    values: tuple[Any, ...]


def settings(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields with each combination of the values of their sweeps.

    Examples
    --------
    >>> settings({"depth": Sweep((2, 3)), "n": 50})
    [{'depth': 2, 'n': 50}, {'depth': 3, 'n': 50}]
    """
    values = [value.values if isinstance(value, Sweep) else (value,) for value in fields.values()]
    return [dict(zip(fields, chosen, strict=True)) for chosen in itertools.product(*values)]


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """Return the fields of ``key=value`` texts; a value is JSON where it can be read so, else text.

    Values with commas between them are a `Sweep`; a text that holds a comma is written in quotation marks.

    Raises
    ------
    UsageError
        If there is no ``=``, a key comes twice, or a sweep has an empty or a repeated value.

    Examples
    --------
    >>> parse(["depth=3", "optimizer=adam", "lr=1e-3"])
    {'depth': 3, 'optimizer': 'adam', 'lr': 0.001}
    >>> parse(["optimizer=adam,gd", "sizes=[3, 2]"])
    {'optimizer': Sweep(values=('adam', 'gd')), 'sizes': [3, 2]}
    """
    fields: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set takes key=value, such as max_steps=100, got {assignment!r}")
        if key in fields:
            raise UsageError(f"--set gives {key!r} twice; give it once")
        fields[key] = _read(text, f"--set {key}")
    return fields


def _read(text: str, where: str) -> Any:
    whole = _json(text, where)
    if whole is not None or "," not in text:
        return _checked(text if whole is None else whole[0], where)
    listed = _json(f"[{text}]", where)
    values = listed[0] if listed else [_read(part.strip(), where) for part in text.split(",")]
    if "" in values:
        raise UsageError(
            f"{where}: a value between commas is empty; write a text with commas in quotation marks"
        )
    if len({json.dumps(_plain(value)) for value in values}) < len(values):
        raise UsageError(f"{where} gives a value twice; give it once")
    return Sweep(tuple(_checked(value, where) for value in values))


def _json(text: str, where: str) -> tuple[Any] | None:
    """What JSON a text is, alone in a tuple; None where it is none."""
    try:
        return (json.loads(text),)
    except ValueError:
        return None
    except RecursionError as error:
        raise UsageError(f"{where}: it is nested too deeply") from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return the fields of a TOML file.

    Raises
    ------
    UsageError
        If it cannot be read.
    """
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with path.open("rb") as file:
            content = file.read(MIB + 1)
        if len(content) > MIB:
            raise UsageError(f"{path} is too large for a file of settings: it has more than {MIB:,} bytes")
        fields: dict[str, Any] = tomllib.loads(content.decode())
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: it is nested too deeply") from error
    return {key: _checked(value, f"{path}: {key}") for key, value in fields.items()}


def _checked(value: Any, where: str) -> Any:
    try:
        check_bounds(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
    return value


def apply(configs: Sequence[StudyConfig], fields: Mapping[str, Any], study: str = "") -> list[StudyConfig]:
    """Return the configurations with fields set; those that become equal are kept once.

    Where a study has configurations of several types, a field is set in those that have it. The study's name
    is for messages. A value must be of the field's own kind: true is no number, 1 is no truth value, and a
    text is neither.

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
            new = _with(config, own) if own else config
        except ValidationError as error:
            whose = f"study {study!r}: " if study else ""
            raise UsageError(f"{whose}{first_fault(error)}") from error
        changed[new] = None
    return list(changed)


def _with(config: StudyConfig, own: Mapping[str, Any]) -> StudyConfig:
    # Strictly, for a lax check takes true for 1 and "3" for 3; as JSON, for lists become tuples there.
    fields = config.model_dump(mode="json")
    for name, value in own.items():
        try:
            fields[name] = json.loads(json.dumps(_plain(value)))
        except TypeError as error:
            expected = "text, a number, a truth value or a list of these"
            raise UsageError(message(name, expected, value)) from error
    return type(config).model_validate_json(json.dumps(fields), strict=True)


def _plain(value: Any) -> Any:
    """The value with whole floats as integers, so that 1e3 suits a number of steps."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
