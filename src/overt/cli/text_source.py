"""Triplets or pairs in a text file: CSV and its relatives."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from overt._utils.errors import OvertError, UsageError
from overt.cli.sources import Chunk, Wanted, find_columns

__all__ = ["DELIMITERS", "TextSource"]

DELIMITERS = ("\t", "::", ";", ",")
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " "}
_CHUNK = 1 << 15
_SAMPLE = 20  # lines from which the delimiter is guessed
_LONGEST = 1 << 20  # letters of a line


class _Records(Iterator[list[str]]):
    """Fields of each line, split at a delimiter of several characters; such files have no quotes."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        self.lines, self.delimiter, self.line_num = iter(lines), delimiter, 0

    def __next__(self) -> list[str]:
        line = next(self.lines)
        self.line_num += 1
        return line.rstrip("\r\n").split(self.delimiter)


class TextSource:
    """A text file of triplets or pairs in UTF-8.

    Parameters
    ----------
    path : Path
    wanted : Wanted
    header : bool, optional
        Whether the first line holds names; found out where it is not said.
    delimiter : str, optional
        What stands between fields; found out among tab, ``::``, ``;`` and ``,`` where it is not said.
    """

    textual = (False, False)

    def __init__(
        self, path: Path, wanted: Wanted, *, header: bool | None = None, delimiter: str | None = None
    ) -> None:
        self.path, self.wanted, self.header = path, wanted, header
        self.delimiter = None if delimiter is None else _WORDS.get(delimiter, delimiter)
        if self.delimiter is not None and (not self.delimiter or set(self.delimiter) & set('"\r\n')):
            raise UsageError(f"--delimiter must be a character such as ',' or tab, got {delimiter!r}")
        self.names: tuple[str, ...] | None = None
        self._starts: list[int] = []  # entry numbers from which the line is that number plus the offset
        self._offsets: list[int] = []

    def where(self, index: int) -> str:
        """Say on which line an entry stands, counting from 1."""
        return f"line {index + self._offsets[bisect_right(self._starts, index) - 1]}"

    def chunks(self) -> Iterator[Chunk]:
        """Read the file from its start.

        Raises
        ------
        OvertError
            If it cannot be read, naming the line.
        """
        self._starts, self._offsets = [], []
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._read(_lines(self.path, file))
        except UnicodeDecodeError as error:
            raise OvertError(
                f"{self.path}{_bad_line(self.path)}: not UTF-8 text; convert the file to UTF-8 first"
            ) from error
        except OSError as error:
            raise OvertError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _read(self, file: Iterable[str]) -> Iterator[Chunk]:
        lines = iter(file)
        sample = list(islice(lines, _SAMPLE))
        if not any(line.strip() for line in sample):
            raise OvertError(f"{self.path} is empty; {self.wanted.count} columns are needed")
        delimiter = self.delimiter or _guess(self.path, sample, self.wanted)
        records = _records(chain(sample, lines), delimiter)
        try:
            first = next(record for record in records if _filled(record))
            fields = [field.strip() for field in first]
            names = fields if self._is_header(fields) else None
            places = find_columns(self.path, self.wanted, names, len(fields))
            if names is not None:
                if max(places) >= len(names):
                    raise self._too_few(records.line_num, first, places)
                self.names = tuple(names[place] for place in places)
            yield from self._entries(records, places, None if names is not None else first)
        except csv.Error as error:
            raise OvertError(f"{self.path} line {records.line_num}: {error}") from error

    def _is_header(self, fields: Sequence[str]) -> bool:
        if self.header is not None:
            return self.header
        wanted = self.wanted
        if wanted.is_header is not None:
            return wanted.is_header(fields)
        named = wanted.columns is not None and not all(name.isdecimal() for name in wanted.columns)
        if named or set(("row", "col", "value")[: wanted.count]) <= set(fields):
            return True
        places = find_columns(self.path, wanted, None, len(fields))
        value = fields[places[2]] if len(fields) > places[2] else ""
        return value != "" and _number(value) is None

    def _entries(self, records: _Records, places: list[int], first: list[str] | None) -> Iterator[Chunk]:
        i, j, k = (*places, places[0])[:3]
        valued = self.wanted.valued
        rows: list[str] = []
        cols: list[str] = []
        values: list[float] = []
        number, offset = 0, None
        for record in records if first is None else chain([first], records):
            try:
                row, col = record[i].strip(), record[j].strip()
                value = float(record[k]) if valued else 0.0
            except (IndexError, ValueError):
                row = col = ""
                value = math.nan
            if not (row and col) or value - value != 0.0:  # the difference is NaN for NaN and infinity
                if not _filled(record):
                    continue
                raise self._fault(records.line_num, record, places)
            if records.line_num - number != offset:
                offset = records.line_num - number
                self._starts.append(number)
                self._offsets.append(offset)
            rows.append(row)
            cols.append(col)
            values.append(value)
            number += 1
            if len(rows) == _CHUNK:
                yield self._chunk(rows, cols, values)
                rows, cols, values = [], [], []
        if rows:
            yield self._chunk(rows, cols, values)

    def _chunk(self, rows: list[str], cols: list[str], values: list[float]) -> Chunk:
        return Chunk(rows, cols, np.array(values, dtype=np.float64) if self.wanted.valued else None)

    def _fault(self, line: int, record: list[str], places: list[int]) -> OvertError:
        """Say what is wrong with a record."""
        if len(record) <= max(places):
            return self._too_few(line, record, places)
        here = f"{self.path} line {line}"
        for place, name in zip(places[:2], ("row", "column"), strict=True):
            if not record[place].strip():
                return OvertError(f"{here}: the id of the {name} is missing")
        text = record[places[2]].strip()
        if not text:
            return OvertError(f"{here}: the value is missing; leave out entries that are not known")
        if _number(text) is None:
            return OvertError(f"{here}: the value {text[:40]!r} is not a number")
        return OvertError(f"{here}: the value is {text[:40]}; leave out entries that are not known")

    def _too_few(self, line: int, record: list[str], places: list[int]) -> OvertError:
        needed = max(places) + 1
        return OvertError(
            f"{self.path} line {line}: {len(record)} column(s) where at least {needed} are needed"
        )


