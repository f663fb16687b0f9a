"""Every reader of files: what it is fed, and how it may refuse."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from overt import DeepLinear, Spectrum, SpectrumTracker, train
from overt.cli.opening import open_source
from overt.cli.sources import Wanted
from overt.cli.triplets import read_triplets
from overt.problems import matrix_completion
from overt.problems.images import read_idx
from overt.problems.movielens import parse_ratings, read_member
from overt.studies import OvertError, run_study
from overt.studies.claims.verdicts import last_verdicts
from overt.studies.report import build
from overt.studies.runner import judge, write_report
from overt.studies.runs import overrides
from overt.studies.runs.identity import config_hash, run_name
from overt.studies.runs.store import Store

sys.path.append(str(Path(__file__).resolve().parent.parent / "studies"))  # for tiny_study
LONGEST = 3000  # letters of a refusal


@dataclass
class Reader:
    """A reader of untrusted bytes."""

    name: str
    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    allowed: tuple[type[Exception], ...] = (ValueError, OSError)

    def feed(self, data: bytes) -> bool:
        """Whether it reads the bytes; it refuses them in one line, or this raises an AssertionError."""
        try:
            self.read(data)
        except self.allowed as refusal:
            line = str(refusal)
            if OvertError in self.allowed:
                line = " ".join(line.split())  # as the command line does
            if "\n" in line or not line or len(line) > LONGEST:
                raise AssertionError(
                    f"{self.name}: a refusal of {len(line)} letters: {line[:300]!r}"
                ) from refusal
            return False
        return True


def _file(folder: Path, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    path = folder / name

    def read_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return read_bytes


def _written(folder: Path, name: str, write: Callable[[Path], object]) -> bytes:
    write(folder / name)
    return (folder / name).read_bytes()


# ---- run folders -----------------------------------------------------------------------------------------

_PARTS = ("records.jsonl", "meta.json", "arrays.npz", "config.json", "DONE", "plan", "overt.json", "progress")


class _RunFolder:
    """A folder with one stored run, of which a part is replaced as whoever sends it could."""

    def __init__(self, folder: Path) -> None:
        from tiny_study import study

        self.study, self.whole, self.folder = study, folder / "whole", folder / "received"
        build._environment = functools.cache(build._environment)  # the template is the same each time
        run_study(study, out=self.whole, jobs=1)
        runs = sorted((self.whole / "runs").iterdir())
        for extra in runs[1:]:
            shutil.rmtree(extra)
        self.run = runs[0].name
        self.written = False

    def seeds(self) -> list[bytes]:
        return [bytes([i]) + self._path(self.whole, i).read_bytes() for i in range(len(_PARTS) - 1)] + [
            b"\7half"
        ]

    def _path(self, root: Path, part: int) -> Path:
        special = {"plan": root / "plans" / "tiny.json", "overt.json": root / "overt.json"}
        special["progress"] = root / "scratch" / f"{self.run}.progress"
        return special.get(_PARTS[part], root / "runs" / self.run / _PARTS[part])

    def read(self, data: bytes) -> None:
        if not data:
            return
        part = data[0] % len(_PARTS)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)
        path = self._path(self.folder, part)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data[1:])
        run = path.parent
        if part < 4:
            self._forge(run)
        if _PARTS[part] == "config.json":
            run = self._rename(run, data[1:])
        self._look(run.name if part < 5 else self.run)

    @staticmethod
    def _forge(run: Path) -> None:
        """Write checksums that fit."""
        done = json.loads((run / "DONE").read_text())
        done["files"] = {
            name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in done["files"]
        }
        (run / "DONE").write_text(json.dumps(done))

    def _rename(self, run: Path, data: bytes) -> Path:
        """Give the run the name that fits its configuration."""
        try:
            value = json.loads(data)
            name = run_name("tiny", config_hash("tiny", value["version"], value["config"]))
            return run.rename(run.with_name(name))
        except Exception:
            return run

    def _look(self, run: str) -> None:
        """All that a command does with a folder: one damaged file costs one run, never the page."""
        self._told(self._page)
        last_verdicts([self.folder], "tiny")
        self._told(lambda: Store(self.folder).plans("tiny"))
        self._told(lambda: dict(Store(self.folder).load("tiny", run.partition("-")[2]).arrays))

    def _page(self) -> None:
        store = Store.open(self.folder)
        write_report(store, judge([store], [self.study]), None)

    @staticmethod
    def _told(look: Callable[[], object]) -> None:
        try:
            look()
        except OvertError as error:
            if "\n" in str(error):
                raise AssertionError(f"several lines: {error}") from error


# ---- all -------------------------------------------------------------------------------------------------


def _spectra(folder: Path) -> list[Reader]:
    plain = Spectrum(torch.tensor([2.0, 1.0], dtype=torch.float64), stderr=torch.ones(2, dtype=torch.float64))
    whole = Spectrum(torch.tensor([3.0, 2.0]), basis=torch.eye(2), factor=torch.ones(1, 2), input_shape=(2,))
    seeds = {
        kind: [_written(folder, f"{i}.{kind}", one.save) for i, one in enumerate((plain, whole))]
        for kind in ("npz", "json")
    }
    tracker = SpectrumTracker(nn.Linear(2, 2), what="weights")
    tracker.step(0)
    return [
        Reader("Spectrum .npz", _file(folder, "s.npz", lambda path: repr(Spectrum.load(path))), seeds["npz"]),
        Reader(
            "Spectrum .json", _file(folder, "s.json", lambda path: repr(Spectrum.load(path))), seeds["json"]
        ),
        Reader(
            "SpectrumTracker",
            _file(folder, "t.jsonl", lambda path: SpectrumTracker(nn.Linear(2, 2)).load(path).to_records()),
            [_written(folder, "t", tracker.save)],
        ),
    ]


def _checkpoint(folder: Path) -> Reader:
    problem = matrix_completion((3, 3), rank=1, n_observed=7, seed=0)

    def run(path: Path) -> object:
        model = DeepLinear((3, 3, 3), scale=0.1, seed=0, dtype=torch.float64)
        return train(model, problem, optimizer="adam", lr=1e-2, max_steps=2, checkpoint=path)

    return Reader("checkpoint", _file(folder, "c.safetensors", run), [_written(folder, "c", run)])


def _tables(folder: Path) -> list[Reader]:
    import pyarrow as pa
    from pyarrow import parquet

    def table(path: Path) -> object:
        return read_triplets(open_source(path, Wanted()), "mean", lambda _: None)

    text = 'row,col,value\n1,x,2\n2,"a,\n""b",-.5e3\n\n1,y,1e300\n'
    texts = [text, text.replace(",", "\t"), "1::2::3::4\n2::3::4::5\n", "1;2;3\r\n2;3;4\r\n", "\ufeff1,2,3\n"]
    ids = pa.array(["a", "b", "a"])
    made = [
        pa.table({"row": [1, 2, 1], "col": [3, 4, 4], "value": [1.0, 2.0, 3.0]}),
        pa.table({"row": ids, "col": ids.dictionary_encode(), "value": pa.array([1, 2, 3], pa.int8())}),
    ]
    packed = []
    for number, one in enumerate(made):
        for compression in ("none", "zstd"):
            path = folder / f"{number}{compression}"
            parquet.write_table(one, path, compression=compression)
            packed.append(path.read_bytes())
    return [
        Reader(
            "complete text", _file(folder, "t.csv", table), [one.encode() for one in texts], (OvertError,)
        ),
        Reader("complete Parquet", _file(folder, "t.parquet", table), packed, (OvertError,)),
    ]


def _settings(folder: Path) -> Reader:
    from tiny_study import study

    configs = study.plan("quick", 0)

    def settings(data: bytes) -> object:
        text = data[1:].decode("utf-8", "surrogateescape")
        if data[:1] == b"t":
            (folder / "c.toml").write_bytes(data[1:])
            return overrides.apply(configs, overrides.read_toml(folder / "c.toml"), "tiny")
        return overrides.apply(configs, overrides.parse(text.split("\0")), "tiny")

    seeds = [
        b"sseed=3\0size=4",
        b"ssleep=1e-3",
        b"strouble=[[1,{}]]",
        b'tsize = 3\ntrouble = "a"\n[a]\nb = 1e9\n',
    ]
    return Reader("--set and --config", settings, seeds, (OvertError,))


def _archives(folder: Path) -> list[Reader]:
    def zipped(method: int) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as opened:
            opened.writestr("ml-100k/u1.base", b"1\t2\t3\t4\n5\t6\t1\t8\n")
        return stream.getvalue()

    def member(path: Path) -> object:
        text = read_member(path, "ml-100k/u1.base", limit=1 << 20)
        return parse_ratings(text, where="here", shape=(943, 1682))

    image = struct.pack(">4B3I", 0, 0, 8, 3, 2, 2, 2) + bytes(8)
    archives = [zipped(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]
    return [
        Reader("MovieLens archive", _file(folder, "m.zip", member), archives, (ValueError,)),
        Reader("idx images", _file(folder, "i", read_idx), [image], (ValueError,)),
        Reader(
            "idx.gz images", _file(folder, "i.gz", read_idx), [gzip.compress(image, mtime=0)], (ValueError,)
        ),
    ]


def _make(folder: Path) -> dict[str, Callable[[], Any]]:
    def run_folder() -> Reader:
        made = _RunFolder(folder)
        return Reader("run folder", made.read, made.seeds(), ())

    return {
        "run folder": run_folder,
        **{f"spectra {i}": (lambda i=i: _spectra(folder)[i]) for i in range(3)},
        "checkpoint": lambda: _checkpoint(folder),
        **{f"tables {i}": (lambda i=i: _tables(folder)[i]) for i in range(2)},
        "settings": lambda: _settings(folder),
        **{f"archives {i}": (lambda i=i: _archives(folder)[i]) for i in range(3)},
    }


NAMES = tuple(_make(Path()))
WEIGHTS = {"run folder": 4.0, "spectra 0": 1.5, "tables 1": 1.5, "archives 1": 0.5, "archives 2": 0.5}


def reader(key: str) -> Reader:
    """A reader, with a folder of its own in memory where there is one."""
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="overt-fuzz-", dir=root))
    return _make(folder)[key]()
