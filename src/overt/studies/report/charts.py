"""Charts as SVG text: lines with bands, spectra over time, forest plots, heat maps.

Each function returns one ``<svg>`` element (or a tuple of them, to be shown side by side) for
:class:`overt.studies.report.figures.Figure`. They are pure: the same numbers give the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.report.canvas import (
    REFERENCE,
    WIDTH,
    Numbers,
    column,
    drawable,
    drawing,
    finish,
    grid,
    render,
    scale_axis,
)
from overt.studies.report.forest import Interval, interval_chart
from overt.studies.report.heat import heat_map, heat_maps
from overt.studies.report.palette import PAPER, Style, method_styles
from overt.studies.report.spectra import Spectra, spectrum_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Interval",
    "Series",
    "Spectra",
    "heat_map",
    "heat_maps",
    "interval_chart",
    "line_chart",
    "spectrum_chart",
]


@dataclass(frozen=True)
class Series:
    """One line: its name, points, and optionally the ends of an interval at each point.

    None and NaN leave a gap. ``method`` names the look where it is not that of ``label``
    (see :func:`overt.studies.report.palette.method_styles`).
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    method: str | None = None


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    panel: str = "",
    log_x: bool = False,
    log_y: bool = False,
    x_lim: tuple[float, float] | None = None,
    y_lim: tuple[float, float] | None = None,
    reference: tuple[float, str] | None = None,
    description: str = "",
    id: str = "chart",
    height: float = 290.0,
) -> str:
    """Draw lines with markers and interval bands.

    Parameters
    ----------
    series : sequence of Series
        What to draw; at least one.
    id : str
        Prefix of every identifier in the drawing; unique within the page.
    title, description : str
        The alternative text; the description is made from the axes' and series' names where it is empty.
    x_label, y_label, panel : str
        Names of the axes, and of the panel where several charts stand side by side.
    log_x, log_y : bool
        Logarithmic axes; values that are not positive are left out on them.
    x_lim, y_lim : (low, high), optional
        Limits, so that panels share their axes.
    reference : (y, label), optional
        A level to compare with, drawn across.
    height : float
        Height in points; the width is fixed, so that panels align.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    ValueError
        If there is no series or the lengths within one differ.

    Examples
    --------
    >>> line = Series("depth 3", [1, 2], [0.1, 0.01])
    >>> svg = line_chart([line], title="Error", x_label="n", y_label="error")
    >>> svg.startswith("<svg") and "depth 3" in svg
    True
    """
    if not series:
        raise ValueError("series must hold at least one Series, got none")
    styles = method_styles(one.method or one.label for one in series)
    with drawing(WIDTH, height) as canvas:
        axes = canvas.add_subplot()
        legend = {
            one.label: _draw_series(axes, one, styles[one.method or one.label], log_x, log_y)
            for one in series
        }
        scale_axis(axes, "x", log=log_x, limits=x_lim)
        scale_axis(axes, "y", log=log_y, limits=y_lim)
        grid(axes)
        if reference is not None:
            legend[reference[1]] = axes.axhline(reference[0], **REFERENCE)
        finish(canvas, axes, panel=panel, x_label=x_label, y_label=y_label, legend=legend)
        names = ", ".join(one.label for one in series)
        text = description or f"Line chart of {y_label} against {x_label}. Lines: {names}."
        return render(canvas, id=id, title=f"{title}: {panel}" if panel else title, description=text)


def _draw_series(axes: Axes, one: Series, style: Style, log_x: bool, log_y: bool) -> Any:
    x, y = column(one.x), column(one.y)
    low, high = (None if end is None else column(end) for end in (one.low, one.high))
    for name, values in (("y", y), ("low", low), ("high", high)):
        if values is not None and values.shape != x.shape:
            raise ValueError(f"series {one.label!r} has {x.size} values of x but {values.size} of {name}")
    x, y = drawable(x, log_x), drawable(y, log_y)
    if low is not None and high is not None:
        if log_y:  # an interval that reaches zero leaves the page at its lower edge
            low = np.where(np.isfinite(y), np.maximum(low, 1e-3 * y), np.nan)
            high = np.where(np.isfinite(y), high, np.nan)
        axes.fill_between(x, low, high, color=style.hex, alpha=0.16, linewidth=0)
    (line,) = axes.plot(
        x,
        y,
        color=style.hex,
        marker=style.marker,
        linestyle=(0, style.dashes) if style.dashes else "-",
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        markersize=6.2,
        markevery=max(1, x.size // 12),
        clip_on=False,
        zorder=3,
    )
    return line
