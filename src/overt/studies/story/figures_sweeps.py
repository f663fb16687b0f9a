"""The figures of S3, S4 and S5: optimizers; weight, initialization, learning rate; the nuclear norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.evidence import RECOVERED
from overt.studies.claims.numbers import (
    Setting,
    columns,
    distinct,
    errors,
    instance,
    interval,
    losses,
    made,
    median,
    seeds,
    series,
    setting,
    short,
    spread,
    values,
)
from overt.studies.report.charts import Series, heat_map, line_chart
from overt.studies.report.figures import Cell, Figure, Table, format_number

PENALTIES = {"normalized_nuclear_norm": "normalized nuclear norm", "nuclear_norm": "nuclear norm"}
LIMITS = (1e-8, 1.0)  # of the colours of all heat maps, so that they compare
_CELLS = (
    "Colour and number: median error relative to the truth; colours end at 1e−8 and 1. “2 of 3”: seeds that "
    f"recovered the matrix, that is, error at most {format_number(RECOVERED)} at exactly the true rank."
)


def optimizers(runs: Sequence[Run]) -> Figure | None:
    """S3: a row per optimizer, the best first, and its learning rates from left to right."""
    group = made(runs, group="optimizers")
    if not group:
        return None
    table: dict[str, dict[float, Setting | None]] = {}
    for name in distinct(group, "optimizer"):
        some = made(group, optimizer=name)
        table[name] = {lr: setting(made(some, lr=lr)) for lr in distinct(some, "lr")}
    order = sorted(table, key=lambda name: (_best(table[name]), name))
    width = max(map(len, table.values()))
    grid: list[list[float]] = []
    text: list[list[str]] = []
    for name in order:
        found = list(table[name].items())
        blank = width - len(found)
        grid.append([_coloured(one) for _, one in found] + [math.nan] * blank)
        text.append([f"rate {short(lr)}\n{_words(one)}" for lr, one in found] + [""] * blank)
    title = "Which optimizers make the explicit penalty work"
    names = ["lowest rate", *["higher rate"] * (width - 1)] if width > 1 else ["rate"]
    svg = heat_map(
        order,
        names,
        grid,
        text=text,
        title=title,
        label="error",
        log=True,
        limits=LIMITS,
        row_label="optimizer",
        id="optimizers",
    )
    data: list[dict[str, Cell]] = [
        {"optimizer": name, "lr": lr, **one.row}
        for name in order
        for lr, one in table[name].items()
        if one is not None
    ]
    caption = (
        f"Depth 1 with the normalized nuclear norm on {instance(group[0])}. Each optimizer has its own "
        "learning rates, rising from left to right and written in the cells; rows are ordered by their best "
        f"cell. {_CELLS} A rate at which most seeds diverged says so. Over {seeds(group)}.{losses(group)}"
    )
    return Figure("optimizers", title, caption, svg=svg, data=data)


def _best(found: dict[float, Setting | None]) -> tuple[float, float]:
    there = [one for one in found.values() if one is not None]
    return min(((-one.recovered / one.n, one.error.value) for one in there), default=(0.0, math.inf))


def _coloured(one: Setting | None) -> float:
    """The cell keeps its words where the runs diverged: they name the learning rate."""
    return math.nan if one is None else min(one.error.value, LIMITS[1])


def _words(one: Setting | None) -> str:
    if one is None:
        return ""
    return f"{'diverged' if one.lost else format_number(one.error.value, 2)}\n{one.share}"


def weights(runs: Sequence[Run]) -> Figure | None:
    """S4: the weight of the penalty beside the learning rate."""
    group = made(runs, group="weights")
    if not group:
        return None
    title = "Weight of the penalty and learning rate"
    data: list[dict[str, Cell]] = []
    svg = _heat(group, "weight", title=title, id="weights", row_label="weight", data=data)
    caption = (
        f"Depth 1 with the normalized nuclear norm and Adam on {instance(group[0])}. Down: weight of the "
        f"penalty; across: learning rate. {_CELLS} Over {seeds(group)}.{losses(group)}"
    )
    return Figure("weights", title, caption, svg=svg, data=data)


def inits(runs: Sequence[Run]) -> Figure | None:
    """S4: the scale of the initialization beside the learning rate, explicit and deep."""
    group = made(runs, group="inits")
    if not group:
        return None
    title = "Initialization scale and learning rate"
    panels = {
        "depth 1, explicit": made(group, method="explicit"),
        "depth 3, implicit": made(group, method="deep"),
    }
    data: list[dict[str, Cell]] = []
    scales = distinct(group, "init_scale")
    svg = [
        _heat(
            some,
            "init_scale",
            title=title,
            id=f"inits-{number}",
            row_label="scale",
            panel=name,
            rows=scales,
            data=data,
        )
        for number, (name, some) in enumerate(panels.items())
        if some
    ]
    caption = (
        "Explicit: depth 1 with the normalized nuclear norm; implicit: depth 3 without a penalty; both with "
        f"Adam on {instance(group[0])}. Down: standard deviation of the entries of the end-to-end matrix at "
        f"the start; across: learning rate, each method with its own. The maps share one colour scale. "
        f"{_CELLS} Over {seeds(group)}.{losses(group)}"
    )
    return Figure("inits", title, caption, svg=svg, data=data)


def _heat(
    group: Sequence[Run],
    field: str,
    *,
    data: list[dict[str, Cell]],
    rows: Sequence[float] | None = None,
    panel: str = "",
    **options: Any,
) -> str:
    """Draw a setting against the learning rate, and append the numbers to ``data``."""
    rows, rates = rows or distinct(group, field), distinct(group, "lr")
    cells = [[setting(made(group, lr=lr, **{field: value})) for lr in rates] for value in rows]
    named: dict[str, Cell] = {"method": panel} if panel else {}
    data += [
        {**named, field: value, "lr": lr, **one.row}
        for value, line in zip(rows, cells, strict=True)
        for lr, one in zip(rates, line, strict=True)
        if one is not None
    ]
    return heat_map(
        [short(value) for value in rows],
        [short(lr) for lr in rates],
        [[math.nan if one is None else one.error.value for one in line] for line in cells],
        text=[[_words(one) for one in line] for line in cells],
        label="error",
        log=True,
        limits=LIMITS,
        col_label="learning rate",
        panel=panel,
        **options,
    )


def nuclear(runs: Sequence[Run]) -> Figure | None:
    """S5: the nuclear norm in the place of the normalized one."""
    group = made(runs, group="nuclear")
    if not group:
        return None
    title = "The nuclear norm in place of the normalized nuclear norm"
    rows: list[tuple[Cell, ...]] = []
    data: list[dict[str, Cell]] = []
    for functional, name in PENALTIES.items():
        for weight in distinct(made(group, functional=functional), "weight"):
            some = made(group, functional=functional, weight=weight)
            found, rank = setting(some), median(values(some, "effective_rank"))
            if found is None:
                continue
            ranks = rank.value if rank else None
            error = (found.error.value, interval(found.error))
            rows.append((name, short(weight), *error, ranks, found.share))
            data.append(
                {"functional": functional, "weight": weight, **found.row, **columns(rank, "effective_rank")}
            )
    table = Table(("penalty", "weight", "error", "interval", "effective rank", "recovered"), rows)
    caption = (
        f"Depth 1 and Adam on {instance(group[0])}: the same optimizer, learning rate, steps, release and "
        "refit, only the penalty differs. The nuclear norm is shown over its weights; the normalized one at "
        "its one weight, as a level. All axes but that of the effective rank are logarithmic. "
        f"{spread(group, 'bands and intervals')} “Recovered”: error at most "
        f"{format_number(RECOVERED)} at exactly the true rank.{losses(group)}"
    )
    return Figure("nuclear", title, caption, svg=_nuclear_charts(group, title), table=table, data=data)


def _nuclear_charts(group: Sequence[Run], title: str) -> list[str]:
    """Error and effective rank over the weight of the nuclear norm, the normalized one as a level."""
    plain = made(group, functional="nuclear_norm")
    scale = distinct(plain, "weight") or distinct(group, "weight")
    lines: dict[str, list[Series]] = {"error": [], "effective rank": []}
    for functional, name in PENALTIES.items():
        some = made(group, functional=functional)
        if not some:
            continue
        level = functional != "nuclear_norm"
        points = [scale[0], scale[-1]] if level else scale
        at = [some if level else made(some, weight=weight) for weight in points]
        lines["error"].append(series(name, points, [median(errors(here)) for here in at]))
        ranks = [median(values(here, "effective_rank")) for here in at]
        lines["effective rank"].append(series(name, points, ranks))
    rank = int(group[0].config["rank"])
    shared: dict[str, Any] = {"title": title, "x_label": "weight of the nuclear norm", "log_x": True}
    return [
        line_chart(
            lines["error"],
            panel="error",
            y_label="relative error",
            log_y=True,
            id="nuclear-error",
            reference=(RECOVERED, "error 1e−5"),
            **shared,
        ),
        line_chart(
            lines["effective rank"],
            panel="effective rank",
            y_label="effective rank",
            id="nuclear-rank",
            reference=(float(rank), f"true rank {rank}"),
            **shared,
        ),
    ]
