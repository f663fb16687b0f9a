"""What the rules count: numbers by seed, and estimates that a diverged run makes bad instead of impossible.

A diverged run has an error of infinity, NaN or None. All three are read as the worst possible value, so that
such a run counts against whatever it was a run of; in an estimate, which is finite, the worst is ±1e15.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from overt.studies.base import Estimate, Outcome, Run, Verdict
from overt.studies.claims.statistics import bootstrap, paired_difference, paired_ratio, proportion
from overt.studies.report.figures import format_number

RECOVERED = 1e-5  # an error at or below this counts as recovery
WORST = 1e15  # stands for infinity in an estimate: far above what any run that worked can have
FREE = frozenset({"seed", "exclusive"})  # fields in which repetitions of a run may differ
SMALLEST = 1e-16  # an exact recovery has an error of rounding size; zero would make a ratio infinite


class MixedSettingsError(ValueError):
    """Runs that a rule takes as repetitions of each other differ in more than their seed.

    Parameters
    ----------
    runs : sequence of Run
        The runs; the message names the fields that differ and their values.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        words = []
        for name in sorted({name for run in runs for name in run.config} - FREE):
            values = sorted({_plain(run.config.get(name)) for run in runs})
            if len(values) > 1:
                words.append(f"{name} {', '.join(values[:4])}{', …' * (len(values) > 4)}")
        super().__init__(f"mixed settings: {'; '.join(words)}")


def repetitions(runs: Sequence[Run], *varied: str) -> Sequence[Run]:
    """The runs as they are, if they differ in their seed and in ``varied`` alone; else MixedSettingsError."""
    free = FREE | set(varied)
    settings = {
        tuple(sorted((name, repr(value)) for name, value in run.config.items() if name not in free))
        for run in runs
    }
    if len(settings) > 1:
        raise MixedSettingsError(runs)
    return runs


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
    """Return one number for each seed from the first record of the selected runs.

    Raises
    ------
    MixedSettingsError
        If the selected runs differ in more than their seed.
    """
    chosen = repetitions(select(runs, **wanted))
    return {int(run.config["seed"]): number(run.records[0].get(field), worst) for run in chosen}


def recovered(run: Run) -> bool:
    """Whether the run ended with the matrix, at exactly the true rank."""
    record = run.records[0]
    return number(record["error"]) <= RECOVERED and bool(record.get("rank") == run.config["rank"])


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


Side = Literal["high", "low"]


def ratio(
    first: dict[int, float], second: dict[int, float], label: str, against: Side | None = None
) -> Estimate:
    """The median ratio, seed by seed; see `pairs_ratio`."""
    seeds = sorted(first)
    return pairs_ratio([first[s] for s in seeds], [second[s] for s in seeds], label, against)


def pairs_ratio(
    first: Sequence[float], second: Sequence[float], label: str, against: Side | None = None
) -> Estimate:
    """The median ratio of pairs of positive numbers.

    A pair with an infinite number, on either side, counts as a very high or a very low ratio, whichever
    speaks ``against`` the claim: a baseline that diverged is no evidence. Without ``against`` such a number
    counts as a very large one.
    """

    def held(value: float) -> float:
        return min(max(value, SMALLEST), WORST)

    pairs = [(held(a), held(b)) for a, b in zip(first, second, strict=True)]
    if against is not None:
        lost = (WORST, 1.0) if against == "high" else (1.0, WORST)
        found = zip(first, second, pairs, strict=True)
        pairs = [pair if math.isfinite(a) and math.isfinite(b) else lost for a, b, pair in found]
    return paired_ratio([a for a, _ in pairs], [b for _, b in pairs], label=label)


def difference(first: dict[int, float], second: dict[int, float], label: str, unit: str = "") -> Estimate:
    """The median difference, seed by seed."""
    seeds = sorted(first)
    a, b = ([_finite(values[seed]) for seed in seeds] for values in (first, second))
    return paired_difference(a, b, label=label, unit=unit)


def median(values: Iterable[float], label: str) -> Estimate:
    """The median with its interval."""
    return bootstrap([_finite(value) for value in values], label=label)


def _finite(value: float) -> float:
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
    """A number in a sentence, written as the tables write it."""
    return (
        format_number(float(value), 2 if abs(value) < 10 else 3)
        if math.isfinite(value)
        else "none (diverged)"
    )


def count(number_: int, noun: str, plural: str = "") -> str:
    """A number of things: ``1 seed``, ``3 seeds``."""
    return f"{number_} {noun if number_ == 1 else plural or noun + 's'}"


def outcome(holds: bool, fails: bool) -> Outcome:
    """The outcome by what the rule says of either side."""
    return "reproduced" if holds else "not reproduced" if fails else "inconclusive"


def usual(runs: Sequence[Run], field: str, value: Any) -> Any:
    """The value of a setting that a rule is stated for, or the only other one that all runs have.

    So a claim can be judged again with one setting changed. Where the runs have several values and the usual
    one is not among them, the usual one is returned, and the rule will find no runs.
    """
    there = {run.config.get(field) for run in runs if not run.skipped}
    return there.pop() if value not in there and len(there) == 1 else value


def missing(claim: str, runs: Sequence[Run] = (), reason: str = "", **wanted: Any) -> Verdict:
    """The verdict where the rule lacks runs.

    Parameters
    ----------
    claim : str
    runs : sequence of Run
        The runs of the claim's group that are there.
    reason : str
        What is lacking, in words; without it the wanted settings are compared with those of the runs.
    wanted
        Settings that the rule needs, each a value or a tuple of values that must all be there.
    """
    lacking = []
    for name, value in wanted.items():
        needed = value if isinstance(value, tuple) else (value,)
        there = {_plain(run.config.get(name)) for run in runs if not run.skipped}
        absent = [_plain(one) for one in needed if _plain(one) not in there]
        if absent and there:
            needs, has = ", ".join(map(_plain, needed)), ", ".join(sorted(there))
            lacking.append(f"the rule is about {name} {needs}; the runs have {name} {has}")
    words = reason or "; ".join(lacking)
    base = "the runs that the rule needs are missing"
    return Verdict(claim, "inconclusive", f"{base}: {words}" if words else base)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
