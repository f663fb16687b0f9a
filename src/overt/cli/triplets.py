"""Observed entries read into compact arrays."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overt._utils.errors import OvertError
from overt.cli.id_table import IdTable
from overt.cli.sources import NAMES, Source

__all__ = ["Triplets", "read_triplets"]

_SHOWN = 3  # duplicates named in a message


@dataclass(frozen=True, eq=False)
class Triplets:
    """Observed entries, each position once, and the ids of rows and columns.

    Attributes
    ----------
    rows, cols : ndarray of int32, shape (k,)
    values : ndarray of float64, shape (k,)
    row_ids, col_ids : IdTable
    names : (str, str, str)
        What the columns of the table are called.
    textual : (bool, bool)
        Whether ids of rows, and of columns, are to be written as text.
    merged : int
        How many entries were merged with an earlier one of the same position.
    """

    rows: NDArray[np.int32]
    cols: NDArray[np.int32]
    values: NDArray[np.float64]
    row_ids: IdTable
    col_ids: IdTable
    names: tuple[str, str, str]
    textual: tuple[bool, bool]
    merged: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self.row_ids), len(self.col_ids)


def read_triplets(source: Source, duplicates: str, advance: Callable[[int], None]) -> Triplets:
    """Read a table of triplets.

    Parameters
    ----------
    source : Source
    duplicates : {"error", "mean", "last"}
        What to do where a position comes more than once.
    advance : callable
        Told how many more entries have been read.

    Raises
    ------
    OvertError
        If the table is wrong or holds nothing.
    """
    row_ids, col_ids = IdTable(), IdTable()
    codes = array("i"), array("i")
    numbers = array("d")
    for chunk in source.chunks():
        assert chunk.values is not None
        codes[0].frombytes(row_ids.add(chunk.rows).tobytes())
        codes[1].frombytes(col_ids.add(chunk.cols).tobytes())
        numbers.frombytes(chunk.values.tobytes())
        advance(len(chunk.rows))
    if not numbers:
        raise OvertError(f"{source.path} holds no entry")
    rows, cols = (np.frombuffer(part, np.int32) for part in codes)
    values = np.frombuffer(numbers, np.float64)
    kept = _merge(source, duplicates, rows, cols, values, len(col_ids))
    textual = source.textual[0] or not row_ids.integers, source.textual[1] or not col_ids.integers
    return Triplets(*kept, row_ids, col_ids, _names(source), textual, values.size - kept[2].size)


def _names(source: Source) -> tuple[str, str, str]:
    names = source.names
    if names is None or len(set(names)) < 3 or not all(names):
        names = NAMES
    return names[0], names[1], names[2]


def _merge(
    source: Source,
    how: str,
    rows: NDArray[np.int32],
    cols: NDArray[np.int32],
    values: NDArray[np.float64],
    width: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Leave each position once, in the order of first appearance."""
    position = rows.astype(np.int64) * width + cols
    order = np.argsort(position, kind="stable")
    position = position[order]
    fresh = np.empty(order.size, dtype=bool)
    fresh[0] = True
    np.not_equal(position[1:], position[:-1], out=fresh[1:])
    if fresh.all():
        return rows, cols, values
    starts = np.flatnonzero(fresh)
    if how == "error":
        raise _repeated(source, order, starts, fresh.size)
    ends = np.append(starts[1:], fresh.size)
    if how == "last":
        chosen = values[order[ends - 1]]
    else:
        counts = (ends - starts).astype(np.float64)
        # Shares are added, as a sum of large values could overflow where their mean does not.
        chosen = np.add.reduceat(values[order] / np.repeat(counts, ends - starts), starts)
    first = order[starts]
    back = np.argsort(first, kind="stable")
    return rows[first[back]], cols[first[back]], chosen[back]


def _repeated(source: Source, order: NDArray[np.int64], starts: NDArray[np.int64], total: int) -> OvertError:
    ends = np.append(starts[1:], total)
    several = np.flatnonzero(ends - starts > 1)
    groups = sorted(
        order[starts[i] : ends[i]].tolist() for i in several[np.argsort(order[starts[several]])][:_SHOWN]
    )
    shown = "; ".join(
        " and ".join(source.where(index) for index in group[:_SHOWN]) + (" …" if len(group) > _SHOWN else "")
        for group in groups
    )
    more = "; …" if several.size > _SHOWN else ""
    many = "1 position comes" if several.size == 1 else f"{several.size} positions come"
    return OvertError(
        f"{source.path}: {many} more than once ({total - starts.size} entries too many): {shown}{more}. "
        "Take their mean or the last with --duplicates mean|last"
    )
