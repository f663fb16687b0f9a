"""Numbers by seed of the trainings that stored runs hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.evidence import number, repetitions, select
from overt.studies.claims.rule import SHARE

__all__ = ["errors", "rows", "shares", "steps", "stopped", "windows"]

FIT = 1e-2  # relative loss at which data are fitted, up to a penalty's bias: a residual of 10 %, as TARGET
TARGET = "0.1"  # the error target whose steps count


def rows(
    runs: Sequence[Run], proxy: str, optimizer: str = "adam", stage: str = "judged"
) -> list[dict[str, Any]]:
    """The records of one stage of a proxy's run under an optimizer."""
    chosen = repetitions(select(runs, group="penalties", proxy=proxy, optimizer=optimizer))
    return [record for run in chosen for record in run.records if record.get("stage") == stage]


def stopped(
    runs: Sequence[Run], names: Iterable[str], optimizer: str = "adam", baselines: Iterable[str] = ()
) -> list[str]:
    """The proxies of which more than a tenth of the judged trainings neither fitted the data nor diverged.

    Of a baseline, which others are compared with, a training that diverged does not count as ended.
    """
    found = []
    for name in names:
        here = rows(runs, name, optimizer)
        done = sum(_ended(row, name in baselines) for row in here)
        if here and done < SHARE * len(here):
            found.append(name)
    return found


def _ended(row: dict[str, Any], baseline: bool) -> bool:
    if row.get("status") == "diverged" or not math.isfinite(number(row.get("error"))):
        return not baseline
    return number(row.get("loss")) <= FIT


def errors(runs: Sequence[Run], proxy: str, optimizer: str = "adam") -> dict[int, float]:
    """Errors on the judged seeds at the chosen setting."""
    return {int(row["seed"]): number(row.get("error")) for row in rows(runs, proxy, optimizer)}


def steps(runs: Sequence[Run], proxy: str, optimizer: str = "adam") -> dict[int, float]:
    """Share of the budget until the error was 0.1 first, on the judged seeds; infinite where it never was."""
    found: dict[int, float] = {}
    for run in select(runs, group="penalties", proxy=proxy, optimizer=optimizer):
        budget = int(run.config["max_steps"])
        for row in run.records:
            if row.get("stage") == "judged":
                hit = (row.get("hits") or {}).get(TARGET)
                found[int(row["seed"])] = math.inf if hit is None else max(1.0, float(hit[0])) / budget
    return found


def windows(runs: Sequence[Run], proxy: str, limit: float, optimizer: str = "adam") -> dict[int, float]:
    """For each seed the decades of the widest unbroken row of weights with an error within the limit."""
    return {
        seed: _widest(sorted(some), limit)
        for seed, some in _by_seed(runs, proxy, optimizer, "weight").items()
    }


def shares(runs: Sequence[Run], proxy: str, limit: float, optimizer: str = "adam") -> dict[int, float]:
    """For each seed the share of the initialization scales with an error within the limit."""
    return {
        seed: sum(error <= limit for _, error in some) / len(some)
        for seed, some in _by_seed(runs, proxy, optimizer, "init", "init_scale").items()
    }


def _by_seed(
    runs: Sequence[Run], proxy: str, optimizer: str, stage: str, field: str = "weight"
) -> dict[int, list[tuple[float, float]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for row in rows(runs, proxy, optimizer, stage):
        found.setdefault(int(row["seed"]), []).append((float(row[field]), number(row.get("error"))))
    return found


def _widest(points: Iterable[tuple[float, float]], limit: float) -> float:
    """Decades between the ends of the widest row of neighbours within the limit; 0 for one or none."""
    widest, start = 0.0, None
    for weight, error in points:
        if error > limit:
            start = None
            continue
        start = weight if start is None else start
        widest = max(widest, math.log10(weight / start))
    return widest
