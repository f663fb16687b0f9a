"""The report's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import (
    columns,
    distinct,
    interval,
    left_out,
    listed,
    made,
    median,
    series,
    short,
    spread,
    values,
)
from overt.studies.gunasekar2018.rules import NAMES, judged_loss, networks, predicted
from overt.studies.report.charts import Interval, Series, interval_chart, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All figures for which there are runs."""
    makers: tuple[Callable[[Sequence[Run]], Figure | None], ...] = (margins, exponents, regression, explicit)
    return draw(makers, runs)


def margins(runs: Sequence[Run]) -> Figure | None:
    """G1 and G2: excess of either norm over the margin during training."""
    loss = judged_loss(runs)
    group = made(runs, group="classify", loss=loss)
    if not group:
        return None
    title = "Norms per margin while the margin grows"
    data: list[dict[str, Cell]] = []
    panels = []
    for column, words, name in ((1, "Fourier ℓ1", "l1"), (2, "ℓ2", "l2")):
        lines = [
            _over_margin(made(group, architecture=architecture, depth=depth), column, words, data)
            for architecture, depth in networks(group)
        ]
        drawn = [line for line in lines if line is not None]
        if not drawn:
            return None
        panels.append(
            line_chart(
                drawn,
                title=title,
                panel=f"{words} norm",
                x_label="margin",
                y_label="excess over the minimum",
                log_x=True,
                log_y=True,
                id=f"margins-{name}",
            )
        )
    caption = (
        f"Networks on {_size(group)}, {loss} loss. Drawn is how far a norm of the "
        "trained vector per margin is above the least that any separating vector has. Convolution goes to "
        "the least Fourier ℓ1 norm or beyond it to a sparser one, full connection to the least ℓ2. "
        f"{spread(group, 'bands')}"
    )
    return Figure("margins", title, caption, svg=panels, data=data)


def _over_margin(runs: Sequence[Run], column: int, words: str, data: list[dict[str, Cell]]) -> Series | None:
    paths = [np.asarray(run.arrays["path"]) for run in runs]
    paths = [path[path[:, 0] > 0] for path in paths if path.size]
    paths = [path for path in paths if len(path) > 1]
    if not paths:
        return None
    low, high = max(path[0, 0] for path in paths), min(path[-1, 0] for path in paths)
    grid = np.geomspace(low, high, 15) if low < high else np.array([high])
    rows = [np.interp(np.log(grid), np.log(path[:, 0]), path[:, column]) for path in paths]
    found = [median(each.tolist()) for each in np.stack(rows).T]
    config = runs[0].config
    label = f"{NAMES[config['architecture']]}, depth {config['depth']}"
    for x, one in zip(grid, found, strict=True):
        row: dict[str, Cell] = {"method": label, "norm": words, "margin": float(x)}
        data.append(row | columns(one, "excess"))
    return series(label, grid.tolist(), found)


def exponents(runs: Sequence[Run]) -> Figure | None:
    """G3: measured exponents."""
    group = made(runs, group="classify")
    if not group:
        return None
    title = "The measured exponent of the bridge penalty"
    rows, table, data = [], [], []
    for architecture, depth in networks(group):
        expected = predicted(architecture, depth)
        for loss in distinct(group, "loss"):
            some = made(group, architecture=architecture, depth=depth, loss=loss)
            found, residual = median(values(some, "exponent")), median(values(some, "residual"))
            if found is None:
                continue
            label = f"{NAMES[architecture]}, depth {depth}"
            name = label if loss == "exponential" else f"{label}, {loss}"
            rows.append(Interval(name, found.value, found.low, found.high, method=label))
            table.append(
                (name, f"{expected:.2g}", found.value, interval(found), residual.value if residual else None)
            )
            data.append({"method": name, "loss": loss, "expected": expected} | columns(found, "exponent"))
    if not rows:
        return None
    svg = interval_chart(rows, title=title, x_label="p", x_lim=(0.3, 2.4), id="exponents")
    caption = (
        "The p for which the trained direction is closest to a first-order stationary point of the norm ℓp "
        f"in the Fourier domain among vectors of margin one. Predicted: 2/L, and 2. {spread(group, 'ranges')}"
        f"{left_out(group, 'exponent')}"
    )
    names = ("network", "predicted", "measured", "interval", "residual at the predicted p")
    return Figure("exponents", title, caption, svg=svg, table=Table(names, table), data=data)


