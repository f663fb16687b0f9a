"""Files that nobody vouches for: each reader loads them or refuses them in one line, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from overt import DeepLinear, Spectrum, SpectrumTracker, train
from overt.problems import matrix_completion
from overt.problems.fetch import DataFile, fetch
from overt.problems.images import read_idx
from overt.problems.movielens import read_member
from overt.training.checkpoint import load_checkpoint

MIB = 2**20
BOUND = 64 * MIB  # of a refusal; the bombs below are larger


def refusal(read, path):
    """The line with which a file is refused; None if it is read. Both in bounded memory."""
    tracemalloc.start()
    try:
        read(path)
    except (ValueError, OSError) as error:
        line = str(error)
        assert "\n" not in line
        assert line.isprintable()
        assert len(line) < 1000
        return line
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < BOUND, f"{peak / MIB:.0f} MiB"
    return None


# ---- archives of arrays ----------------------------------------------------------------------------------

META = {"format": 1, "dtype": "float64", "basis": "eigen", "n_samples": 0, "n_probes": 0, "method": "given"}


def npy(array: np.ndarray, *, shape: object = None, descr: str | None = None) -> bytes:
    """An array's file, whose header may lie."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    header |= {} if shape is None else {"shape": shape}
    header |= {} if descr is None else {"descr": descr}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def archive(members, method=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return stream.getvalue()


def spectrum(*more, meta=META, values: bytes | None = None, method=zipfile.ZIP_STORED) -> bytes:
    header = npy(np.array(meta if isinstance(meta, str) else json.dumps(meta)))
    values = npy(np.array([2.0, 1.0])) if values is None else values
    return archive([("meta.npy", header), ("values.npy", values), *more], method)


ARCHIVES = {
    "lzma": lambda: spectrum(method=zipfile.ZIP_LZMA),
    "bzip2": lambda: spectrum(method=zipfile.ZIP_BZIP2),
    "deflate": lambda: spectrum(method=zipfile.ZIP_DEFLATED),
    "bomb": lambda: spectrum(values=npy(np.zeros(2**24)), method=zipfile.ZIP_DEFLATED),
    "claims a terabyte": lambda: spectrum(values=npy(np.ones(2), shape=(2**37,))),
    "negative shape": lambda: spectrum(values=npy(np.ones(2), shape=(-2,))),
    "two negative sizes": lambda: spectrum(values=npy(np.ones(4), shape=(-2, -2))),
    "huge sizes": lambda: spectrum(values=npy(np.ones(2), shape=(2**62, 2**62, 4))),
    "objects": lambda: spectrum(values=npy(np.ones(2), descr="|O")),
    "no size": lambda: spectrum(values=npy(np.array([]), shape=(10**9,), descr="|V0")),
    "deep header": lambda: spectrum(values=b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000),
    "deep record": lambda: spectrum(meta="[" * 5000),
    "an object record": lambda: spectrum(meta="[]"),
    "twice": lambda: twice(),
    "absolute": lambda: spectrum(("/etc/passwd.npy", npy(np.ones(2)))),
    "above": lambda: spectrum(("../values.npy", npy(np.ones(2)))),
    "escape": lambda: spectrum(("\x1b[2J\n.npy", npy(np.ones(2)))),
    "long name": lambda: spectrum(("x" * 60_000 + ".npy", b"")),
    "many members": lambda: archive([(f"{i}.npy", b"") for i in range(3000)]),
    "half a letter": lambda: spectrum(meta=META | {"method": "\ud800"}),
    "huge count": lambda: spectrum(meta=META | {"n_samples": 10**400}),
    "count of many digits": lambda: spectrum(meta=json.dumps(META)[:-1] + ', "tail": 1' + "0" * 5000 + "}"),
    "no word": lambda: spectrum(meta=META | {"basis": [1]}),
    "no shape": lambda: spectrum(meta=META | {"input_shape": [-1]}),
    "unknown field": lambda: spectrum(meta=META | {"x" * 10_000: 1}),
    "infinite": lambda: spectrum(meta='{"format": Infinity}'),
    "text": lambda: b"not an archive",
    "nothing": lambda: b"",
    "truncated": lambda: spectrum()[:-30],
    "of zip64": lambda: b"PK\6\7" + bytes(16) + b"PK\5\6" + bytes(18),
    "endless directory": lambda: b"PK\5\6" + bytes(8) + struct.pack("<IIH", 2**31, 0, 0),
}


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return spectrum(("values.npy", npy(np.ones(2))))


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(tmp_path, name):
    path = tmp_path / "spectrum.npz"
    path.write_bytes(ARCHIVES[name]())
    assert "holds no spectrum written by Spectrum.save" in refusal(Spectrum.load, path)


def test_an_archive_that_numpy_wrote_is_read(tmp_path):
    path = tmp_path / "spectrum.npz"
    path.write_bytes(spectrum())
    assert refusal(Spectrum.load, path) is None
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.savez(path, meta=np.array(json.dumps(META)), values=np.array([2.0, 1.0]), factor=columns)
    assert torch.equal(Spectrum.load(path).factor, torch.arange(6.0).reshape(2, 3).double())


def test_what_would_not_be_read_back_is_not_written(tmp_path):
    wide = Spectrum(torch.ones(1), factor=torch.zeros(1, 1).expand(2**15, 2**14))
    with pytest.raises(ValueError, match="leave out the factor"):
        wide.save(tmp_path / "wide.npz")
    assert list(tmp_path.iterdir()) == []


# ---- files of all kinds to all readers -------------------------------------------------------------------


def resume(path: Path) -> None:
    problem = matrix_completion((4, 4), rank=1, n_observed=12, seed=0)
    train(DeepLinear((4, 4), seed=0, dtype=torch.float64), problem, max_steps=2, checkpoint=path)


READERS = {
    "Spectrum.load .npz": (Spectrum.load, "s.npz"),
    "Spectrum.load .json": (Spectrum.load, "s.json"),
    "SpectrumTracker.load": (lambda path: SpectrumTracker(nn.Linear(2, 2)).load(path), "t.jsonl"),
    "checkpoint": (load_checkpoint, "run.safetensors"),
    "resumed run": (resume, "run.safetensors"),
    "idx": (read_idx, "images"),
    "idx.gz": (read_idx, "images.gz"),
    "archive": (lambda path: read_member(path, "a", limit=MIB), "a.zip"),
}


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)


