"""Heat maps: a grid of numbers whose colours order them and whose text says them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overt.studies.report.canvas import FONT, WIDTH, drawing, plain_number, power_of_ten, render
from overt.studies.report.figures import format_number
from overt.studies.report.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

_MAP = "cividis"  # made to look the same with and without the common colour vision deficiencies (Nuñez 2018)
_LETTER = 0.62 * FONT


def heat_map(
    rows: Sequence[str],
    cols: Sequence[str],
    values: ArrayLike,
    *,
    title: str,
    label: str,
    text: Sequence[Sequence[str]] | None = None,
    row_label: str = "",
    col_label: str = "",
    panel: str = "",
    log: bool = False,
    limits: tuple[float, float] | None = None,
    diverged: ArrayLike | None = None,
    description: str = "",
    id: str = "chart",
) -> str:
    """Draw a grid of numbers.

    Parameters
    ----------
    rows, cols : sequence of str
        Names of the rows and columns.
    values : array_like, shape (len(rows), len(cols))
        NaN where there is no run.
    label : str
        What the colour means.
    text : nested sequence of str, optional
        What each cell says; the value where it is not given. A line break makes a second line.
    row_label, col_label, panel : str
        Names of the two axes, and of the panel where several stand side by side.
    log : bool
        Logarithmic colour scale.
    limits : (low, high), optional
        Ends of the colour scale; values beyond take the colour of the end.
    diverged : array_like of bool, optional
        Cells whose run diverged: crossed out, whatever their value.
    id, title, description : str
        As in :func:`overt.studies.report.charts.line_chart`.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    ValueError
        If ``values``, ``text`` or ``diverged`` is not (rows, cols).
    """
    if not rows or not cols:
        raise ValueError(f"rows and cols must each hold at least one name, got {len(rows)} and {len(cols)}")
    shape = (len(rows), len(cols))
    grid = np.asarray(values, dtype=np.float64)
    crossed = np.zeros(shape, dtype=bool) if diverged is None else np.array(diverged, dtype=bool)
    if text is None:
        text = [[format_number(float(value), 2) for value in row] for row in np.atleast_2d(grid)]
    words = np.array(text, dtype=object)
    for name, array in (("values", grid), ("diverged", crossed), ("text", words)):
        if array.shape != shape:
            raise ValueError(f"{name} must have shape (rows, cols) = {shape}, got {array.shape}")
    crossed |= np.isinf(grid)
    norm = _norm(grid[~crossed], log, limits)
    place = _place(rows, [_wrap(name) for name in cols], words, (row_label, col_label, panel))
    marks = (("✕ diverged", crossed.any()), ("· not run", (np.isnan(grid) & ~crossed).any()))
    notes = ", ".join(mark for mark, there in marks if there)
    width, height = place.right + 14, place.bottom + (58 if notes else 40)
    with drawing(width, height) as canvas:
        canvas.set_layout_engine("none")
        axes = canvas.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        _draw_cells(axes, place, grid, words, crossed, norm)
        _draw_names(axes, place)
        _draw_scale(axes, norm, place, label, log)
        axes.text(place.left, place.bottom + 44, notes, va="center", alpha=0.8)
        summary = description or f"Heat map of {label} by {row_label or 'row'} and {col_label or 'column'}."
        return render(canvas, id=id, title=f"{title}: {panel}" if panel else title, description=summary)


def heat_maps(
    panels: Mapping[str, ArrayLike],
    rows: Sequence[str],
    cols: Sequence[str],
    *,
    id: str = "chart",
    diverged: Mapping[str, ArrayLike] | None = None,
    limits: tuple[float, float] | None = None,
    log: bool = False,
    **options: Any,
) -> tuple[str, ...]:
    """Draw one heat map a panel, all with the same colour scale; options as in :func:`heat_map`."""
    if not panels:
        raise ValueError("panels must hold at least one panel, got none")
    crossed = diverged or {}
    if limits is None:
        kept = [
            np.asarray(v, dtype=np.float64)[~np.asarray(crossed.get(n, np.zeros(np.shape(v))), dtype=bool)]
            for n, v in panels.items()
        ]
        norm = _norm(np.concatenate(kept), log, None)
        limits = (float(norm.vmin or 0.0), float(norm.vmax or 1.0))
    return tuple(
        heat_map(
            rows,
            cols,
            values,
            id=f"{id}-{number}",
            panel=name,
            diverged=crossed.get(name),
            limits=limits,
            log=log,
            **options,
        )
        for number, (name, values) in enumerate(panels.items())
    )


def _norm(values: NDArray[np.float64], log: bool, limits: tuple[float, float] | None) -> Normalize:
    from matplotlib.colors import LogNorm, Normalize

    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    low, high = limits or ((float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0))
    if log and low <= 0:
        raise ValueError(f"limits of a logarithmic colour scale must be positive, got {(low, high)}")
    if low >= high:
        low, high = (low / 2, low * 2) if log else (low - 0.5, low + 0.5)
    return (LogNorm if log else Normalize)(low, high, clip=True)


def _wrap(name: str) -> str:
    """Break a column's name at spaces, so that columns stay narrow."""
    longest = max((len(word) for word in name.split()), default=1)
    return "\n".join("\n".join(textwrap.wrap(line, max(9, longest))) for line in name.split("\n"))


