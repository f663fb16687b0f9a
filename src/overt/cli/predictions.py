"""Predictions of a fitted completion for asked pairs or for all, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from overt._utils.errors import OvertError, UsageError
from overt._utils.files import whole_file
from overt.cli.id_table import reads_as_integer
from overt.cli.opening import open_source
from overt.cli.output import table_writer
from overt.cli.sources import Source, Wanted
from overt.cli.triplets import Triplets

if TYPE_CHECKING:
    from overt.completion.estimator import MatrixCompletion

__all__ = ["Asked", "Predictor", "ask", "write_all", "write_asked"]

_BLOCK = 1 << 17  # predictions held at a time


class Predictor:
    """What a fitted model says about pairs, known or not.

    An unknown row is given the mean of the column's observations, an unknown column that of the row's, and
    where neither is known it is the mean of all.

    Parameters
    ----------
    model : MatrixCompletion
        Fitted to the triplets.
    triplets : Triplets
    bounds : (float, float), optional
        Limits of what is predicted.
    """

    def __init__(
        self, model: MatrixCompletion, triplets: Triplets, bounds: tuple[float, float] | None
    ) -> None:
        self._model, self._bounds = model, bounds
        m, n = self.shape = triplets.shape
        values = triplets.values
        top = float(np.abs(values).max()) or 1.0  # a sum of large values must not overflow
        self._row_means = top * _means(triplets.rows, values / top, m)
        self._col_means = top * _means(triplets.cols, values / top, n)
        self._mean = top * float((values / top).mean())

    def pairs(self, rows: NDArray[np.int32], cols: NDArray[np.int32]) -> NDArray[np.float64]:
        """Predict pairs of numbers, -1 standing for an unknown id."""
        known_row, known_col = rows >= 0, cols >= 0
        known = known_row & known_col
        out = np.full(rows.shape, self._mean)
        out[known] = self._model.predict(rows[known], cols[known])
        only_row, only_col = known_row & ~known_col, known_col & ~known_row
        out[only_row] = self._row_means[rows[only_row]]
        out[only_col] = self._col_means[cols[only_col]]
        return self._clipped(out)

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        """Predict whole rows, shape (stop - start, n)."""
        rows, cols = np.broadcast_arrays(np.arange(start, stop)[:, None], np.arange(self.shape[1]))
        return self._clipped(np.asarray(self._model.predict(rows, cols), np.float64))

    def _clipped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self._bounds is None else np.clip(values, *self._bounds)


def _means(codes: NDArray[np.int32], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.bincount(codes, values, size) / np.bincount(codes, minlength=size)


@dataclass(frozen=True)
class Asked:
    """A table of pairs that has been read once, from end to end.

    Attributes
    ----------
    source : Source
        To be read again when the predictions are written.
    pairs, unknown : int
        How many there are, and how many of them have an id that the observations lack.
    unknown_rows, unknown_cols : tuple of str
        The first few such ids.
    textual : (bool, bool)
        Whether ids are to be written as text.
    """

    source: Source
    pairs: int
    unknown: int
    unknown_rows: tuple[str, ...]
    unknown_cols: tuple[str, ...]
    textual: tuple[bool, bool]


def ask(
    path: Path,
    triplets: Triplets,
    columns: tuple[str, ...] | None,
    header: bool | None,
    delimiter: str | None,
) -> Asked:
    """Check a table of pairs.

    Raises
    ------
    OvertError
        If it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"--ask {path} is not a regular file; it is read twice, so save it as one first")
    names = triplets.names[:2] if columns is None else columns[:2]

    def is_header(fields: Sequence[str]) -> bool:
        if set(names) <= set(fields) or {"row", "col"} <= set(fields):
            return True
        tables = zip((triplets.row_ids, triplets.col_ids), fields, strict=False)
        found = [(name in table, table.integers and not reads_as_integer(name)) for table, name in tables]
        return not any(known for known, _ in found) and any(odd for _, odd in found)

    wanted = Wanted(names, valued=False, is_header=is_header, lenient=True)
    source = open_source(path, wanted, header=header, delimiter=delimiter)
    pairs = unknown = 0
    strange: tuple[dict[str, None], dict[str, None]] = ({}, {})
    textual = list(triplets.textual)
    for chunk in source.chunks():
        missing = np.zeros(len(chunk.rows), dtype=bool)
        for side, (table, ids) in enumerate(((triplets.row_ids, chunk.rows), (triplets.col_ids, chunk.cols))):
            absent = table.find(ids) < 0
            missing |= absent
            for index in np.flatnonzero(absent):
                name = ids[index]
                textual[side] = textual[side] or not reads_as_integer(name)
                if len(strange[side]) < 10:
                    strange[side][name] = None
        pairs += len(chunk.rows)
        unknown += int(missing.sum())
    return Asked(source, pairs, unknown, tuple(strange[0]), tuple(strange[1]), (textual[0], textual[1]))


def write_asked(
    path: Path, asked: Asked, triplets: Triplets, predictor: Predictor, advance: Callable[[int], None]
) -> None:
    """Write predictions for asked pairs in their order.

    Raises
    ------
    OvertError
        If the table of pairs is no longer what it was.
    """
    count = 0
    with (
        whole_file(path) as file,
        table_writer(path, file, triplets.names, asked.textual) as writer,
    ):
        for chunk in asked.source.chunks():
            codes = triplets.row_ids.find(chunk.rows), triplets.col_ids.find(chunk.cols)
            writer.write(chunk.rows, chunk.cols, predictor.pairs(*codes))
            advance(len(chunk.rows))
            count += len(chunk.rows)
        if count != asked.pairs:
            raise OvertError(
                f"{asked.source.path} has changed since it was read first; run the command again"
            )


def write_all(path: Path, triplets: Triplets, predictor: Predictor, advance: Callable[[int], None]) -> None:
    """Write predictions for every pair of a row and a column, row after row."""
    with (
        whole_file(path) as file,
        table_writer(path, file, triplets.names, triplets.textual) as writer,
    ):
        for rows, cols, values in _blocks(triplets, predictor):
            writer.write(rows, cols, values)
            advance(len(rows))


def _blocks(
    triplets: Triplets, predictor: Predictor
) -> Iterator[tuple[list[str], list[str], NDArray[np.float64]]]:
    m, n = triplets.shape
    names, cols = triplets.row_ids.names, triplets.col_ids.names
    step = max(1, _BLOCK // n)
    for start in range(0, m, step):
        stop = min(start + step, m)
        rows = [name for name in names[start:stop] for _ in range(n)]
        yield rows, cols * (stop - start), predictor.rows(start, stop).reshape(-1)
