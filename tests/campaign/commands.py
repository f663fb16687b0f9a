"""Commands as children of a warm process or as processes of their own, and what they must leave behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))

from smallest_runs import untimed

HERE = Path(__file__).resolve().parent
SLOWEST = 120.0  # seconds after which a command hangs
Hook = Callable[[Path], None]


class LossError(Exception):
    """Something was lost, half-written, or said in more than one line."""


def demand(holds: bool, what: object) -> None:
    """Raise a LossError unless something holds."""
    if not holds:
        raise LossError(str(what)[:2000])


@dataclass
class Tally:
    """What came of one part of the campaign."""

    tried: int = 0
    survived: int = 0
    tracebacks: int = 0
    losses: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, name: str, more: int = 1) -> None:
        """Count something that happened."""
        self.counts[name] = self.counts.get(name, 0) + more

    def attempt(self, what: str, check: Callable[[], None]) -> None:
        """Make one attempt and note what came of it."""
        self.tried += 1
        try:
            check()
            self.survived += 1
        except LossError as loss:
            self.tracebacks += "Traceback" in str(loss)
            self.losses.append(f"{what}: {loss}")
            print(f"LOSS {what}: {loss}", flush=True)
        except Exception:  # of the campaign itself, which goes on
            self.losses.append(f"{what}: {traceback.format_exc()}")
            print(f"LOSS {what}: {traceback.format_exc()}", flush=True)


# ---- children --------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A command that runs."""

    pid: int
    said: Path

    def wait(self, seconds: float = SLOWEST) -> int:
        """Its exit status, minus the signal that ended it; a LossError if it hangs."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                self.kill()
                os.waitpid(self.pid, 0)
                raise LossError(f"no end after {seconds} s")
            time.sleep(0.002)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to it alone; it may have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def words(self) -> str:
        """What it said on standard error."""
        # A child that is ended at once has opened no file.
        return self.said.read_text(errors="replace") if self.said.exists() else ""


def forked(arguments: list[str], folder: Path, hook: Hook | None = None, said: str = "said") -> Child:
    """Run a command in a copy of this process, which has all modules loaded."""
    sys.stdout.flush()
    path = folder / said
    pid = os.fork()
    if pid:
        return Child(pid, path)
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        renew_streams()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        from overt.cli import main

        if hook is not None:
            hook(folder)
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # what the interpreter would print
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def renew_streams() -> None:
    """Streams of what the descriptors 1 and 2 are now."""
    sys.stdout, sys.stderr = (os.fdopen(handle, "w", buffering=1, closefd=False) for handle in (1, 2))


def started(arguments: list[str], folder: Path, said: str = "said") -> Child:
    """Run a command as a process of its own."""
    path = folder / said
    with path.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "overt", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=file,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])},
            start_new_session=True,
        )
    process.returncode = 0  # it is waited for here
    return Child(process.pid, path)


def finish(arguments: list[str], folder: Path, codes: tuple[int, ...] = (0,)) -> None:
    """Run a command to its end; a LossError unless it ends as it should."""
    child = forked(arguments, folder)
    code = child.wait()
    demand(code in codes, f"exit status {code}: {child.words()}")
    demand("Traceback" not in child.words(), child.words())


def finish_with(work: Work, folder: Path, hook: Hook) -> int:
    """Run a command with a hook and return its exit status."""
    child = forked(work.arguments, folder, hook)
    code = child.wait()
    said = child.words()
    demand("Traceback" not in said, said)
    demand(code in (0, 1, 2), f"exit status {code}: {said}")
    if code == 2:
        told = [line for line in said.splitlines() if line.startswith("overt: error:")]
        demand(len(told) == 1, f"{len(told)} lines of error: {said}")
    return code


# ---- what they do ----------------------------------------------------------------------------------------


class Work:
    """A command, the folder that it works in, and what it leaves when nobody disturbs it."""

    name: str
    seconds: float
    arguments: list[str]

    def check(self, folder: Path, *, ended: bool = False, interrupted: bool = False) -> None:
        """Raise a LossError unless what is there is whole and as it should be; all of it if it `ended`.

        A fit that is `interrupted` may have left the predictions of its best model so far.
        """
        raise NotImplementedError


class StudyWork(Work):
    """``overt run`` of two short runs of a study, or ``overt report`` of them."""

    def __init__(self, study: str, folder: Path) -> None:
        self.name, self.study = f"run {study}", study
        self.arguments = ["run", f"short_studies:{study}", "--out", "runs", "--jobs", "1"]
        self.reference: Mapping[str, Any] = {}
        began = time.monotonic()
        finish(self.arguments, folder, (0, 1))
        self.seconds = time.monotonic() - began
        self.reference = self._evidence(folder)
        demand(len(self.reference) == 2, f"{self.name}: {len(self.reference)} runs of 2")

    def _evidence(self, folder: Path) -> dict[str, Any]:
        from overt.studies.runs.store import Store

        out = folder / "runs"
        if not (out / "overt.json").exists():
            left = (
                [p.name for p in out.glob("*") if not p.name.startswith(".overt-tmp-")]
                if out.exists()
                else []
            )
            demand(not left, f"no marker, but {left}")
            return {}
        store = Store.open(out)
        half = [p.name for p in (out / "runs").glob("[!.]*") if not (p / "DONE").exists()]
        demand(not half, f"half a run: {half}")
        found = {}
        for study, hash_ in store.stored():
            run = store.load(study, hash_)
            arrays = {
                name: np.asarray(array).tobytes()
                for name, array in run.arrays.items()
                if "second" not in name
            }
            records = json.dumps(
                untimed([dict(record) for record in run.records]), default=str, sort_keys=True
            )
            found[hash_] = (records, arrays)
        return found

    def check(self, folder: Path, *, ended: bool = False, interrupted: bool = False) -> None:
        from overt.studies import OvertError

        try:
            found = self._evidence(folder)
        except OvertError as error:
            raise LossError(f"the store does not open: {error}") from error
        strange = [hash_ for hash_ in found if found[hash_] != self.reference.get(hash_)]
        demand(not strange, f"other records than undisturbed: {strange}")
        if ended:
            demand(len(found) == len(self.reference), "runs are missing")
            left = [p.name for p in folder.glob("runs/scratch/*")]
            demand(not left, f"left behind: {left}")
            self.check_page(folder / "runs" / "report.html")

    @staticmethod
    def check_page(path: Path) -> None:
        """A report is whole."""
        demand(path.exists() and path.read_text().rstrip().endswith("</html>"), f"no whole {path.name}")


class ReportWork(StudyWork):
    """``overt report`` of stored runs."""

    def __init__(self, study: str, folder: Path) -> None:
        super().__init__(study, folder)
        self.name = f"report {study}"
        self.template = folder / "runs"
        self.arguments = ["report", "runs", "--study", f"short_studies:{study}"]
        began = time.monotonic()
        finish(self.arguments, folder, (0, 1))
        self.seconds = time.monotonic() - began

    def check(self, folder: Path, *, ended: bool = False, interrupted: bool = False) -> None:
        super().check(folder)
        page = folder / "runs" / "report.html"
        if ended or page.exists():
            self.check_page(page)


def write_table(folder: Path) -> None:
    """A table of rank one, half of it."""
    random_ = random.Random(0)
    rows, cols = ([random_.uniform(1, 2) for _ in range(size)] for size in (30, 20))
    lines = [
        f"{i},{j},{rows[i] * cols[j]!r}\n" for i in range(30) for j in range(20) if random_.random() < 0.5
    ]
    (folder / "table.csv").write_text("".join(lines))


class CompleteWork(Work):
    """``overt complete`` of a small table, to text or Parquet, over an earlier output."""

    def __init__(self, suffix: str, folder: Path) -> None:
        self.name, self.suffix = f"complete {suffix}", suffix
        self.outputs = (f"out{suffix}", "summary.json", "spectrum.svg")
        self.arguments = ["complete", "table.csv", "--out", self.outputs[0], "--summary", "summary.json"]
        self.arguments += ["--spectrum", "spectrum.svg", "--overwrite"]
        self.prepare(folder)
        began = time.monotonic()
        finish(self.arguments, folder)
        self.seconds = time.monotonic() - began
        self.reference = {name: (folder / name).read_bytes() for name in self.outputs}

    def prepare(self, folder: Path) -> None:
        """Write the table and the outputs of an earlier command."""
        write_table(folder)
        for name in self.outputs:
            (folder / name).write_bytes(b"earlier")

    def check(self, folder: Path, *, ended: bool = False, interrupted: bool = False) -> None:
        for name in self.outputs:
            content = (folder / name).read_bytes()
            other = interrupted and content != b"earlier"
            whole = content == self.reference[name] or (other and self._is_whole(name, content))
            if name == "summary.json" and content != b"earlier":  # it says how long it took
                parts = (json.loads(content), json.loads(self.reference[name]))
                whole = interrupted or untimed(parts[0]) == untimed(parts[1])
            demand(
                whole or (content == b"earlier" and not ended), f"{name} is neither the earlier nor the new"
            )

    def _is_whole(self, name: str, content: bytes) -> bool:
        """Whether these are predictions of all pairs, or a whole picture."""
        if name.endswith(".svg"):
            return content.rstrip().endswith(b"</svg>")
        if name.endswith(".csv"):
            lines = content.decode().splitlines()
            return len(lines) == 601 and all(
                np.isfinite(float(line.rpartition(",")[2])) for line in lines[1:]
            )
        if name.endswith(".parquet"):
            import pyarrow.parquet

            table = pyarrow.parquet.ParquetFile(io.BytesIO(content)).read(use_threads=False)
            return bool(table.num_rows == 600)
        return False


def new_folder(root: Path, name: str) -> Path:
    """A new folder, which becomes the current one."""
    folder = root / name
    folder.mkdir()
    os.chdir(folder)
    return folder


def fresh(work: Work, root: Path, name: str) -> Path:
    """A new folder for a work, which becomes the current one."""
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if isinstance(work, CompleteWork):
        work.prepare(folder)
    if isinstance(work, ReportWork):
        shutil.copytree(work.template, folder / "runs")
        (folder / "runs" / "report.html").unlink(missing_ok=True)
    os.chdir(folder)
    return folder
