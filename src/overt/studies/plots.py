"""Figures of a part as data: what is measured, over which settings, and how it is drawn.

A plot is made of the same quantities as the rules, so that a figure and a verdict show the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import columns, seeds, short
from overt.studies.claims.quantities import MissingRunsError, Quantity, Setting, select
from overt.studies.claims.statistics import Span, median_of_spans
from overt.studies.report.figures import Cell, Figure, format_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from overt.studies.part import Part
    from overt.studies.report.charts import Series

__all__ = ["Curve", "Dots", "Heat", "Lines", "Panel", "Paths"]

Words = Mapping[Any, str]


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure.

    Attributes
    ----------
    quantity : Quantity
        Its ``each`` is set by the figure.
    name : str
        Over the drawing; the quantity's label by default.
    log : bool
        Whether its axis is logarithmic.
    limits : (low, high), optional
    reference : (value, label), optional
        A level to compare with, as the bar of a rule.
    """

    quantity: Quantity
    name: str = ""
    log: bool = False
    limits: tuple[float, float] | None = None
    reference: tuple[float, str] | None = None

    @property
    def title(self) -> str:
        """What stands over it."""
        return self.name or self.quantity.label


@dataclass(frozen=True)
class _Plot:
    """What figures of all kinds have.

    Attributes
    ----------
    id, title, caption : str
        Of the figure. Settings that all runs share, seeds and what the intervals are come after the caption.
    panels : tuple of Panel
    claim : str
        The claim that it belongs to; the report shows it there.
    words : mapping
        How values of settings are written, such as ``{1: "no depth"}``.
    """

    id: str
    title: str
    panels: tuple[Panel, ...]
    claim: str = ""
    caption: str = ""
    words: Words = field(default_factory=dict)

    def __call__(self, part: Part[Any], runs: Sequence[Run]) -> Figure | None:
        """The figure of a part's stored runs; None where there are none for it."""
        own, data, svg = part.own(runs), list[dict[str, Cell]](), list[str]()
        for number, panel in enumerate(self.panels):
            settings = self._settings(panel, own, part)
            if settings:
                data += [self._row(panel, one) for one in settings]
                svg.append(self._drawn(panel, settings, f"{self.id}-{number}"))
        if not svg:
            return None
        made = [run for run in own if not run.skipped]
        return Figure(self.id, self.title, self._caption(made), svg=svg, data=data, claim=self.claim)

    def _settings(self, panel: Panel, runs: Sequence[Run], part: Part[Any]) -> list[Setting]:
        try:
            freed = panel.quantity.freed(part.free(runs))
            return replace(freed, each=self.each).settings(runs, part.ended)
        except MissingRunsError:
            return []

    @property
    def each(self) -> tuple[str, ...]:
        """The settings that it is drawn over."""
        raise NotImplementedError

    def _drawn(self, panel: Panel, settings: Sequence[Setting], id_: str) -> str:
        raise NotImplementedError

    def _row(self, panel: Panel, one: Setting) -> dict[str, Cell]:
        fields: dict[str, Cell] = {k: v if isinstance(v, Cell) else str(v) for k, v in one.fields.items()}
        return {**fields, "quantity": panel.title, **columns(one.estimate, "value"), "n": one.estimate.n}

    def _caption(self, runs: Sequence[Run]) -> str:
        return " ".join(filter(None, (self.caption, _shared(runs), _spread(runs))))

    def _say(self, value: Any) -> str:
        if value in self.words:
            return self.words[value]
        return short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

    def _word(self, name: str, value: Any) -> str:
        said = self._say(value)
        return said if value in self.words or isinstance(value, str) else f"{name.replace('_', ' ')} {said}"


