"""The figures of the inverse question: ratios over the exponent, and a map of functionals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import columns, distinct, instance, made, median, series, short, spread
from overt.studies.proxies.inverse_claims import SMALL, STATIONARY
from overt.studies.report.charts import heat_map, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, format_number

KEPT = 14  # rows of the map: the functionals that come nearest anywhere


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the runs allow."""
    answered = [run for run in made(runs, group="inverse") if run.records[0].get("best")]
    return draw((exponents, functionals), answered) if answered else []


def _ratio(runs: Sequence[Run], label: str) -> Estimate | None:
    found = [m["ratio"] for run in runs for m in run.records[0]["members"] if m["label"] == label]
    return median([value for value in found if not math.isnan(value)])


def exponents(runs: Sequence[Run]) -> Figure | None:
    """Ratios of the Schatten family over p, a line per depth, a panel per initialization scale."""
    small = made(runs, optimizer="gd", init_scale=SMALL)
    if not small:
        return None
    members = [m for m in small[0].records[0]["members"] if m["name"] == "schatten_norm"]
    title = "Which Schatten norm is stationary at the solutions of gradient descent"
    svg: list[str] = []
    data: list[dict[str, Cell]] = []
    for number, scale in enumerate(distinct(made(runs, optimizer="gd"), "init_scale")):
        lines = []
        for depth in distinct(made(runs, optimizer="gd", init_scale=scale), "depth"):
            some = made(runs, optimizer="gd", init_scale=scale, depth=depth)
            found = [_ratio(some, m["label"]) for m in members]
            lines.append(series(f"depth {depth}", [m["p"] for m in members], found))
            data += [
                {"depth": depth, "init_scale": scale, "p": m["p"], "seeds": len(some)} | columns(one, "ratio")
                for m, one in zip(members, found, strict=True)
            ]
        svg.append(
            line_chart(
                lines,
                title=title,
                panel=f"scale {short(scale)}",
                x_label="exponent p",
                y_label="ratio to chance",
                y_lim=(0.0, 1.2),
                reference=(STATIONARY, "0.1"),
                id=f"inverse-exponents-{number}",
                height=310,
            )
        )
    caption = (
        f"Deep linear networks without penalty on {instance(small[0])}: fewer entries than degrees of "
        "freedom, so that many matrices of the rank found fit. Share of the gradient of the Schatten norm of "
        "exponent p in the null space of the measurements, over that of random solutions of the same data "
        f"and rank: 0 is stationary, 1 is chance. A minimum at zero names the norm. {spread(small, 'bands')}"
    )
    return Figure("inverse-exponents", title, caption, svg=svg, data=data)


def functionals(runs: Sequence[Run]) -> Figure | None:
    """The functionals against the ways of training."""
    ways: dict[str, list[Run]] = {}
    for optimizer in distinct(runs, "optimizer"):
        for depth in distinct(runs, "depth"):
            some = made(runs, optimizer=optimizer, depth=depth, init_scale=SMALL)
            if some:
                ways[f"{depth}, {optimizer}"] = some
    if not ways:
        return None
    labels = [m["label"] for m in next(iter(ways.values()))[0].records[0]["members"]]
    table = {label: [_ratio(some, label) for some in ways.values()] for label in labels}

    def nearest(label: str) -> float:
        return min((one.value for one in table[label] if one is not None), default=math.inf)

    rows = sorted(labels, key=nearest)[:KEPT]
    grid = [[math.nan if one is None else one.value for one in table[label]] for label in rows]
    title = "Which functionals are stationary at trained networks, by depth and optimizer"
    svg = heat_map(
        [_words(label) for label in rows],
        list(ways),
        grid,
        title=title,
        label="ratio to chance",
        text=[["" if math.isnan(v) else format_number(v, 2) for v in line] for line in grid],
        limits=(0.0, 1.0),
        col_label="depth and optimizer",
        id="inverse-functionals",
    )
    data: list[dict[str, Cell]] = [
        {"functional": label, "training": way, "seeds": len(some)} | columns(one, "ratio")
        for label, line in table.items()
        for (way, some), one in zip(ways.items(), line, strict=True)
    ]
    first: Any = next(iter(ways.values()))
    caption = (
        f"Median ratios as in the figure before, at initialization scale {short(SMALL)}, for the {len(rows)} "
        "functionals that come nearest to stationary anywhere; all of them are in the data. "
        f"{spread(first, 'intervals in the data')}"
    )
    return Figure("inverse-functionals", title, caption, svg=svg, data=data)


def _words(label: str) -> str:
    short_names = {"normalized_schatten_norm": "S_p/S_q", "schatten_norm": "S_p"}
    for name, word in short_names.items():
        if label.startswith(name + "("):
            return word + " " + label.removeprefix(name)
    return label.replace("_", " ")
