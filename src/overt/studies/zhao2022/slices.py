"""Which runs belong together: settings of a matrix, best learning rates, splits of MovieLens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.evidence import by_seed, middle, number, select

__all__ = ["DENSE", "SCARCE", "best", "chosen_by_validation", "method_of", "oversampling", "settings"]

# Observations for each degree of freedom of an n×n matrix of rank r, |Ω| / (r (2n − r)).
DENSE = (1.9, 2.5)
SCARCE = (1.4, 1.7)


def oversampling(config: Any) -> float:
    """|Ω| / (r (2n − r)): 1 where there are as many numbers as degrees of freedom."""
    n, rank = int(config["n"]), int(config["rank"])
    return float(config["n_observed"]) / (rank * (2 * n - rank))


def settings(runs: Iterable[Run], interval: tuple[float, float]) -> dict[str, list[Run]]:
    """The runs by matrix and number of entries, where these are so many for each degree of freedom."""
    low, high = interval
    found: dict[tuple[int, int, int], list[Run]] = {}
    for run in runs:
        if low <= oversampling(run.config) < high:
            key = (int(run.config["n"]), int(run.config["rank"]), int(run.config["n_observed"]))
            found.setdefault(key, []).append(run)
    return {f"rank {rank}, {count} entries": found[n, rank, count] for n, rank, count in sorted(found)}


def best(runs: Sequence[Run], fields: tuple[str, ...]) -> dict[int, float]:
    """Errors by seed at the combination of these settings where their median is smallest."""
    grouped: dict[tuple[Any, ...], list[Run]] = {}
    candidates: dict[tuple[Any, ...], dict[int, float]] = {}
    for run in runs:
        key = tuple(run.config[field] for field in fields)
        grouped.setdefault(key, []).append(run)
    for key, some in grouped.items():
        candidates[key] = by_seed(some, "error")
    # Where medians tie, as for infinite ones, the first in order counts, so that the runs' order does not.
    return min((candidates[key] for key in sorted(candidates)), key=middle, default={})


def method_of(config: Any) -> str:
    """What a run on MovieLens stands for."""
    if config["method"] == "biases":
        return "biases"
    if config["weight"] == 0:
        return "control" if config["depth"] == 2 else "deep"
    return "explicit" if config["depth"] == 2 else "full"


def chosen_by_validation(runs: Sequence[Run], method: str) -> dict[tuple[str, int], Run]:
    """For each split and seed the run of this method whose setting has the lowest validation error."""
    found: dict[tuple[str, int], Run] = {}
    for run in select(runs, group="movielens"):
        if method_of(run.config) != method:
            continue
        key = (str(run.config["split"]), int(run.config["seed"]))
        if key not in found or _validation(run) < _validation(found[key]):
            found[key] = run
    return found


def _validation(run: Run) -> float:
    value = number(run.records[0].get("validation_rmse"))
    return value if math.isfinite(value) else math.inf
