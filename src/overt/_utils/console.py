"""Live lines on standard error: of a long call, and of a command of a few stages."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Advance", "LiveLine", "stage"]

Advance = Callable[[int], None]


class LiveLine:
    """One line on standard error, rewritten in place; started when first shown, nothing if not `enabled`.

    Used as a context manager, it closes itself.
    """

    def __init__(self, enabled: bool = True, *, seconds_between: float = 0.25) -> None:
        self._enabled = enabled
        self._seconds_between = seconds_between
        self._last = -float("inf")
        self._live: Any = None

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return self._enabled and time.monotonic() - self._last >= self._seconds_between

    def show(self, text: str) -> None:
        """Rewrite the line."""
        if not self._enabled:
            return
        # Imported here: most calls show nothing, and rich takes a tenth of a second.
        from rich.text import Text

        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
        self._last = time.monotonic()
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        if self._live is not None:
            self._live.stop()
            self._live = None


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
