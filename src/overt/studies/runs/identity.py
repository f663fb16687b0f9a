"""What a run is called: the hash of its configuration, and a folder name that leads nowhere else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

__all__ = ["config_hash", "folder_name", "run_name", "split_run_name"]

_STUDY_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HASH = re.compile(r"[0-9a-f]{12}")
_SAFE = re.compile(r"[A-Za-z0-9._+=-]{0,60}")
_RUN = re.compile(rf"({_STUDY_NAME.pattern})-({_HASH.pattern})")


def config_hash(study_name: str, version: int, config: BaseModel | Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that name a configuration of a version of a study.

    They are the start of the SHA-256 of the canonical JSON (sorted keys, no spaces) of the three.

    Examples
    --------
    >>> config_hash("story", 1, {"exclusive": False, "seed": 0})
    '4f29b30aaae2'
    """
    fields = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    text = json.dumps([study_name, version, fields], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_name(study_name: str, hash_: str) -> str:
    """Return the name of a run's folder, ``<study>-<hash>``, refusing anything that is not a plain name.

    Raises
    ------
    ValueError
        If the name or the hash holds other characters, so that it can never lead out of its folder.
    """
    if not _STUDY_NAME.fullmatch(study_name):
        raise ValueError(
            f"a study's name must be lower-case letters, digits and underscores, got {study_name!r}"
        )
    if not _HASH.fullmatch(hash_):
        raise ValueError(f"a run's hash must be twelve hexadecimal digits, got {hash_!r}")
    return f"{study_name}-{hash_}"


def folder_name(study: str, preset: str, parts: Mapping[str, Sequence[Any]]) -> str:
    """Return the folder of runs of a study's preset: its name and what was given besides.

    Parameters
    ----------
    study, preset : str
    parts : mapping of str to sequence
        What else was given, with its values: ``{"seed": [5]}``. What would not suit a folder's name, or be
        too long for one, is replaced by a hash.

    Examples
    --------
    >>> folder_name("story", "quick", {}), folder_name("story", "quick", {"n": [30, 60], "seed": [5]})
    ('story-quick', 'story-quick-n=30+60-seed=5')
    """
    said = "".join(f"-{name}={'+'.join(map(_word, values))}" for name, values in parts.items())
    if not _SAFE.fullmatch(said):
        hashed = hashlib.sha256(said.encode(errors="backslashreplace")).hexdigest()[:8]
        names = re.sub(r"[^A-Za-z0-9_-]", "", "-".join(parts))[:40]
        said = f"-{names}-{hashed}"
    return f"{study}-{preset}{said}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def split_run_name(name: str) -> tuple[str, str] | None:
    """Return study and hash of a folder's name, or None for any other name."""
    match = _RUN.fullmatch(name)
    return (match[1], match[2]) if match else None
