"""Fuzzers on every reader: atheris, which sees what code an input reaches, and hypothesis, which knows JSON.

``python fuzzing.py READER FUZZER SECONDS SEED FOLDER`` is one of them on one reader, as a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MEMORY = 2048  # MiB of a process, torch with 300 of them included
HANG = 20  # seconds for one input
ATHERIS = 0.7  # of the time
SEEN = ["overt._utils", "overt.cli", "overt.studies.runs", "overt.studies.claims.verdicts", "zipfile", "json"]
SEEN += [
    "overt.measures.storage",
    "overt.measures.tracking.tracker",
    "overt.training.checkpoint",
    "csv",
    "gzip",
]
SEEN += ["overt.training.persistence", "overt.problems.images", "overt.problems.movielens"]


def fuzz(seconds: int, seed: int, names: list[str]) -> Iterator[dict[str, Any]]:
    """Fuzz readers for some seconds in all; what came of each: a crash, a hang or much memory is a loss."""
    from readers import WEIGHTS

    weights = {name: WEIGHTS.get(name, 1.0) for name in names}
    fuzzers = {"atheris": ATHERIS, "hypothesis": 1 - ATHERIS}
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[campaign]'; hypothesis alone fuzzes", flush=True)
        fuzzers = {"hypothesis": 1.0}
    for name in names:
        found: dict[str, Any] = {"tried": 0, "survived": 0, "tracebacks": 0, "losses": []}
        fuzzed: dict[str, Any] = {}
        for fuzzer, share in fuzzers.items():
            asked = max(1, round(seconds * weights[name] / sum(weights.values()) * share))
            result = _one(name, fuzzer, asked, seed)
            said = f"{result['reader']}, {fuzzer}: {result['inputs']} inputs in {result['seconds']} s"
            print(f"  {said} {result['loss']}", flush=True)
            found["tried"] += result["inputs"]
            found["survived"] += result["inputs"] - bool(result["loss"])
            if result["loss"]:
                found["losses"].append(f"{said}: {result['loss']}")
                found["tracebacks"] += 1
            fuzzed |= {
                "reader": result["reader"],
                fuzzer: {key: result[key] for key in ("inputs", "seconds")},
            }
        found["seconds"] = sum(fuzzed[fuzzer]["seconds"] for fuzzer in fuzzers)
        yield {**found, "readers": {name: fuzzed}}


def _one(name: str, fuzzer: str, seconds: int, seed: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="overt-fuzz-of-"))
    command = [sys.executable, str(Path(__file__)), name, fuzzer, str(seconds), str(seed), str(folder)]
    began = time.monotonic()
    with (folder / "said").open("wb") as said:
        try:
            paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
            environment = {**os.environ, "PYTHONPATH": paths}
            subprocess.run(
                command,
                env=environment,
                stdout=said,
                stderr=said,
                timeout=seconds + 300,
                check=False,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            said.write(b"\nno end\n")
    text = (folder / "said").read_text(errors="replace")
    done = re.findall(r"Done (\d+) (?:runs|inputs) in (\d+)", text) or re.findall(
        r"^#(\d+).*?()$", text, re.M
    )
    inputs, spent = (int(done[-1][0]), int(done[-1][1] or time.monotonic() - began)) if done else (0, 0)
    crashes = sorted(folder.glob("found-*"))
    loss = ""
    if crashes or "Done" not in text:
        kept = [path.name for path in crashes]
        loss = f"{kept} in {folder}: {text[-1500:]}"
    reader = (folder / "reader").read_text() if (folder / "reader").exists() else name
    if not loss:
        shutil.rmtree(folder, ignore_errors=True)
    return {"reader": reader, "inputs": inputs, "seconds": spent, "loss": loss}


# ---- in a process of its own -----------------------------------------------------------------------------


def _atheris(name: str, seconds: int, seed: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=SEEN):
        import readers
    warnings.simplefilter("ignore")
    reader = readers.reader(name)
    (folder / "reader").write_text(reader.name)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(reader.seeds):
        (corpus / f"seed{number}").write_bytes(content)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed + 1}",
        f"-timeout={HANG}",
        f"-rss_limit_mb={MEMORY}",
    ]
    options += [
        "-max_len=20000",
        "-len_control=0",
        f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], reader.feed)
    atheris.Fuzz()


def _hypothesis(name: str, seconds: int, seed: int, folder: Path) -> None:
    import hypothesis
    import readers
    from hostile import inputs
    from hypothesis import HealthCheck, Phase

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    reader = readers.reader(name)
    (folder / "reader").write_text(reader.name)
    began, count, slowest = time.monotonic(), 0, 0.0

    def feed(data: bytes) -> None:
        nonlocal count, slowest
        count += 1
        start = time.monotonic()
        try:
            reader.feed(data)
            slowest = max(slowest, time.monotonic() - start)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            assert slowest < HANG, f"an input of {slowest:.0f} s"
            assert peak < MEMORY, f"{peak} MiB"
        except BaseException:
            (folder / "found-input").write_bytes(data)
            raise

    settings = hypothesis.settings(
        max_examples=200,
        print_blob=False,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    number = 0
    while time.monotonic() - began < seconds:
        test = hypothesis.given(inputs(reader.seeds))(feed)
        hypothesis.seed(1000 * seed + number)(settings(test))()
        number += 1
    print(f"Done {count} inputs in {time.monotonic() - began:.0f} s, the slowest took {slowest:.2f} s")


def main(name: str, fuzzer: str, seconds: str, seed: str, folder: str) -> None:
    """Fuzz one reader until time is up or something is found."""
    sys.path.insert(0, str(HERE))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run = {"atheris": _atheris, "hypothesis": _hypothesis}[fuzzer]
    try:
        run(name, int(seconds), int(seed), Path(folder))
    except Exception:
        print(traceback.format_exc(limit=-6))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
