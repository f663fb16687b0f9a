"""Norms per margin while the margin grows, which is read from the runs' paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct, median, series, spread
from overt.studies.claims.quantities import select
from overt.studies.report.figures import Cell, Figure

if TYPE_CHECKING:
    from overt.studies.part import Part
    from overt.studies.report.charts import Series

__all__ = ["norms_per_margin"]


def norms_per_margin(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Excess of either norm over the margin during training."""
    from overt.studies.report.charts import line_chart

    group = [run for run in select(part.own(runs), {"loss": "exponential"}) if len(run.arrays["path"]) > 1]
    if not group:
        return None
    title = "Norms per margin while the margin grows"
    data: list[dict[str, Cell]] = []
    panels = []
    for column, words, name in ((1, "Fourier ℓ1", "l1"), (2, "ℓ2", "l2")):
        lines = [
            _over_margin(arm, select(group, {"arm": arm}), column, words, data)
            for arm in distinct(group, "arm")
        ]
        panels.append(
            line_chart(
                [line for line in lines if line is not None],
                title=title,
                panel=f"{words} norm",
                x_label="margin",
                y_label="excess over the minimum",
                log_x=True,
                log_y=True,
                id=f"margins-{name}",
            )
        )
    caption = (
        "How far a norm of the trained vector per margin is above the least that any separating vector has. "
        "Convolution goes to the least Fourier ℓ1 norm or beyond it to a sparser one, full connection to the "
        f"least ℓ2. {spread(group, 'bands')}"
    )
    return Figure("margins", title, caption, svg=panels, data=data)


def _over_margin(
    arm: str, runs: Sequence[Run], column: int, words: str, data: list[dict[str, Cell]]
) -> Series | None:
    paths = [np.asarray(run.arrays["path"]) for run in runs]
    paths = [path[path[:, 0] > 0] for path in paths]
    paths = [path for path in paths if len(path) > 1]
    if not paths:
        return None
    low, high = max(path[0, 0] for path in paths), min(path[-1, 0] for path in paths)
    grid = np.geomspace(low, high, 15) if low < high else np.array([high])
    rows = [np.interp(np.log(grid), np.log(path[:, 0]), path[:, column]) for path in paths]
    found = [median(each.tolist()) for each in np.stack(rows).T]
    for x, one in zip(grid, found, strict=True):
        row: dict[str, Cell] = {"method": arm, "norm": words, "margin": float(x)}
        data.append(row | columns(one, "excess"))
    return series(arm, grid.tolist(), found)
