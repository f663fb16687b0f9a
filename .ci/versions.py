"""The fast tests with the lowest and the newest versions that pyproject.toml allows, for each Python at hand.

``nox -s versions`` runs this. Each Python gets two new environments, one after the other: one with the lowest
release of every direct dependency, optional ones included, that pyproject.toml allows and that has a wheel
for this Python, and one with the newest. A table at the end says what was installed and what the tests said;
a Python that is not there is a line in it. Exit status 1: something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SHOWN = ("torch", "numpy", "scipy", "scikit-learn", "numba", "pydantic", "matplotlib", "transformers")
KINDS = ("lowest", "newest")
UV = (sys.executable, "-m", "uv")  # pip tries combination after combination of old releases, for an hour


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True),
    ]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return str(candidate)
    return None


@dataclass
class Row:
    """A line of the table."""

    python: str
    kind: str
    versions: dict[str, str] = field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    said: str = ""

    @property
    def bad(self) -> bool:
        return bool(self.failed or self.said.startswith("FAILED"))


def tried(python: str, kind: str, pytest: list[str]) -> Row:
    """Install one environment and run the tests in it; the environment is deleted afterwards."""
    row = Row(python, kind)
    executable = interpreter(python)
    if executable is None:
        row.said = "skipped: no interpreter"
        return row
    with tempfile.TemporaryDirectory(prefix=f"overt-{python}-{kind}-") as folder:
        home = Path(folder)
        inside = home / "venv" / "bin" / "python"
        subprocess.run([*UV, "venv", "--quiet", "--python", executable, str(home / "venv")], check=True)
        install = [
            *UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(inside),
            "--only-binary",
            ":all:",
            "--no-binary",
            "overt",
        ]
        choice = ["--resolution", "lowest-direct" if kind == "lowest" else "highest"]
        done = subprocess.run(
            [*install, *choice, "--editable", f"{ROOT}[dev]"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:
            row.said = "FAILED to install"
            return row
        row.versions = versions(inside)
        results = home / "results.xml"
        command = [str(inside), "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", "-q"]
        free = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        status = subprocess.run([*command, f"--junitxml={results}", *pytest], cwd=ROOT, env=free).returncode
        if results.is_file():
            count(row, results)
        if status and not row.failed:
            row.said = f"FAILED: pytest ended with status {status}"
    return row


def versions(python: Path) -> dict[str, str]:
    """What is installed, by name."""
    command = [*UV, "pip", "list", "--quiet", "--python", str(python), "--format", "json"]
    listed = subprocess.run(command, capture_output=True, check=True)
    return {package["name"].lower(): package["version"] for package in json.loads(listed.stdout)}


def count(row: Row, results: Path) -> None:
    """Read what the tests said from pytest's own file."""
    suites = ET.parse(results).getroot().iter("testsuite")
    for suite in suites:
        asked, row.skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        row.failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        row.passed = asked - row.failed - row.skipped


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield f"| Python | versions | {' | '.join(SHOWN)} | passed | failed | skipped | |"
    yield "|" + "---|" * (len(SHOWN) + 6)
    for row in rows:
        shown = " | ".join(row.versions.get(name, "–") for name in SHOWN)
        numbers = f"{row.passed} | {row.failed} | {row.skipped}"
        yield f"| {row.python} | {row.kind} | {shown} | {numbers} | {row.said} |"


def main() -> None:
    """Run what the command line asks for, all of it by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this one; may be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only these bounds")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    asked = parser.parse_args()
    rows: list[Row] = []
    for python in asked.python or PYTHONS:
        for kind in asked.kind or KINDS:
            print(f"== Python {python}, {kind} versions", flush=True)
            rows.append(tried(python, kind, asked.pytest))
    print("", *table(rows), sep="\n")
    raise SystemExit(any(row.bad for row in rows))


if __name__ == "__main__":
    main()
