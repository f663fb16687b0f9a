"""The study's figures, as a pure function of stored runs. What is not there yet is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct, errors, listed, losses, made, median, seeds, short
from overt.studies.claims.numbers import series as line
from overt.studies.report.charts import Interval, Series, heat_map, interval_chart, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table, format_number
from overt.studies.zhao2022.config import OPTIMIZERS, PENALTIES, penalty_name
from overt.studies.zhao2022.figures_movielens import movielens
from overt.studies.zhao2022.figures_spectra import spectra
from overt.studies.zhao2022.rules import HALF, effect
from overt.studies.zhao2022.slices import oversampling

__all__ = ["figures"]

LIMITS = (1e-2, 1.0)  # of the colours of heat maps: errors of a constant weight end at the penalty's own bias
BASELINES = {"nuclear_norm": "minimum nuclear norm", "soft_impute": "SoftImpute", "optspace": "OptSpace"}


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the stored runs allow; a figure without any of its runs is left out."""
    makers = (spectra, optimizers, depths, penalties, relu, movielens)
    return draw(makers, runs)


def instance(run: Run) -> str:
    """The matrix of a run in words, with its observations for each degree of freedom."""
    config = run.config
    return (
        f"a {config['n']}×{config['n']} matrix of rank {config['rank']}, "
        f"{format_number(config['n_observed'])} entries observed ({oversampling(config):.1f} for each "
        "degree of freedom)"
    )


# ---- optimizers ------------------------------------------------------------------------------------


def optimizers(runs: Sequence[Run]) -> Figure | None:
    """Z1–Z3: what the penalty does to the error under each optimizer."""
    group = made(runs, group="optimizers")
    found = {name: effect(group, name) for name in OPTIMIZERS}
    there = sorted(((one.value, name, one) for name, one in found.items() if one is not None))
    if not there:
        return None
    title = "What the penalty does to the error, by optimizer"
    rows = [Interval(name, one.value, one.low, one.high) for _, name, one in there]
    chart = interval_chart(
        rows,
        title=title,
        x_label="error with the penalty / without",
        log_x=True,
        reference=(HALF, "halved: the penalty is felt"),
        id="optimizers",
    )
    data = [row for name in OPTIMIZERS for row in _rates(made(group, optimizer=name))]
    caption = (
        f"One layer with and without ‖W‖⁎/‖W‖F, on {instance(group[0])}, {seeds(group)}. Left of the "
        "dashed line the penalty at least halves the error. Each side has its own best learning rate; the "
        "data hold all of them. Dots: median of the ratios, seed by seed; lines: 95 % bootstrap intervals. "
        "All optimizers evaluate the gradient equally often, L-BFGS up to its line search. An optimizer's "
        f"weight decay is torch's default (AdamW: 0.01).{losses(group)}"
    )
    return Figure("optimizers", title, caption, svg=chart, data=data)


def _rates(group: Sequence[Run]) -> list[dict[str, Cell]]:
    return [
        {
            "optimizer": group[0].config["optimizer"],
            "lr": lr,
            "weight": weight,
            **columns(median(errors(made(group, lr=lr, weight=weight))), "error"),
            "seeds": len(made(group, lr=lr, weight=weight)),
        }
        for lr in distinct(group, "lr")
        for weight in distinct(made(group, lr=lr), "weight")
    ]


# ---- depths ----------------------------------------------------------------------------------------


def depths(runs: Sequence[Run]) -> Figure | None:
    """Z4, Z5: error over the number of entries, a panel per rank."""
    group = made(runs, group="depths")
    if not group:
        return None
    title = "Depth, the penalty and the number of entries"
    panels, data = [], []
    for rank in distinct(group, "rank"):
        some = made(group, rank=rank)
        lines, rows = _lines(some)
        data += [{"rank": rank, **row} for row in rows]
        panels.append(
            line_chart(
                lines,
                title=title,
                panel=f"rank {rank}",
                x_label="observed entries",
                y_label="relative error",
                log_y=True,
                height=380,
                id=f"depths-{rank}",
            )
        )
    n = group[0].config["n"]
    caption = (
        f"Relative error at n = {n} against the number of observed entries; Adam unless named. "
        "“Explicit” is one layer with ‖W‖⁎/‖W‖F at a constant weight, so its error ends at the penalty's "
        "own bias; the other depths have no penalty where the name does not say so. Where a network was "
        "run under several optimizers or learning rates, the one with the smallest median error is drawn, "
        "at each number of entries; the data hold all of them. OptSpace is told the rank. Medians over "
        f"{seeds(group)}; bands: 95 % bootstrap intervals.{losses(group)}"
    )
    return Figure("depths", title, caption, svg=panels, data=data)


def _kind(config: Any) -> str:
    if config["method"] != "train":
        return BASELINES.get(config["method"], str(config["method"]))
    if config["weight"] == 0:
        return f"depth {config['depth']}"
    return "explicit" if config["depth"] == 1 else f"depth {config['depth']}, penalized"


