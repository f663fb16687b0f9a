"""The report's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.evidence import number
from overt.studies.claims.numbers import (
    columns,
    distinct,
    instance,
    listed,
    made,
    median,
    series,
    short,
    spread,
)
from overt.studies.razin2020.rules import FUNCTIONALS
from overt.studies.report.charts import Interval, Series, interval_chart, line_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All figures for which there are runs."""
    makers: tuple[Callable[[Sequence[Run]], Figure | None], ...] = (entry, ranks, perturbed, tensor, which)
    return draw(makers, runs)


def entry(runs: Sequence[Run]) -> Figure | None:
    """R1 and R3: the open entry over the loss, for either sign."""
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    title = "The open entry of the 2×2 problem over the loss"
    for sign in ("positive", "negative"):
        group = made(runs, group="entry", determinant=sign)
        if not group:
            return None
        lines = [
            _over_loss(group, depth, "entry", data, determinant=sign) for depth in distinct(group, "depth")
        ]
        if sign == "positive":
            loss = 10.0 ** np.arange(-1, -6.3, -0.25)
            lower = (1 - np.sqrt(2 * loss)) ** 2 / np.sqrt(2 * loss)
            lines.append(Series("lower bound", loss.tolist(), lower.tolist(), method="irls"))
        panels.append(
            line_chart(
                lines,
                title=title,
                panel=f"initial determinant {sign}",
                x_label="loss ℓ",
                y_label="|w₁₁|",
                log_x=True,
                log_y=True,
                id=f"entry-{sign}",
            )
        )
    caption = (
        "Gradient flow on balanced deep linear networks; w₁₂ = w₂₁ = 1 and w₂₂ = 0 are observed. Training "
        "goes from right to left. With a positive determinant |w₁₁| follows the bound (1 − √(2ℓ))²/√(2ℓ) to "
        f"infinity, with a negative one it stays. {spread(made(runs, group='entry'), 'bands')}"
    )
    return Figure("open-entry", title, caption, svg=panels, data=data)


def ranks(runs: Sequence[Run]) -> Figure | None:
    """R2: norms and effective rank over the loss at depth 3."""
    group = made(runs, group="entry", determinant="positive", depth=3)
    if not group:
        return None
    title = "Norms grow while the effective rank falls"
    data: list[dict[str, Cell]] = []
    norms = [
        _over_loss(group, 3, name, data, label=label, method=label)
        for name, label in (
            ("nuclear", "nuclear"),
            ("frobenius", "Frobenius"),
            ("schatten_half", "Schatten ½"),
        )
    ]
    rank = [
        _over_loss(group, 3, name, data, label=label, method=label)
        for name, label in (("effective_rank", "effective rank"), ("normalized", "normalized nuclear norm"))
    ]
    options: dict[str, Any] = {"title": title, "x_label": "loss ℓ", "log_x": True}
    panels = (
        line_chart(norms, panel="norms", y_label="norm", log_y=True, id="norms", **options),
        line_chart(
            rank, panel="rank", y_label="continuous rank", id="ranks", reference=(1.0, "rank one"), **options
        ),
    )
    caption = (
        "Depth 3, positive initial determinant; training goes from right to left. The norms cannot be what "
        f"is minimised: all of them grow without bound. {spread(group, 'bands')}"
    )
    return Figure("norms-and-rank", title, caption, svg=panels, data=data)


def perturbed(runs: Sequence[Run]) -> Figure | None:
    """R4: the open entry over the perturbation."""
    group = made(runs, group="perturbed")
    if not group:
        return None
    title = "A small observation makes a large entry"
    data: list[dict[str, Cell]] = []
    lines = []
    corners = [corner for corner in distinct(group, "corner") if corner > 0]
    if not corners:
        return None
    for depth in distinct(group, "depth"):
        found = [
            median([number(run.records[0]["open_entry"]) for run in made(group, depth=depth, corner=corner)])
            for corner in corners
        ]
        lines.append(series(f"depth {depth}", corners, found))
        data += [
            {"depth": depth, "epsilon": corner} | columns(one, "open_entry")
            for corner, one in zip(corners, found, strict=True)
        ]
    lines.append(Series("1 / ε", corners, [1 / corner for corner in corners], method="irls"))
    svg = line_chart(
        lines,
        title=title,
        x_label="ε, observed in the place of 0",
        y_label="|w₁₁| at zero loss",
        log_x=True,
        log_y=True,
        id="perturbed",
    )
    caption = (
        "The 2×2 problem with w₂₂ = ε, balanced layers, positive initial determinant, trained to a loss of "
        f"{listed([short(loss) for loss in distinct(group, 'loss_target')])}. Solutions with w₁₁ = 0 exist "
        f"at every ε. {spread(group, 'bands')}"
    )
    return Figure("perturbed", title, caption, svg=svg, data=data)


