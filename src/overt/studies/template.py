"""A study of one's own to begin with: the text of `overt.studies.starter` under another name."""

from __future__ import annotations

import importlib.util
import keyword
from importlib import resources
from pathlib import Path

from overt._utils.errors import UsageError
from overt._utils.files import write_whole
from overt.studies import registry
from overt.studies.runs.identity import run_name

__all__ = ["NAME", "text", "write"]

NAME = "oversampling"  # what the starter calls itself


def text(name: str = NAME) -> str:
    """Return the study's source under a name."""
    source = resources.files("overt.studies").joinpath("starter.py").read_text(encoding="utf-8")
    return source.replace(f'study = StudyOfParts("{NAME}"', f'study = StudyOfParts("{name}"')


def write(name: str, folder: Path) -> Path:
    """Write ``name.py`` into a folder and return its path.

    Raises
    ------
    UsageError
        If the name is malformed, or that of a study, of a module, or of something in the folder.
    StoreError
        If the file cannot be written.
    """
    try:
        run_name(name, "0" * 12)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if keyword.iskeyword(name) or name == "all":
        raise UsageError(
            f"a study cannot be named {name!r}, which has a meaning of its own; choose another name"
        )
    if name in registry.names():
        raise UsageError(f"there already is a study named {name!r}; choose another name")
    path = folder / f"{name}.py"
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already, and is left as it is; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise UsageError(
            f"there already is a module named {name!r}, which would hide the study; choose another name"
        )
    write_whole(path, text(name).encode())
    return path
