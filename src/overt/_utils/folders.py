"""Folders that came from elsewhere: below the one that is named nothing leads out of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from overt._utils.errors import StoreError
from overt._utils.files import explain

__all__ = ["check_plain", "inside", "is_folder"]

DEEPEST = 40  # folders in folders; deeper ones are no work of Overt's
_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def is_folder(path: Path) -> bool:
    """Whether there is a folder at `path` itself, rather than a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode) and not _is_junction(path)
    except OSError:
        return False


def inside(root: Path, *parts: str) -> Path:
    """The path root/part/…, where no part is a symbolic link or anything else that is no file or folder.

    The root is what a user has named, and may be a link.

    Raises
    ------
    StoreError
        If a part is one; the message says which. What is not there yet is no fault.
    """
    path = root
    for part in parts:
        path = path / part
        _check_kind(path)
    return path


def check_plain(path: Path) -> None:
    """Refuse a file or folder that holds anything but regular files and folders, at any depth.

    Raises
    ------
    StoreError
        At the first link, pipe, socket or device, none of which is opened; the message names it.
    """
    waiting = [(path, 0)]
    while waiting:
        here, depth = waiting.pop()
        if not _check_kind(here):
            continue
        if depth > DEEPEST:
            raise StoreError(f"{path} holds folders nested more than {DEEPEST} deep; remove it")
        waiting.extend((below, depth + 1) for below in _below(here))


def _below(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except FileNotFoundError:  # another process has just removed it
        return
    except OSError as error:
        raise explain(error, folder, "read") from error


def _check_kind(path: Path) -> bool:
    """Whether there is a folder at `path`; StoreError if there is neither a folder nor a file nor nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise explain(error, path, "read") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) or _is_junction(path):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device or a link")
        raise StoreError(f"{path} is {kind}, which is not followed in a folder of runs; remove it")
    return stat.S_ISDIR(mode)


def _is_junction(path: Path) -> bool:
    return bool(getattr(os.path, "isjunction", lambda _: False)(path))  # Windows' links between folders
