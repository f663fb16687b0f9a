"""The same command gives the same bits in another process, in other memory, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("repeated_runs.py")
# Other addresses on heap and stack, other seeds of hashes, and memory that is not zero when handed out.
OTHERWISE = {
    "JUNK": "1000,30000,777,12345,500000",
    "PADDING": "x" * 3333,
    "PYTHONHASHSEED": "77",
    "MALLOC_PERTURB_": "165",
}


def start(folder: Path, jobs: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(jobs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict[str, str]:
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err[-2000:]
    found: dict[str, str] = json.loads(out.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return result(start(tmp_path_factory.mktemp("reference"), 1))


@pytest.mark.slow
def test_other_memory_and_workers(tmp_path: Path, reference: dict[str, str]) -> None:
    assert len(reference) > 20
    found = result(start(tmp_path, 2, **OTHERWISE))
    assert {name for name in reference if found[name] != reference[name]} == set()


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path, reference: dict[str, str]) -> None:
    first = start(tmp_path, 1)
    while first.poll() is None and len(list(tmp_path.glob("runs/*/DONE"))) < 3:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert 3 <= len(list(tmp_path.glob("runs/*/DONE"))) < len(reference)
    found = result(start(tmp_path, 1, **OTHERWISE))
    assert {name for name in reference if found[name] != reference[name]} == set()
