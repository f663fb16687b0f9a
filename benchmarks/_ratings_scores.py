"""Errors of ratings with intervals over users, and coverage of intervals by user, item and popularity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from _ratings_data import Split

LEAST = 10  # test ratings of a user or an item whose coverage is looked at
RESAMPLES = 2000
Floats = NDArray[np.floating[Any]]


def _resampled(split: Split, squares: Floats) -> Floats:
    """RMSE in bootstrap samples of users; the same samples for all methods."""
    users = np.unique(split.test_rows, return_inverse=True)[1]
    total, count = np.bincount(users, squares), np.bincount(users)
    rng = np.random.default_rng(0)
    found = np.empty(RESAMPLES)
    for one in range(RESAMPLES):
        drawn = rng.integers(0, len(total), len(total))
        found[one] = np.sqrt(total[drawn].sum() / count[drawn].sum())
    return found


def error_row(split: Split, squares: Floats, reference: Floats | None) -> dict[str, Any]:
    """RMSE and its 95 % interval over users; the difference to a reference's, paired, with its own.

    `squares` are squared errors of the test ratings, the mean over seeds.
    """
    ours = _resampled(split, squares)
    row: dict[str, Any] = {"RMSE": float(np.sqrt(squares.mean()))}
    row["low"], row["high"] = (float(one) for one in np.quantile(ours, [0.025, 0.975]))
    if reference is not None:
        gain = ours - _resampled(split, reference)
        row["to reference"] = row["RMSE"] - float(np.sqrt(reference.mean()))
        row["to reference low"], row["to reference high"] = (
            float(one) for one in np.quantile(gain, [0.025, 0.975])
        )
    return row


def coverage(split: Split, low: Floats, high: Floats, level: float) -> dict[str, Any]:
    """Share of test ratings within their interval: in all, by user, by item and by popularity.

    A group's own share varies by chance even where the interval is right for each rating; ``spread`` is the
    root mean square of (share − level) over the groups with at least ten test ratings, less what chance alone
    gives: 0 is right for every group. Popularity deciles hold a tenth of the test ratings each, from the
    least to the most rated item.
    """
    inside = (low <= split.test_y) & (split.test_y <= high)
    row: dict[str, Any] = {"coverage": float(inside.mean()), "width": float((high - low).mean())}
    for name, group in (("user", split.test_rows), ("item", split.test_cols)):
        count = np.bincount(group)
        many = count >= LEAST
        if not many.any():
            continue
        share = np.bincount(group, inside)[many] / count[many]
        excess = np.mean((share - level) ** 2 - level * (1 - level) / count[many])
        row[f"{name}s"] = int(many.sum())
        row[f"spread by {name}"] = float(np.sqrt(max(0.0, excess)))
        row[f"{name}s below 0.8"] = float(np.mean(share < 0.8))
    popularity = np.bincount(split.cols, minlength=split.shape[1])[split.test_cols]
    order = np.argsort(popularity, kind="stable")
    row["by popularity"] = [round(float(inside[part].mean()), 4) for part in np.array_split(order, 10)]
    return row


def conformal(
    split: Split, proper: Split, held: Floats, values: Floats, level: float
) -> tuple[Floats, Floats]:
    """Split-conformal bounds: the quantile of |error| on ratings held out of the training (Lei et al. 2018).

    `proper` is the training split in two; `held` and `values` are predictions, of the model fitted to its
    first part, for its second part and for the test ratings.
    """
    score = np.sort(np.abs(held - proper.test_y))
    place = min(int(np.ceil((len(score) + 1) * level)), len(score)) - 1
    least, most = split.y.min(), split.y.max()
    return np.clip(values - score[place], least, most), np.clip(values + score[place], least, most)
