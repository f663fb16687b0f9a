"""Figures of a part as data: what is measured, over which settings, and how it is drawn.

A plot is made of the same quantities as the rules, so that a figure and a verdict show the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from overt._utils.checks import is_number
from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import columns, seeds, short
from overt.studies.claims.quantities import MissingRunsError, Quantity, Setting
from overt.studies.report.figures import Cell, Figure, format_number

if TYPE_CHECKING:
    from overt.studies.part import Part

__all__ = ["Dots", "Heat", "Lines", "Panel", "caption_of", "finite", "sortable"]

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
        return caption_of(self.caption, runs)

    def _say(self, value: Any) -> str:
        if value in self.words:
            return self.words[value]
        return short(value) if is_number(value) else str(value)

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
                [finite(getattr(one.estimate, end)) for one in some] for end in ("value", "low", "high")
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
        cols = sorted(dict.fromkeys(one.fields[self.col] for one in settings), key=sortable)
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


def sortable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _clipped(
    estimate: Estimate, limits: tuple[float, float] | None
) -> tuple[float, float | None, float | None]:
    """Value and ends; an open end is at the axis' own."""
    least, most = limits or (-math.inf, math.inf)
    low, high = (
        finite(None if end is None else min(max(end, least), most)) for end in (estimate.low, estimate.high)
    )
    return min(max(estimate.value, least), most), low, high


def caption_of(words: str, runs: Sequence[Run]) -> str:
    """A caption with the settings that all runs share, the number of seeds, and what ranges are."""
    return " ".join(filter(None, (words, _shared(runs), _spread(runs))))


def _spread(runs: Sequence[Run]) -> str:
    return f"Over {seeds(runs)}; ranges: 95 % intervals." if runs else ""


def _shared(runs: Sequence[Run]) -> str:
    """The numbers that all runs have in common, as a sentence."""
    names = [name for name in (runs[0].config if runs else {}) if name not in ("seed", "exclusive", "part")]
    same = {
        name: runs[0].config[name] for name in names if len({repr(run.config.get(name)) for run in runs}) == 1
    }
    said = [
        f"{name.replace('_', ' ')} {format_number(value)}" for name, value in same.items() if is_number(value)
    ]
    return f"All runs: {', '.join(said)}." if said else ""
