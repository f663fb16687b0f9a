"""Files that a user names and nobody vouches for: of bounded size, and refused in one short line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from overt._utils.console import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ZIP_FAULTS", "brief", "open_bounded", "parse_json", "read_into", "unpack_arrays"]

# What reading a damaged zip archive raises.
ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)

_LONGEST = 300  # characters of a reason
_END = 22  # bytes of a zip archive's last record, where it has no comment
_LOCATOR = 20  # bytes before it that say that there is a record of an archive above 2 GiB
_BLOCK = 1 << 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def brief(reason: object) -> str:
    """A reason in one short line, whatever was in the file that it is about."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …")


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
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ValueError(f"{path} is not a regular file, so it was not read")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > most:
            raise ValueError(f"{path} has {status.st_size:,} bytes, more than the {most:,} that are read")
        yield file


def read_into(content: bytearray, stream: Any) -> int:
    """Read into `content`, a piece at a time; the number of bytes that came."""
    view, done = memoryview(content), 0
    while done < len(content) and (came := stream.readinto(view[done : done + _BLOCK])):
        done += came
    return done


def parse_json(text: str | bytes) -> Any:
    """Read JSON; ValueError for all else, NaN and infinity included, and for what is nested too deeply."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def unpack_arrays(
    file: BinaryIO, known: Callable[[str], object], *, listed: int = 1 << 16
) -> dict[str, NDArray[Any]]:
    """The arrays of an archive that ``numpy.savez`` wrote, in no more memory than its own size.

    Parameters
    ----------
    file : binary file
    known : callable
        Whether an array of this name may be there; another one is refused.
    listed : int
        Largest size in bytes of the list of members, which is held in memory as a whole.

    Raises
    ------
    ValueError
        If it is another kind of file, compressed, encrypted or damaged, holds a member twice or pickled
        objects, or if a member is not of the size that its header claims.
    """
    size = _check_directory(file, listed)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            found = {_name(info, known): info for info in members}
            if len(found) < len(members):
                raise ValueError("two of its members have the same name")
            if sum(info.file_size for info in members) > size:
                raise ValueError("its members claim more bytes than the archive has")
            return {name: _array(archive, name, info) for name, info in found.items()}
    except (OSError, *ZIP_FAULTS) as error:
        raise ValueError(f"it is no whole archive of arrays ({brief(error)})") from error


def _check_directory(file: BinaryIO, listed: int) -> int:
    """Refuse an archive whose list of members is long, before it is read; the archive's size."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END - _LOCATOR))
    tail = file.read(_END + _LOCATOR)
    end, before = tail[-_END:], tail[:-_END]
    if len(end) < _END or not end.startswith(b"PK\5\6") or before.startswith(b"PK\6\7"):
        raise ValueError("it is no archive of arrays: its last record is not that of a zip file below 2 GiB")
    length = int.from_bytes(end[12:16], "little")
    if length > listed:
        raise ValueError(f"its list of members has {length:,} bytes, more than the {listed:,} that are read")
    file.seek(0)
    return size


def _name(info: zipfile.ZipInfo, known: Callable[[str], object]) -> str:
    name = info.filename.removesuffix(".npy")
    if name == info.filename or not known(name):
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
            size = math.prod(shape) * dtype.itemsize
        except (
            KeyError,
            ValueError,
            SyntaxError,
            TypeError,
            RecursionError,
            MemoryError,
            OverflowError,
            tokenize.TokenError,  # of NumPy's second try, on Python 3.12 and later
            Warning,
        ) as error:
            raise ValueError(f"its member {name} is no array ({brief(error)})") from error
        if dtype.hasobject:
            raise ValueError(f"its member {name} holds pickled objects, which are never loaded")
        if min(shape, default=0) < 0 or not dtype.itemsize or size != info.file_size - member.tell():
            raise ValueError(
                f"its member {name} does not hold the array of shape {brief(shape)} of its header"
            )
        content = bytearray(size)
        read_into(content, member)
        if member.read(1):  # its checksum is checked at the end
            raise ValueError(f"its member {name} is longer than it claims")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")