def tensor(runs: Sequence[Run]) -> Figure | None:
    """R5: error over the number of observations."""
    group = made(runs, group="tensor")
    if not group:
        return None
    title = "Tensor completion by CP factorization"
    panels, rows, data = [], [], []
    for order in distinct(group, "order"):
        some = made(group, order=order)
        lines = []
        for rank in distinct(some, "rank"):
            for scale in distinct(some, "init_scale"):
                cells = made(some, rank=rank, init_scale=scale)
                counts = distinct(cells, "n_observed")
                found = [
                    median([number(run.records[0]["error"]) for run in made(cells, n_observed=count)])
                    for count in counts
                ]
                lines.append(series(f"rank {rank}, scale {scale:g}", counts, found))
                for count, error in zip(counts, found, strict=True):
                    here = made(cells, n_observed=count)
                    exact = sum(run.records[0]["tensor_rank"] == rank for run in here)
                    rows.append(
                        (order, rank, scale, count, error.value if error else None, f"{exact} of {len(here)}")
                    )
                    data.append(
                        {"order": order, "rank": rank, "init_scale": scale, "n_observed": count}
                        | columns(error, "error")
                        | {"exact_rank": exact, "seeds": len(here)}
                    )
        zero = {
            count: median([number(run.records[0]["zero_filling"]) for run in made(some, n_observed=count)])
            for count in distinct(some, "n_observed")
        }
        lines.append(series("zeros elsewhere", list(zero), list(zero.values()), "irls"))
        panels.append(
            line_chart(
                lines,
                title=title,
                panel=f"order {order}",
                x_label="observed entries",
                y_label="relative error",
                log_x=True,
                log_y=True,
                id=f"tensor-{order}",
            )
        )
    names = ("order", "rank", "scale", "observed", "error", "true rank found")
    caption = (
        f"Tensors with {_values(group, 'n')} places in each mode, optimizer {_values(group, 'optimizer')}; "
        f"components: {_components(group)}. The rank is that of the smallest CP model within 5 % of "
        f"the result. {spread(group, 'bands')}"
    )
    return Figure("tensors", title, caption, svg=panels, table=Table(names, rows), data=data)


def which(runs: Sequence[Run]) -> Figure | None:
    """R6: how far the network's solution is from the least value of each functional."""
    group = made(runs, group="which")
    if not group:
        return None
    title = "Which functional is the least one?"
    panels: list[str] = []
    data: list[dict[str, Cell]] = []
    for count in distinct(group, "n_observed"):
        some = made(group, n_observed=count)
        rows = []
        for name, words in FUNCTIONALS.items():
            found = median([number(run.records[0]["excess"][name]) for run in some])
            assert found is not None
            rows.append(Interval(words, found.value, found.low, found.high))
            data.append({"n_observed": count, "functional": words} | columns(found, "excess"))
        panels.append(
            interval_chart(
                rows,
                title=title,
                panel=f"{count} observed",
                x_label="excess over the least known value",
                id=f"which-{count}",
                reference=(0.0, "least"),
            )
        )
    solutions = list(group[0].records[0]["values"])
    table = [(name, *(group[0].records[0]["values"][name][key] for key in FUNCTIONALS)) for name in solutions]
    caption = (
        f"A depth-{_values(group, 'depth')} network on {instance(group[0], observed=False)} against other "
        "solutions that fit the same entries. One huge open entry brings both continuous ranks to one and "
        "leaves the rank above the truth's: globally only the rank is minimised. The table shows one seed. "
        f"{spread(group, 'ranges')}"
    )
    return Figure(
        "which",
        title,
        caption,
        svg=panels,
        table=Table(("solution", *FUNCTIONALS.values()), table),
        data=data,
    )


def _values(group: Sequence[Run], field: str) -> str:
    return listed([str(value) for value in distinct(group, field)])


def _components(group: Sequence[Run]) -> str:
    return listed(
        [
            f"{_values(made(group, order=order), 'components')} at order {order}"
            for order in distinct(group, "order")
        ]
    )


def _over_loss(
    group: Sequence[Run],
    depth: int,
    quantity: str,
    data: list[dict[str, Cell]],
    label: str | None = None,
    method: str | None = None,
    **fields: Cell,
) -> Series:
    """The median over seeds of a quantity at common losses."""
    runs = made(group, depth=depth)
    length = min(len(run.arrays["loss"]) for run in runs)
    loss = np.asarray(runs[0].arrays["loss"])[:length]
    values = np.stack([_quantity(run, quantity)[:length] for run in runs])
    found = [median(column.tolist()) for column in values.T]
    for x, one in zip(loss, found, strict=True):
        data.append(
            {"depth": depth, **fields, "quantity": quantity, "loss": float(x)} | columns(one, "value")
        )
    return series(label or f"depth {depth}", loss.tolist(), found, method)


def _quantity(run: Run, name: str) -> Any:
    if name == "entry":
        return np.abs(run.arrays["entry"])
    s = np.asarray(run.arrays["singular_values"])
    share = s / s.sum(axis=1, keepdims=True)
    return {
        "nuclear": lambda: s.sum(axis=1),
        "frobenius": lambda: np.sqrt((s**2).sum(axis=1)),
        "schatten_half": lambda: (s**0.5).sum(axis=1) ** 2,
        "normalized": lambda: s.sum(axis=1) / np.sqrt((s**2).sum(axis=1)),
        "effective_rank": lambda: np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)),
    }[name]()
