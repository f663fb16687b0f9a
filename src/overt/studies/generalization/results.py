"""What the runs say, seed by seed: numbers of one method, and gains of one method over another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overt.studies.base import Estimate, Run
from overt.studies.claims.evidence import number, select
from overt.studies.claims.statistics import bootstrap, paired_difference
from overt.studies.generalization.methods import key

__all__ = ["LOWER_IS_BETTER", "NETWORKS", "Cell", "cells", "gain", "keys", "mean", "numbers", "trials"]

NETWORKS = {"mlp": "fully connected", "cnn": "convolutional"}
LOWER_IS_BETTER = ("cross_entropy", "scaled_cross_entropy", "calibration_error", "regret")


@dataclass(frozen=True)
class Cell:
    """Which runs are compared with each other."""

    network: str
    group: str = "main"
    n_train: int | None = None

    def runs(self, runs: Sequence[Run]) -> list[Run]:
        """The runs of the cell that were made."""
        wanted: dict[str, Any] = {"group": self.group, "network": self.network}
        if self.n_train is not None:
            wanted["n_train"] = self.n_train
        return [run for run in select(runs, **wanted) if run.records]


def cells(runs: Sequence[Run]) -> list[Cell]:
    """All cells of the main part and the sizes, by network and number of images."""
    found = {
        (run.config["network"], run.config["group"], run.config["n_train"])
        for run in select(runs)
        if run.records and run.config["group"] in ("main", "sizes")
    }
    return [Cell(*one) for one in sorted(found, key=lambda one: (one[0], one[2], one[1]))]


def keys(runs: Sequence[Run]) -> list[str]:
    """The methods that were run, in the order of the plan where they are of it."""
    from overt.studies.generalization.plan import methods

    found = {key(run.config) for run in runs}
    known = [key({"factors": 2, "p": 2.0, "basis": "eigen", "normalized": False, **one}) for one in methods()]
    return [name for name in known if name in found] + sorted(found - set(known))


def numbers(runs: Sequence[Run], cell: Cell, method: str, field: str) -> dict[int, float]:
    """One number for each seed."""
    chosen = [run for run in cell.runs(runs) if key(run.config) == method]
    worst = 1e3 if field in LOWER_IS_BETTER else 0.0
    return {int(run.config["seed"]): number(run.records[0].get(field), worst) for run in chosen}


def trials(runs: Sequence[Run], cell: Cell, method: str) -> dict[int, dict[float, float]]:
    """For each seed the validation cross-entropy of each setting."""
    chosen = [run for run in cell.runs(runs) if key(run.config) == method]
    return {
        int(run.config["seed"]): {
            float(row["setting"]): float(row["cross_entropy"]) for row in run.records[0]["trials"]
        }
        for run in chosen
    }


def gain(
    runs: Sequence[Run],
    cell: Cell,
    ours: str,
    theirs: str,
    field: str,
    *,
    fewest: int = 2,
    confidence: float = 0.95,
    name: Callable[[str], str] = str,
) -> Estimate | None:
    """By how much one method is better than another, paired by seed; None with too few seeds in common."""
    first, second = (numbers(runs, cell, method, field) for method in (ours, theirs))
    seeds = sorted(set(first) & set(second))
    if len(seeds) < fewest:
        return None
    a, b = [first[s] for s in seeds], [second[s] for s in seeds]
    if field in LOWER_IS_BETTER:
        a, b = b, a
    label = f"gain in {field.replace('_', ' ')}, {NETWORKS[cell.network]}: {name(ours)} over {name(theirs)}"
    return paired_difference(a, b, np.mean, confidence=confidence, label=label)


def mean(values: Sequence[float], label: str = "", confidence: float = 0.95) -> Estimate:
    """The mean over seeds with its interval."""
    return bootstrap(values, np.mean, confidence=confidence, label=label)
