"""Triplets or pairs in a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt._utils.errors import OvertError, UsageError
from overt._utils.reading import brief, open_bounded
from overt.cli.sources import Chunk, Wanted, find_columns

__all__ = ["ParquetSource", "import_pyarrow"]

_CHUNK = 1 << 16
_ROWS, _ROWS_PER_BYTE = 10_000_000, 16  # rows that a file may claim, and more for each of its bytes
_UNPACKED, _TIMES = 1 << 28, 256  # bytes that a group of rows unpacks to, or times the file
_LONGEST = 1 << 17  # letters of an id, as in text files


def import_pyarrow(path: Path) -> Any:
    """Return pyarrow with what Parquet needs.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"{path}: Parquet files need pyarrow: pip install 'overt[parquet]'") from error
    return pyarrow


class ParquetSource:
    """A Parquet file of triplets or pairs.

    Parameters
    ----------
    path : Path
    wanted : Wanted
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted = path, wanted
        self.names: tuple[str, ...] | None = None
        self.textual = (False, False)
        self._arrow = import_pyarrow(path)

    def where(self, index: int) -> str:
        """Say in which row of the table an entry stands, counting from 1."""
        return f"row {index + 1}"

    def chunks(self) -> Iterator[Chunk]:
        """Read the file from its start.

        Raises
        ------
        OvertError
            If it cannot be read, naming the row.
        """
        try:
            with open_bounded(self.path, 1 << 62) as file:
                metadata = self._arrow.parquet.read_metadata(file)
                names = self.names = self._columns(metadata.schema.to_arrow_schema())
                self._check_size(metadata)
                # Read apart from its uses, a long id takes its room once.
                leaves = {metadata.schema.column(i).path for i in range(metadata.num_columns)}
                apart = [name for name in names[:2] if name in leaves]
                with self._arrow.parquet.ParquetFile(file, read_dictionary=apart) as table:
                    yield from self._read(table, names)
        except OvertError:
            raise
        except (self._arrow.ArrowException, UnicodeDecodeError, OverflowError) as error:
            reason = "a text is not UTF-8" if isinstance(error, UnicodeDecodeError) else brief(error)
            raise OvertError(f"{self.path} cannot be read as a Parquet file: {reason}") from error
        except ValueError as error:
            raise OvertError(f"cannot read {brief(error)}") from error
        except OSError as error:
            raise OvertError(f"cannot read {self.path}: {brief(error.strerror or error)}") from error

    def _columns(self, schema: Any) -> tuple[str, ...]:
        """The names of the wanted columns."""
        names = schema.names
        if len(names) < self.wanted.count:
            raise OvertError(
                f"{self.path}: {len(names)} column(s) where at least {self.wanted.count} are needed"
            )
        places = find_columns(self.path, self.wanted, names, len(names))
        for name in (names[place] for place in places):
            if names.count(name) > 1:
                raise OvertError(f"{self.path}: two columns are called {name!r}; rename one")
        kinds = [self._kind(schema.field(place).type) for place in places[:2]]
        self.textual = (kinds[0], kinds[1])
        return tuple(names[place] for place in places)

    def _check_size(self, metadata: Any) -> None:
        """Refuse a small file that claims to unpack to very much, before it does so."""
        size = self.path.stat().st_size
        if metadata.num_rows > _ROWS + _ROWS_PER_BYTE * size:
            raise OvertError(f"{self.path} claims {metadata.num_rows:,} rows, more than {size:,} bytes hold")
        # Not of single columns: asked for one of a damaged file, pyarrow ends the process.
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            if group.total_byte_size > max(_UNPACKED, _TIMES * size):
                raise OvertError(
                    f"{self.path}: rows of {size:,} bytes claim to unpack to {group.total_byte_size:,}; "
                    "write the table with smaller groups of rows"
                )

    def _read(self, table: Any, names: tuple[str, ...]) -> Iterator[Chunk]:
        done = 0
        for batch in table.iter_batches(batch_size=_CHUNK, columns=list(names)):
            columns = [batch.column(name) for name in names]
            rows = self._ids(columns[0], names[0], done)
            cols = self._ids(columns[1], names[1], done)
            values = self._values(columns[2], names[2], done) if self.wanted.valued else None
            yield Chunk(rows, cols, values)
            done += len(rows)

    def _kind(self, type_: Any) -> bool:
        """Whether ids of that type are text."""
        types = self._arrow.types
        if types.is_dictionary(type_):
            type_ = type_.value_type
        return not (types.is_integer(type_) or types.is_floating(type_))

    def _ids(self, column: Any, name: str, done: int) -> list[str]:
        arrow = self._arrow
        if column.null_count:
            index = done + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise OvertError(f"{self.path} {self.where(index)}: the id in column {name!r} is missing")
        codes = None
        if arrow.types.is_dictionary(column.type):
            column, codes = column.dictionary, column.indices.to_numpy(zero_copy_only=False)
        try:
            ids: list[str] = column.cast(arrow.string()).to_pylist()
        except arrow.ArrowException as error:
            raise OvertError(f"{self.path}: column {name!r} of type {column.type} cannot hold ids") from error
        if max(map(len, ids), default=0) > _LONGEST:
            raise OvertError(f"{self.path}: column {name!r} has an id of more than {_LONGEST:,} letters")
        if codes is None:
            return ids
        if codes.size and not 0 <= codes.min() <= codes.max() < len(ids):
            raise OvertError(f"{self.path} is damaged: column {name!r} refers to ids that it does not hold")
        return [ids[code] for code in codes.tolist()]

    def _values(self, column: Any, name: str, done: int) -> NDArray[np.float64]:
        arrow, types = self._arrow, self._arrow.types
        kind = column.type
        numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if not (numeric or types.is_boolean(kind)):
            raise OvertError(f"{self.path}: column {name!r} of type {kind} does not hold numbers")
        if types.is_boolean(kind):
            column = column.cast(arrow.int8())
        values = column.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            what = "missing" if not column[int(wrong[0])].is_valid else str(values[wrong[0]])
            raise OvertError(
                f"{self.path} {self.where(done + int(wrong[0]))}: the value is {what}; "
                "leave out entries that are not known"
            )
        return np.asarray(values, dtype=np.float64)
