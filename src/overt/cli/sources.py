"""Tables of triplets or pairs, a chunk at a time, whatever file holds them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from overt._utils.errors import UsageError

__all__ = [
    "NAMES",
    "PARQUET",
    "TEXT",
    "Chunk",
    "Source",
    "Wanted",
    "column_names",
    "find_columns",
]

NAMES = ("row", "col", "value")
TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Chunk:
    """Some entries of a table in the order of the file; ``values`` is None for a table of pairs."""

    rows: list[str]
    cols: list[str]
    values: NDArray[np.float64] | None


@dataclass(frozen=True)
class Wanted:
    """Which columns are meant.

    Parameters
    ----------
    columns : tuple of str, optional
        Names or numbers from 1 of the columns for row, column and value, or for row and column alone.
    valued : bool
        Whether there is a value to be read.
    is_header : callable
        Says of the first record's fields whether they are names.
    lenient : bool
        Whether the first columns will do where those named are missing.
    """

    columns: tuple[str, ...] | None = None
    valued: bool = True
    is_header: Callable[[Sequence[str]], bool] | None = None
    lenient: bool = False

    @property
    def count(self) -> int:
        """How many columns are needed."""
        return 3 if self.valued else 2


class Source(Protocol):
    """A file that can be read."""

    path: Path
    names: tuple[str, ...] | None
    """Names of the columns that were read, where the file has names; known once the first chunk has come."""
    textual: tuple[bool, bool]
    """Whether the file says that the ids of rows, and of columns, are text even if they look like numbers."""

    def chunks(self) -> Iterator[Chunk]:
        """Read the file from its start."""

    def where(self, index: int) -> str:
        """Say where the entry of that number (from 0) stands: ``line 7``."""


def column_names(text: str | None) -> tuple[str, ...] | None:
    """Split ``--columns``.

    Raises
    ------
    UsageError
        If it does not name three different columns.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in next(csv.reader([text]), []))
    if len(names) != 3 or len(set(names)) != 3 or not all(names):
        raise UsageError(
            f"--columns takes three different names or numbers from 1, as row,col,value, got {text!r}"
        )
    return names


def find_columns(path: Path, wanted: Wanted, names: Sequence[str] | None, width: int) -> list[int]:
    """Return the positions of the wanted columns in a table.

    Parameters
    ----------
    names : sequence of str, optional
        Names of the table's columns, where it has any.
    width : int
        Number of its columns.

    Raises
    ------
    UsageError
        If a column is missing.
    """
    default = list(range(wanted.count))
    usual = NAMES[: wanted.count]
    if wanted.columns is None:
        if names is not None and set(usual) <= set(names):
            return [list(names).index(name) for name in usual]
        return default
    if all(name.isdecimal() for name in wanted.columns):
        places = [int(name) - 1 for name in wanted.columns]
        if all(0 <= place < width for place in places):
            return places
    elif names is not None and set(wanted.columns) <= set(names):
        return [list(names).index(name) for name in wanted.columns]
    if wanted.lenient:
        return default
    has = f"has the columns {', '.join(names)}" if names else f"has {width} column(s) and no names"
    raise UsageError(f"{path} {has}; --columns asks for {', '.join(wanted.columns)}")
