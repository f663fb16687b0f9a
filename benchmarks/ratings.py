"""Ratings: Overt beside cmfrec, myFM, LensKit, Surprise and the biases, on the same splits.

    python benchmarks/ratings.py [--quick] [--data D …] [--methods M …] [--seeds N]
    [--records FOLDER] [--out F.json]
    python benchmarks/ratings.py --power-law [--sizes K …] [--methods M …] [--records FOLDER]
    [--picture F.svg] [--out F.json]

Splits: MovieLens 100K as published (``ml-100k-u1``); 100K and 1M with 90 % for training, the first tenth of
``numpy.random.default_rng(0).permutation(n)`` being the test set. The archives are read from the folder named
by OVERT_DATA. Predictions of every method are held to the range of the training ratings.

Settings. Each method's grid is in `_ratings_methods.py`. Every setting is fitted with seed 0 to an inner
split of the training ratings (90/10, seed 1000), and the one with the smallest RMSE on its held-out tenth is
fitted to all training ratings. The test ratings take no part. Where a grid would take hours on 1M, the
setting chosen on 100K 90/10 is used (``tuned_to``). Overt has no grid: its default, and who-rated-what with
its best quality.

Cost. Each fit runs in a fresh process on one thread (`_apart.py`). The method fits 20 000 synthetic ratings
first; the processor seconds of this, compilation among them, are ``first``. ``cpu`` is the fit, ``cpu
predict`` the prediction of all test ratings, ``MiB`` the peak memory of both above that after the imports,
data included.

Intervals of RMSE are 95 % bootstrap intervals over users, of the mean over seeds; ``to reference`` is the
difference to cmfrec in the same samples. ``spread`` is the range over seeds. 90 % intervals are judged as
`_ratings_scores.coverage` says, beside the split-conformal interval around the same method.

``--power-law`` fits defaults to synthetic ratings with long tails, 0.1 to 20 million, and reports the slope
of processor seconds and memory over the number of entries on logarithmic axes from one million on: 1 is
linear.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _apart import Meter, RunFailedError, apart, installed, memory, one_thread
from _ratings_data import INNER_SEED, Split, inner, movielens, power_law
from _ratings_methods import LEVEL, METHODS, REFERENCE, Method
from _ratings_scores import conformal, coverage, error_row
from _report import parser, print_table, write_json

DATA = ("ml-100k-u1", "ml-100k", "ml-1m")
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 20_000_000)
CONFORMAL_SEED = 2000
WARM = 20_000


# ---- one fit, in its own process -------------------------------------------------------------------------


def one(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method with one setting and seed; write its predictions where asked."""
    method = METHODS[task["method"]]
    importlib.import_module(method.module)
    base = memory()[0]
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about items without a rating
        small = power_law(WARM)
        with Meter(base) as first:
            method.fit(small, task["seed"], **task["settings"]).predict(small.test_rows, small.test_cols)
        split = Split.load(task["data"])
        with Meter(base) as fit:
            fitted = method.fit(split, task["seed"], **task["settings"])
        with Meter(base) as predict:
            values = _held(split, fitted.predict(split.test_rows, split.test_cols))
        answer = {"predicted": values.astype(np.float32)}
        if task["intervals"]:
            if fitted.interval is not None:
                bounds = fitted.interval(split.test_rows, split.test_cols)
                answer["low"], answer["high"] = (_held(split, bound) for bound in bounds)
            proper = inner(split, CONFORMAL_SEED)
            again = method.fit(proper, task["seed"], **task["settings"])
            held, values_ = (_held(split, again.predict(s.test_rows, s.test_cols)) for s in (proper, split))
            answer["conformal low"], answer["conformal high"] = conformal(split, proper, held, values_, LEVEL)
    if task["answer"]:
        np.savez(task["answer"], **answer)
    return {
        "rmse": float(np.sqrt(np.mean((values - split.test_y) ** 2))),
        "first": first.cpu,
        "cpu": fit.cpu,
        "cpu predict": predict.cpu,
        "seconds": fit.seconds,
        "MiB": max(fit.mebibytes, predict.mebibytes),
    }


def tried(task: dict[str, Any]) -> dict[str, Any]:
    """The RMSE of every setting of a method's grid on an inner split."""
    method, split = METHODS[task["method"]], Split.load(task["data"])
    found = []
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for settings in method.grid:
            values = method.fit(split, 0, **settings).predict(split.test_rows, split.test_cols)
            error = float(np.sqrt(np.mean((_held(split, values) - split.test_y) ** 2)))
            found.append({"settings": dict(settings), "inner RMSE": error})
    return {"tried": found}


