"""Shared settings of the test suite."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("overt", deadline=None, max_examples=40, derandomize=True)
settings.register_profile("fast", settings.get_profile("overt"), max_examples=5)


def pytest_configure(config: pytest.Config) -> None:
    """One thread a process; fewer drawn examples in the fast subset, ``-m "not slow"``."""
    settings.load_profile("fast" if "not slow" in config.option.markexpr else "overt")
    # The process that only hands out tests to others need not wait for torch.
    if hasattr(config, "workerinput") or getattr(config.option, "dist", "no") == "no":
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a CUDA device where there is none; continuous integration never has one."""
    import torch

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what all imports have left, which stays: a tenth of the time."""
    gc.freeze()


def unavailable(reason: str) -> None:
    """Skip, saying why; fail instead where OVERT_REQUIRE_ALL is set (continuous integration)."""
    if os.environ.get("OVERT_REQUIRE_ALL"):
        pytest.fail(f"{reason}, and OVERT_REQUIRE_ALL forbids skipping")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder named by OVERT_DATA; tests that need it skip, saying so, where it is missing."""
    named = os.environ.get("OVERT_DATA")
    if not named or not Path(named).is_dir():
        unavailable("OVERT_DATA does not name a folder with the data sets")
    return Path(str(named))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's chromium; browser tests skip, saying so, where it is missing."""
    found = shutil.which("chromium")
    if found is None:
        unavailable("no chromium on this machine")
    return str(found)


@pytest.fixture
def overt(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process; returns exit code, standard output, standard error."""
    from overt.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return call
