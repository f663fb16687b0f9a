"""Changes tried in a copy of the repository, each in a process that ends with the first failing test.

A process imports torch and forks one that imports Overt and collects the tests. That one forks for each
change; its child gets the changed code and runs the tests that reach it, likely killers first. What stands
outside of functions is not changed so easily: it is tried in a child of the first process, which imports
Overt anew from the changed file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mutation.changes import Change
from mutation.reach import Reach
from mutation.replacing import replaced

MEMORY = 16 << 30  # bytes of address space of a child
KILLED = {1: "failed", 2: "not collected", 3: "pytest broke"}  # what pytest's exit statuses mean here
NO_TESTS = 5
NOT_REPLACED, AGAIN = 99, "could not be replaced"
QUIET = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # of what is warm


Turns = dict[Change, list[list[str]]]  # the tests for each change, in turns


@dataclass(frozen=True)
class Outcome:
    """What became of a change; ``by`` is the test that noticed, or why there was none."""

    killed: bool
    by: str
    tests: int
    seconds: float


def copied(root: Path, target: Path) -> None:
    """Copy what git tracks or would, as it lies there now."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-coz", "--exclude-standard"], capture_output=True, check=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


class Chosen:
    """A plugin of pytest that keeps these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.order = {nodeid: i for i, nodeid in enumerate(tests)}
        self.first_failure = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.first_failure:
            self.first_failure = report.nodeid


def stages(change: Change, source: str, reach: Reach, preferred: str, most: float) -> list[list[str]]:
    """The tests to try, in turns: fast ones of one file, other fast ones, slow ones, the rest of those files.

    Together they take at most so many seconds; what would be more than that is left out.

    A line outside of functions runs on import. Then the tests come first that reach a line with its name, and
    those that reach the file at all after them.
    """
    direct = reach.tests(change.file, *change.lines)
    if change.outside:
        text = source.splitlines()[change.lines[0] - 1]
        name = re.match(r"\s*(\w+)\s*[:=]", text)
        using = [] if name is None else _lines_with(name[1], source)
        direct = {t for line in using for t in reach.tests(change.file, line, line)}
    wider = reach.tests_of_file(change.file) if change.outside else set()
    touched = {test.split("::")[0] for test in direct}
    rest = {test for test in reach.seconds if test.split("::")[0] in touched}
    turns: list[list[str]] = []
    taken: set[str] = set()
    for tests in (direct - reach.slow, direct & reach.slow, wider - reach.slow, wider & reach.slow, rest):
        ordered = _ordered(tests - taken, reach, preferred)
        taken |= tests
        head = {test.split("::")[0] for test in ordered[:1]}
        if not turns and ordered:  # the likeliest file alone
            turns.append([test for test in ordered if test.split("::")[0] in head])
            ordered = [test for test in ordered if test.split("::")[0] not in head]
        if ordered:
            turns.append(ordered)
    left = most
    for turn in turns:
        for test in list(turn):
            if reach.seconds[test] > left:
                turn.remove(test)
            else:
                left -= reach.seconds[test]
    return [turn for turn in turns if turn]


def _lines_with(name: str, source: str) -> list[int]:
    return [i for i, line in enumerate(source.splitlines(), 1) if re.search(rf"\b{name}\b", line)]


def _ordered(tests: Iterable[str], reach: Reach, preferred: str) -> list[str]:
    """File by file: those of the room first, then those of quick tests."""
    files = _by_file(tests, reach)

    def key(file: str) -> tuple[bool, float, str]:
        seconds = [reach.seconds[test] for test in files[file]]
        return not re.search(preferred, file), sum(seconds) / len(seconds), file

    return [test for file in sorted(files, key=key) for test in files[file]]


def _by_file(tests: Iterable[str], reach: Reach) -> dict[str, list[str]]:
    """The tests of each file, the quick ones first."""
    files: dict[str, list[str]] = {}
    for test in sorted(tests, key=lambda test: (reach.seconds[test], test)):
        files.setdefault(test.split("::")[0], []).append(test)
    return files


class Runner:
    """Holds the copy and the imports that the children share."""

    def __init__(self, tree: Path, warm: Iterable[str]) -> None:
        self.tree = tree
        self.log = tree / "mutant.log"
        os.environ |= {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.path.insert(0, str(tree / "src"))
        for name in warm:
            importlib.import_module(name)
        assert not any(name.split(".")[0] == "overt" for name in sys.modules)

    def tried(self, turns: Turns, reach: Reach) -> Iterator[tuple[Change, Outcome]]:
        """Try these changes, each with its tests."""
        inside = {change: turns[change] for change in turns if not change.outside}
        for change in turns:
            if change.outside:
                yield change, self._imported(change, turns[change], reach)
        again = []
        for change, outcome in self._collected(inside, reach):
            if outcome.by == AGAIN:
                again.append(change)
            else:
                yield change, outcome
        for change in again:
            yield change, self._imported(change, turns[change], reach)

    def _collected(self, turns: Turns, reach: Reach) -> Iterator[tuple[Change, Outcome]]:
        """Try changes inside of functions, in children of one process that has collected all tests."""
        files = sorted({test.split("::")[0] for test in reach.seconds})
        parent, child = multiprocessing.Pipe(duplex=False)

        def body() -> int:
            os.chdir(self.tree)
            plugin = Collected(self, turns, reach, child)
            return int(pytest.main([*QUIET, "-s", *files], plugins=[plugin]))

        process = _fork(body)
        child.close()
        with contextlib.suppress(EOFError):
            while True:
                yield parent.recv()
        if os.waitpid(process, 0)[1]:
            raise SystemExit("the tests could not be collected, or one fails without a change")

    def _imported(self, change: Change, turns: list[list[str]], reach: Reach) -> Outcome:
        """Try any change, in a child that imports the changed file, turn by turn."""
        path = self.tree / change.file
        original, stat = path.read_bytes(), path.stat()

        def body() -> int:
            sys.dont_write_bytecode = True
            code = 0
            for turn in turns:
                chosen = Chosen(turn)
                files = list(dict.fromkeys(test.split("::")[0] for test in turn))
                code = int(pytest.main([*QUIET, "-x", *files], plugins=[chosen]))
                if chosen.first_failure:
                    print(f"\nfirst failure: {chosen.first_failure}")
                if code and code != NO_TESTS:
                    return code
            return 0

        try:
            path.write_text(change.applied(original.decode()), encoding="utf-8")
            # With another time no cached bytecode is taken for this text.
            moved = stat.st_mtime + 1000 + time.monotonic() % 1000
            os.utime(path, (moved, moved))
            return self.forked(body, [test for turn in turns for test in turn], reach)
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def forked(self, body: Callable[[], int], tests: list[str], reach: Reach) -> Outcome:
        """Run this in a child with limits, and say how it ended."""
        start = time.monotonic()
        limit = 30 + 5 * sum(reach.seconds[test] for test in tests)

        def limited() -> int:
            os.setsid()
            out = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.chdir(self.tree)
            return body()

        status, late = _waited(_fork(limited), 20 * limit)
        return self._outcome(status, late, len(tests), time.monotonic() - start)

    def _outcome(self, status: int, late: bool, tests: int, seconds: float) -> Outcome:
        if late or os.WIFSIGNALED(status):
            by = "time" if late or os.WTERMSIG(status) == signal.SIGXCPU else f"signal {os.WTERMSIG(status)}"
            return Outcome(True, by, tests, seconds)
        code, said = os.WEXITSTATUS(status), self.log.read_text(encoding="utf-8", errors="replace")
        if code in KILLED:
            found = re.findall(r"^first failure: (.+)$", said, re.MULTILINE)
            return Outcome(True, found[-1] if found else KILLED[code], tests, seconds)
        if code not in (0, NOT_REPLACED):
            raise RuntimeError(f"pytest ended with status {code}:\n{said[-3000:]}")
        return Outcome(False, AGAIN if code == NOT_REPLACED else "", tests, seconds)


class Collected:
    """A plugin of pytest: instead of the tests it runs changes, with what was imported and collected once."""

    def __init__(self, runner: Runner, turns: Turns, reach: Reach, out: Any) -> None:
        self.runner = runner
        self.turns = turns
        self.reach = reach
        self.out = out
        self.failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        quick = [test for some in _by_file(self.reach.seconds, self.reach).values() for test in some[:10]]
        unchanged = functools.partial(self.run, [items[test] for test in quick])
        control = self.runner.forked(unchanged, quick, self.reach)
        if control.killed:
            raise SystemExit(f"a test fails without a change: {control.by}")
        for change, turns in self.turns.items():
            tests = [test for turn in turns for test in turn]
            body = functools.partial(self.changed, change, [items[test] for test in tests])
            outcome = self.runner.forked(body, tests, self.reach)
            self.out.send((change, outcome))
        return True

    def changed(self, change: Change, items: list[pytest.Item]) -> int:
        """Change the code, and run the tests."""
        source = (self.runner.tree / change.file).read_text(encoding="utf-8")
        return self.run(items) if replaced(change.file, source, change.applied(source)) else NOT_REPLACED

    def run(self, items: list[pytest.Item]) -> int:
        """Run tests until one fails: pytest's exit status."""
        for item, following in zip(items, [*items[1:], None], strict=False):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                print(f"\nfirst failure: {self.failed}")
                return 1
        return 0


def _fork(body: Callable[[], int]) -> int:
    """Start a child that ends with the status that the body gives; its process id."""
    child = os.fork()
    if not child:
        code = 70
        try:
            code = body()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def _waited(child: int, seconds: float) -> tuple[int, bool]:
    """The child's status, and whether it had to be stopped; what it started is stopped with it."""
    end = time.monotonic() + seconds
    late = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if not late and time.monotonic() > end:
            late = True
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status, late
