"""Disks that are full, broken or read-only at some call: by a hook, by the system, or as they are small."""

from __future__ import annotations

import errno
import functools
import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from commands import (
    Child,
    CompleteWork,
    ReportWork,
    StudyWork,
    Tally,
    Work,
    demand,
    finish,
    finish_with,
    forked,
    fresh,
    new_folder,
    renew_streams,
)
from faults import CountedDisk, FailingDisk

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)


def disk(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """Each call of run, report, complete and Spectrum.save that changes the disk fails once, in some way."""
    tally, random_ = Tally(), random.Random(seed)
    study = next(work for work in made if work.name == "run arora2019")
    chosen = [study, ReportWork("arora2019", new_folder(root, "reference-report"))]
    chosen += [work for work in made if isinstance(work, CompleteWork)]
    share = -(-count // len(chosen))
    for work in chosen:
        folder = fresh(work, root, "disk")
        finish_with(work, folder, CountedDisk())
        calls = int((folder / "said-calls").read_text())
        tally.count(f"places in {work.name}", calls)
        places = list(range(calls)) if calls <= share else sorted(random_.sample(range(calls), share))
        for number, place in enumerate(places):
            broken = FailingDisk(place, ERRORS[number % 4], lasting=number % 2 == 1)
            tally.attempt(
                f"{errno.errorcode[broken.error]} at call {place} of {work.name}",
                lambda work=work, broken=broken: _on_a_broken_disk(work, root, broken, tally),
            )
    for limit in (0, 100, 1000, 5000, 20_000):
        for work in chosen:
            tally.attempt(
                f"files of at most {limit} bytes in {work.name}",
                lambda work=work, limit=limit: _on_a_broken_disk(work, root, _SmallFiles(limit), tally),
            )
    _full_disks(chosen, root, tally)
    _spectra(root, tally)
    return tally


class _SmallFiles:
    """The system refuses files above a size."""

    lasting, error = False, errno.EFBIG

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __call__(self, folder: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))
        # What it says goes through a pipe, which has no size.
        read, write = os.pipe()
        if os.fork() == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            os.close(write)
            with (folder / "said").open("wb", buffering=0) as said:
                while block := os.read(read, 4096):
                    said.write(block)
            os._exit(0)
        os.close(read)
        os.dup2(write, 2)
        os.close(write)
        renew_streams()


def _on_a_broken_disk(work: Work, root: Path, broken: FailingDisk | _SmallFiles, tally: Tally) -> None:
    folder = fresh(work, root, "disk")
    code = finish_with(work, folder, broken)
    if isinstance(broken, _SmallFiles):
        time.sleep(0.05)  # until the other end of the pipe has written
        demand("Traceback" not in (folder / "said").read_text(), (folder / "said").read_text())
    tally.count(f"exit status {code}")
    work.check(folder)
    finish(work.arguments, folder, (0, 1) if isinstance(work, StudyWork) else (0,))
    work.check(folder, ended=True)


def _full_disks(chosen: list[Work], root: Path, tally: Tally) -> None:
    """Small file systems in memory that are full at some moment; needs root."""
    small = root / "small"
    small.mkdir()
    for size in (8, 24, 48, 96, 192):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(small)], check=False
        )
        if done.returncode:
            tally.count("file systems that could not be mounted")
            return
        try:
            for work in chosen:
                tally.attempt(f"{size} KiB for {work.name}", lambda work=work: _when_full(work, small, tally))
        finally:
            os.chdir(root)
            subprocess.run(["umount", "-l", str(small)], check=False)


def _when_full(work: Work, small: Path, tally: Tally) -> None:
    shutil.rmtree(small / "full", ignore_errors=True)
    try:
        folder = fresh(work, small, "full")
    except OSError:
        tally.count("no room to begin")
        return
    said = small.parent
    child = forked(work.arguments, said, lambda _: os.chdir(folder))
    code, words = child.wait(), child.words()
    demand("Traceback" not in words and code in (0, 1, 2), f"exit status {code}: {words}")
    tally.count(f"full file system, exit status {code}")
    work.check(folder, ended=code == 0)


def _spectra(root: Path, tally: Tally) -> None:
    """Spectrum.save, SpectrumTracker.save and checkpoints on a disk that fails at each call."""
    import torch

    from overt import Spectrum, SpectrumTracker
    from overt.training.checkpoint import load_checkpoint, save_checkpoint

    def spectrum(size: int, path: str) -> None:
        Spectrum(torch.arange(1.0, size), factor=torch.ones(2, size)).save(path)

    def tracker(size: int, path: str) -> None:
        made = SpectrumTracker(torch.nn.Linear(size, 2), what="weights")
        made.step(0)
        made.save(path)

    writers = {
        "s.npz": (spectrum, Spectrum.load),
        "s.json": (spectrum, Spectrum.load),
        "t.jsonl": (tracker, lambda path: SpectrumTracker(torch.nn.Linear(2, 2)).load(path)),
        "c.safetensors": (
            lambda size, path: save_checkpoint(Path(path), {"a": torch.ones(size)}, {"size": size}),
            lambda path: load_checkpoint(Path(path)),
        ),
    }
    for name, (write, read) in writers.items():
        folder = root / "spectra"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        os.chdir(folder)
        write(3, name)
        calls, place = 1, 0
        while place < calls:
            broken = FailingDisk(place, ERRORS[place % 4])
            save, load = functools.partial(write, 4 + place, name), functools.partial(read, name)
            what = f"{errno.errorcode[broken.error]} at call {place} of writing {name}"
            tally.attempt(what, functools.partial(_when_saving, folder / name, broken, save, load, tally))
            calls = int((folder / "said-calls").read_text() or "0")
            place += 1
        tally.count(f"places in writing {name}", calls)


def _when_saving(
    path: Path, broken: FailingDisk, save: Callable[[], None], load: Callable[[], object], tally: Tally
) -> None:
    before = path.read_bytes()
    child = _calling(path.parent, broken, save)
    code, said = child.wait(), child.words()
    demand(code in (0, 3), f"exit status {code}: {said}")
    tally.count("saved in spite of it" if code == 0 else "said that it could not save")
    # A folder that cannot be synced holds the new file already.
    demand(code == 0 or path.read_bytes() == before or "replace" in _calls(path), said)
    load()  # the earlier or the new, whole
    left = [one.name for one in path.parent.iterdir() if not one.name.startswith("said")]
    demand(len(left) == 1 or "unlink" in said, f"left behind: {left}")


def _calls(path: Path) -> str:
    return (path.parent / "said-names").read_text()


def _calling(folder: Path, hook: FailingDisk, call: Callable[[], None]) -> Child:
    """Call a function in a copy of this process; exit status 3 says that it raised an OSError of one line."""
    path = folder / "said"
    pid = os.fork()
    if pid:
        return Child(pid, path)
    code, said = 70, ""
    hook(folder)
    try:
        call()
        code = 0
    except OSError as error:
        code, said = (3 if "\n" not in str(error) else 71), str(error)
    except BaseException as error:
        said = repr(error)
    finally:
        made = " ".join(hook.calls[:-1])  # those before the one that failed
        for name, text in (("said", said), ("said-calls", str(len(hook.calls))), ("said-names", made)):
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(handle, text.encode())
        os._exit(code)
