"""A disk that fails at the n-th call, and a clock that jumps, put into the process that is to suffer them."""

from __future__ import annotations

import builtins
import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEVER = 1 << 60


class FailingDisk:
    """Calls on files of the current folder fail, from the n-th on or once.

    Parameters
    ----------
    at : int
        Which call fails first, counted from 0.
    error : int
        With which error number.
    lasting : bool
        Whether all later calls fail too, but those that make room.
    """

    def __init__(self, at: int = NEVER, error: int = 0, *, lasting: bool = False) -> None:
        self.at, self.error, self.lasting = at, error, lasting
        self.calls: list[str] = []
        self.folder = ""

    def __call__(self, folder: Path) -> None:
        """Break the disk of this process from now on."""
        self.folder = str(folder)
        for name in ("replace", "rename", "mkdir", "unlink", "fsync", "rmdir", "ftruncate"):
            setattr(os, name, self._failing(name, getattr(os, name)))
        disk, plain = self, io.open

        class Failing(io.FileIO):
            def write(self, data: Any) -> int:
                disk.meet("write", self.name)
                return super().write(data)

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if "b" in mode and set(mode) & set("xwa+") and disk.concerns(file):
                disk.meet("open", file)
                return io.BufferedWriter(Failing(file, mode.replace("b", "")))
            return plain(file, mode, *rest, **named)

        io.open = builtins.open = opened  # type: ignore[assignment]

    def concerns(self, path: Any) -> bool:
        """Whether a path, or the file of a descriptor, is in the folder."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        place = Path.cwd() / os.fsdecode(path)
        return place.is_relative_to(self.folder) and not place.name.startswith("said")

    def meet(self, call: str, path: Any) -> None:
        """Count a call, and fail if it is its turn."""
        number = len(self.calls)
        self.calls.append(call)
        makes_room = call in ("unlink", "rmdir")
        if number == self.at or (number > self.at and self.lasting and not makes_room):
            raise OSError(self.error, os.strerror(self.error), str(path))

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def failing(path: Any, *rest: Any, **named: Any) -> Any:
            if named.get("dir_fd") is None and self.concerns(path):
                self.meet(name, path)
            return call(path, *rest, **named)

        return failing


class CountedDisk(FailingDisk):
    """A sound disk that writes to a file how many calls there were."""

    def __call__(self, folder: Path) -> None:
        super().__call__(folder)
        leave = os._exit

        def counted(code: int) -> None:
            handle = os.open(folder / "said-calls", os.O_WRONLY | os.O_CREAT)
            os.write(handle, str(len(self.calls)).encode())
            leave(code)

        os._exit = counted  # type: ignore[assignment]


class JumpingClock:
    """A clock of the day that jumps by up to thirty years, back or forth, at each look."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, folder: Path) -> None:
        """Let the clock of this process jump from now on."""
        import datetime

        from overt.studies.runs import worker

        right, jump = time.time, self.random.uniform
        time.time = lambda: right() + jump(-1e9, 1e9)

        class Jumping(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.datetime.fromtimestamp(time.time(), tz)

        worker.datetime = Jumping  # type: ignore[attr-defined]