def text(content: bytes):
    return lambda path: path.write_bytes(content)


LYING = b'{"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8]}}'
FILES = {
    "nothing": text(b""),
    "zeros": text(bytes(1000)),
    "an endless line": text(b"[1," * (20 * MIB // 3)),
    "sparse": sparse,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "deep": text(b"[" * 100_000),
    "a deep record": text(b'{"format": "overt.SpectrumTracker/1", "a": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "a huge number": text(b'{"format": 1' + b"0" * 5000 + b"}"),
    "half a letter": text(b'{"format": "\\ud800"}'),
    "no UTF-8": text(b"\xed\xa0\x80\xff"),
    "a long header": text(struct.pack("<Q", 2**40) + b"{}"),
    "a lying header": text(struct.pack("<Q", len(LYING)) + LYING),
    "a lying image": text(b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**20, 2**20)),
    "an image of many sizes": text(b"\0\0\x08\xff" + struct.pack(">I", 1) * 255),
    "gzip": text(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2**29), mtime=0)),
    "lzma": text(lzma.compress(bytes(2**27))),
    "bzip2": text(bz2.compress(bytes(2**27))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_any_file_is_refused_by_any_reader(tmp_path, reader, kind):
    read, name = READERS[reader]
    path = tmp_path / name
    FILES[kind](path)
    assert refusal(read, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_only_deflate_is_unpacked(tmp_path, method):
    path = tmp_path / "a.zip"
    path.write_bytes(archive([("a", bytes(1000))], method))
    assert "another method than deflate" in refusal(lambda path: read_member(path, "a", limit=MIB), path)


def test_a_member_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(archive([("a", b"1"), ("a", b"2")]))
    assert "comes twice" in refusal(lambda path: read_member(path, "a", limit=MIB), path)


def test_a_bomb_among_the_data_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERT_DATA", str(tmp_path))
    monkeypatch.setattr("overt.problems.fetch._MOST", 4 * MIB)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(8 * MIB)))
    file = DataFile("a.gz", "http://localhost/a.gz", "0" * 64, unpacked=True)
    assert "holds more than" in refusal(lambda _: fetch(file), tmp_path)


def test_a_row_without_spectra_leaves_the_tracker_as_it_was(tmp_path):
    path = tmp_path / "t.jsonl"
    tracker = SpectrumTracker(nn.Linear(2, 2), what="weights")
    tracker.step(0)
    tracker.save(path)
    rows = list(tracker.rows)
    head, row = path.read_text().splitlines()
    for lines in ([head, '{"kind": "row"}'], [head.replace('"count": 1', '"count": 1e999'), row]):
        path.write_text("\n".join(lines))
        assert "no file of a SpectrumTracker" in refusal(tracker.load, path)
        assert tracker.rows == rows
