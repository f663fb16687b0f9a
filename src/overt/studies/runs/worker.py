"""One run, made in this process or in a worker: the same numbers either way."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from overt._utils.files import is_full, write_whole
from overt._utils.folders import inside
from overt.studies.base import RunContext, RunOutput, Skip, Study, StudyConfig
from overt.studies.runs.store import PROGRESS

__all__ = ["Result", "execute", "execute_in_worker", "failed"]


@dataclass(frozen=True)
class Result:
    """What became of one run; plain data, so that it travels between processes.

    Attributes
    ----------
    hash : str
    status : {"done", "skipped", "failed", "full"}
        "full" where the disk had no room for its checkpoints.
    output : RunOutput
    reason : str
        Why it was skipped or failed.
    traceback : str
        Of a failed run.
    started : str
        UTC, ISO 8601.
    seconds : float
    """

    hash: str
    status: Literal["done", "skipped", "failed", "full"]
    output: RunOutput
    reason: str
    traceback: str
    started: str
    seconds: float


def execute(
    study: Study[Any],
    config: StudyConfig,
    hash_: str,
    directory: Path,
    progress: Callable[[str], None],
) -> Result:
    """Make one run on a single thread, so that its numbers do not depend on how many run side by side.

    Whatever the study raises is caught and told in the result, except for an interruption.
    """
    started, clock = datetime.now(timezone.utc).isoformat(timespec="seconds"), time.perf_counter()
    output, reason, trace = RunOutput([]), "", ""
    status: Literal["done", "skipped", "failed", "full"] = "done"
    try:
        inside(directory.parents[1], directory.parent.name, directory.name)
        directory.mkdir(parents=True, exist_ok=True)
        with _single_thread(config.seed):
            clock = time.perf_counter()  # anew, so that a first run does not count the imports
            output = study.execute(config, RunContext(directory, progress))
        if not isinstance(output, RunOutput):
            raise TypeError(f"execute must return a RunOutput, got {type(output).__name__}")
    except Skip as skip:
        status, reason = "skipped", skip.reason
    except Exception as error:
        status = "full" if is_full(error) else "failed"
        reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
    return Result(hash_, status, output, reason, trace, started, time.perf_counter() - clock)


def failed(hash_: str, reason: str) -> Result:
    """Return the result of a run that ended its process instead of returning."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Result(hash_, "failed", RunOutput([]), reason, reason, now, 0.0)


def execute_in_worker(
    study: Study[Any], config: StudyConfig, hash_: str, directory: Path, parent: int
) -> Result:
    """Make one run in a worker process.

    Its progress goes into a file beside ``directory``, from which the display reads. A worker that is a
    child of ``parent``, the process of the command, ends when that one does: a killed command leaves
    nothing running.
    """
    if os.getpid() != parent and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command that was interrupted ends its workers
    _end_with(parent)
    return execute(study, config, hash_, directory, _FileProgress(directory.with_suffix(PROGRESS)))


class _FileProgress:
    """Keeps the last line in a file, written at most twice a second; never a reason to fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.due = 0.0

    def __call__(self, line: str) -> None:
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + 0.5
            with contextlib.suppress(OSError):
                write_whole(self.path, line.encode(errors="replace"), durable=False)


@contextlib.contextmanager
def _single_thread(seed: int) -> Iterator[None]:
    """One thread, and torch's own generator seeded: a study that forgets to pass one still repeats."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


_watching = threading.Event()


def _end_with(parent: int) -> None:
    if _watching.is_set() or os.getppid() != parent:
        return
    _watching.set()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="overt-parent-watch", daemon=True).start()