def _held(split: Split, values: Any) -> Any:
    return np.clip(values, split.y.min(), split.y.max())


# ---- records ---------------------------------------------------------------------------------------------


class Records:
    """What has been run, in a folder: splits, one JSON a fit, and the predictions beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def split(self, name: str) -> tuple[Path, Split]:
        """A split, kept as a file that the processes read; a name ending in ``-inner`` is an inner split."""
        path = self.folder / "data" / f"{name}.npz"
        if not path.is_file():
            if name.endswith("-inner"):
                found = inner(self.split(name.removesuffix("-inner"))[1])
            elif name.startswith("power-law-"):
                found = power_law(int(name.rsplit("-", 1)[1]))
            else:
                found = movielens(name)
            found.save(path)
        return path, Split.load(path)

    def fit(
        self, data: str, name: str, settings: Mapping[str, Any], seed: int, *, intervals: bool = False
    ) -> dict[str, Any]:
        """The record of a fit."""
        said = json.dumps([dict(settings), intervals], sort_keys=True)
        stem = f"{data}-{name}-{seed}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
        answer = self._place(stem).with_suffix(".npz")
        task = {"data": data, "method": name, "settings": dict(settings)}
        task |= {"seed": seed, "answer": str(answer), "intervals": intervals}
        return {**self._done(stem, task), "answer": answer}

    def chosen(self, data: str, name: str, method: Method) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The setting with the smallest inner RMSE, and the inner RMSE of each."""
        if len(method.grid) == 1:
            return dict(method.grid[0]), []
        on = "ml-100k" if len(self.split(data)[1].y) > method.tuned_to else data
        grid = hashlib.sha256(json.dumps(method.grid).encode()).hexdigest()[:8]
        task = {"data": f"{on}-inner", "method": name, "grid": True}
        trials = self._done(f"{on}-inner-{name}-{grid}", task)["tried"]
        return min(trials, key=lambda trial: trial["inner RMSE"])["settings"], [{"on": on}, *trials]

    def _place(self, stem: str) -> Path:
        return self.folder / (stem.replace(" ", "-").replace(",", "") + ".json")

    def _done(self, stem: str, task: dict[str, Any]) -> dict[str, Any]:
        """The record of a task, from the folder or by a new process."""
        path = self._place(stem)
        if not path.is_file():
            found = apart(__file__, {**task, "data": str(self.split(task["data"])[0])})
            path.write_text(json.dumps({**task, **found}, indent=1) + "\n")
        record: dict[str, Any] = json.loads(path.read_text())
        return record


# ---- MovieLens -------------------------------------------------------------------------------------------


