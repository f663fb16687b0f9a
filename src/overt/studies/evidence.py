"""What the rules count: numbers by seed, and estimates that a diverged run makes bad instead of impossible.

A diverged run has an error of infinity, NaN or None. All three are read as the worst possible value, so that
such a run counts against whatever it was a run of; in an estimate the worst is ±1000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from overt.studies.base import Estimate, Outcome, Run, Verdict
from overt.studies.statistics import bootstrap, paired_difference, paired_ratio, proportion

RECOVERED = 1e-5  # an error at or below this counts as recovery
WORST = 1e3  # far above any relative error, dB or rank that a run that worked can have
SMALLEST = 1e-16  # an exact recovery has an error of rounding size; zero would make a ratio infinite


def select(runs: Any, **wanted: Any) -> list[Any]:
    """Return the runs that were made and whose configuration has all these values."""
    return [
        run
        for run in runs
        if not run.skipped and all(run.config.get(name) == value for name, value in wanted.items())
    ]


def number(value: float | None, worst: float = math.inf) -> float:
    """A recorded number; ``worst`` for None and NaN, which are what a diverged run leaves."""
    return worst if value is None or math.isnan(value) else float(value)


def by_seed(runs: Sequence[Run], field: str, worst: float = math.inf, **wanted: Any) -> dict[int, float]:
    """Return one number for each seed from the first record of the selected runs."""
    chosen = select(runs, **wanted)
    return {int(run.config["seed"]): number(run.records[0].get(field), worst) for run in chosen}


def recovered(run: Run) -> bool:
    """Whether the run ended with the matrix, at exactly the true rank."""
    record = run.records[0]
    return number(record["error"]) <= RECOVERED and bool(record["rank"] == run.config["rank"])


def best_share(runs: Sequence[Run]) -> Estimate:
    """The share of seeds recovered at the learning rate where it is largest."""
    shares = []
    for lr in sorted({run.config["lr"] for run in runs}):
        some = [run for run in runs if run.config["lr"] == lr]
        shares.append(proportion(sum(map(recovered, some)), len(some)))
    return max(shares, key=lambda share: share.value)


def medians(runs: Sequence[Run], field: str) -> dict[float, float]:
    """For each value of a field the median error over seeds at the best learning rate."""
    found: dict[float, float] = {}
    for value in {run.config[field] for run in runs}:
        rates = {run.config["lr"] for run in runs if run.config[field] == value}
        found[float(value)] = min(middle(by_seed(runs, "error", lr=lr, **{field: value})) for lr in rates)
    return found


def paired(first: dict[int, float], second: dict[int, float]) -> bool:
    """Whether both have the same seeds, and any."""
    return bool(first) and set(first) == set(second)


def ratio(first: dict[int, float], second: dict[int, float], label: str) -> Estimate:
    """The median ratio, seed by seed."""
    seeds = sorted(first)
    return pairs_ratio([first[s] for s in seeds], [second[s] for s in seeds], label)


def pairs_ratio(first: Sequence[float], second: Sequence[float], label: str) -> Estimate:
    """The median ratio of pairs of positive numbers."""

    def held(values: Sequence[float]) -> list[float]:
        return [min(max(value, SMALLEST), WORST) for value in values]

    return paired_ratio(held(first), held(second), label=label)


def difference(first: dict[int, float], second: dict[int, float], label: str, unit: str = "") -> Estimate:
    """The median difference, seed by seed."""
    seeds = sorted(first)
    a, b = ([_held(values[seed]) for seed in seeds] for values in (first, second))
    return paired_difference(a, b, label=label, unit=unit)


def median(values: Iterable[float], label: str) -> Estimate:
    """The median with its interval."""
    return bootstrap([_held(value) for value in values], label=label)


def _held(value: float) -> float:
    return min(max(value, -WORST), WORST)


def middle(values: dict[int, float]) -> float:
    """The median over seeds, infinite where half of them are; NaN of none."""
    return float(np.median(list(values.values()))) if values else math.nan


def low(estimate: Estimate) -> float:
    """The interval's lower end; −∞ where a single seed leaves it open."""
    return -math.inf if estimate.low is None else estimate.low


def high(estimate: Estimate) -> float:
    """The interval's upper end; ∞ where a single seed leaves it open."""
    return math.inf if estimate.high is None else estimate.high


def say(value: float) -> str:
    """A number in a sentence."""
    return f"{value:.2g}" if math.isfinite(value) else "none (diverged)"


def outcome(holds: bool, fails: bool) -> Outcome:
    """The outcome by what the rule says of either side."""
    return "reproduced" if holds else "not reproduced" if fails else "inconclusive"


def missing(claim: str) -> Verdict:
    """The verdict where the rule lacks runs."""
    return Verdict(claim, "inconclusive", "the runs that the rule needs are not there")
