"""The figures: who recovers, what each intervention does, and what the steps look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from overt.studies.adam.claims import RECOVERED
from overt.studies.adam.names import CHANGES, NAMES
from overt.studies.adam.rules import Setting, setting
from overt.studies.base import Run
from overt.studies.claims.numbers import (
    columns,
    distinct,
    errors,
    instance,
    losses,
    made,
    median,
    seeds,
    short,
    spread,
    values,
)
from overt.studies.report.charts import Interval, Series, interval_chart, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure

_RULE = "Dashed: error 0.1, at or below which a run counts as recovered."


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the runs allow."""
    return draw((optimizers, interventions, trajectories, conditions), runs)


def _best(runs: Sequence[Run], name: str, **wanted: Any) -> tuple[Setting, list[Run]] | None:
    """A setting and its runs at the learning rate where most seeds recover, the lowest error among equals."""
    some = made(runs, **wanted)
    rates = distinct(some, "lr")
    if not rates:
        return None
    found = [one for one in (setting(some, name, lr=lr) for lr in rates) if one is not None]

    def merit(one: Setting) -> tuple[float, float]:
        error = median(errors(made(some, lr=one.lr)))
        return -one.share.value, error.value if error else float("inf")

    best = min(found, key=merit)
    return best, made(some, lr=best.lr)


def _row(label: str, best: tuple[Setting, list[Run]]) -> tuple[Interval, dict[str, Cell]]:
    found, some = best
    error = median(errors(some))
    hits = f"{round(found.share.value * found.share.n)} of {found.share.n}, lr {short(found.lr)}"
    data: dict[str, Cell] = {
        "setting": label,
        "lr": found.lr,
        "recovered": found.share.value,
        "seeds": len(some),
    }
    data |= columns(error, "error")
    for field in ("turning", "outside", "penalty_turning", "against", "effective_rank"):
        data[field] = float(m.value) if (m := median(values(some, field))) else None
    value = error.value if error and error.value < 1e3 else None
    ends = (error.low, error.high) if error and value is not None else (None, None)
    note = hits if value is not None else f"diverged, {hits}"
    config = some[0].config
    look = "alternation" if config["intervention"] == "alternation" else config["optimizer"]
    return Interval(label, value, *ends, note=note, method=look), data


def _forest(id_: str, title: str, caption: str, rows: Sequence[tuple[Interval, dict[str, Cell]]]) -> Figure:
    svg = interval_chart(
        [row for row, _ in rows],
        title=title,
        x_label="relative error",
        log_x=True,
        reference=(RECOVERED, "error 0.1"),
        id=id_,
    )
    return Figure(id_, title, caption, svg=svg, data=[data for _, data in rows])


def optimizers(runs: Sequence[Run]) -> Figure | None:
    """A1: every optimizer at its best learning rate."""
    group = made(runs, group="optimizers")
    if not group:
        return None
    found = [(NAMES[name], _best(group, name, optimizer=name)) for name in NAMES]
    rows = [_row(label, best) for label, best in found if best is not None]
    rows.sort(key=lambda row: row[0].value if row[0].value is not None else float("inf"))
    caption = (
        f"One matrix under the normalized nuclear norm, fitted to {instance(group[0])}; each optimizer at "
        f"its best learning rate, which is written beside the share of seeds that recovered. {_RULE} "
        f"{spread(group, 'lines')}{losses(group)}"
    )
    return _forest("optimizers", "Which optimizers recover the matrix", caption, rows)


def interventions(runs: Sequence[Run]) -> Figure | None:
    """A3–A6: one thing changed at a time."""
    group = made(runs, group="interventions")
    if not group:
        return None
    rows = []
    alone = made(runs, group="optimizers")
    for name in ("adam", "gd"):
        if (best := _best(alone, name, optimizer=name)) is not None:
            rows.append(_row(f"{NAMES[name]}, {CHANGES['none']}", best))
        for change, words in CHANGES.items():
            if (best := _best(group, change, optimizer=name, intervention=change)) is not None:
                rows.append(_row(words if change == "alternation" else f"{NAMES[name]}, {words}", best))
    for name in distinct(made(runs, group="rotations"), "optimizer"):
        if (best := _best(runs, name, group="rotations", optimizer=name)) is not None:
            rows.append(_row(f"{NAMES[name]}, coordinates turned", best))
    caption = (
        f"How the recovery of {instance(group[0])} changes with one change to the steps, at the best "
        "learning rate of each. A step is the sum of what the data and what the penalty cause. Within the "
        f"leading column and row space a step cannot shrink the trailing singular values either. {_RULE} "
        f"{spread(group, 'lines')}{losses(group)}"
    )
    return _forest("interventions", "Interventions in the steps", caption, rows)


