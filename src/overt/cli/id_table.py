"""Ids of rows or columns and the numbers that stand for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["IdTable", "reads_as_integer"]

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def reads_as_integer(name: str) -> bool:
    """Whether an id is the usual form of a whole number that 64 bits hold; 007 is not."""
    return _INTEGER.fullmatch(name) is not None


class IdTable:
    """Numbers ids from 0 in the order in which they first come.

    Ids are kept as text, so that 12 of a Parquet file and ``12`` of a CSV file are the same id.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def __contains__(self, name: object) -> bool:
        return name in self._codes

    def add(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Return the numbers of ids; new ones get the next."""
        codes = self._codes
        numbers = (codes.setdefault(name, len(codes)) for name in names)
        return np.fromiter(numbers, np.int32, len(names))

    def find(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Return the numbers of ids, -1 for those that are unknown."""
        get = self._codes.get
        return np.fromiter((get(name, -1) for name in names), np.int32, len(names))

    @cached_property
    def names(self) -> list[str]:
        """The ids in the order of their numbers; to be asked for when all have come."""
        return list(self._codes)

    @cached_property
    def integers(self) -> bool:
        """Whether all are whole numbers; to be asked for when all have come."""
        return all(map(reads_as_integer, self._codes))

    def some(self, codes: Iterable[int], most: int = 10) -> str:
        """Write the first ids of several: ``a, b, c, …``."""
        listed = list(codes)
        shown = ", ".join(self.names[code] for code in listed[:most])
        return shown + (", …" if len(listed) > most else "")
