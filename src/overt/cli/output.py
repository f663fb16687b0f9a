"""Files that a command writes: whole or absent, and never over something that is not a file."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from overt._utils.errors import UsageError
from overt.cli.parquet_source import import_pyarrow
from overt.cli.sources import PARQUET

__all__ = ["TABLES", "TableWriter", "check_output", "table_writer"]

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
TABLES = (*_DELIMITERS, *PARQUET)


def check_output(
    path: Path, suffixes: Iterable[str], inputs: Iterable[Path], option: str, *, overwrite: bool
) -> None:
    """Refuse at the start what could not be written at the end.

    Raises
    ------
    UsageError
        If the suffix is unknown, the folder is missing or closed, or the path is one of the inputs,
        something else than a regular file, or, without ``overwrite``, any file.
    """
    allowed = tuple(suffixes)
    if path.suffix.lower() not in allowed:
        raise UsageError(f"{option} {path}: unknown suffix {path.suffix!r}; write {' or '.join(allowed)}")
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: the folder {folder} cannot be written to; choose another")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise UsageError(f"{option} {path} is there and not a regular file, so it was left untouched")
        for source in inputs:
            if source.exists() and source.samefile(path):
                raise UsageError(f"{option} {path} is an input file; choose another name")
        if not overwrite:
            raise UsageError(f"{option} {path} is there already; choose another name or give --overwrite")


class TableWriter(Protocol):
    """Takes a table a part at a time."""

    def write(self, rows: Sequence[str], cols: Sequence[str], values: NDArray[np.float64]) -> None:
        """Append entries."""


class _TextTable:
    def __init__(self, file: io.TextIOWrapper, names: Sequence[str], delimiter: str) -> None:
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._writer.writerow(names)

    def write(self, rows: Sequence[str], cols: Sequence[str], values: NDArray[np.float64]) -> None:
        # Python writes a float with as many digits as read back to the same number.
        self._writer.writerows(zip(rows, cols, values.tolist(), strict=True))


class _ParquetTable:
    def __init__(self, arrow: Any, writer: Any, schema: Any) -> None:
        self._arrow, self._writer, self._schema = arrow, writer, schema

    def write(self, rows: Sequence[str], cols: Sequence[str], values: NDArray[np.float64]) -> None:
        arrow = self._arrow
        ids = (arrow.array(names, arrow.string()) for names in (rows, cols))
        columns = [part.cast(self._schema.field(i).type) for i, part in enumerate(ids)]
        table = arrow.Table.from_arrays([*columns, arrow.array(values)], schema=self._schema)
        self._writer.write_table(table)


@contextlib.contextmanager
def table_writer(
    path: Path, file: BinaryIO, names: Sequence[str], textual: tuple[bool, bool]
) -> Iterator[TableWriter]:
    """Write a table in the format that a path's suffix names.

    Parameters
    ----------
    path : Path
        Where the file will be.
    file : file object
        What to write to.
    names : sequence of str
        Of the three columns.
    textual : (bool, bool)
        Whether ids of rows, and of columns, are text in Parquet, rather than whole numbers.
    """
    if path.suffix.lower() not in PARQUET:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
        try:
            yield _TextTable(text, names, _DELIMITERS[path.suffix.lower()])
            text.flush()
        finally:
            with contextlib.suppress(OSError, ValueError):  # what has failed once fails when closed, too
                text.detach()
        return
    arrow = import_pyarrow(path)
    types = [arrow.string() if as_text else arrow.int64() for as_text in textual]
    schema = arrow.schema(list(zip(names, [*types, arrow.float64()], strict=True)))
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        yield _ParquetTable(arrow, writer, schema)
