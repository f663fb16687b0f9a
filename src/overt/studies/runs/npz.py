"""Arrays in NumPy's npz format: the same bytes for the same arrays, and nothing unpickled.

The archives are not compressed, so that reading one never takes more memory than its size on disk.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Arrays", "pack", "unpack"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,126}")
_MOST_MEMBERS = 10_000
_LISTED = b"PK\x01\x02"  # begins a member's entry in the list at an archive's end
_EPOCH = (1980, 1, 1, 0, 0, 0)
# What reading a damaged archive, and a damaged array in it, raises.
_FAULTS = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    struct.error,
    OverflowError,
)
_NO_ARRAY = (
    KeyError,
    ValueError,
    SyntaxError,
    TypeError,
    RecursionError,
    MemoryError,
    OverflowError,
    Warning,
)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Return the bytes of an npz archive.

    Raises
    ------
    TypeError
        If an array holds Python objects.
    ValueError
        If a name is not made of letters, digits, ``_``, ``.``, ``+`` and ``-``, an array's items have no
        size, or there are more than 10 000 arrays.
    """
    if len(arrays) > _MOST_MEMBERS:
        raise ValueError(f"an archive holds at most {_MOST_MEMBERS} arrays, got {len(arrays)}; join some")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, values in arrays.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"an array's name must be letters, digits or one of _.+-, got {name!r}")
            array = np.asarray(values)
            if array.dtype.hasobject:
                raise TypeError(f"array {name!r} holds Python objects; store numbers or booleans")
            if array.dtype.itemsize == 0:
                raise ValueError(f"array {name!r} has items of no size; store numbers or booleans")
            member = io.BytesIO()
            # Forgets whether the array was stored by columns, so that equal arrays give equal bytes.
            np.lib.format.write_array(member, np.ascontiguousarray(array).reshape(array.shape), (1, 0), False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue())
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, Array]:
    """Return the arrays of an archive that `pack` made.

    Raises
    ------
    ValueError
        If it is not such an archive: damaged, compressed, with pickled objects, or claiming sizes that
        it does not hold.
    """
    # Counted before the list is read, which takes far more memory than its bytes.
    if data.count(_LISTED) > _MOST_MEMBERS:
        raise ValueError(f"the archive lists more than {_MOST_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(info.file_size for info in members) > len(data):
                raise ValueError("its members claim more bytes than the archive has")
            named = {_member_name(info): info for info in members}
            if len(named) < len(members):
                raise ValueError("two members of the archive have the same name")
            return {name: _array(archive, info) for name, info in named.items()}
    except _FAULTS as error:
        raise ValueError(f"not an archive of arrays ({error})") from error


class Arrays(Mapping[str, "Array"]):
    """The arrays of an archive, read when first asked for.

    Parameters
    ----------
    read : callable
        Returns the archive's bytes.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._arrays: dict[str, Array] | None = None

    def _all(self) -> dict[str, Array]:
        if self._arrays is None:
            self._arrays = unpack(self._read())
        return self._arrays

    def __getitem__(self, name: str) -> Array:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"Arrays({', '.join(self._all())})"


def _member_name(info: zipfile.ZipInfo) -> str:
    name = info.filename.removesuffix(".npy")
    if name == info.filename or not _NAME.fullmatch(name):
        raise ValueError(f"unexpected member {info.filename[:80]!r}")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"member {info.filename!r} is compressed")
    return name


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    content = archive.read(info)
    stream = io.BytesIO(content)
    try:
        read_header = _HEADERS[np.lib.format.read_magic(stream)]
        shape, _, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError("it holds pickled objects, which are never loaded")
        if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
            raise ValueError("its header describes another size")
        stream.seek(0)
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    except _NO_ARRAY as error:
        why = " ".join(str(error).split())[:80] or type(error).__name__
        raise ValueError(f"member {info.filename!r} is not an array: {why}") from error
    return array
