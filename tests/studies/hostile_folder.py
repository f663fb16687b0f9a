"""Folders of runs as someone else may have prepared them: something in the place of a file or folder."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

CANARY = "CANARY: nobody may read, write or remove this"
# What stands in the place of a file or folder of Overt's.
KINDS = ("link", "relative link", "dangling link", "link to the parent", "loop", "pipe", "socket", "device")


def places(run: str) -> list[str]:
    """Every part of the layout of a folder that holds a run of that name; PID stands for the own process."""
    absent = "tiny-0123456789ab"
    return [
        *("scratch", "failed", "runs", "plans", "verdicts", "figures", "report.html", ".lock", "overt.json"),
        *("plans/tiny.json", "verdicts/tiny.json", "figures/tiny", "figures/tiny/sums.csv"),
        *(
            f"failed/{run}.txt",
            f"scratch/{run}",
            f"scratch/{run}.progress",
            f"scratch/{absent}/run.safetensors",
        ),
        *(f"runs/{run}", f"runs/{absent}", "runs/notes"),
        *(f"runs/{run}/{part}" for part in ("DONE", "config.json", "records.jsonl", "arrays.npz", "more")),
        *(
            ".overt-tmp-report.html-1-1",
            f"runs/.overt-tmp-{absent}-1",
            "plans/.overt-tmp-tiny.json-PID",
        ),
    ]


def outside(folder: Path, place: str) -> Path:
    """A tree beside the folder that looks like what stood at the place, with canaries in it."""
    tree = folder.parent / "outside"
    tree.mkdir()
    there = folder / place
    target = tree / there.name
    if there.is_dir():
        shutil.copytree(there, target)
    elif there.exists():
        shutil.copy(there, target)
    elif there.suffix in (".txt", ".progress", ".html", ".safetensors") or there.name == ".lock":
        target.write_text(CANARY)
    else:
        target.mkdir()
    if target.is_dir():
        names = [path.name for path in folder.glob("runs/tiny-*")] + ["tiny-0123456789ab", ".overt-tmp-x"]
        for name in names:
            (target / name).mkdir(exist_ok=True)
            (target / name / "canary").write_text(CANARY)
            (target / f"{name}.txt").write_text(CANARY)
            (target / f"{name}.progress").write_text(CANARY)
    return target


def spoil(folder: Path, place: str, kind: str) -> bool:
    """Put something in a place of the folder; whether this system can."""
    target, there = outside(folder, place), folder / place
    if there.is_dir():
        shutil.rmtree(there)
    elif os.path.lexists(there):
        there.unlink()
    there.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(there)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(there.parent)  # the path of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(there.name)
        finally:
            os.chdir(here)
    elif kind == "device":
        try:
            os.mknod(there, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero, which never ends
        except OSError:
            return False
    elif kind == "hard link":
        os.link(target, there)
    else:
        leads = {
            "link": target,
            "relative link": os.path.relpath(target, there.parent),
            "dangling link": target.with_name("nothing"),
            "link to the parent": "..",
            "loop": there.name,
        }
        there.symlink_to(leads[kind])
    return True


def snapshot(tree: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is in a tree: kinds, times of the last change, contents."""
    found = {}
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found
