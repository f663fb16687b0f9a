"""The blank page of every chart: size, fonts, axes, and how a matplotlib figure becomes SVG.

matplotlib is imported when a chart is drawn, never before, and its settings are restored afterwards: what a
user has set for their own plots neither changes a report nor is changed by it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overt.studies.report.palette import INK
from overt.studies.report.svg import embed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH = 430.0  # of one panel, in the view box's units (points); text is then legible at 375 CSS pixels
FONT = 11.0
REFERENCE: dict[str, Any] = {"color": INK, "alpha": 0.75, "linewidth": 1.0, "dashes": (4, 3), "zorder": 1}
Numbers: TypeAlias = Sequence[float | None] | ArrayLike
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "overt",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": FONT,
    "axes.titlepad": 7.0,
    "axes.labelsize": FONT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.borderpad": 0.0,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def column(values: Numbers) -> NDArray[np.float64]:
    """Return numbers as a vector; None becomes NaN."""
    return np.array(values, dtype=np.float64).reshape(-1)


def drawable(values: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    """Return the numbers with NaN in place of what an axis cannot show."""
    size = np.abs(values)
    shown = (size < 1e100) & ((values > 1e-100) | (not log))
    return np.where(shown, values, np.nan)


@contextmanager
def drawing(width: float, height: float) -> Iterator[Canvas]:
    """Yield an empty figure of that size in points, under settings that do not depend on the user's own."""
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    with matplotlib.style.context(["default", _SETTINGS]):
        yield Canvas(figsize=(width / 72, height / 72), layout="constrained")


def render(canvas: Canvas, *, id: str, title: str, description: str) -> str:
    """Write the figure as an embeddable ``<svg>`` element; the same figure gives the same text."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return embed(buffer.getvalue(), prefix=id, title=title, description=description)


def finish(
    canvas: Canvas,
    axes: Axes,
    *,
    panel: str = "",
    x_label: str = "",
    y_label: str = "",
    legend: Mapping[str, Any] | None = None,
) -> None:
    """Name what is drawn: the panel at the top, the legend below it, then the axes."""
    from matplotlib.font_manager import FontProperties

    axes.set_xlabel(x_label)
    if y_label:
        axes.set_title(y_label, loc="left", x=0.0)
    width, height = (72 * side for side in canvas.get_size_inches())
    if legend:
        labels = list(legend)
        longest = max(len(label) for label in labels) * 0.56 * FONT + 4.6 * FONT
        columns = max(1, min(len(labels), int((width - 20) // longest)))
        columns = math.ceil(len(labels) / math.ceil(len(labels) / columns))
        box = canvas.legend(
            list(legend.values()), labels, loc="outside upper left", ncols=columns, borderaxespad=0.3
        )
        if panel:
            box.set_title(panel, prop=FontProperties(weight="bold", size=FONT + 0.5))
            box.set_alignment("left")
    elif panel:
        canvas.text(6 / width, 1 - 14 / height, panel, fontweight="bold", fontsize=FONT + 0.5)
        canvas.set_layout_engine("constrained", rect=(0, 0, 1, 1 - 20 / height))


def scale_axis(
    axes: Axes, which: str, *, log: bool, limits: tuple[float, float] | None, ticks: int = 8
) -> None:
    """Make one axis linear or logarithmic, with tick labels that are plain text (10⁻³, 12 000).

    There are at most ``ticks`` of them, or a few more where that would be less than three.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    limit = axes.set_xlim if which == "x" else axes.set_ylim
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = limits or (axes.get_xlim() if which == "x" else axes.get_ylim())
        if not 0 < low < high:  # there is nothing that a logarithmic axis can show
            low, high = limits = (0.1, 1.0)
        subs = (1.0,) if high / low > 40 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=max(3, min(8, ticks))))
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    else:
        axis.set_major_locator(MaxNLocator(nbins=max(2, min(6, ticks)), steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    if limits is not None:
        limit(*limits)


def grid(axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """Draw faint lines behind the data."""
    axes.grid(visible=True, axis=which, color=INK, alpha=0.14, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=3, width=0.8)
    axes.tick_params(which="minor", length=1.8, width=0.6)


def power_of_ten(value: float) -> str:
    """Write a tick of a log axis: ``10⁻³`` below a hundredth and from ten thousand on, else plain."""
    if value <= 0 or not math.isfinite(value):
        return ""
    exponent = round(math.log10(value))
    if math.isclose(value, 10.0**exponent, rel_tol=1e-9) and not -2 <= exponent <= 3:
        return f"10{str(exponent).translate(_SUPERSCRIPTS)}"
    return plain_number(value)


def plain_number(value: float) -> str:
    """Write a tick of a linear axis, with a thin space between thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        mantissa, _, power = f"{value:.2e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
        times = "" if mantissa == "1" else f"{mantissa}·"
        return f"{times}10{str(int(power)).translate(_SUPERSCRIPTS)}"
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.replace(",", "\u202f").replace("-", "−")
