"""Singular values over time, several methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overt.studies.report.canvas import (
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
from overt.studies.report.palette import INK, Style, method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Spectra:
    """One panel of :func:`spectrum_chart`: singular values (T, k) at T steps, and the true ones if known."""

    title: str
    steps: Numbers
    values: ArrayLike
    truth: ArrayLike | None = None
    method: str | None = None


def spectrum_chart(
    panels: Sequence[Spectra],
    *,
    title: str,
    x_label: str = "step",
    y_label: str = "singular values",
    rank: int | None = None,
    log_x: bool = True,
    log_y: bool = False,
    description: str = "",
    id: str = "chart",
    height: float = 300.0,
) -> tuple[str, ...]:
    """Draw singular values over time, one panel per method, all with the same axes.

    Parameters
    ----------
    panels : sequence of Spectra
        Each with (T, k) singular values, descending along the second axis.
    rank : int, optional
        How many leading values are emphasised; the number of nonzero true values where it is not given.
    x_label, y_label, log_x, log_y, id, title, description, height
        As in :func:`overt.studies.report.charts.line_chart`.

    Returns
    -------
    tuple of str
        One ``<svg>`` element a panel.

    Raises
    ------
    ValueError
        If there is no panel, or a panel's values are not (T, k) with T steps.
    """
    if not panels:
        raise ValueError("panels must hold at least one Spectra, got none")
    steps = [drawable(column(one.steps), log_x) for one in panels]
    values = [drawable(_values(one), log_y) for one in panels]
    truths = [drawable(column([] if one.truth is None else one.truth), log_y) for one in panels]
    x_lim = _span(steps, log_x, margin=0.0)
    y_lim = _span([*values, *truths], log_y, margin=0.04)
    drawings = []
    for number, one in enumerate(panels):
        leading = _leading(one, truths[number]) if rank is None else rank
        with drawing(WIDTH, height) as canvas:
            axes = canvas.add_subplot()
            style = method_styles([one.method or one.title])[one.method or one.title]
            handles = _draw(axes, steps[number], values[number], truths[number], leading, style)
            scale_axis(axes, "x", log=log_x, limits=x_lim)
            scale_axis(axes, "y", log=log_y, limits=y_lim)
            grid(axes)
            finish(canvas, axes, panel=one.title, x_label=x_label, y_label=y_label, legend=handles)
            count = values[number].shape[1]
            text = description or f"{y_label} against {x_label}, a line for each of {count} values."
            drawings.append(
                render(canvas, id=f"{id}-{number}", title=f"{title}: {one.title}", description=text)
            )
    return tuple(drawings)


def _values(one: Spectra) -> _Vector:
    values, count = np.asarray(one.values, dtype=np.float64), column(one.steps).size
    if values.ndim != 2 or values.shape[0] != count:
        raise ValueError(f"values of panel {one.title!r} must be ({count}, k), got shape {values.shape}")
    return values


def _leading(one: Spectra, truth: _Vector) -> int:
    """How many values to emphasise: the true rank where it is known, else all."""
    if one.truth is None:
        return int(_values(one).shape[1])
    return int(np.count_nonzero(truth > 1e-9 * np.nanmax(truth, initial=0.0)))


def _draw(
    axes: Axes, steps: _Vector, values: _Vector, truth: _Vector, leading: int, style: Style
) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    for index in range(values.shape[1]):
        first = index < leading
        (line,) = axes.plot(
            steps,
            values[:, index],
            color=style.hex if first else INK,
            alpha=1.0 if first else 0.45,
            linewidth=1.7 if first else 0.8,
            zorder=3 if first else 2,
        )
        handles.setdefault(f"the first {leading}" if first else "all others", line)
    for level in sorted(truth[np.isfinite(truth)], reverse=True)[:leading]:
        line = axes.axhline(level, color=INK, alpha=0.55, linewidth=0.9, dashes=(2, 2.5))
        handles.setdefault("true values", line)
    return handles


def _span(arrays: Sequence[_Vector], log: bool, margin: float) -> tuple[float, float] | None:
    """Return limits that hold all numbers; on a log axis at most twelve decades of them."""
    values = np.concatenate([array.ravel() for array in arrays])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return None
    low, high = float(values.min()), float(values.max())
    if log:
        low = max(low, 1e-12 * high)
        return (low / 1.2, high * 1.2) if margin or low == high else (low, high)
    pad = (margin * (high - low)) or (0.5 if low == high else 0.0)
    return (0.0 if low >= 0 else low - pad), high + pad
