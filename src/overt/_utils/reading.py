"""Files that a user names and nobody vouches for: of bounded size, and refused in one short line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["brief", "open_bounded", "parse_json", "read_arrays"]

_LONGEST = 300  # characters of a reason
_DIRECTORY = 1 << 16  # bytes of an archive's directory, which is held in memory as a whole
_END = 22  # bytes of a zip archive's last record, where it has no comment
_LOCATOR = 20  # bytes before it that say that there is a record of an archive above 2 GiB
_BLOCK = 1 << 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def brief(reason: object) -> str:
    """A reason in one short line, whatever was in the file that it is about."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


@contextlib.contextmanager
def open_bounded(path: Path, most: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `most` bytes; links are followed, a pipe is not waited for.

    Raises
    ------
    ValueError
        If it is larger, or a folder, a device or a pipe.
    OSError
        If it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") if _is_regular(handle) else _closed(handle, path) as file:
        size = os.fstat(handle).st_size
        if size > most:
            raise ValueError(f"{path} has {size:,} bytes, more than the {most:,} that are read")
        yield file


def _is_regular(handle: int) -> bool:
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _closed(handle: int, path: Path) -> BinaryIO:
    os.close(handle)
    raise ValueError(f"{path} is not a regular file, so it was not read")


def parse_json(text: str | bytes) -> Any:
    """Read JSON; ValueError for all else, NaN and infinity included, and for what is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def read_arrays(path: Path, names: Collection[str], most: int) -> dict[str, NDArray[Any]]:
    """The arrays of an archive that ``numpy.savez`` wrote, in no more memory than its size on the disk.

    Parameters
    ----------
    path : Path
    names : collection of str
        Arrays that may be there; another one is refused.
    most : int
        Largest size of the archive.

    Raises
    ------
    ValueError
        If it is too large or another kind of file, compressed, encrypted or damaged, holds a member twice or
        pickled objects, or if a member is not of the size that its header claims.
    OSError
        If it cannot be read.
    """
    with open_bounded(path, most) as file:
        _check_directory(file)
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                found = {_name(info, names): info for info in members}
                if len(found) < len(members):
                    raise ValueError("it holds an array twice")
                if sum(info.file_size for info in members) > most:
                    raise ValueError("its members claim more bytes than the archive has")
                return {name: _array(archive, name, info) for name, info in found.items()}
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
            raise ValueError(f"it is no whole archive of arrays ({brief(error)})") from error


def _check_directory(file: BinaryIO) -> None:
    """Refuse an archive whose list of members is long, before it is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END - _LOCATOR))
    tail = file.read(_END + _LOCATOR)
    end, before = tail[-_END:], tail[:-_END]
    if len(end) < _END or not end.startswith(b"PK\5\6") or before.startswith(b"PK\6\7"):
        raise ValueError("it is no archive of arrays: its last record is not that of a zip file below 2 GiB")
    length = int.from_bytes(end[12:16], "little")
    if length > _DIRECTORY:
        raise ValueError(
            f"its list of members has {length:,} bytes, more than the {_DIRECTORY:,} that are read"
        )
    file.seek(0)


def _name(info: zipfile.ZipInfo, names: Collection[str]) -> str:
    name = info.filename.removesuffix(".npy")
    if name == info.filename or name not in names:
        raise ValueError(f"it has an unexpected member {brief(info.filename)!r}")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"its member {name} is compressed; write it with numpy.savez")
    if info.flag_bits & 1:
        raise ValueError(f"its member {name} is encrypted")
    return name


def _array(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as member:
        try:
            read_header = _HEADERS[np.lib.format.read_magic(member)]
            shape, by_columns, dtype = read_header(member)
        except (KeyError, ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise ValueError(f"its member {name} is no array ({brief(error)})") from error
        if dtype.hasobject:
            raise ValueError(f"its member {name} holds pickled objects, which are never loaded")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or not dtype.itemsize or size != info.file_size - member.tell():
            raise ValueError(
                f"its member {name} does not hold the array of shape {brief(shape)} of its header"
            )
        content = bytearray(size)
        view = memoryview(content)
        done = 0
        while block := member.read(_BLOCK):
            view[done : done + len(block)] = block
            done += len(block)
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
