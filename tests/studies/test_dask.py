"""Sweeps on a Dask cluster: the records of the workers here, killed workers, resuming, an address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_study import study

from overt.studies import run_study

pytest.importorskip("distributed", reason="needs dask[distributed]")
pytestmark = pytest.mark.slow

PROGRAM = "from overt.cli import main; main()"


def sweep(out: Path, *more: str, backend: str = "dask", check: bool = True):
    """Run the command in a process of its own: a cluster starts threads and loops that outlive it."""
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "run",
            "tiny_study:study",
            "--out",
            str(out),
            "--jobs",
            "2",
            "--backend",
            backend,
            *more,
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    if check:
        assert answer.returncode == 0, answer.stderr
    return answer


def evidence(out: Path) -> dict[str, bytes]:
    parts = ("config.json", "records.jsonl", "arrays.npz")
    return {
        str(path.relative_to(out)): path.read_bytes() for part in parts for path in out.glob(f"runs/*/{part}")
    }


def test_two_workers_give_the_records_of_loky_and_a_second_sweep_makes_only_what_is_missing(tmp_path):
    here = run_study(study, out=tmp_path / "loky", jobs=2)
    sweep(tmp_path / "dask")
    assert evidence(tmp_path / "dask") == evidence(here.out)
    assert len(evidence(here.out)) == 18
    for folder in sorted((tmp_path / "dask").glob("runs/tiny-*"))[:2]:
        shutil.rmtree(folder)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "dask").glob("runs/*/DONE")}
    sweep(tmp_path / "dask")
    assert evidence(tmp_path / "dask") == evidence(here.out)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_killed_worker_costs_no_run(tmp_path):
    die = ("--set", "trouble=die", "--set", "exclusive=false")
    sweep(tmp_path / "dask", *die)
    sweep(tmp_path / "loky", *die, backend="loky")
    assert evidence(tmp_path / "dask") == evidence(tmp_path / "loky")
    assert len(evidence(tmp_path / "dask")) == 15


def test_a_run_that_kills_every_worker_is_a_failed_run_and_the_others_are_kept(tmp_path):
    answer = sweep(tmp_path / "dask", "--set", "trouble=die always", "--set", "exclusive=false", check=False)
    assert answer.returncode == 1
    assert "1 run failed" in answer.stderr
    assert "each worker that made it died" in answer.stderr
    assert len(evidence(tmp_path / "dask")) == 12


def test_a_cluster_elsewhere_is_reached_by_its_address(tmp_path):
    program = (
        "import sys\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        sys.stdin.read()\n"
    )
    script = tmp_path / "cluster.py"
    script.write_text(program)
    cluster = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = cluster.stdout.readline().strip()
        sweep(tmp_path / "there", "--address", address)
    finally:
        cluster.stdin.close()
        cluster.wait(60)
        cluster.stdout.close()
    here = run_study(study, out=tmp_path / "here", jobs=1)
    assert evidence(tmp_path / "there") == evidence(here.out)


def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    answer = sweep(tmp_path / "none", "--address", "tcp://127.0.0.1:9", check=False)
    assert answer.returncode == 2
    assert "cannot reach the Dask scheduler at tcp://127.0.0.1:9" in answer.stderr
