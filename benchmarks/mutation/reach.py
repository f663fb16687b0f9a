"""Which tests reach which line: one run of the tests under coverage, with a context for each test.

What a shared fixture runs counts for every test that asks for it, though it ran once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONTEXT = "fixture "


@dataclass(frozen=True)
class Reach:
    """For each file the tests of each line; for each test its seconds, and whether it is a slow one."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]
    slow: set[str]

    def tests(self, file: str, first: int, last: int) -> set[str]:
        """The tests that reach any of these lines."""
        found = self.lines.get(file, {})
        return {test for line in range(first, last + 1) for test in found.get(line, ())}

    def tests_of_file(self, file: str) -> set[str]:
        """The tests that reach the file at all."""
        return {test for tests in self.lines.get(file, {}).values() for test in tests}

    @classmethod
    def load(cls, path: Path) -> Reach:
        """Read what `measure` wrote; tests are stored once, by number."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        names = stored["tests"]
        lines = {
            file: {int(line): [names[i] for i in tests] for line, tests in by_line.items()}
            for file, by_line in stored["lines"].items()
        }
        return cls(lines, stored["seconds"], set(stored["slow"]))


class _Recorder:
    """A plugin of pytest that names coverage's context after what runs, and notes what passed."""

    def __init__(self, coverage: Any, slow_in: tuple[str, ...]) -> None:
        self.coverage = coverage
        self.slow_in = slow_in
        self.items: dict[str, pytest.Item] = {}
        self.seconds: dict[str, float] = {}
        self.lost: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [i for i in items if not i.get_closest_marker("slow") or i.nodeid.startswith(self.slow_in)]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = {item.nodeid: item for item in session.items}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        result = yield
        self.coverage.switch_context("")
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        shared = fixturedef.scope != "function"
        if shared:
            self.coverage.switch_context(f"{CONTEXT}{fixturedef.argname} {request.node.nodeid}")
        result = yield
        if shared:
            self.coverage.switch_context(request._pyfuncitem.nodeid)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.lost.add(report.nodeid)
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def expanded(self, context: str) -> Iterator[str]:
        """The tests that a context stands for."""
        if not context.startswith(CONTEXT):
            yield context
            return
        name, _, place = context.removeprefix(CONTEXT).partition(" ")
        for nodeid, item in self.items.items():
            inside = not place or nodeid == place or nodeid.startswith((f"{place}::", f"{place}/"))
            if inside and name in getattr(item, "fixturenames", ()):
                yield nodeid


def measure(root: Path, files: list[str], tests: list[str], slow_in: list[str], out: Path) -> None:
    """Run these tests in this process, slow ones in some folders only; write which lines each reached."""
    import coverage

    watched = coverage.Coverage(
        data_file=None, config_file=False, include=[str(root / file) for file in files]
    )
    recorder = _Recorder(watched, tuple(slow_in))
    watched.start()
    pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder])
    watched.stop()
    passed = sorted(set(recorder.seconds) - recorder.lost)
    number = {nodeid: i for i, nodeid in enumerate(passed)}
    lines: dict[str, dict[str, list[int]]] = {}
    for file in files:
        by_line = watched.get_data().contexts_by_lineno(str(root / file))
        lines[file] = {
            str(line): sorted(
                {number[t] for context in contexts for t in recorder.expanded(context) if t in number}
            )
            for line, contexts in sorted(by_line.items())
        }
    stored = {
        "tests": passed,
        "seconds": {nodeid: round(recorder.seconds[nodeid], 4) for nodeid in passed},
        "slow": [nodeid for nodeid in passed if recorder.items[nodeid].get_closest_marker("slow")],
        "lines": lines,
    }
    out.write_text(json.dumps(stored), encoding="utf-8")
    print(f"{len(passed)} tests passed and count, {len(recorder.lost)} did not; written: {out}")