@dataclass(frozen=True)
class Lines(_Plot):
    """Quantities over one setting, one line for each value of another.

    Attributes
    ----------
    x, by : str
        The two settings; without ``by`` there is one line.
    log_x : bool
    x_label : str
        By default the setting's name.
    """

    x: str = ""
    by: str = ""
    log_x: bool = False
    x_label: str = ""

    @property
    def each(self) -> tuple[str, ...]:
        return (self.by, self.x) if self.by else (self.x,)

    def _drawn(self, panel: Panel, settings: Sequence[Setting], id_: str) -> str:
        from overt.studies.report.charts import Series, line_chart

        lines = []
        for value in dict.fromkeys(one.fields.get(self.by) for one in settings):
            some = [one for one in settings if one.fields.get(self.by) == value]
            middle, low, high = (
                [_finite(getattr(one.estimate, end)) for one in some] for end in ("value", "low", "high")
            )
            label = self._word(self.by, value) if self.by else panel.title
            lines.append(Series(label, [float(one.fields[self.x]) for one in some], middle, low, high))
        return line_chart(
            lines,
            title=self.title,
            panel=panel.title,
            x_label=self.x_label or self.x.replace("_", " "),
            y_label=panel.title,
            log_x=self.log_x,
            log_y=panel.log,
            y_lim=panel.limits,
            reference=panel.reference,
            id=id_,
        )


@dataclass(frozen=True)
class Dots(_Plot):
    """One row for each combination of settings: a dot with its interval.

    Attributes
    ----------
    rows : tuple of str
        The settings.
    """

    rows: tuple[str, ...] = ()

    @property
    def each(self) -> tuple[str, ...]:
        return self.rows

    def _drawn(self, panel: Panel, settings: Sequence[Setting], id_: str) -> str:
        from overt.studies.report.charts import interval_chart

        rows = [self._interval(panel, one) for one in settings]
        return interval_chart(
            rows,
            title=self.title,
            panel=panel.title,
            x_label=panel.quantity.label,
            log_x=panel.log,
            x_lim=panel.limits,
            reference=panel.reference,
            id=id_,
        )

    def _interval(self, panel: Panel, one: Setting) -> Any:
        from overt.studies.report.charts import Interval

        label = ", ".join(self._word(name, value) for name, value in one.fields.items()) or panel.title
        ends = _clipped(one.estimate, panel.limits)
        if not math.isfinite(one.estimate.value):
            return Interval(label, None, note="diverged or not reached")
        return Interval(label, *ends)


@dataclass(frozen=True)
class Heat(_Plot):
    """A grid of numbers over two settings, on one colour scale.

    Attributes
    ----------
    row, col : str
        The two settings.
    """

    row: str = ""
    col: str = ""

    @property
    def each(self) -> tuple[str, ...]:
        return (self.row, self.col)

    def _drawn(self, panel: Panel, settings: Sequence[Setting], id_: str) -> str:
        from overt.studies.report.charts import heat_map

        rows = list(dict.fromkeys(one.fields[self.row] for one in settings))
        cols = sorted(dict.fromkeys(one.fields[self.col] for one in settings), key=_sortable)
        found = {(one.fields[self.row], one.fields[self.col]): one.estimate.value for one in settings}
        values = [[found.get((row, col), math.nan) for col in cols] for row in rows]
        return heat_map(
            [self._say(row) for row in rows],
            [self._say(col) for col in cols],
            [[value if math.isfinite(value) else math.nan for value in line] for line in values],
            title=self.title,
            label=panel.quantity.label,
            panel=panel.title,
            row_label=self.row.replace("_", " "),
            col_label=self.col.replace("_", " "),
            log=panel.log,
            limits=panel.limits,
            diverged=[[math.isinf(value) for value in line] for line in values],
            id=id_,
        )


@dataclass(frozen=True)
class Curve:
    """One drawing of `Paths`: an array of the runs over another.

    Attributes
    ----------
    y : str
        The name of the array.
    name : str
        Over the drawing.
    where : mapping
        The settings of the runs.
    log : bool
    """

    y: str
    name: str
    where: Mapping[str, Any] = field(default_factory=dict)
    log: bool = False


