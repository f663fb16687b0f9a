"""The figures of the part on explicit penalties; a figure without any of its runs is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.claims.evidence import number
from overt.studies.claims.numbers import columns, distinct, interval, listed, made, median, short
from overt.studies.proxies.functionals import PAIRS, PROXIES
from overt.studies.proxies.rules import FOUND, gain
from overt.studies.proxies.tried import errors, rows, steps
from overt.studies.report.charts import Interval, heat_map, interval_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table, format_number

__all__ = ["figures"]

LIMITS = (1e-3, 1.0)
ORDER = ("adam", "rmsprop", "muon", "lbfgs", "gd")


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the stored runs allow."""
    group = made(runs, group="penalties")
    return draw((recovery, normalization, weights, inits, cost), group) if group else []


def _setting(group: Sequence[Run]) -> str:
    config = group[0].config
    return (
        f"One layer and a constant weight on {config['n']}×{config['n']} matrices of rank {config['rank']}, "
        f"{format_number(config['n_observed'])} entries observed. Every proxy is tuned over "
        f"{len(config['rates'])} × {len(config['weights'])} settings (learning rate × weight) for each "
        f"optimizer on {config['pilot_seeds']} pilot seed(s), and judged on others. “/ F”: over the "
        "Frobenius norm. The truncated nuclear norm is told the rank; no other proxy is. Scale-invariant "
        f"proxies have the guard against a blow-up (norm_cap {config['norm_cap']:g})."
    )


def _named(group: Sequence[Run]) -> list[str]:
    there = {str(run.config["proxy"]) for run in group}
    return [name for name in PROXIES if name in there]


def recovery(group: Sequence[Run]) -> Figure:
    """P3, P4: a row per proxy, a column per optimizer."""
    title = "Proxies of rank as penalties, by optimizer"
    there = {str(run.config["optimizer"]) for run in group}
    names = [*(name for name in ORDER if name in there), *sorted(there - set(ORDER))]
    table = {
        (proxy, name): median(list(errors(group, proxy, name).values()))
        for proxy in _named(group)
        for name in names
    }

    def best(proxy: str) -> float:
        return min(one.value for name in names if (one := table[proxy, name]) is not None)

    order = sorted(_named(group), key=lambda proxy: (best(proxy), proxy))
    grid = [[_coloured(table[proxy, name]) for name in names] for proxy in order]
    text = [[_words(table[proxy, name]) for name in names] for proxy in order]
    chart = heat_map(
        order,
        names,
        grid,
        text=text,
        title=title,
        label="error",
        log=True,
        limits=LIMITS,
        row_label="proxy",
        col_label="optimizer",
        id="proxies-recovery",
    )
    data: list[dict[str, Cell]] = [_recovery_row(group, proxy, name) for proxy in order for name in names]
    caption = (
        f"{_setting(group)} Colour and number: median error over the judged seeds, relative to the truth; "
        "colours end at 0.001 and 1. Rows are ordered by their best cell."
    )
    return Figure("proxies-recovery", title, caption, svg=chart, data=data)


def _recovery_row(group: Sequence[Run], proxy: str, optimizer: str) -> dict[str, Cell]:
    judged = rows(group, proxy, optimizer)
    row: dict[str, Cell] = {"proxy": proxy, "optimizer": optimizer}
    if judged:
        row |= {"lr": judged[0]["lr"], "weight": judged[0]["weight"]}
    return (
        row
        | columns(median(list(errors(group, proxy, optimizer).values())), "error")
        | {"seeds": len(judged)}
    )


def normalization(group: Sequence[Run]) -> Figure | None:
    """P1, P2: the normalized form relative to the plain one."""
    found = {plain: gain(group, plain) for plain in PAIRS}
    there = {plain: one for plain, one in found.items() if one is not None}
    if not there:
        return None
    title = "What normalizing does to the error"
    bars = [Interval(plain, one.value, one.low, one.high) for plain, one in there.items()]
    chart = interval_chart(
        bars,
        title=title,
        x_label="error normalized / plain, Adam",
        log_x=True,
        reference=(0.5, "halved: normalizing matters"),
        id="proxies-normalization",
    )
    data: list[dict[str, Cell]] = [
        {"proxy": plain, **columns(one, "ratio"), "seeds": one.n} for plain, one in there.items()
    ]
    caption = (
        f"{_setting(group)} Adam. Left of the dashed line the normalized form has at most half the error of "
        "the plain one; right of 1 normalizing hurts. Dots: median of the ratios, seed by seed; lines: 95 "
        "% bootstrap intervals."
    )
    return Figure("proxies-normalization", title, caption, svg=chart, data=data)


