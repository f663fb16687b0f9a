"""How far a command of a few stages is: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["stage"]

Advance = Callable[[int], None]


@contextlib.contextmanager
def stage(text: str, total: int | None = None, *, unit: str = "", quiet: bool = False) -> Iterator[Advance]:
    """Show on standard error what is being done.

    Parameters
    ----------
    text : str
        What it is.
    total : int, optional
        How much there is to do, where that is known.
    unit : str
        What is counted; nothing is counted without it.
    quiet : bool
        Whether to say nothing where standard error is no terminal.

    Yields
    ------
    callable
        To be told how much more has been done.
    """
    if not sys.stderr.isatty():
        if not quiet:
            print(f"overt: {text}", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    if total is not None:
        columns.append(BarColumn())
    if unit:
        columns.append(TextColumn("{task.completed:,} " + unit, markup=False))
    columns.append(TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda more: progress.advance(task, more)
