"""What the files of a stored run may hold: their sizes, and the kinds of their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from overt._utils.checks import kind_of
from overt._utils.files import MIB
from overt.studies.base import Study

__all__ = ["MOST_BYTES", "check_config", "check_meta", "first_fault"]

# In memory, records take some thirty times their size on disk, arrays three times.
MOST_BYTES = {
    "config.json": MIB,
    "records.jsonl": 32 * MIB,
    "arrays.npz": 256 * MIB,
    "meta.json": MIB,
    "DONE": MIB,
}


class _Meta(BaseModel):
    """The fields that reports read; a run may lack any of them, and hold others."""

    model_config = ConfigDict(strict=True)

    status: Literal["done", "skipped"] = "done"
    reason: str = ""
    study_version: int | None = None
    started: str = ""
    seconds: float = Field(default=0.0, ge=0, le=1e12)
    alone: bool = False
    command: str | list[str] | None = None
    versions: dict[str, str | None] | None = None
    python: str | None = None
    machine: str | dict[str, str | int | float | bool | None] | None = None
    commit: str | None = None
    dirty: bool | None = None


def check_meta(meta: Mapping[str, Any], status: str, version: int) -> None:
    """Refuse metadata that no run has.

    Parameters
    ----------
    meta : mapping
    status : str
        What the run's ``DONE`` says.
    version : int
        The study's, of which its configuration is.

    Raises
    ------
    ValueError
        If a field is of the wrong kind, or contradicts the run's other files.
    """
    try:
        read = _Meta.model_validate(meta)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from error
    if read.status != status:
        raise ValueError(f"its status is {read.status}, but DONE says {status}")
    if read.study_version not in (None, version):
        raise ValueError(f"its study_version is {read.study_version}, but config.json says {version}")


def check_config(study: Study[Any], fields: Mapping[str, Any]) -> None:
    """Refuse the stored fields of a configuration that the study does not have.

    Raises
    ------
    ValueError
        If a field is unknown, missing, out of range, or of another kind than the study stores.
    """
    try:
        said = study.configured(fields).model_dump(mode="json")
    except ValidationError as error:
        raise ValueError(first_fault(error)) from error
    except Exception as error:  # a study's own checks, of fields of any kind
        raise ValueError(f"{type(error).__name__}: {error}") from error
    for name, value in fields.items():
        usual = said.get(name)
        if json.dumps(usual, sort_keys=True) != json.dumps(value, sort_keys=True):
            raise ValueError(f"{name} is {_shown(value)}, which the study stores as {_shown(usual)}")


def first_fault(error: ValidationError) -> str:
    """The first fault of a configuration in one line; checks of our own name the field already."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {_shown(first['input'])}"


def _shown(value: Any) -> str:
    """The value, or its kind where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else kind_of(value)
