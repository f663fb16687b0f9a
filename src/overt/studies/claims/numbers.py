"""Words and cells of figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.report.figures import Cell

__all__ = ["columns", "distinct", "seeds", "short"]


def columns(estimate: Estimate | None, name: str) -> dict[str, Cell]:
    """Return an estimate as cells of a data table."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def distinct(runs: Iterable[Run], field: str) -> list[Any]:
    """Return the values that a setting takes, in order."""
    return sorted({run.config[field] for run in runs})


def short(value: float) -> str:
    """Write a setting: ``0.003``, ``1e−6``, ``100``."""
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "−")
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}e{int(exponent)}".replace("-", "−")


def seeds(runs: Sequence[Run]) -> str:
    """Say over how many seeds: ``3 seeds``, ``one seed``."""
    count = len({run.config["seed"] for run in runs})
    return "one seed" if count == 1 else f"{count} seeds"