def trajectories(runs: Sequence[Run]) -> Figure | None:
    """A2: how the effective rank falls, and how much of the penalty's step turns singular vectors."""
    group = made(runs, group="optimizers")
    lines: dict[str, list[Series]] = {"effective_rank": [], "penalty_turning": []}
    data: list[dict[str, Cell]] = []
    for name in ("adam", "sign", "normalized_gd", "muon", "gd"):
        best = _best(group, name, optimizer=name)
        if best is None or not best[1][0].arrays:
            continue
        arrays = best[1][0].arrays
        label = NAMES[name]
        for field, found in lines.items():
            found.append(Series(label, arrays["step"][1:], _smooth(arrays[field])[1:], method=name))
        fields = ("effective_rank", "penalty_turning", "outside", "error")
        for i, step in enumerate(arrays["step"]):
            row: dict[str, Cell] = {"optimizer": label, "step": int(step)}
            data.append(row | {field: float(arrays[field][i]) for field in fields})
    if not data:
        return None
    title = "What the steps do to the spectrum"
    shared: dict[str, Any] = {"title": title, "x_label": "step", "log_x": True, "height": 320}
    panels = {"effective_rank": "effective rank", "penalty_turning": "share of the penalty's step that turns"}
    svg = [
        line_chart(lines[field], panel=words, y_label=words, id=f"steps-{number}", **shared)
        for number, (field, words) in enumerate(panels.items())
    ]
    caption = (
        f"Seed {group[0].config['seed']} at the best learning rate of each. Left: effective rank. Right: "
        "share of the energy of the penalty's step that is off the diagonal in the singular basis of W, that "
        "is, that turns singular vectors; for GD and normalized GD it is zero by construction. Running "
        "medians over nine records."
    )
    return Figure("steps", title, caption, svg=svg, data=data)


def _smooth(values: Any) -> Any:
    """The running median over nine records: single steps jump."""
    padded = np.pad(np.asarray(values, dtype=np.float64), 4, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=-1)


def conditions(runs: Sequence[Run]) -> Figure | None:
    """A7, A8: the scale of the objective and the weight of the penalty."""
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    title = "Scale of the objective, and weight of the penalty under gradient descent"
    for group, field, x_label in (
        ("scales", "objective_scale", "factor of the objective"),
        ("weights", "weight", "weight of the penalty"),
    ):
        some = made(runs, group=group)
        lines = []
        for name in distinct(some, "optimizer"):
            own = made(some, optimizer=name)
            xs = distinct(own, field)
            rows = [_row(f"{NAMES[name]}, {x:g}", b) for x in xs if (b := _best(own, name, **{field: x}))]
            value, low, high = ([getattr(row, end) for row, _ in rows] for end in ("value", "low", "high"))
            lines.append(Series(NAMES[name], xs, value, low, high, name))
            data += [row for _, row in rows]
        if lines:
            panels.append(
                line_chart(
                    lines,
                    title=title,
                    panel=x_label,
                    x_label=x_label,
                    y_label="relative error",
                    log_x=True,
                    log_y=True,
                    reference=(RECOVERED, "error 0.1"),
                    id=f"conditions-{group}",
                    height=300,
                )
            )
    if not panels:
        return None
    some = made(runs, group="scales") or made(runs, group="weights")
    caption = (
        f"Median error on {instance(some[0])} at the best learning rate tried, over {seeds(some)}. A "
        f"diverged setting leaves a gap. {_RULE}"
    )
    return Figure("conditions", title, caption, svg=panels, data=data)
