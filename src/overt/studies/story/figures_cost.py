"""S8's figure: seconds and steps to a given error, implicit beside explicit, in one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import columns, distinct, made, median, spread
from overt.studies.report.charts import Interval, interval_chart
from overt.studies.report.figures import Cell, Figure, Table, format_number

TITLE = "Cost: seconds to a given error"
TARGETS = (1e-2, 1e-4)


@dataclass(frozen=True)
class Route:
    """One route on one kind of instance: its records, one per seed."""

    name: str
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def deep(self) -> bool:
        """Whether it is a deep network without a penalty."""
        return self.records[0].get("depth") is not None

    @property
    def method(self) -> str:
        """Whose look it has in the chart."""
        if self.deep:
            return f"depth {self.records[0]['depth']}"
        return "irls" if "IRLS" in self.name else "explicit" if "explicit" in self.name else self.name

    def reached(self, target: float) -> int:
        """In how many seeds the error came down to the target."""
        return sum(record.get(f"seconds_{target:g}") is not None for record in self.records)

    def seconds(self, target: float) -> Estimate:
        """Median time to the target; infinite where half of the seeds or more never came there."""
        return _over(_number(record.get(f"seconds_{target:g}")) for record in self.records)

    def steps(self, target: float) -> Estimate:
        """Median number of steps or iterations to the target."""
        return _over(_number(record.get(f"steps_{target:g}")) for record in self.records)

    @property
    def error(self) -> Estimate:
        """Median error at the end."""
        return _over(_number(record.get("error")) for record in self.records)


def _number(value: Any) -> float:
    return math.inf if value is None or not math.isfinite(value) else float(value)


def _over(numbers: Iterable[float]) -> Estimate:
    found = median(list(numbers))
    assert found is not None  # a route has at least one record
    return found


def cost(runs: Sequence[Run]) -> Figure | None:
    """What each route costs, at both numbers of observations side by side."""
    group = made(runs, group="cost")
    if not group:
        return None
    routes = {
        count: _routes(made(group, n_observed=count)) for count in reversed(distinct(group, "n_observed"))
    }
    limits = _limits([route for some in routes.values() for route in _shown(some, TARGETS)])
    svg = [
        _chart(routes[count], target, limits, f"{format_number(count)} observed, to error {_power(target)}")
        for target in TARGETS
        for count in routes
    ]
    names = (
        "observed",
        "route",
        "s to 1e−2",
        "steps to 1e−2",
        "s to 1e−4",
        "steps to 1e−4",
        "final error",
        "seeds",
    )
    rows = [
        (format_number(count), *_cells(route))
        for count, some in routes.items()
        for route in _shown(some, TARGETS)
    ]
    data = [_data(count, route) for count, some in routes.items() for route in some]
    caption = _caption(group, {count: sum(route.deep for route in some) for count, some in routes.items()})
    return Figure("cost", TITLE, caption, svg=svg, table=Table(names, rows), data=data)


def _routes(runs: Sequence[Run]) -> list[Route]:
    found: dict[str, Route] = {}
    for run in runs:
        for record in run.records:
            name = str(record["route"])
            found.setdefault(name, Route(name)).records.append(record)
    return list(found.values())


def _fastest(routes: Sequence[Route], target: float) -> Route | None:
    """The deep network that reaches the target first; where none does, the one with the lowest error."""
    deep = [route for route in routes if route.deep]
    return min(deep, key=lambda route: (route.seconds(target).value, route.error.value), default=None)


def _shown(routes: Sequence[Route], targets: Sequence[float]) -> list[Route]:
    best = [_fastest(routes, target) for target in targets]
    chosen = {route.name: route for route in best if route is not None}
    return [*(route for route in routes if not route.deep), *chosen.values()]


def _limits(routes: Sequence[Route]) -> tuple[float, float] | None:
    """Limits in seconds that hold what all charts show; None where nothing is reached."""
    ends = [end for route in routes for target in TARGETS for end in _ends(route.seconds(target))]
    return (min(ends) / 1.5, max(ends) * 1.5) if ends else None


def _ends(estimate: Estimate) -> list[float]:
    if not math.isfinite(estimate.value):
        return []
    ends = (estimate.value, estimate.low, estimate.high)
    return [end for end in ends if end is not None and 0 < end < math.inf]


def _chart(routes: Sequence[Route], target: float, limits: tuple[float, float] | None, panel: str) -> str:
    rows = [_interval(route, target) for route in _shown(routes, (target,))]
    return interval_chart(
        rows, title=TITLE, panel=panel, x_label="seconds", log_x=True, x_lim=limits, id="cost"
    )


def _interval(route: Route, target: float) -> Interval:
    reached, count = route.reached(target), len(route.records)
    seconds = route.seconds(target)
    if not math.isfinite(seconds.value):
        often = f" in {count - reached} of {count}" if reached else ""
        note = f"not reached{often}; error {format_number(route.error.value, 2)}"
        return Interval(route.name, None, note=note, method=route.method)
    note = "" if reached == count else f"(reached in {reached} of {count})"
    return Interval(route.name, seconds.value, seconds.low, seconds.high, note, route.method)


def _cells(route: Route) -> tuple[Cell, ...]:
    cells: list[Cell] = [route.name]
    for target in TARGETS:
        seconds, steps = route.seconds(target).value, route.steps(target).value
        reached = math.isfinite(seconds)
        cells.append(format_number(seconds) if reached else "not reached")
        cells.append(format_number(round(steps)) if math.isfinite(steps) else "–")
    return (*cells, route.error.value, len(route.records))


def _data(count: int, route: Route) -> dict[str, Cell]:
    row: dict[str, Cell] = {"observed": count, "route": route.name, "seeds": len(route.records)}
    for target in TARGETS:
        row |= columns(route.seconds(target), f"seconds_{target:g}")
        row |= {f"steps_{target:g}": route.steps(target).value, f"reached_{target:g}": route.reached(target)}
    totals = [record["total_seconds"] for record in route.records if record.get("total_seconds") is not None]
    total = median(totals)
    return row | {"error": route.error.value, "total_seconds": None if total is None else total.value}


def _power(target: float) -> str:
    return f"{target:.0e}".replace("e-0", "e−")


def _caption(group: Sequence[Run], tried: dict[int, int]) -> str:
    config = group[0].config
    counts = " and ".join(f"{deep} at {format_number(count)} entries" for count, deep in tried.items())
    return (
        f"A {config['n']}×{config['n']} matrix of rank {config['rank']}; all routes ran one after another in "
        "one process, alone on the machine, on one thread. Horizontal: seconds, logarithmic, without the "
        "time spent on measuring the error. Routes that give their answer only at the end (IRLS, and Adam "
        f"with its refit) count with their whole time. Of the deep networks without a penalty ({counts}, "
        "tuned over depth, optimizer and learning rate) each chart shows the one that reaches its target "
        "first, or, where none does, the one with the lowest error; the data hold them all. A deep network "
        f"is given up once it has taken as long as the fastest so far. {spread(group, 'lines and brackets')} "
        "“Not reached”: not within the route's budget, in half of the seeds or more."
    )
