"""A command that is killed or stopped at any moment goes on where it was and ends with the same records."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_study import study

from overt.studies import run_study
from overt.studies.runs.store import Store

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

PROGRAM = "from overt.cli import main; main()"


def command(out: Path, *more: str, jobs: int = 1) -> list[str]:
    overt = [sys.executable, "-c", PROGRAM]
    return [*overt, "run", "tiny_study:study", "--out", str(out), "--jobs", str(jobs), *more]


def environment(log: Path | None = None) -> dict[str, str]:
    folder = str(Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "TINY_LOG": str(log)}


def start(arguments: list[str], log: Path | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        env=environment(log),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(arguments: list[str], log: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    answer = subprocess.run(arguments, env=environment(log), capture_output=True, timeout=120)
    assert answer.returncode == 0, answer.stderr.decode()
    return answer


def wait_for(condition, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def wait_until_gone(session: int) -> None:
    """Wait until a command has no process left; workers look for their parent twice a second."""
    end = time.monotonic() + 20
    while members(session):
        assert time.monotonic() < end, f"still there: {members(session)}"
        time.sleep(0.05)


def members(session: int) -> list[int]:
    """Return the processes of a session, which `start` gives to each command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def stored(out: Path) -> int:
    return len(list(out.glob("runs/tiny-*/DONE")))


def evidence(out: Path) -> dict[str, bytes]:
    """Return the bytes of all that is stored of the runs, but their metadata."""
    parts = ("config.json", "records.jsonl", "arrays.npz")
    return {
        str(p.relative_to(out)): p.read_bytes() for part in parts for p in out.glob(f"runs/tiny-*/{part}")
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> dict[str, bytes]:
    """What a command that nobody disturbs stores."""
    out = tmp_path_factory.mktemp("reference") / "runs"
    run_study(study, out=out, jobs=1, overrides={"sleep": 0.05})
    return evidence(out)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_records(tmp_path, reference):
    out = tmp_path / "runs"
    arguments = command(out, "--set", "sleep=0.05")
    for least in (0, 2, 4):
        process = start(arguments)
        wait_for(lambda least=least: (out / "plans" / "tiny.json").exists() and stored(out) >= least, process)
        process.kill()
        process.communicate()
        kept = evidence(out)
        assert stored(out) >= least
        assert kept.items() <= reference.items()
    answer = finish(arguments)
    assert b"already stored" in answer.stderr
    assert evidence(out) == reference
    assert not list(out.glob("scratch/*"))


@pytest.mark.slow
def test_killed_with_workers_it_leaves_no_process_and_goes_on(tmp_path, reference):
    out = tmp_path / "runs"
    arguments = command(out, "--set", "sleep=0.05", jobs=2)
    process = start(arguments)
    wait_for(lambda: stored(out) >= 1, process)
    process.kill()
    process.communicate()
    wait_until_gone(process.pid)
    finish(arguments)
    assert evidence(out) == reference


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path, jobs, reference):
    out = tmp_path / "runs"
    arguments = command(out, "--set", "sleep=1.0", jobs=jobs)
    process = start(arguments)
    wait_for(lambda: stored(out) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the command gets it
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    last = said.decode().splitlines()[-1]
    assert last.startswith("overt: stopped by SIGINT; ")
    assert f"{stored(out)} of 6 runs are stored" in last
    assert last.endswith(f"--out {out} --jobs {jobs} --set sleep=1.0")
    assert b"Traceback" not in said
    assert b"Warning" not in said
    wait_until_gone(process.pid)
    with Store.open(out).locked() as held:
        assert held


@pytest.mark.slow
def test_a_polite_kill_stops_at_once_and_checkpoints_survive(tmp_path):
    out, log = tmp_path / "runs", tmp_path / "log"
    arguments = command(out, "--set", "trouble=resume")
    process = start(arguments, log)
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 2, process)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "1 of 6 runs are stored" in said.decode()
    assert len(list(out.glob("scratch/tiny-*"))) == 1
    finish(arguments, log)
    assert log.read_text().splitlines()[:3] == ["0 False", "1 False", "1 True"]
    assert not list(out.glob("scratch/*"))


@pytest.mark.slow
def test_a_second_command_on_the_same_folder_is_refused(tmp_path):
    out = tmp_path / "runs"
    process = start(command(out, "--set", "sleep=30"))
    try:
        wait_for(lambda: (out / "plans" / "tiny.json").exists(), process)
        answer = subprocess.run(command(out), env=environment(), capture_output=True, timeout=120)
        assert answer.returncode == 2
        assert f"another overt run (process {process.pid})" in answer.stderr.decode()
        assert answer.stderr.count(b"\n") == 1
    finally:
        process.kill()
        process.communicate()
