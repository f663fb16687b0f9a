"""A5, A6: the figures of the singular values' dynamics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct, made, median, seeds, values
from overt.studies.report.charts import Interval, Series, interval_chart, line_chart, spectrum_chart
from overt.studies.report.charts import Spectra as Panel
from overt.studies.report.figures import Cell, Figure, format_number

_NAMES = {"dynamics": "synthetic", "movielens": "MovieLens 100K"}
_SHOWN = 3  # singular values whose velocity is drawn


def trajectories(runs: Sequence[Run]) -> Figure | None:
    """Singular values along the flow by depth, and measured against predicted velocities."""
    flows = {
        (group, depth): some[0]
        for group in _NAMES
        for depth in distinct(made(runs, group=group), "depth")
        if (some := made(runs, group=group, depth=depth)) and "time" in some[0].arrays
    }
    if not flows:
        return None
    title = "Singular values under gradient flow, and their velocities"
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    for group, name in _NAMES.items():
        chosen = {depth: run for (where, depth), run in flows.items() if where == group}
        if not chosen:
            continue
        spectra = [
            Panel(
                f"{name}, depth {depth}",
                run.arrays["time"],
                run.arrays["singular_values"],
                method=f"depth {depth}",
            )
            for depth, run in chosen.items()
        ]
        rank = min(int(next(iter(chosen.values())).config["rank"]), 5) if group == "dynamics" else _SHOWN
        panels += spectrum_chart(
            spectra,
            title=title,
            x_label="time",
            y_label="singular values",
            rank=rank,
            log_x=False,
            log_y=group == "movielens",
            id=f"flow-{group}",
        )
        panels += [_velocities(run, f"{name}, depth {depth}", title, group) for depth, run in chosen.items()]
        for depth, run in chosen.items():
            data += _rows(run, name, depth)
    first = next(iter(flows.values()))
    caption = (
        f"Seed {first.config['seed']}. Upper panels: the leading {first.config['leading']} singular values "
        "of the end-to-end matrix under gradient flow from small balanced layers; the deeper, the longer a "
        f"small one waits and the steeper it then rises. Lower panels: the velocity of the first {_SHOWN}, "
        "by central differences along the trajectory (markers) and by the formula of Theorem 3 (lines). They "
        "coincide."
    )
    return Figure("dynamics", title, caption, svg=panels, data=data)


def _velocities(run: Run, panel: str, title: str, group: str) -> str:
    t, measured, predicted = (run.arrays[key] for key in ("time", "measured", "predicted"))
    lines = []
    for r in range(min(_SHOWN, measured.shape[1])):
        lines.append(Series(f"σ{r + 1}, measured", t, measured[:, r]))
        lines.append(Series(f"σ{r + 1}, formula", t, predicted[:, r]))
    return line_chart(
        lines,
        title=title,
        panel=f"{panel}: velocities",
        x_label="time",
        y_label="dσ/dt",
        id=f"velocity-{group}-{run.config['depth']}",
    )


def _rows(run: Run, name: str, depth: int) -> list[dict[str, Cell]]:
    arrays = {
        key: np.asarray(run.arrays[key]) for key in ("time", "singular_values", "measured", "predicted")
    }
    return [
        {
            "data": name,
            "depth": depth,
            "time": float(f"{t:.6g}"),
            "r": r + 1,
            "sigma": float(f"{arrays['singular_values'][k, r]:.6g}"),
            "measured": float(f"{arrays['measured'][k, r]:.6g}"),
            "formula": float(f"{arrays['predicted'][k, r]:.6g}"),
        }
        for k, t in enumerate(arrays["time"])
        for r in range(min(_SHOWN, arrays["measured"].shape[1]))
    ]


def deviations(runs: Sequence[Run]) -> Figure | None:
    """How far measured velocities are from the formula, and from the formula of another depth."""
    flows = made(runs, method="flow")
    if not flows:
        return None
    title = "Measured velocities against the formula, and against that of another depth"
    rows: list[Interval] = []
    data: list[dict[str, Cell]] = []
    for group, name in _NAMES.items():
        for depth in distinct(made(flows, group=group), "depth"):
            some = made(flows, group=group, depth=depth)
            found = {"largest, own N": median(values(some, "deviation"))}
            for other in range(1, 6):
                if other != depth:
                    found[f"median, N = {other}"] = median(values(some, f"deviation_as_{other}"))
            wrong = [one for key, one in found.items() if key.startswith("median") and one is not None]
            least = min(wrong, key=lambda one: one.value) if wrong else None
            own = found["largest, own N"]
            for label, one in ((f"N = {depth}, largest", own), ("best other N, median", least)):
                if one is not None:
                    rows.append(Interval(f"{name}, {label}", one.value, one.low, one.high, method=label))
            exponent = median(values(some, "exponent"))
            data += [
                {"data": name, "depth": depth, "deviation": key} | columns(one, "value")
                for key, one in found.items()
            ]
            data.append({"data": name, "depth": depth, "deviation": "exponent"} | columns(exponent, "value"))
    chart = interval_chart(
        rows, title=title, x_label="relative deviation", log_x=True, reference=(0.02, "2 %"), id="deviation"
    )
    points = sum(int(run.records[0]["points"]) for run in flows)
    caption = (
        f"For each data set and depth N: the largest deviation of the whole trajectory from the formula, "
        "and the median deviation from the formula with the factor and exponent of that other depth (1–5) "
        f"which comes closest. {format_number(points)} velocities in all; medians over {seeds(flows)} with "
        "95 % bootstrap intervals. Exponents fitted to the measured velocities are in the data."
    )
    return Figure("deviations", title, caption, svg=chart, data=data)