@dataclass(frozen=True)
class Paths:
    """What runs recorded on their way: the median over seeds, one line for each value of a setting.

    Each run's path is interpolated at common places, evenly spaced in log x. A line ends where fewer than
    half of its runs go on.

    Attributes
    ----------
    id, title, claim, caption, words
        As of the other plots.
    curves : tuple of Curve
    x : str
        The name of the array that they are drawn over; values that are not positive are left out.
    by : str
        The setting.
    x_label : str
    """

    id: str
    title: str
    curves: tuple[Curve, ...]
    x: str = "step"
    by: str = ""
    x_label: str = ""
    claim: str = ""
    caption: str = ""
    words: Words = field(default_factory=dict)

    def __call__(self, part: Part[Any], runs: Sequence[Run]) -> Figure | None:
        """The figure of a part's stored runs; None where there are none for it."""
        from overt.studies.report.charts import line_chart

        own, data, svg = part.own(runs), list[dict[str, Cell]](), list[str]()
        for number, curve in enumerate(self.curves):
            some = [run for run in select(own, curve.where) if {self.x, curve.y} <= set(run.arrays)]
            lines = [
                line
                for value in sorted({run.config.get(self.by) for run in some}, key=_sortable)
                if (line := self._line(curve, value, select(some, {self.by: value}), data)) is not None
            ]
            if lines:
                svg.append(
                    line_chart(
                        lines,
                        title=self.title,
                        panel=curve.name,
                        x_label=self.x_label or self.x,
                        y_label=curve.name,
                        log_x=True,
                        log_y=curve.log,
                        id=f"{self.id}-{number}",
                    )
                )
        if not svg:
            return None
        made = [run for run in own if not run.skipped]
        caption = " ".join(filter(None, (self.caption, _shared(made), _spread(made))))
        return Figure(self.id, self.title, caption, svg=svg, data=data)

    def _line(
        self, curve: Curve, value: Any, runs: Sequence[Run], data: list[dict[str, Cell]]
    ) -> Series | None:
        from overt.studies.report.charts import Series

        paths = [_path(run, self.x, curve.y) for run in runs]
        paths = [path for path in paths if len(path) > 1]
        if not paths:
            return None
        last = float(np.median([path[-1, 0] for path in paths]))
        grid = np.geomspace(min(path[0, 0] for path in paths), last, 24)
        table = [np.interp(np.log(grid), np.log(p[:, 0]), p[:, 1], right=math.nan) for p in paths]
        found = [
            median_of_spans([Span.of(float(y)) for y in column if math.isfinite(y)])
            for column in np.stack(table).T
        ]
        said = self.words.get(value, f"{self.by.replace('_', ' ')} {value}" if self.by else curve.name)
        label = str(value) if isinstance(value, str) and value not in self.words else said
        for x, one in zip(grid, found, strict=True):
            row: dict[str, Cell] = {"line": label, "quantity": curve.name, self.x: float(x)}
            data.append(row | columns(one, "value"))
        ends = ([_finite(getattr(one, end)) for one in found] for end in ("value", "low", "high"))
        middle, low, high = ends
        return Series(label, grid.tolist(), middle, low, high)


def _path(run: Run, x: str, y: str) -> NDArray[np.float64]:
    """The points of a run with a positive x, in order."""
    path = np.column_stack([np.asarray(run.arrays[name], dtype=np.float64) for name in (x, y)])
    kept = path[(path[:, 0] > 0) & np.isfinite(path).all(1)]
    return kept[np.argsort(kept[:, 0], kind="stable")]


def _sortable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _clipped(
    estimate: Estimate, limits: tuple[float, float] | None
) -> tuple[float, float | None, float | None]:
    """Value and ends; an open end is at the axis' own."""
    least, most = limits or (-math.inf, math.inf)
    low, high = (
        _finite(None if end is None else min(max(end, least), most)) for end in (estimate.low, estimate.high)
    )
    return min(max(estimate.value, least), most), low, high


def _spread(runs: Sequence[Run]) -> str:
    return f"Over {seeds(runs)}; ranges: 95 % intervals." if runs else ""


def _shared(runs: Sequence[Run]) -> str:
    """The numbers that all runs have in common, as a sentence."""
    names = [name for name in (runs[0].config if runs else {}) if name not in ("seed", "exclusive", "part")]
    same = {
        name: runs[0].config[name] for name in names if len({repr(run.config.get(name)) for run in runs}) == 1
    }
    said = [
        f"{name.replace('_', ' ')} {format_number(value)}"
        for name, value in same.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return f"All runs: {', '.join(said)}." if said else ""
