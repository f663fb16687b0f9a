"""The figures of the study, as a pure function of stored runs. What is not there yet is left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from overt.studies.arora2019.figures_dynamics import deviations, trajectories
from overt.studies.base import Run
from overt.studies.claims.numbers import (
    columns,
    distinct,
    errors,
    listed,
    losses,
    made,
    median,
    series,
    short,
    spread,
    values,
)
from overt.studies.report.charts import Series, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, format_number

__all__ = ["figures"]

_ERROR_BAR = 0.05


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the stored runs allow."""
    observations = (partial(over_observations, group=group) for group in ("completion", "sensing"))
    return draw((*observations, over_scales, trajectories, deviations), runs)


def over_observations(runs: Sequence[Run], group: str) -> Figure | None:
    """A1, A2: error and effective rank over the number of observations, by depth and rank."""
    some = made(runs, group=group)
    if not some:
        return None
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    what = "observed entries" if group == "completion" else "measurements"
    title = f"Error and effective rank over the number of {what}"
    for rank in distinct(some, "rank"):
        at = made(some, rank=rank)
        lines: dict[str, list[Series]] = {"error": [], "effective_rank": []}
        for label, here in _methods(at).items():
            counts = distinct(here, "n_observed")
            cells = [made(here, n_observed=count) for count in counts]
            error = [median(errors(cell)) for cell in cells]
            ranks = [median(values(cell, "effective_rank")) for cell in cells]
            lines["error"].append(series(label, counts, error))
            lines["effective_rank"].append(series(label, counts, ranks))
            data += [
                {"rank": rank, "method": label, "observed": count, "seeds": len(cell)}
                | columns(e, "error")
                | columns(r, "effective_rank")
                for count, cell, e, r in zip(counts, cells, error, ranks, strict=True)
            ]
        panels += [
            line_chart(
                lines["error"],
                title=title,
                panel=f"rank {rank}: error",
                x_label=what,
                y_label="relative error",
                log_y=True,
                id=f"{group}-error-{rank}",
                reference=(_ERROR_BAR, "error 0.05"),
            ),
            line_chart(
                lines["effective_rank"],
                title=title,
                panel=f"rank {rank}: effective rank",
                x_label=what,
                y_label="effective rank",
                id=f"{group}-rank-{rank}",
                reference=(_truth(at, "true_effective_rank"), "truth"),
            ),
        ]
    n, ranks_ = some[0].config["n"], distinct(some, "rank")
    caption = (
        f"A {n}×{n} matrix of rank {listed([str(rank) for rank in ranks_])}, from {what}. Depths: plain "
        f"gradient descent on full-width linear networks, entries of the product starting at a standard "
        f"deviation of {short(some[0].config['init_scale'])}; nuclear norm: the solution of minimum nuclear "
        f"norm. Errors are relative to the truth. {spread(some, 'bands')}{losses(some)}"
    )
    return Figure(f"over-{what.replace(' ', '-')}", title, caption, svg=panels, data=data)


def _methods(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by what a figure calls their method."""
    deep = made(runs, method="deep")
    found = {f"depth {depth}": made(deep, depth=depth) for depth in distinct(deep, "depth")}
    convex = made(runs, method="nuclear_norm")
    return found | {"nuclear norm": convex} if convex else found


def _truth(runs: Sequence[Run], field: str) -> float:
    middle = median(values(runs, field))
    return 0.0 if middle is None else middle.value


def over_scales(runs: Sequence[Run]) -> Figure | None:
    """A3, A4: nuclear norm, effective rank and error over the initialization, few and many entries."""
    some = made(runs, group="scales", method="deep")
    if not some:
        return None
    title = "Initialization scale, beside the minimum nuclear norm"
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    fields = {
        "nuclear_norm": "nuclear norm / truth",
        "effective_rank": "effective rank",
        "error": "relative error",
    }
    for regime in ("few", "many"):
        at = made(some, regime=regime)
        convex = made(runs, group="scales", method="nuclear_norm", regime=regime)
        if not at:
            continue
        scales = distinct(at, "init_scale")
        count = format_number(at[0].config["n_observed"])
        for field, label in fields.items():
            lines = []
            for depth in distinct(at, "depth"):
                cells = [made(at, depth=depth, init_scale=scale) for scale in scales]
                found = [median(_field(cell, field)) for cell in cells]
                lines.append(series(f"depth {depth}", scales, found))
                data += [
                    {"entries": regime, "method": f"depth {depth}", "init_scale": scale, "field": field}
                    | columns(one, "value")
                    for scale, one in zip(scales, found, strict=True)
                ]
            level = median(_field(convex, field))
            if level is not None:
                lines.append(series("nuclear norm", scales, [level] * len(scales)))
                row: dict[str, Cell] = {"entries": regime, "method": "nuclear norm", "field": field}
                data.append(row | columns(level, "value"))
            reference: Any = {"nuclear_norm": (1.0, "truth"), "error": None}.get(
                field, (_truth(at, "true_effective_rank"), "truth")
            )
            panels.append(
                line_chart(
                    lines,
                    title=title,
                    panel=f"{count} entries: {label}",
                    x_label="initialization scale",
                    y_label=label,
                    log_x=True,
                    log_y=field == "error",
                    id=f"scales-{regime}-{field}",
                    reference=reference,
                )
            )
    config = some[0].config
    caption = (
        f"Completion of a {config['n']}×{config['n']} matrix of rank {config['rank']} by plain gradient "
        "descent from layers of different scale (standard deviation of the product's entries), beside the "
        "solution of minimum nuclear norm, which has no scale. Where entries are few, a tiny initialization "
        f"leads to a lower rank at a larger nuclear norm. {spread(some, 'bands')}{losses(some)}"
    )
    return Figure("over-scales", title, caption, svg=panels, data=data)


def _field(runs: Sequence[Run], field: str) -> list[float]:
    """The field of each run; the nuclear norm in units of the truth's."""
    if field == "error":
        return errors(runs)
    if field != "nuclear_norm":
        return values(runs, field)
    return [
        a / b for a, b in zip(values(runs, field), values(runs, "true_nuclear_norm"), strict=True) if b > 0
    ]