def judged(
    records: Records, data: str, names: Sequence[str], seeds: int, *, tune: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One row for each method on a data set, and what was tried."""
    split = records.split(data)[1]
    squares: dict[str, Any] = {}
    rows, trials = [], {}
    for name in sorted(names, key=lambda name: name != REFERENCE):  # the reference first
        method = METHODS[name]
        if len(split.y) > method.largest:
            continue
        try:
            settings, trials[name] = (
                records.chosen(data, name, method) if tune else (dict(method.grid[0]), [])
            )
            asked = tune and len(split.y) <= method.tuned_to and name.startswith((REFERENCE, "Overt", "myFM"))
            runs = [
                records.fit(data, name, settings, seed, intervals=asked and seed == 0)
                for seed in range(seeds)
            ]
        except RunFailedError as error:
            print(f"{data}, {name}: {error}")
            continue
        with np.load(runs[0]["answer"]) as stored:
            first = dict(stored)
        squares[name] = np.mean([_squares(split, run["answer"]) for run in runs], axis=0)
        row: dict[str, Any] = {"data": data, "method": name, "settings": settings, "seeds": seeds}
        row |= error_row(split, squares[name], squares.get(REFERENCE))
        row["spread"] = float(np.ptp([run["rmse"] for run in runs]))
        for cost in ("cpu", "cpu predict", "first", "MiB"):
            row[cost] = float(np.median([run[cost] for run in runs]))
        if "low" in first:
            row |= coverage(split, first["low"], first["high"], LEVEL)
        if "conformal low" in first:
            row["conformal"] = coverage(split, first["conformal low"], first["conformal high"], LEVEL)
        rows.append(row)
        print_table([row], SHOWN)
    return rows, trials


def _squares(split: Split, answer: Path) -> Any:
    with np.load(answer) as stored:
        return (stored["predicted"].astype(float) - split.test_y) ** 2


SHOWN = ("data", "method", "RMSE", "low", "high", "spread", "to reference", "to reference low")
SHOWN += ("to reference high", "cpu", "cpu predict", "first", "MiB", "coverage", "width")


# ---- power-law ratings -----------------------------------------------------------------------------------


def scaled(records: Records, sizes: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each size and method, with the package's default settings."""
    rows = []
    for size in sizes:
        for name in names:
            try:
                record = records.fit(f"power-law-{size}", name, METHODS[name].grid[0], 0)
            except RunFailedError as error:
                print(f"{size}, {name}: {error}")
                continue
            costs = {cost: record[cost] for cost in ("cpu", "cpu predict", "seconds", "MiB")}
            rows.append({"entries": size, "method": name, "RMSE": record["rmse"], **costs})
            print_table(rows[-1:])
    return rows


def slopes(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Exponents of the cost in the number of entries, from one million on, or of all if these are too few."""
    found = []
    for name in names:
        ours = [row for row in rows if row["method"] == name]
        large = [row for row in ours if row["entries"] >= 1_000_000]
        used = large if len(large) > 1 else ours
        if len(used) < 2:
            continue
        entries = np.log([row["entries"] for row in used])
        line: dict[str, Any] = {"method": name, "from": used[0]["entries"]}
        for cost in ("cpu", "MiB"):
            line[f"slope of {cost}"] = float(np.polyfit(entries, np.log([row[cost] for row in used]), 1)[0])
        found.append(line)
    return found


def picture(rows: Sequence[dict[str, Any]], names: Sequence[str], path: Path) -> None:
    """Processor seconds and memory over the number of entries, beside lines of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4))
    for axis, cost, label in zip(
        axes, ("cpu", "MiB"), ("processor seconds", "peak memory, MiB"), strict=True
    ):
        for name in names:
            ours = [row for row in rows if row["method"] == name]
            axis.loglog([row["entries"] for row in ours], [row[cost] for row in ours], "o-", label=name)
        if rows:
            last = max(rows, key=lambda row: row["entries"])
            ends = np.array([min(row["entries"] for row in rows), last["entries"]])
            axis.loglog(ends, last[cost] * ends / ends[1], "--", color="grey", label="linear")
        axis.set_xlabel("ratings")
        axis.set_ylabel(label)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run, print, and store what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    options.add_argument("--methods", nargs="+", choices=tuple(METHODS), metavar="M", help=", ".join(METHODS))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--records", type=Path, metavar="FOLDER", help="keep results here, go on from them")
    options.add_argument(
        "--power-law", action="store_true", help="seconds and memory over the number of ratings"
    )
    options.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="K")
    options.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the power-law costs here")
    options.add_argument("--note", default="", help="stored with the results, such as what else was running")
    options.add_argument("--one", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        task = json.loads(arguments.one)
        print(json.dumps(tried(task) if "grid" in task else one(task)))
        return
    names = arguments.methods or (["cmfrec", "Overt"] if arguments.power_law else list(METHODS))
    for name in [name for name in names if not installed(METHODS[name].module)]:
        print(f"{name}: skipped, {METHODS[name].module} is not installed")
        names.remove(name)
    if arguments.quick:
        arguments.data, arguments.seeds, arguments.sizes = ["ml-100k-u1"], 1, [20_000, 50_000]
        names = [name for name in names if name in ("biases", "cmfrec", "Overt")]
    rows: list[dict[str, Any]] = []
    settings: dict[str, Any] = {"inner seed": INNER_SEED, "seeds": arguments.seeds, "note": arguments.note}
    with tempfile.TemporaryDirectory() as scratch:
        records = Records(arguments.records or Path(scratch))
        if arguments.power_law:
            rows = scaled(records, arguments.sizes, names)
            settings["slopes"] = slopes(rows, names)
            print_table(rows)
            print_table(settings["slopes"])
            if arguments.picture:
                picture(rows, names, arguments.picture)
        else:
            for data in arguments.data:
                try:
                    found, trials = judged(records, data, names, arguments.seeds, tune=not arguments.quick)
                except FileNotFoundError as error:
                    sys.exit(f"ratings: {error}")
                rows += found
                settings[data] = trials
            print_table(rows, SHOWN)
    write_json(arguments.out, "ratings-scale" if arguments.power_law else "ratings", rows, settings)


if __name__ == "__main__":
    main()
