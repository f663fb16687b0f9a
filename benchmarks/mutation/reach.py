"""Which tests reach which line: one run of the tests under coverage, with a context for each test.

What a shared fixture runs counts for every test that asks for it, though it ran once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
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
    def joined(cls, parts: Iterable[dict[str, Any]]) -> Reach:
        """What `measure` wrote of several files of tests; there tests are stored once, by number."""
        lines: dict[str, dict[int, list[str]]] = {}
        seconds: dict[str, float] = {}
        slow: set[str] = set()
        for part in parts:
            names = list(part["seconds"])
            seconds |= part["seconds"]
            slow |= set(part["slow"])
            for file, by_line in part["lines"].items():
                for line, tests in by_line.items():
                    lines.setdefault(file, {}).setdefault(int(line), []).extend(names[i] for i in tests)
        return cls(lines, seconds, slow)


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
    """Run these files of tests in this process, slow tests of some only; write which lines each reached."""
    import coverage

    watched = coverage.Coverage(
        data_file=None, config_file=False, include=[str(root / file) for file in files]
    )
    recorder = _Recorder(watched, tuple(slow_in))
    watched.start()
    pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder])
    watched.stop()
    stored = {}
    for test_file in tests:
        passed = [t for t in recorder.seconds if t not in recorder.lost and t.startswith(f"{test_file}::")]
        stored[test_file] = {
            "seconds": {test: round(recorder.seconds[test], 4) for test in passed},
            "slow": [test for test in passed if recorder.items[test].get_closest_marker("slow")],
            "lines": {},
        }
    number = {test: i for part in stored.values() for i, test in enumerate(part["seconds"])}
    for file in files:
        for line, contexts in sorted(watched.get_data().contexts_by_lineno(str(root / file)).items()):
            for test in {test for context in contexts for test in recorder.expanded(context)} & set(number):
                by_line = stored[test.split("::")[0]]["lines"].setdefault(file, {})
                by_line.setdefault(str(line), []).append(number[test])
    out.write_text(json.dumps(stored), encoding="utf-8")
    print(f"{len(number)} tests passed and count, {len(recorder.lost)} did not", flush=True)