def _lines(group: Sequence[Run]) -> tuple[list[Series], list[dict[str, Cell]]]:
    kinds = sorted({_kind(run.config) for run in group}, key=lambda kind: (kind != "explicit", kind))
    counts = distinct(group, "n_observed")
    lines, data = [], []
    for kind in kinds:
        best: dict[int, Any] = {}
        for count in counts:
            some = [run for run in made(group, n_observed=count) if _kind(run.config) == kind]
            for optimizer, lr in sorted({(run.config["optimizer"], run.config["lr"]) for run in some}):
                here = made(some, optimizer=optimizer, lr=lr)
                found = median(errors(here))
                data.append(
                    {"method": kind, "n_observed": count, "optimizer": optimizer, "lr": lr}
                    | columns(found, "error")
                    | {"seeds": len(here)}
                )
                if found is not None and (count not in best or found.value < best[count].value):
                    best[count] = found
        lines.append(line(kind, sorted(best), [best[count] for count in sorted(best)]))
    return lines, data


# ---- penalties and nonlinear networks ----------------------------------------------------------------


def penalties(runs: Sequence[Run]) -> Figure | None:
    """Z6: a row per penalty, its weights from left to right."""
    group = made(runs, group="penalties")
    if not group:
        return None
    title = "The penalties of the paper over their weights"
    table: dict[str, dict[float, Any]] = {}
    data: list[dict[str, Cell]] = []
    for name in [*PENALTIES, *sorted({penalty_name(run.config) for run in group} - set(PENALTIES))]:
        some = [run for run in group if penalty_name(run.config) == name]
        for weight in distinct(some, "weight"):
            found = median(errors(made(some, weight=weight)))
            table.setdefault(name, {})[weight] = found
            row: dict[str, Cell] = {"penalty": name, "weight": weight}
            data.append(row | columns(found, "error") | {"seeds": len(made(some, weight=weight))})
    order = sorted(table, key=lambda name: (min(one.value for one in table[name].values()), name))
    width = max(map(len, table.values()))
    grid, text = [], []
    for name in order:
        cells = list(table[name].items())
        blank = width - len(cells)
        grid.append([min(one.value, LIMITS[1]) for _, one in cells] + [math.nan] * blank)
        text.append(
            [f"weight {short(weight)}\n{format_number(one.value, 2)}" for weight, one in cells] + [""] * blank
        )
    names = ["lowest weight", *["higher weight"] * (width - 1)] if width > 1 else ["weight"]
    chart = heat_map(
        order,
        names,
        grid,
        text=text,
        title=title,
        label="error",
        log=True,
        limits=LIMITS,
        row_label="penalty",
        id="penalties",
    )
    caption = (
        f"One layer, Adam, on {instance(group[0])}, {seeds(group)}. Each penalty has its own weights, as "
        "many as the others, rising from left to right; rows are ordered by their best cell. Colour and "
        f"number: median error relative to the truth; colours end at 0.01 and 1.{losses(group)}"
    )
    return Figure("penalties", title, caption, svg=chart, data=data)


def relu(runs: Sequence[Run]) -> Figure | None:
    """Z7: linear and ReLU networks, with and without the penalty."""
    group = made(runs, group="relu")
    if not group:
        return None
    title = "Linear layers and ReLU between layers"
    rows: list[tuple[Cell, ...]] = []
    intervals: list[Interval] = []
    data: list[dict[str, Cell]] = []
    keys = sorted({(r.config["depth"], r.config["activation"], r.config["weight"] > 0) for r in group})
    for depth, activation, penalized in keys:
        some = [run for run in made(group, depth=depth, activation=activation)]
        some = [run for run in some if (run.config["weight"] > 0) == penalized]
        between = "" if depth == 1 else " ReLU" if activation == "relu" else " linear"
        name = f"depth {depth}{between}{', penalty' if penalized else ''}"
        found = {lr: median(errors(made(some, lr=lr))) for lr in distinct(some, "lr")}
        for lr, one in found.items():
            data.append({"network": name, "lr": lr, **columns(one, "error"), "seeds": len(made(some, lr=lr))})
        best = min((one for one in found.values() if one is not None), key=lambda one: one.value)
        intervals.append(Interval(name, best.value, best.low, best.high))
        rows.append((name, best.value, len(some) // max(1, len(found))))
    chart = interval_chart(intervals, title=title, x_label="relative error", log_x=True, id="relu")
    caption = (
        f"Adam on {instance(group[0])}, {seeds(group)}; each network at its best learning rate of those "
        f"tried ({listed([short(lr) for lr in distinct(group, 'lr')])}; the data hold all). Dots: medians; "
        f"lines: 95 % bootstrap intervals.{losses(group)}"
    )
    return Figure(
        "relu", title, caption, svg=chart, table=Table(("network", "error", "seeds"), rows), data=data
    )