@dataclass(frozen=True)
class _Place:
    """Where the grid lies on the page, in points from the upper left, and the names around it."""

    rows: Sequence[str]
    cols: Sequence[str]
    labels: tuple[str, str, str]  # of the rows, of the columns, of the panel
    left: float
    top: float
    cell: tuple[float, float]

    @property
    def right(self) -> float:
        return self.left + self.cell[0] * len(self.cols)

    @property
    def bottom(self) -> float:
        return self.top + self.cell[1] * len(self.rows)


def _place(
    rows: Sequence[str], cols: Sequence[str], words: NDArray[Any], labels: tuple[str, str, str]
) -> _Place:
    lines = max(str(word).count("\n") for word in words.ravel()) + 1
    left = _longest([*rows, labels[0]]) * _LETTER + 18
    width = max(50.0, _longest([*cols, *words.ravel()]) * _LETTER + 10, (WIDTH - left - 14) / len(cols))
    above = 8 + (20 if labels[2] else 0) + (17 if labels[1] else 0)
    top = above + 14 * (1 + max(name.count("\n") for name in cols)) + 6
    return _Place(rows, cols, labels, left, top, (width, 13.0 + 13.0 * lines))


def _longest(names: Sequence[Any]) -> int:
    return max(len(line) for name in names for line in str(name).split("\n"))


def _colour(norm: Normalize, value: float) -> tuple[str, str]:
    """Return the cell's colour and the ink that reads on it (WCAG relative luminance)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    red, green, blue, _ = colormaps[_MAP](1.0 - float(norm(value)))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return to_hex((red, green, blue)), "#000000" if luminance > 0.18 else "#ffffff"


def _draw_cells(
    axes: Axes,
    place: _Place,
    grid: NDArray[np.float64],
    words: NDArray[Any],
    crossed: NDArray[np.bool_],
    norm: Normalize,
) -> None:
    from matplotlib.patches import Rectangle

    width, height = place.cell
    for (i, j), value in np.ndenumerate(grid):
        x, y = place.left + j * width, place.top + i * height
        if crossed[i, j] or np.isnan(value):
            colour, ink, alpha, word = INK, INK, 0.08, "✕" if crossed[i, j] else "·"
        else:
            (colour, ink), alpha, word = _colour(norm, float(value)), 1.0, str(words[i, j])
        axes.add_patch(
            Rectangle(
                (x + 0.75, y + 0.75), width - 1.5, height - 1.5, facecolor=colour, alpha=alpha, linewidth=0
            )
        )
        axes.text(
            x + width / 2, y + height / 2, word, ha="center", va="center", color=ink, fontsize=FONT - 0.5
        )


def _draw_names(axes: Axes, place: _Place) -> None:
    row_label, col_label, panel = place.labels
    width, height = place.cell
    axes.text(6, 14, panel, fontweight="bold", fontsize=FONT + 0.5)
    axes.text(place.left, (20 if panel else 0) + 17, col_label, alpha=0.8)
    axes.text(place.left - 8, place.top - 5, row_label, ha="right", va="bottom", alpha=0.8)
    for j, name in enumerate(place.cols):
        axes.text(place.left + (j + 0.5) * width, place.top - 5, name, ha="center", va="bottom")
    for i, name in enumerate(place.rows):
        axes.text(place.left - 8, place.top + (i + 0.5) * height, name, ha="right", va="center")


def _draw_scale(axes: Axes, norm: Normalize, place: _Place, label: str, log: bool) -> None:
    """Draw the colour scale below the grid: what the colour means, then the bar between its two ends."""
    from matplotlib.patches import Rectangle

    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    ends = [_end(low, log), _end(high, log)]
    steps, y, x = 20, place.bottom + 24, place.left + (len(label) + len(ends[0]) + 2) * _LETTER
    axes.text(place.left, y, f"{label}  {ends[0]}", va="center")
    width = max(40.0, min(120.0, place.right - x - 60)) / steps
    for number, level in enumerate(np.geomspace(low, high, steps) if log else np.linspace(low, high, steps)):
        colour, _ = _colour(norm, float(level))
        axes.add_patch(Rectangle((x + number * width, y - 5), width + 0.3, 9, facecolor=colour, linewidth=0))
    axes.text(x + steps * width + 6, y, ends[1], va="center")


def _end(value: float, log: bool) -> str:
    text = power_of_ten(value) if log else plain_number(value)
    return text if len(text) <= 6 else format_number(value, 2)
