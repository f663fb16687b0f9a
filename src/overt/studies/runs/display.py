"""How far a command is: a live bar in a terminal, plain lines elsewhere, nothing where not asked for."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from overt._utils.console import printable
from overt._utils.files import read_plain
from overt.studies.runs.store import PROGRESS

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Display", "LiveDisplay", "PlainDisplay", "make_display"]


class Display:
    """What the runner tells while it works; this one shows nothing."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""

    def begin(self, study: str, done: int, total: int, watched: Path) -> None:
        """Start on a study of which some runs are stored; workers leave their progress in ``watched``."""

    def working(self, label: str) -> None:
        """Say which run is being made in this process."""

    def progress(self, line: str) -> None:
        """Show how far that run is."""

    def finished(self, label: str, status: str, seconds: float) -> None:
        """Count a run that is through."""

    def note(self, line: str) -> None:
        """Say something that should stay readable."""


class PlainDisplay(Display):
    """One line per run, for logs.

    Parameters
    ----------
    write : callable
        Takes a line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.study, self.done, self.total = "", 0, 0

    def begin(self, study: str, done: int, total: int, watched: Path) -> None:  # noqa: ARG002
        self.study, self.done, self.total = study, done, total
        stored = f", {done} already stored" if done else ""
        self.write(printable(f"{study}: {total} runs{stored}"))

    def finished(self, label: str, status: str, seconds: float) -> None:
        self.done += 1
        said = "" if status == "done" else f" {status}"
        self.write(printable(f"{self.study} {self.done}/{self.total}{said} {seconds:.1f} s {label}"))

    def note(self, line: str) -> None:
        self.write(printable(line))


class LiveDisplay(Display):
    """A bar with the time left and, below, what the running runs say; drawn on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.watched: Path | None = None
        self.label = self.line = ""
        self.console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.live = Live(
            get_renderable=self.render, console=self.console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Display:
        self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.live.stop()

    def begin(self, study: str, done: int, total: int, watched: Path) -> None:
        for task in self.bars.task_ids:
            self.bars.remove_task(task)
        self.watched = watched
        self.label = self.line = ""
        self.bars.add_task(study, total=total, completed=done)

    def working(self, label: str) -> None:
        self.label, self.line = label, ""

    def progress(self, line: str) -> None:
        self.line = line

    def finished(self, label: str, status: str, seconds: float) -> None:
        self.label = self.line = ""
        for task in self.bars.task_ids:
            self.bars.advance(task)
        if status != "done":
            self.note(f"{status} after {seconds:.1f} s: {label}")

    def note(self, line: str) -> None:
        self.console.print(printable(line), markup=False, highlight=False, emoji=False)

    def render(self) -> RenderableType:
        """Return what is drawn: the bar and a line for each run that says something."""
        from rich.console import Group
        from rich.text import Text

        said = [f"  {printable(line)}" for line in self.said()]
        lines = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in said]
        return Group(self.bars, *lines)

    def said(self) -> list[str]:
        """Return what the run in this process says, or else what workers last wrote."""
        if self.label:
            return [" · ".join(filter(None, (self.label, self.line)))]
        said = []
        for path in sorted(self.watched.glob(f"*{PROGRESS}")) if self.watched else ():
            with contextlib.suppress(OSError):  # a run that has just ended
                if time.time() - path.stat().st_mtime < 60:
                    said.append(" ".join(read_plain(path).decode(errors="replace").split()))
        return said


def make_display(wanted: bool) -> Display:
    """Return the display that suits standard error, or one that shows nothing."""
    if not wanted:
        return Display()
    if sys.stderr.isatty():
        return LiveDisplay()
    return PlainDisplay(lambda line: print(line, file=sys.stderr, flush=True))
