"""Ctrl-C, SIGTERM and a closed terminal end a command between two steps, never inside what must be whole."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "Interrupts", "shielded_children"]

# Windows has no SIGHUP; where it is ignored, as under nohup, it stays so.
_HANGUP = getattr(signal, "SIGHUP", None)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([] if _HANGUP is None else [_HANGUP]))


class Interrupted(KeyboardInterrupt):
    """A command was asked to stop.

    Attributes
    ----------
    signum : int
        The signal; a shell expects the exit code 128 + signum.
    stored, planned : int
        How many of the study's planned runs are stored; set by the runner.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.stored = self.planned = 0


class Interrupts:
    """Turn these signals into `Interrupted` in a ``with`` block; a second one ends the process at once.

    Outside the main thread, which alone can catch signals, it does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._pending: int | None = None
        self._holds = 0

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                if signum == _HANGUP and signal.getsignal(signum) is signal.SIG_IGN:
                    continue
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put a signal off until the block has ended."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if self._pending is not None and not self._holds:
            raise Interrupted(self._pending)

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._pending is not None and not self._holds:
            os._exit(128 + signum)
        self._pending = signum
        if not self._holds:
            raise Interrupted(signum)


@contextlib.contextmanager
def shielded_children() -> Iterator[None]:
    """Keep Ctrl-C from processes and threads started in the block.

    A terminal sends it to all processes of a command, but the command itself ends its workers.
    """
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover  (Windows)
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
