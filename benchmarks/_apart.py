"""A run in a process of its own, on one thread, with its processor time and its peak memory.

OpenMP, BLAS, numba, rayon and torch are held to one thread: first by the environment of the new process, then
by threadpoolctl and torch in it. So the processor time of the process, which counts all of its threads, is
the cost of the method and not of threads that wait.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "LK_NUM_THREADS",
        "LK_NUM_BACKEND_THREADS",
        "LOKY_MAX_CPU_COUNT",
    )
}


class RunFailedError(RuntimeError):
    """A process ended without an answer; the message holds the end of what it said."""


def installed(module: str) -> bool:
    """Whether a package can be imported here."""
    return importlib.util.find_spec(module) is not None


def apart(file: str, task: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
    """Run ``file --one TASK`` in a fresh process on one thread; return the JSON of its last line."""
    command = [sys.executable, file, "--one", json.dumps(task)]
    environment = {**os.environ, **ONE_THREAD}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"not done after {timeout:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RunFailedError(f"exit {done.returncode}: {said[-1] if said else 'nothing said'}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS, OpenMP and torch to one thread, those loaded by now."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


def memory() -> tuple[float, float]:
    """Resident memory of this process and its peak, in MiB; nan where /proc does not tell.

    Not ``ru_maxrss``: a new process inherits that of the one that started it.
    """
    found = {}
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found[name] = int(rest.split()[0]) / 1024
    return found.get("VmRSS", float("nan")), found.get("VmHWM", float("nan"))


def forget_peak() -> None:
    """Let the peak start anew at the resident memory of now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


class Meter:
    """Seconds, processor seconds of all threads, and peak memory above a base, of a ``with`` block."""

    def __init__(self, base: float) -> None:
        self.base = base

    def __enter__(self) -> Meter:
        forget_peak()
        self._started, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self.cpu = time.process_time() - self._cpu
        self.mebibytes = memory()[1] - self.base
