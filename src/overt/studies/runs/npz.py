"""Arrays in NumPy's npz format: the same bytes for the same arrays, and nothing unpickled.

The archives are not compressed, so that reading one never takes more memory than its size on disk.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from overt._utils.reading import unpack_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Arrays", "pack", "unpack"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,126}")
_MOST_MEMBERS = 10_000
_MOST_LISTED = _MOST_MEMBERS * (46 + 126 + len("x.npy"))  # bytes of the list of members
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
    return unpack_arrays(io.BytesIO(data), _NAME.fullmatch, listed=_MOST_LISTED)


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
