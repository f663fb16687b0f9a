"""Numbers of figures: medians over seeds with intervals, diverged runs, and words for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.claims.evidence import recovered, select
from overt.studies.claims.statistics import bootstrap
from overt.studies.report.charts import Series
from overt.studies.report.figures import Cell, format_number

_HUGE = 1e300  # stands for infinity in the bootstrap, which takes finite numbers only

NAMES = {
    "explicit": "explicit",
    "nuclear_norm": "nuclear norm",
    "soft_impute": "SoftImpute",
    "irls": "IRLS",
    "biases": "biases alone",
}


@dataclass(frozen=True)
class Setting:
    """The runs of one setting, summarized over seeds: median error, and how many recovered or diverged."""

    error: Estimate
    recovered: int
    diverged: int

    @property
    def n(self) -> int:
        """How many runs."""
        return self.error.n

    @property
    def share(self) -> str:
        """How many runs recovered the matrix, as ``2 of 3``."""
        return f"{self.recovered} of {self.n}"

    @property
    def lost(self) -> bool:
        """Whether the median run diverged."""
        return not math.isfinite(self.error.value)

    @property
    def row(self) -> dict[str, Cell]:
        """The numbers, for a data table."""
        return {
            **columns(self.error, "error"),
            "recovered": self.recovered,
            "diverged": self.diverged,
            "seeds": self.n,
        }


def made(runs: Iterable[Run], **wanted: Any) -> list[Run]:
    """Return the runs with these settings that were made and hold a record, in the order of their seeds."""
    chosen = [run for run in select(runs, **wanted) if run.records]
    return sorted(chosen, key=lambda run: int(run.config["seed"]))


def values(runs: Iterable[Run], field: str) -> list[float]:
    """Return the finite numbers of one field of the first records; diverged runs and None are left out."""
    found = [run.records[0].get(field) for run in runs if not diverged(run)]
    return [float(value) for value in found if value is not None and math.isfinite(value)]


def errors(runs: Iterable[Run]) -> list[float]:
    """Return the error of each run; infinity where it diverged."""
    return [math.inf if diverged(run) else float(run.records[0]["error"]) for run in runs]


def diverged(run: Run) -> bool:
    """Whether a run ended without a usable result."""
    record = run.records[0]
    error = record.get("error", 0.0)
    return record.get("status") == "diverged" or error is None or not math.isfinite(error)


def median(numbers: Sequence[float]) -> Estimate | None:
    """Return the median and its bootstrap interval, counting infinite values as larger than all others."""
    if not numbers:
        return None
    found = bootstrap([min(number, _HUGE) for number in numbers])
    value, low, high = (
        math.inf if end is not None and end > 1e-3 * _HUGE else end
        for end in (found.value, found.low, found.high)
    )
    return Estimate("", math.inf if value is None else value, low, high, found.n)


def setting(runs: Sequence[Run]) -> Setting | None:
    """Summarize the runs of one setting; None where there is none."""
    error = median(errors(runs))
    if error is None:
        return None
    found = sum(not diverged(run) and recovered(run) for run in runs)
    return Setting(error, found, sum(map(diverged, runs)))


def series(
    label: str, x: Sequence[float], estimates: Sequence[Estimate | None], method: str | None = None
) -> Series:
    """Return a line with its band; gaps where there is no finite estimate."""

    def column(end: str) -> list[float | None]:
        found = [None if one is None else getattr(one, end) for one in estimates]
        return [value if value is not None and math.isfinite(value) else None for value in found]

    return Series(label, list(x), column("value"), column("low"), column("high"), method)


def columns(estimate: Estimate | None, name: str) -> dict[str, Cell]:
    """Return an estimate as cells of a data table."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def interval(estimate: Estimate | None) -> str:
    """Write an interval, or a dash where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{format_number(estimate.low)}\u00a0to\u00a0{format_number(estimate.high)}"


def distinct(runs: Iterable[Run], field: str) -> list[Any]:
    """Return the values that a setting takes, in order."""
    return sorted({run.config[field] for run in runs})


def short(value: float) -> str:
    """Write a setting: ``0.003``, ``1e−6``, ``100``."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "−")
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}e{int(exponent)}".replace("-", "−")


def listed(words: Sequence[str]) -> str:
    """Join words as prose does: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def seeds(runs: Sequence[Run]) -> str:
    """Say over how many seeds: ``3 seeds``, ``one seed``."""
    count = len({run.config["seed"] for run in runs})
    return "one seed" if count == 1 else f"{count} seeds"


def spread(runs: Sequence[Run], drawn: str) -> str:
    """Say what points are medians of and what the drawn ranges are: a sentence."""
    if len({run.config["seed"] for run in runs}) == 1:
        return "One seed, so there is no interval."
    return f"Medians over {seeds(runs)}; {drawn}: 95 % bootstrap intervals over the seeds."


def instance(run: Run, observed: bool = True) -> str:
    """Describe the matrix of a run: ``a 100×100 matrix of rank 5, 2 000 entries observed``."""
    config = run.config
    words = f"a {config['n']}×{config['n']} matrix of rank {config['rank']}"
    return f"{words}, {format_number(config['n_observed'])} entries observed" if observed else words


def left_out(runs: Sequence[Run], *fields: str) -> str:
    """Say how many runs `values` leaves out of a figure of these fields; empty where none."""
    count = sum(
        diverged(run) or any(not _usable(run.records[0].get(field)) for field in fields) for run in runs
    )
    if not count:
        return ""
    return f" Left out: {count} of {len(runs)} runs, which diverged or have no such number."


def _usable(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def losses(runs: Sequence[Run]) -> str:
    """Say how many runs diverged; empty where none did."""
    count = sum(map(diverged, runs))
    if not count:
        return ""
    return f" {count} of {len(runs)} runs diverged; their error counts as infinite."
