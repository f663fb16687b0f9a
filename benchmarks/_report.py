"""What all benchmarks share: interleaved timing, a table, and a JSON file with the machine and commit."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

import overt

Row = Mapping[str, Any]


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--quick", action="store_true", help="a small run that ends within a minute")
    result.add_argument("--out", type=Path, metavar="FILE.json", help="write the rows and the machine here")
    result.add_argument("--threads", type=int, metavar="N", help="threads of torch (default: torch's own)")
    return result


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    synchronize: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the candidates in turn, ``repeats`` rounds after one that is not counted; seconds, in order.

    Because the candidates take turns, slow periods of the machine affect all of them alike. The order
    rotates, so that no candidate always follows the same one.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            synchronize()
            start = clock()
            candidates[name]()
            synchronize()
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, and the quartiles as the spread, of seconds (or of any numbers)."""
    low, middle, high = (
        statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [*seconds] * 3
    )
    return {"median": middle, "low": low, "high": high, "repeats": len(seconds)}


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Summary of the ratios of paired repeats."""
    return summary([a / b for a, b in zip(numerator, denominator, strict=True)])


def print_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Print rows as aligned text; numbers get four significant digits."""
    names = list(columns or rows[0])
    cells = [[_text(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    print("  ".join(name.rjust(width) for name, width in zip(names, widths, strict=True)))
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def environment() -> dict[str, Any]:
    """Machine, versions, commit and date of a run."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "gpu": device,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "overt": overt.__version__,
        **_commit(),
    }


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> dict[str, Any]:
    """Commit of the sources and whether they differ from it; None for both outside a repository."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def write_json(path: Path | None, name: str, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """Write rows, settings and environment to ``path``; do nothing if it is None."""
    if path is None:
        return
    content = {
        "benchmark": name,
        "settings": dict(settings),
        "environment": environment(),
        "rows": [dict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    partial.replace(path)
    print(f"written: {path}")
