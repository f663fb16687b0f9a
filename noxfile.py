"""What must hold before a change lands, one session each: ``.venv/bin/nox`` or ``.venv/bin/nox -s fast``.

Sessions run in the environment that nox itself is in. ``nox --force-venv-backend venv`` makes new ones, with
the torch of constraints.txt. `.ci/run` calls the same sessions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "fast"]


def run(session: nox.Session, *command: str) -> None:
    """Run a module's command line, after installing everything where the environment is a new one."""
    own = session.virtualenv.venv_backend == "none"
    if not own:
        session.install("-c", "constraints.txt", "-e", ".[dev]")
    session.run(sys.executable if own else "python", "-m", *command)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, or those named after ``--``."""
    run(session, "pytest", *(session.posargs or ("-n", "2")))


@nox.session
def fast(session: nox.Session) -> None:
    """The tests that take under a minute together."""
    run(session, "pytest", "-n", "2", "-m", "not slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Lint and format; nothing is changed."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the whole package."""
    run(session, "mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The Python of README, guides and docstrings, and their links."""
    run(session, "pytest", "tests/test_readme.py", "tests/test_docs.py", "tests/test_docstrings.py")


@nox.session
def story(session: nox.Session) -> None:
    """All runs of the quick story, each cut short, to its report; verdicts are not looked at."""
    with tempfile.TemporaryDirectory() as folder:
        short = ("--set", "max_steps=100")
        run(session, "overt", "run", "story", "--preset", "quick", "--jobs", "2", "--out", folder, *short)
        if not (Path(folder) / "report.html").is_file():
            session.error("there is no report.html")


@nox.session
def versions(session: nox.Session) -> None:
    """The fast tests with the lowest and the newest allowed versions, for each Python at hand."""
    session.run(sys.executable, ".ci/versions.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """The wheel and the source distribution, in empty environments outside of the checkout."""
    session.run(sys.executable, ".ci/package.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Small changes of the source, drawn with a seed: does a test notice?"""
    session.run(sys.executable, "benchmarks/mutants.py", *session.posargs)


@nox.session
def campaign(session: nox.Session) -> None:
    """Faults and fuzz for an hour; ``nox -s campaign -- --kills 20 --parts kills`` for less. Not in CI."""
    own = session.virtualenv.venv_backend == "none"
    if not own:
        session.install("-c", "constraints.txt", "-e", ".[dev,campaign]")
    session.run(sys.executable if own else "python", "tests/campaign", *session.posargs)
