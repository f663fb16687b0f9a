"""Which reader a table has, by its suffix."""

from __future__ import annotations

from pathlib import Path

from overt._utils.errors import UsageError
from overt.cli.parquet_source import ParquetSource
from overt.cli.sources import PARQUET, TEXT, Source, Wanted
from overt.cli.text_source import TextSource

__all__ = ["open_source"]


def open_source(
    path: Path, wanted: Wanted, *, header: bool | None = None, delimiter: str | None = None
) -> Source:
    """Choose how to read a file by its suffix.

    Raises
    ------
    UsageError
        If the suffix is unknown and no delimiter says that the file is text.
    """
    suffix = path.suffix.lower()
    if suffix in PARQUET:
        return ParquetSource(path, wanted)
    if suffix in TEXT or delimiter is not None:
        return TextSource(path, wanted, header=header, delimiter=delimiter)
    raise UsageError(
        f"{path}: unknown suffix {suffix!r}; known are {', '.join((*TEXT, *PARQUET))}. "
        "A text file of another name is read if --delimiter is given"
    )