def weights(group: Sequence[Run]) -> Figure | None:
    """P5: error over the decades of weights."""
    return _window(
        group,
        "weight",
        "weight",
        "The window of weights",
        "proxies-weights",
        "A weight of 1 makes the proxy's gradient at the zero-filled observations as large as that of the "
        "loss at zero, so that the columns compare.",
    )


def inits(group: Sequence[Run]) -> Figure | None:
    """P6: error over the scales of the initialization."""
    return _window(
        group,
        "init",
        "init_scale",
        "The window of initializations",
        "proxies-inits",
        "The scale is the standard deviation of the entries at the start; those of the truth have mean "
        "square 1.",
    )


def _window(group: Sequence[Run], stage: str, field: str, title: str, id: str, note: str) -> Figure | None:
    table: dict[str, dict[float, Estimate | None]] = {}
    data: list[dict[str, Cell]] = []
    for proxy in _named(group):
        some: dict[float, list[float]] = {}
        for row in rows(group, proxy, "adam", stage):
            some.setdefault(float(row[field]), []).append(number(row.get("error")))
        if some:
            table[proxy] = {value: median(found) for value, found in some.items()}
        for value, found in sorted(some.items()):
            cells: dict[str, Cell] = {"proxy": proxy, field: value}
            data.append(cells | columns(median(found), "error") | {"seeds": len(found)})
    if not table:
        return None
    values = sorted({value for found in table.values() for value in found})
    chart = heat_map(
        list(table),
        [short(value) for value in values],
        [[_coloured(found.get(value)) for value in values] for found in table.values()],
        text=[[_words(found.get(value)) for value in values] for found in table.values()],
        title=title,
        label="error",
        log=True,
        limits=LIMITS,
        row_label="proxy",
        col_label="weight" if field == "weight" else "scale of the initialization",
        id=id,
    )
    count = max(one.n for found in table.values() for one in found.values() if one is not None)
    caption = (
        f"{_setting(group)} Adam at the chosen learning rate{'' if field == 'weight' else ' and weight'}. "
        f"{note} Number and colour: median error over {count} seed(s); the matrix counts as found at "
        f"{FOUND:g}."
    )
    return Figure(id, title, caption, svg=chart, data=data)


def cost(group: Sequence[Run]) -> Figure | None:
    """P7: steps to an error of 0.1, and milliseconds per step."""
    title = "What a proxy costs under Adam"
    lines: list[tuple[Cell, ...]] = []
    data: list[dict[str, Cell]] = []
    bars: list[tuple[float, Interval]] = []
    for proxy in _named(group):
        judged = rows(group, proxy)
        taken = list(steps(group, proxy).values())
        if not judged:
            continue
        budget = int(made(group, proxy=proxy, optimizer="adam")[0].config["max_steps"])
        found = median([one * budget for one in taken])
        pace = median([1e3 * row["seconds"] / max(1, row["steps"]) for row in judged if row.get("seconds")])
        reached = sum(map(math.isfinite, taken))
        lines.append(
            (
                proxy,
                _finite(found),
                interval(found),
                f"{reached} of {len(taken)}",
                pace.value if pace else None,
            )
        )
        cells: dict[str, Cell] = {"proxy": proxy, **columns(found, "steps"), "reached": reached}
        data.append(cells | {"seeds": len(taken), **columns(pace, "ms_per_step")})
        value = _finite(found)
        there = found is not None and value is not None
        ends = (found.low, found.high) if there and found is not None else (None, None)
        bars.append((value or math.inf, Interval(proxy, value, *ends, note="" if there else "not reached")))
    if not lines:
        return None
    chart = interval_chart(
        [bar for _, bar in sorted(bars, key=lambda pair: (pair[0], pair[1].label))],
        title=title,
        x_label="steps to an error of 0.1",
        log_x=True,
        id="proxies-cost",
    )
    names = ("proxy", "steps to error 0.1", "interval", "reached", "ms a step")
    caption = (
        f"{_setting(group)} Steps are checked every 25. Milliseconds were measured while other runs used the "
        f"machine: orders of magnitude only. Optimizers run: {listed(distinct(group, 'optimizer'))}."
    )
    return Figure("proxies-cost", title, caption, svg=chart, table=Table(names, lines), data=data)


def _finite(estimate: Estimate | None) -> float | None:
    return None if estimate is None or not math.isfinite(estimate.value) else estimate.value


def _coloured(one: Any) -> float:
    return math.nan if one is None else min(float(one.value), LIMITS[1])


def _words(one: Any) -> str:
    if one is None:
        return ""
    return "diverged" if math.isinf(one.value) else format_number(float(one.value), 2)
