"""Figures of what runs recorded on their way, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns
from overt.studies.claims.quantities import select
from overt.studies.claims.statistics import Span, median_of_spans
from overt.studies.plots import Words, caption_of, finite, sortable
from overt.studies.report.figures import Cell, Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from overt.studies.part import Part
    from overt.studies.report.charts import Series

__all__ = ["Curve", "Paths"]


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
                for value in sorted({run.config.get(self.by) for run in some}, key=sortable)
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
        caption = caption_of(self.caption, made)
        return Figure(self.id, self.title, caption, svg=svg, data=data, claim=self.claim)

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
        ends = ([finite(getattr(one, end)) for one in found] for end in ("value", "low", "high"))
        middle, low, high = ends
        return Series(label, grid.tolist(), middle, low, high)


def _path(run: Run, x: str, y: str) -> NDArray[np.float64]:
    """The points of a run with a positive x, in order."""
    path = np.column_stack([np.asarray(run.arrays[name], dtype=np.float64) for name in (x, y)])
    kept = path[(path[:, 0] > 0) & np.isfinite(path).all(1)]
    return kept[np.argsort(kept[:, 0], kind="stable")]
