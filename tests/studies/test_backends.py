"""Backends that hand back lists only, Ray's name, and a run that ends each process that makes it."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import joblib
import pytest
from joblib.parallel import BACKENDS
from tiny_study import study

from overt._utils.errors import UsageError
from overt.studies import run_study
from overt.studies.runs.backends import check_backend

LISTS = """
import joblib
from joblib._parallel_backends import MultiprocessingBackend
from tiny_study import study
from overt.studies import run_study

class Lists(MultiprocessingBackend):
    calls = 0

    def start_call(self):
        Lists.calls += 1

if __name__ == "__main__":
    joblib.register_parallel_backend("lists", Lists)
    summary = run_study(study, out="lists", jobs=2, backend="lists")
    print(summary.made, Lists.calls, [verdict.outcome for verdict in summary.verdicts])
"""


def evidence(out: Path) -> dict[str, bytes]:
    parts = ("config.json", "records.jsonl", "arrays.npz")
    return {str(p.relative_to(out)): p.read_bytes() for part in parts for p in out.glob(f"runs/*/{part}")}


@pytest.mark.slow
def test_a_backend_without_generators_makes_the_same_records_a_chunk_at_a_time(tmp_path):
    (tmp_path / "program.py").write_text(LISTS)
    folder = str(Path(__file__).parent)
    answer = subprocess.run(
        [sys.executable, "program.py"],
        env={**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "JOBLIB_START_METHOD": "spawn"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "6 3 ['reproduced', 'reproduced']\n"  # five runs two at a time; one is exclusive
    here = run_study(study, out=tmp_path / "here", jobs=1)
    assert evidence(tmp_path / "lists") == evidence(here.out)


def test_ray_is_registered_where_it_is_installed_and_named_where_it_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="pip install ray"):
        check_backend("ray", None)
    names = ("ray", "ray.util", "ray.util.joblib")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(
        sys.modules["ray.util.joblib"],
        "register_ray",
        lambda: joblib.register_parallel_backend("ray", BACKENDS["loky"]),
        raising=False,
    )
    try:
        check_backend("ray", None)
        assert "ray" in BACKENDS
        with pytest.raises(UsageError, match="address is only for backend 'dask'"):
            check_backend("ray", "tcp://here:1")
    finally:
        BACKENDS.pop("ray", None)


@pytest.mark.slow
def test_a_run_that_always_ends_its_process_is_a_failed_run_and_the_others_are_kept(tmp_path):
    deadly = {"trouble": "die always", "exclusive": False}
    summary = run_study(study, out=tmp_path / "runs", jobs=2, overrides=deadly)
    ((hash_, why),) = summary.failures.items()
    assert "its worker process died" in why
    assert (tmp_path / "runs" / "failed" / f"tiny-{hash_}.txt").is_file()
    assert summary.made == len(summary.section.runs) == 4
    assert summary.section.planned == 5
    again = run_study(study, out=tmp_path / "runs", jobs=2, overrides=deadly)
    assert (again.made, again.resumed, set(again.failures)) == (0, 4, {hash_})