def _records(lines: Iterable[str], delimiter: str) -> _Records:
    if len(delimiter) > 1:
        return _Records(lines, delimiter)
    # csv's reader has the two members that are used, too.
    return csv.reader(lines, delimiter=delimiter, strict=True)  # type: ignore[return-value]


def _filled(record: Sequence[str]) -> bool:
    return any(map(str.strip, record))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _guess(path: Path, sample: list[str], wanted: Wanted) -> str:
    """Take the delimiter under which most lines make sense."""
    scores = {delimiter: _score(path, sample, wanted, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best] == (0, 0, 0):
        raise OvertError(
            f"{path} line 1: at least {wanted.count} columns are needed, with , tab ; or :: between them; "
            "name another separator with --delimiter"
        )
    return best


def _score(path: Path, sample: list[str], wanted: Wanted, delimiter: str) -> tuple[int, int, int]:
    """Lines with a number where the value should be, lines wide enough, and whether all are equally wide."""
    records = []
    try:
        for record in _records(sample, delimiter):
            if _filled(record):
                records.append(record)
    except csv.Error:
        pass  # the sample may end within quotes
    wide = [record for record in records if len(record) >= wanted.count]
    if not wide:
        return (0, 0, 0)
    even = int(len({len(record) for record in records}) == 1)
    if not wanted.valued:
        return (0, len(wide), even)
    try:
        place = find_columns(path, wanted, [field.strip() for field in records[0]], len(records[0]))[2]
    except UsageError:
        return (0, len(wide), even)
    numbers = sum(1 for record in wide if len(record) > place and _number(record[place]) is not None)
    return (numbers, len(wide), even)


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a file, of which none may be endless."""
    for number in count(1):
        line = file.readline(_LONGEST)
        if len(line) == _LONGEST:
            raise OvertError(f"{path} line {number}: longer than {_LONGEST:,} letters, which is no table")
        if not line:
            return
        yield line


def _bad_line(path: Path) -> str:
    """Find the first line that is not UTF-8; none of those before it is too long."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(4 * _LONGEST), b""), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f" line {number}"
    return ""
