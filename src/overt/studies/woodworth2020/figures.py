"""The report's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import (
    columns,
    distinct,
    errors,
    left_out,
    losses,
    made,
    median,
    series,
    short,
    spread,
    values,
)
from overt.studies.report.charts import Interval, Series, interval_chart, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure
from overt.studies.woodworth2020.rules import PENALTIES

FLOOR = 1e-12  # errors below it are drawn at it


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All figures for which there are runs."""
    makers: tuple[Callable[[Sequence[Run]], Figure | None], ...] = (regimes, prediction, explicit)
    return draw(makers, runs)


def regimes(runs: Sequence[Run]) -> Figure | None:
    """W4 and W5: ℓ1 and ℓ2 over the initial weight."""
    group = made(runs, group="scale")
    if not group:
        return None
    title = "From the kernel to the rich regime"
    data: list[dict[str, Cell]] = []
    panels = []
    for field, words in (
        ("l1_excess", "excess of ‖w‖₁"),
        ("to_l2", "distance to ℓ2 minimizer"),
        ("error", "relative error"),
    ):
        panels.append(
            line_chart(
                _over_alpha(group, field, data),
                title=title,
                panel=words,
                x_label="initial weight α",
                y_label=words,
                log_x=True,
                log_y=field != "to_l2",
                id=f"regimes-{field.replace('_', '-')}",
            )
        )
    caption = (
        f"{_setting(group)} First: how far ‖w‖₁ is above its minimum over all solutions. Second: relative "
        f"distance to the solution of minimum ℓ2 norm. Third: error. {spread(group, 'bands')}"
        f"{left_out(group, 'l1_excess', 'to_l2', 'error')}"
    )
    return Figure("regimes", title, caption, svg=panels, data=data)


def prediction(runs: Sequence[Run]) -> Figure | None:
    """W2 and W3: distance to the minimizer of Q."""
    group = made(runs, group="scale")
    if not group:
        return None
    title = "The minimizer of Q_α is where gradient descent ends"
    data: list[dict[str, Cell]] = []
    panels = [
        line_chart(
            _over_alpha(group, field, data),
            title=title,
            panel=words,
            x_label="initial weight α",
            y_label="relative distance",
            log_x=True,
            log_y=True,
            y_lim=(1e-9, 3.0),
            id=f"prediction-{name}",
        )
        for field, words, name in (
            ("to_prediction", "to the minimizer of Q_α", "q"),
            ("to_l1", "to the minimizer of ℓ1", "l1"),
        )
    ]
    caption = (
        f"{_setting(group)} Distance of the trained network from two convex programs' solutions: Q_α "
        f"predicts it at every α, ℓ1 only as α goes to zero. {spread(group, 'bands')}"
        f"{left_out(group, 'to_prediction', 'to_l1')}"
    )
    return Figure("prediction", title, caption, svg=panels, data=data)


def explicit(runs: Sequence[Run]) -> Figure | None:
    """W6 and W7: errors of penalties and depths, by number of samples."""
    group = made(runs, group="explicit")
    if not group:
        return None
    title = "Explicit penalties in the place of depth"
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    for count in distinct(group, "n_observed"):
        some = made(group, n_observed=count)
        methods = {f"penalty {name}": made(some, **fields) for name, fields in PENALTIES.items()}
        trained = [*made(runs, group="few", n_observed=count), *made(runs, group="scale", n_observed=count)]
        for depth in (3, 4):
            deep = made(trained, depth=depth)
            smallest = min(distinct(deep, "alpha"), default=0.0)
            methods[f"depth {depth}"] = made(deep, alpha=smallest)
        rows = []
        for name, cells in methods.items():
            error = median(errors(cells))
            if error is None:
                continue
            rows.append(_drawn(name, error))
            data.append({"n_observed": count, "method": name} | columns(error, "error"))
        for field, words in (("l1_error", "ℓ1 minimizer"), ("l2_error", "ℓ2 minimizer")):
            error = median(values(some, field))
            if error is not None:
                rows.append(_drawn(words, error))
                data.append({"n_observed": count, "method": words} | columns(error, "error"))
        panels.append(
            interval_chart(
                rows,
                title=title,
                panel=f"{count} samples",
                x_label="relative error",
                log_x=True,
                id=f"explicit-{count}",
                x_lim=(FLOOR / 3, 3.0),
            )
        )
    caption = (
        f"{_setting(group)} Penalties on w itself with Adam, then least squares on the coordinates kept; "
        f"networks from their smallest α. Errors below 1e-12 are drawn there. {spread(group, 'ranges')}"
        f"{losses(group)}"
    )
    return Figure("explicit", title, caption, svg=panels, data=data)


def _over_alpha(group: Sequence[Run], field: str, data: list[dict[str, Cell]]) -> list[Series]:
    lines = []
    for depth in distinct(group, "depth"):
        some = made(group, depth=depth)
        alphas = distinct(some, "alpha")
        found = [median(values(made(some, alpha=alpha), field)) for alpha in alphas]
        lines.append(series(f"depth {depth}", alphas, found))
        data += [
            {"depth": depth, "alpha": alpha, "quantity": field} | columns(one, "value")
            for alpha, one in zip(alphas, found, strict=True)
        ]
    return lines


def _drawn(name: str, error: Estimate) -> Interval:
    ends = (error.low, error.high)
    low, high = (None if end is None else max(end, FLOOR) for end in ends)
    return Interval(name, max(error.value, FLOOR), low, high)


def _setting(group: Sequence[Run]) -> str:
    config = group[0].config
    counts = " or ".join(short(count) for count in distinct(group, "n_observed"))
    return f"{config['n']} unknowns, {config['nonzeros']} of them not zero, {counts} samples without noise."
