"""S6's figure: linear regression with gradient descent, deep diagonal networks and an explicit penalty."""

from __future__ import annotations

from collections.abc import Sequence

from overt.studies.base import Estimate, Run
from overt.studies.claims.numbers import (
    columns,
    distinct,
    errors,
    interval,
    losses,
    made,
    median,
    series,
    short,
    spread,
    values,
)
from overt.studies.report.charts import line_chart
from overt.studies.report.figures import Cell, Figure, Table

EXPLICIT = "explicit ℓ1/ℓ2"


def regression(runs: Sequence[Run]) -> Figure | None:
    """Error over the initial scale of diagonal networks, beside minimum norm and explicit penalty."""
    group = made(runs, group="regression")
    if not group:
        return None
    sparse = [run for run in group if run.config["rank"]]
    minimum = median(values(made(sparse, method="gd") or sparse, "minimum_norm_error"))
    rows, data = _table(group)
    title = "Linear regression: minimum norm and sparsity"
    names = (
        "method",
        "truth",
        "initial scale",
        "error",
        "interval",
        "distance to min. norm",
        "ℓ1/ℓ2",
        "seeds",
    )
    return Figure(
        "regression",
        title,
        _caption(group),
        svg=_chart(sparse, minimum, title),
        table=Table(names, rows),
        data=data,
    )


def _chart(sparse: Sequence[Run], minimum: Estimate | None, title: str) -> str | None:
    networks = made(sparse, method="diagonal")
    lines = []
    for depth in distinct(networks, "depth"):
        some = made(networks, depth=depth)
        scales = distinct(some, "init_scale")
        found = [median(errors(made(some, init_scale=scale))) for scale in scales]
        lines.append(series(f"depth {depth}, diagonal", scales, found, f"depth {depth}"))
    scales = distinct(networks, "init_scale")
    explicit = median(errors(made(sparse, method="l1_over_l2")))
    if explicit is not None and scales:  # it does not depend on the scale of the networks: a level
        lines.append(series(EXPLICIT, [scales[0], scales[-1]], [explicit] * 2, "explicit"))
    if not lines:
        return None
    return line_chart(
        lines,
        title=title,
        x_label="initial scale of the diagonal network",
        y_label="relative error",
        log_x=True,
        log_y=True,
        id="regression",
        reference=(minimum.value, "minimum ℓ2 norm") if minimum is not None else None,
    )


def _table(group: Sequence[Run]) -> tuple[list[tuple[Cell, ...]], list[dict[str, Cell]]]:
    rows: list[tuple[Cell, ...]] = []
    data: list[dict[str, Cell]] = []
    for name, scale, some in _settings(group):
        error, distance = median(errors(some)), median(values(some, "to_minimum_norm"))
        ratio, nonzeros = median(values(some, "l1_over_l2")), int(some[0].config["rank"])
        truth = "sparse" if nonzeros else "dense"
        values_ = [None if one is None else one.value for one in (error, distance, ratio)]
        written = "–" if scale is None else short(scale)
        rows.append((name, truth, written, values_[0], interval(error), *values_[1:], len(some)))
        data.append(
            {"method": name, "truth": truth, "init_scale": scale, "seeds": len(some)}
            | columns(error, "error")
            | columns(distance, "to_minimum_norm")
            | columns(ratio, "l1_over_l2")
            | columns(median(values(some, "minimum_norm_error")), "minimum_norm_error")
        )
    return rows, data


def _settings(group: Sequence[Run]) -> list[tuple[str, float | None, list[Run]]]:
    """Each setting of the table: its name, its scale where it has one, and its runs."""
    found: list[tuple[str, float | None, list[Run]]] = []
    for nonzeros in distinct(group, "rank"):
        found.append(("gradient descent from zero", None, made(group, method="gd", rank=nonzeros)))
    networks = made(group, method="diagonal")
    for depth in distinct(networks, "depth"):
        for scale in distinct(networks, "init_scale"):
            some = made(networks, depth=depth, init_scale=scale)
            found.append((f"depth {depth}, diagonal", scale, some))
    found.append((EXPLICIT, None, made(group, method="l1_over_l2")))
    return [(name, scale, some) for name, scale, some in found if some]


def _caption(group: Sequence[Run]) -> str:
    config = group[0].config
    nonzeros = [count for count in distinct(group, "rank") if count]
    sparse = f"a truth with {nonzeros[0]} non-zeros" if nonzeros else "a sparse truth"
    return (
        f"{config['n']} unknowns, {config['n_observed']} samples without noise. Chart, for {sparse}: error "
        "relative to the truth over the scale from which a diagonal network is trained by gradient descent "
        "without a penalty; both axes are logarithmic. Dashed: the solution of minimum ℓ2 norm. The explicit "
        "penalty ‖w‖₁/‖w‖₂ (then least squares on the coordinates it keeps) is drawn as a level, because it "
        "does not depend on that scale. In the table, the distance to the minimum norm solution is relative "
        f"to that solution's norm. {spread(group, 'bands and intervals')}{losses(group)}"
    )