def regression(runs: Sequence[Run]) -> Figure | None:
    """G4: regression over the initial scale."""
    group = made(runs, group="regress")
    if not group:
        return None
    title = "Regression: norms of the solution"
    table, data = [], []
    for architecture in ("convolution", "full"):
        for depth in distinct(made(group, architecture=architecture), "depth"):
            for scale in distinct(made(group, architecture=architecture, depth=depth), "init_scale"):
                some = made(group, architecture=architecture, depth=depth, init_scale=scale)
                found = {
                    name: median(values(some, name)) for name in ("l1_excess", "to_l2", "error", "exponent")
                }
                label = f"{NAMES[architecture]}, depth {depth}"
                table.append(
                    (label, short(scale), *(one.value if one else None for one in found.values()), len(some))
                )
                row: dict[str, Cell] = {"method": label, "init_scale": scale}
                for name, one in found.items():
                    row |= columns(one, name)
                data.append(row)
    least = median(values(group, "l2_solution_l1_excess"))
    names = ("network", "scale", "ℓ1 excess", "distance to min. norm", "error", "exponent", "seeds")
    rows = [
        Interval(
            f"{row['method']}, {short(float(row['init_scale'] or 0))}",
            _number(row["l1_excess"]),
            _number(row["l1_excess_low"]),
            _number(row["l1_excess_high"]),
        )
        for row in data
    ]
    svg = interval_chart(
        rows,
        title=title,
        x_label="excess of Fourier ℓ1 over its minimum",
        id="regression-fourier",
        reference=(least.value, "minimum ℓ2 norm") if least else None,
    )
    caption = (
        f"{group[0].config['n']} unknowns, {group[0].config['n_observed']} samples without noise, active "
        f"frequencies of the truth: {group[0].config['frequencies']}; {_optimizer(group)} from the scale "
        "given. The exponent is measured as in classification. "
        f"{spread(group, 'ranges')}{left_out(group, 'l1_excess')}"
    )
    return Figure("regression", title, caption, svg=svg, table=Table(names, table), data=data)


def _number(cell: Cell) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None


def explicit(runs: Sequence[Run]) -> Figure | None:
    """G5: penalty against architecture."""
    group = made(runs, group="explicit")
    if not group:
        return None
    title = "A Fourier penalty in the place of the architecture"
    data: list[dict[str, Cell]] = []
    panels = []
    for penalized, trained, words, name in (
        ("explicit", "classify", "classification", "classification"),
        ("explicit_regress", "regress", "regression", "regression"),
    ):
        rows = []
        cells = {f"penalty p = {p:.2g}": made(runs, group=penalized, p=p) for p in distinct(group, "p")}
        for depth in distinct(made(runs, group=trained, architecture="convolution"), "depth"):
            deep = made(runs, group=trained, architecture="convolution", depth=depth)
            if trained == "classify":
                deep = made(deep, loss=judged_loss(runs))
            smallest = min(distinct(deep, "init_scale"), default=0.0)
            cells[f"convolution, depth {depth}"] = made(deep, init_scale=smallest)
        for label, some in cells.items():
            found = median(values(some, "l1_excess"))
            if found is not None:
                rows.append(Interval(label, found.value, found.low, found.high))
                row: dict[str, Cell] = {"task": words, "method": label}
                data.append(row | columns(found, "l1_excess"))
        if rows:
            panels.append(
                interval_chart(
                    rows,
                    title=title,
                    panel=words,
                    x_label="excess of Fourier ℓ1 over its minimum",
                    id=f"explicit-{name}",
                )
            )
    caption = (
        f"{_optimizer(group)} on the vector itself with Σ |ŵ|ᵖ added to the loss, beside convolutional "
        f"networks without any penalty. {spread(group, 'ranges')}{left_out(group, 'l1_excess')}"
    )
    return Figure("explicit", title, caption, svg=panels, data=data)


def _size(group: Sequence[Run]) -> str:
    return f"{group[0].config['n_observed']} separable samples of length {group[0].config['n']}"


def _optimizer(group: Sequence[Run]) -> str:
    names = {"gd": "plain gradient descent", "adam": "Adam"}
    return listed([names.get(name, name) for name in distinct(group, "optimizer")])
