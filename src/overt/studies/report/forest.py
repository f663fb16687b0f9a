"""Forest plots: one row per method, its estimate and interval drawn and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from overt.studies.report.canvas import (
    FONT,
    REFERENCE,
    WIDTH,
    column,
    drawable,
    drawing,
    finish,
    grid,
    render,
    scale_axis,
)
from overt.studies.report.figures import format_number
from overt.studies.report.palette import Style, method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICK = 4.2 * FONT  # room for the label of a tick, such as 10⁻¹², and a space


@dataclass(frozen=True)
class Interval:
    """One row of :func:`interval_chart`: an estimate with its interval, or a note in its place."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    method: str | None = None


def interval_chart(
    rows: Sequence[Interval],
    *,
    title: str,
    x_label: str,
    panel: str = "",
    log_x: bool = False,
    x_lim: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    description: str = "",
    id: str = "chart",
) -> str:
    """Draw a forest plot: a dot for each estimate, a line for its interval, the numbers beside it.

    Parameters
    ----------
    rows : sequence of Interval
        From top to bottom. A row without a value shows its note, such as "not reached". What lies outside
        ``x_lim`` is drawn at that edge; below the lower one of a logarithmic axis it is written as ``≤``.
    reference : (x, label), optional
        A level to compare with, drawn from top to bottom.
    id, title, x_label, panel, log_x, x_lim, description
        As in :func:`overt.studies.report.charts.line_chart`.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    ValueError
        If there is no row.
    """
    if not rows:
        raise ValueError("rows must hold at least one Interval, got none")
    styles = method_styles(row.method or row.label for row in rows)
    floor = x_lim[0] if log_x and x_lim is not None else None
    words = max(len(row.label) for row in rows) + max(len(_in_words(row, floor)) for row in rows)
    width = max(WIDTH, 0.6 * FONT * words + 140)
    with drawing(width, 78 + 25 * len(rows) + (18 if panel else 0) + (14 if reference else 0)) as canvas:
        axes = canvas.add_subplot()
        for position, row in enumerate(rows):
            _draw_interval(axes, position, row, styles[row.method or row.label], log_x, x_lim)
        legend = {} if reference is None else {reference[1]: axes.axvline(reference[0], **REFERENCE)}
        # What labels and numbers leave of the width, at a label's width per tick.
        scale_axis(axes, "x", log=log_x, limits=x_lim, ticks=int((width - 0.6 * FONT * words) // TICK))
        grid(axes, "x")
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        finish(canvas, axes, panel=panel, x_label=x_label, legend=legend)
        said = "; ".join(f"{row.label} {_in_words(row, floor)}" for row in rows)
        text = description or f"{x_label} by method: {said}."
        return render(canvas, id=id, title=f"{title}: {panel}" if panel else title, description=text)


def _draw_interval(
    axes: Axes, position: int, row: Interval, style: Style, log: bool, limits: tuple[float, float] | None
) -> None:
    numbers = column([row.value, row.low, row.high])
    if limits is not None:
        numbers = np.where(np.isfinite(numbers), np.clip(numbers, *limits), numbers)
    value, low, high = drawable(numbers, log)
    if np.isfinite(value):
        if row.low is not None and np.isfinite(high):  # an interval that reaches zero goes to the edge
            axes.plot(
                [low if np.isfinite(low) else 1e-3 * value, high],
                [position] * 2,
                color=style.hex,
                linewidth=2,
            )
        axes.plot(
            [value],
            [position],
            color=style.hex,
            marker=style.marker,
            markersize=6.5,
            markeredgewidth=0,
            zorder=3,
            clip_on=False,
        )
    place = (1.02, position)
    floor = limits[0] if log and limits is not None else None
    axes.annotate(
        _in_words(row, floor), place, xycoords=("axes fraction", "data"), va="center", fontsize=FONT - 0.5
    )


def _in_words(row: Interval, floor: float | None) -> str:
    if row.value is None or not np.isfinite(row.value):
        return row.note or "–"

    def said(number: float) -> str:
        below = floor is not None and number <= floor
        return f"≤ {format_number(floor)}" if below else format_number(number)

    words = said(row.value)
    if row.low is not None and row.high is not None and (floor is None or row.high > floor):
        words += f" [{said(row.low)}, {said(row.high)}]"
    return f"{words} {row.note}".rstrip()
