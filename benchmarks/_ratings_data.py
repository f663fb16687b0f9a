"""Ratings split into training and test: MovieLens as published and 90/10, inner splits, power-law ratings."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

INNER_SEED = 1000  # of the inner split on which the settings of every method are chosen
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Training and test ratings; users and items count from 0."""

    name: str
    shape: tuple[int, int]
    rows: Ints
    cols: Ints
    y: Floats
    test_rows: Ints
    test_cols: Ints
    test_y: Floats

    def save(self, path: Path) -> None:
        """Write to an npz file, as plain arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{**vars(self), "shape": np.array(self.shape), "name": np.array(self.name)})

    @classmethod
    def load(cls, path: Path | str) -> Split:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            parts = {name: stored[name] for name in stored.files}
        height, width = (int(size) for size in parts.pop("shape"))
        return cls(name=str(parts.pop("name")), shape=(height, width), **parts)


def taken(
    name: str, shape: tuple[int, int], triplets: NDArray[np.generic], train: NDArray, test: NDArray
) -> Split:
    """The split of k×3 triplets by two lists of positions."""
    rows, cols = (triplets[:, side].astype(np.int32) for side in (0, 1))
    y = triplets[:, 2].astype(np.float32)
    return Split(name, shape, rows[train], cols[train], y[train], rows[test], cols[test], y[test])


def tenth(k: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of training and test: the first tenth of a seeded permutation is the test set."""
    order = np.random.default_rng(seed).permutation(k)
    return order[k // 10 :], order[: k // 10]


def inner(split: Split, seed: int = INNER_SEED) -> Split:
    """A 90/10 split of the training ratings; the test ratings are not in it."""
    triplets = np.stack([split.rows, split.cols, split.y], 1)
    return taken(f"{split.name}-inner", split.shape, triplets, *tenth(len(triplets), seed))


def _member(archive: str, member: str) -> NDArray[np.int64]:
    folder = os.environ.get("OVERT_DATA")
    path = Path(folder or ".") / archive
    if not folder or not path.is_file():
        raise FileNotFoundError(f"{archive} is needed in the folder named by OVERT_DATA (grouplens.org)")
    with zipfile.ZipFile(path) as opened:
        text = opened.read(member).decode("latin-1").replace("::", "\t")
    return np.loadtxt(io.StringIO(text), dtype=np.int64, usecols=(0, 1, 2))


def _ordered(name: str, train: NDArray[np.int64], test: NDArray[np.int64]) -> Split:
    """Users and items renamed to 0, 1, … in the order of their published numbers."""
    both = np.concatenate([train, test])
    for side in (0, 1):
        both[:, side] = np.unique(both[:, side], return_inverse=True)[1]
    shape = (int(both[:, 0].max()) + 1, int(both[:, 1].max()) + 1)
    k = len(train)
    return taken(name, shape, both, np.arange(k), np.arange(k, len(both)))


def movielens(name: str) -> Split:
    """``ml-100k-u1`` (published), ``ml-100k`` or ``ml-1m`` (90/10 by seed 0)."""
    if name == "ml-100k-u1":
        train, test = (_member("ml-100k.zip", f"ml-100k/u1.{part}") for part in ("base", "test"))
        return _ordered(name, train, test)
    archive, member = {
        "ml-100k": ("ml-100k.zip", "ml-100k/u.data"),
        "ml-1m": ("ml-1m.zip", "ml-1m/ratings.dat"),
    }[name]
    triplets = _member(archive, member)
    train, test = tenth(len(triplets), 0)
    return _ordered(name, triplets[train], triplets[test])


def power_law(k: int, seed: int = 0, *, rank: int = 10, tested: int = 100_000) -> Split:
    """`k` training ratings with long tails on both sides, and `tested` more to test on (a tenth at most).

    k/140 users and 5√k items, as in MovieLens of 0.1 to 20 million ratings. A user is drawn with a weight of
    (place + 10)^−½, an item with 1/(place + items/50). A rating is 3.5, plus biases (standard deviation 0.4
    each), a rank-10 part (0.45) and noise (0.85), rounded and held to 1 … 5.
    """
    rng = np.random.default_rng(seed)
    m, n = round(k / 140), round(5 * k**0.5)
    tested = min(tested, k // 10)
    keys = _drawn(rng, m, n, k + tested)
    rows, cols = (keys // n).astype(np.int32), (keys % n).astype(np.int32)
    del keys
    scale = (0.45 / rank**0.5) ** 0.5
    U, V = (scale * rng.standard_normal((size, rank), dtype=np.float32) for size in (m, n))
    a, b = (0.4 * rng.standard_normal(size, dtype=np.float32) for size in (m, n))
    y = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 1_000_000):
        part = slice(start, start + 1_000_000)
        i, j = rows[part], cols[part]
        mean = 3.5 + a[i] + b[j] + np.einsum("ik,ik->i", U[i], V[j])
        y[part] = np.clip(np.round(mean + 0.85 * rng.standard_normal(len(i), dtype=np.float32)), 1, 5)
    return Split(f"power-law-{k}", (m, n), rows[:k], cols[:k], y[:k], rows[k:], cols[k:], y[k:])


def _drawn(rng: np.random.Generator, m: int, n: int, count: int) -> NDArray[np.int64]:
    """Distinct positions row·n + column in random order, drawn by the weights of rows and columns."""
    heavy = np.cumsum((np.arange(m) + 10.0) ** -0.5)
    popular = np.cumsum(1 / (np.arange(n) + n / 50))
    keys = np.empty(0, np.int64)
    while len(keys) < count:
        more = round(1.2 * (count - len(keys))) + 1000
        rows = np.searchsorted(heavy, rng.random(more) * heavy[-1])
        cols = np.searchsorted(popular, rng.random(more) * popular[-1])
        keys = np.unique(np.concatenate([keys, rows * n + cols]))
    rng.shuffle(keys)
    return keys[:count]
