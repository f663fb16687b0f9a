"""Tables that are damaged or meant to do harm: one line, exit code 2, bounded memory; and huge values."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from overt.cli import main

BOUND = 64 << 20


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def call(capfd, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(["complete", *arguments])
    return int(stopped.value.code), capfd.readouterr().err


def text(content: bytes):
    return lambda path: path.write_bytes(content)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


TEXTS = {
    "an endless line": text(b"1" * (8 << 20)),
    "an endless second line": text(b"1,2,3\n" + b"1," * (4 << 20)),
    "sparse": sparse,
    "an open quote": text(b'1,2,3\n1,"2' + b"\n" * (8 << 20)),
    "half a letter": text(b"1,2,3\n1,\xed\xa0\x80,3\n"),
    "zeros": text(bytes(1000)),
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a huge number": text(b"1,2,3\n1,3," + b"9" * 100_000 + b"\n"),
}


def wide(letters: int, rows: int) -> pa.Table:
    """A table with one long id in all rows."""
    ids = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array(["a" * letters]))
    return pa.table({"row": ids, "col": np.arange(rows), "value": np.ones(rows)})


def not_text(path: Path) -> None:
    offsets = pa.py_buffer(np.array([0, 2], np.int32).tobytes())
    ids = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    parquet.write_table(pa.table({"row": ids, "col": [1], "value": [1.0]}), path)


def cut(path: Path) -> None:
    parquet.write_table(wide(3, 100), path)
    path.write_bytes(path.read_bytes()[:-40])


PARQUET = {
    "a long id in many rows": lambda path: parquet.write_table(wide(1 << 20, 100_000), path),
    "one huge id": lambda path: parquet.write_table(wide(1 << 29, 1), path, compression="zstd"),
    "many rows of zeros": lambda path: parquet.write_table(
        pa.table({name: np.zeros(1 << 25, np.int8) for name in ("row", "col", "value")}), path
    ),
    "no UTF-8": not_text,
    "cut": cut,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "sparse": sparse,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [*(("t.csv", make) for make in TEXTS.values()), *(("t.parquet", make) for make in PARQUET.values())],
    ids=[*TEXTS, *(f"parquet: {kind}" for kind in PARQUET)],
)
def test_a_hostile_table_is_refused(capfd, name, make):
    make(Path(name))
    before = pa.default_memory_pool().bytes_allocated()
    tracemalloc.start()
    code, said = call(capfd, name, "--out", "p.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2
    *_, line = said.splitlines()
    assert line.startswith("overt: error: ")
    assert name in line
    assert len(line) < 600
    assert "Traceback" not in said
    assert not Path("p.csv").exists()
    assert peak < BOUND
    assert pa.default_memory_pool().bytes_allocated() - before < BOUND


FLIPS = """
import sys
from pathlib import Path
from overt.cli.opening import open_source
from overt.cli.sources import Wanted
from overt.studies import OvertError

whole, path, read = Path("t.parquet").read_bytes(), Path("f.parquet"), 0
for place in range(len(whole)):
    for change in (1, 128):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        try:
            read += len(list(open_source(path, Wanted()).chunks()))
        except OvertError:
            pass
print(read)
"""


@pytest.mark.slow
def test_no_flipped_bit_ends_the_process():
    """In a process of its own, which pyarrow would abort."""
    ids = pa.array(["a", "b", "a"])
    parquet.write_table(pa.table({"row": ids, "col": ids, "value": [1.0, 2.0, 3.0]}), "t.parquet")
    done = subprocess.run([sys.executable, "-c", FLIPS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 0


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-300, 308), st.integers(0, 99), st.booleans())
def test_predictions_are_finite_or_the_table_is_refused(capfd, power, seed, asked):
    """Whatever the size of the values; means of unknown ids included."""
    random = np.random.default_rng(seed)
    top = 10.0**power
    entries = [
        (i, j, top * random.uniform(-1, 1)) for i in range(6) for j in range(5) if random.random() < 0.8
    ]
    Path("t.csv").write_text("".join(f"{i},{j},{value!r}\n" for i, j, value in entries))
    Path("ask.csv").write_text("0,0\nx,0\n0,y\nx,y\n")
    more = ["--ask", "ask.csv"] if asked else ["--spectrum", "s.png"]
    code, said = call(capfd, "t.csv", "--out", "p.csv", "--summary", "s.json", "--overwrite", *more)
    if code:
        assert code == 2
        assert "too large" in said.splitlines()[-1]
        assert power > 300
        return
    values = [float(line.rpartition(",")[2]) for line in Path("p.csv").read_text().splitlines()[1:]]
    assert np.isfinite(values).all()
    assert "inf" not in Path("s.json").read_text().lower()
