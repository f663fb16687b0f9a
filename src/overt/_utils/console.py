"""Live lines on standard error: for a long call, and for a command with a few stages."""

from __future__ import annotations

import contextlib
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Advance", "LiveLine", "printable", "stage"]

Advance = Callable[[int], None]
_SECONDS_BETWEEN = 0.25


def printable(text: str) -> str:
    """One line for a terminal, which obeys nothing in it.

    Control characters (of which escape sequences are made), line ends, marks that turn or hide text, and
    halves of characters are written as Python writes them.

    Examples
    --------
    >>> print(printable("a\\x1b[2Jb\\n\\u202ec, σ²"))
    a\\x1b[2Jb\\n\\u202ec, σ²
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


class LiveLine:
    """One line on standard error, rewritten in place; nothing is written unless it is `enabled`."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._last = -float("inf")
        self._live: Any = None

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def due(self) -> bool:
        """Whether it is time to rewrite the line."""
        return self._enabled and time.monotonic() - self._last >= _SECONDS_BETWEEN

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
        self._live.update(Text(printable(text), no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """End the line and leave it on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


@contextlib.contextmanager
def stage(text: str, total: int | None = None, *, unit: str = "", quiet: bool = False) -> Iterator[Advance]:
    """Show on standard error that `text` is being done, and how far it has come.

    Parameters
    ----------
    text : str
    total : int, optional
        The amount of work, if known.
    unit : str
        Unit of the work; without it no count is shown.
    quiet : bool
        Write nothing unless standard error is a terminal.

    Yields
    ------
    callable
        Takes the amount of work done since its last call.
    """
    text = printable(text)
    if not sys.stderr.isatty():
        if not quiet:
            print(f"overt: {text}", file=sys.stderr, flush=True)
        yield lambda _: None
        return
    import rich.progress as bars
    from rich.console import Console

    columns: list[bars.ProgressColumn] = [
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
    ]
    if total is not None:
        columns.append(bars.BarColumn())
    if unit:
        columns.append(bars.TextColumn("{task.completed:,} " + unit, markup=False))
    columns.append(bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda more: progress.advance(task, more)
