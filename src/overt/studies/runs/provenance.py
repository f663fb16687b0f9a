"""Where a run comes from: versions, the commit, the machine, the command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import overt

__all__ = ["commit", "provenance"]

_PACKAGES = ("overt", "torch", "numpy", "scipy", "scikit-learn", "joblib", "pydantic")


def provenance(command: str) -> dict[str, Any]:
    """Return what a run's metadata says about where it was made; nothing in it names a person or a host."""
    return {
        "command": command,
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": _memory(),
        },
        **commit(Path(overt.__file__).resolve()),
    }


def commit(file: Path) -> dict[str, Any]:
    """Return ``commit`` and ``dirty`` of the checkout that tracks a file.

    ``dirty`` says whether the checkout has changes that are not committed. Both are None where the file
    is not in a checkout; for a package that pip installed from a repository, the commit is the one that
    pip noted.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return {"commit": _installed_commit(), "dirty": None}
    head = _git(file.parent, "rev-parse", "HEAD")
    changes = _git(file.parent, "status", "--porcelain")
    return {"commit": head, "dirty": None if changes is None else bool(changes)}


def command_line(arguments: Sequence[str]) -> str:
    """Return a command as it can be typed again."""
    return shlex.join(["overt", *arguments])


def _version(name: str) -> str | None:
    if name == "overt":
        return overt.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    # A caller's GIT_DIR would answer for another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace").strip()


def _installed_commit() -> str | None:
    with contextlib.suppress(Exception):  # metadata of any shape; the commit is then simply unknown
        text = importlib.metadata.distribution("overt").read_text("direct_url.json")
        if text:
            value = json.loads(text)["vcs_info"]["commit_id"]
            return value if isinstance(value, str) else None
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory() -> float | None:
    if sys.platform == "win32":
        return None
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None
