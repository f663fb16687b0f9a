"""The figures of the study, as a pure function of stored runs. What is not there yet is left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.evidence import number
from overt.studies.claims.numbers import columns, distinct, made, median, series, short, spread
from overt.studies.li2021.rules import mean_distance
from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, format_number

__all__ = ["figures"]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the stored runs allow."""
    return draw((over_time, saddles, over_scales, explicit_path), runs)


def _smallest(runs: Sequence[Run]) -> dict[int, Run]:
    """The first flow of each depth from its smallest initialization."""
    some = [run for run in made(runs, group="flow") if "time" in run.arrays]
    found = {}
    for depth in distinct(some, "depth"):
        at = made(some, depth=depth)
        found[depth] = made(at, init_scale=distinct(at, "init_scale")[0])[0]
    return found


def _share(run: Run) -> np.ndarray:
    """Time as a share of the whole flow, so that depths can stand side by side."""
    time = np.asarray(run.arrays["time"])
    return np.asarray(time / time[-1])


def over_time(runs: Sequence[Run]) -> Figure | None:
    """Singular values, effective rank and loss over time, by depth."""
    chosen = _smallest(runs)
    if not chosen:
        return None
    title = "Ranks are learned one after another"
    names = {depth: f"depth {depth}, from {short(run.config['init_scale'])}" for depth, run in chosen.items()}
    rank = int(next(iter(chosen.values())).config["rank"])
    panels = list(
        spectrum_chart(
            [
                Spectra(names[d], _share(run), run.arrays["singular_values"], method=f"depth {d}")
                for d, run in chosen.items()
            ],
            title=title,
            x_label="share of the time",
            rank=rank,
            log_x=False,
            id="li-spectra",
        )
    )
    method = {depth: f"depth {depth}" for depth in chosen}
    ranks = [
        Series(names[d], _share(run), run.arrays["effective_rank"], method=method[d])
        for d, run in chosen.items()
    ]
    loss = [Series(names[d], _share(run), run.arrays["loss"], method=method[d]) for d, run in chosen.items()]
    panels.append(
        line_chart(
            ranks,
            title=title,
            panel="effective rank",
            x_label="share of the time",
            y_label="effective rank",
            reference=(float(rank), "true rank"),
            id="li-rank",
        )
    )
    level = float(next(iter(chosen.values())).records[0]["critical_losses"][0])
    panels.append(
        line_chart(
            loss,
            title=title,
            panel="loss",
            x_label="share of the time",
            y_label="training loss",
            log_y=True,
            reference=(level, "loss of the first critical point"),
            id="li-loss",
        )
    )
    data: list[dict[str, Cell]] = [
        {
            "depth": d,
            "time": float(f"{t:.6g}"),
            "loss": float(f"{run.arrays['loss'][k]:.6g}"),
            "effective_rank": float(f"{run.arrays['effective_rank'][k]:.6g}"),
            **{f"sigma_{r + 1}": float(f"{s:.6g}") for r, s in enumerate(run.arrays["singular_values"][k])},
        }
        for d, run in chosen.items()
        for k, t in enumerate(run.arrays["time"])
    ]
    first = next(iter(chosen.values()))
    caption = (
        f"{_words(first)}, seed {first.config['seed']}. Gradient flow from the smallest balanced "
        "initialization of each depth; time as a share of the whole, which differs between depths. Coloured: "
        "as many singular values as the true rank. They rise one after another and the loss rests in "
        "between; the deeper the network, the sharper the steps."
    )
    return Figure("over-time", title, caption, svg=panels, data=data)


def _words(run: Run) -> str:
    config = run.config
    return (
        f"Completion of a {config['n']}×{config['n']} matrix of rank {config['rank']}, "
        f"{format_number(config['n_observed'])} entries observed"
    )


def saddles(runs: Sequence[Run]) -> Figure | None:
    """Distance to each of the greedy algorithm's critical points over time, by depth."""
    chosen = _smallest(runs)
    if not chosen:
        return None
    title = "From saddle to saddle: distance to the critical points of greedy low-rank learning"
    panels, data = [], []
    for depth, run in chosen.items():
        to = np.asarray(run.arrays["distances"])
        lines = [Series(f"to W{r + 1}", _share(run), to[:, r]) for r in range(to.shape[1])]
        scale = short(run.config["init_scale"])
        panels.append(
            line_chart(
                lines,
                title=title,
                panel=f"depth {depth}, from {scale}",
                x_label="share of the time",
                y_label="relative distance",
                log_y=True,
                id=f"li-saddles-{depth}",
            )
        )
        data += [
            {"depth": depth, "time": float(f"{t:.6g}"), "r": r + 1, "distance": float(f"{to[k, r]:.6g}")}
            for k, t in enumerate(run.arrays["time"])
            for r in range(to.shape[1])
        ]
    first = next(iter(chosen.values()))
    caption = (
        f"{_words(first)}, seed {first.config['seed']}. W1, W2, … are the ends of the phases of greedy "
        "low-rank learning, computed without any of these flows. Each dip is a visit to a saddle. The last "
        "point is where the flow ends, so its distance falls until the flow is stopped."
    )
    return Figure("saddles", title, caption, svg=panels, data=data)


def over_scales(runs: Sequence[Run]) -> Figure | None:
    """Distances, plateaus and what is left behind the rank over the initialization scale, by depth."""
    some = made(runs, group="flow")
    if not some:
        return None
    title = "How small the initialization must be, by depth"
    fields = {
        "distance": "mean distance to the critical points",
        "excess": "value behind the rank / first",
    }
    lines: dict[str, list[Series]] = {field: [] for field in fields}
    data: list[dict[str, Cell]] = []
    for depth in distinct(some, "depth"):
        scales = distinct(made(some, depth=depth), "init_scale")
        cells = [made(some, depth=depth, init_scale=scale) for scale in scales]
        found = {
            "distance": [median([mean_distance(run) for run in cell]) for cell in cells],
            "excess": [median([number(run.records[0]["excess"]) for run in cell]) for cell in cells],
        }
        for field, estimates in found.items():
            lines[field].append(series(f"depth {depth}", scales, estimates))
            data += [
                {"depth": depth, "init_scale": scale, "field": field} | columns(one, "value")
                for scale, one in zip(scales, estimates, strict=True)
            ]
    panels = [
        line_chart(
            lines[field],
            title=title,
            panel=label,
            x_label="initialization scale",
            y_label=label,
            log_x=True,
            log_y=True,
            id=f"li-scales-{field}",
        )
        for field, label in fields.items()
    ]
    caption = (
        f"{_words(some[0])}. Left: the smallest relative distance to each critical point along the flow, "
        "geometric mean over all points but the last. Right: the first singular value beyond the true rank "
        "at the end, relative to the largest. Two layers need a far smaller start than three or four. "
        f"{spread(some, 'bands')}"
    )
    return Figure("over-initialization", title, caption, svg=panels, data=data)


def explicit_path(runs: Sequence[Run]) -> Figure | None:
    """L4: rank and distance to the critical points along the penalty's weight."""
    some = made(runs, group="path")
    if not some:
        return None
    title = "The explicit path: the normalized nuclear norm over its weight"
    weights = sorted({float(record["weight"]) for run in some for record in run.records})
    cells = [[rec for run in some for rec in run.records if rec["weight"] == weight] for weight in weights]
    ranks = [median([number(record["effective_rank"]) for record in cell]) for cell in cells]
    rank = int(some[0].config["rank"])
    lines: list[Series] = []
    data: list[dict[str, Cell]] = []
    for r in range(rank):
        found = [median([number(record["distances"][r]) for record in cell]) for cell in cells]
        lines.append(series(f"to W{r + 1}", weights, found))
        data += [
            _at(weight, f"distance to W{r + 1}") | columns(one, "value")
            for weight, one in zip(weights, found, strict=True)
        ]
    data += [
        _at(weight, "effective rank") | columns(one, "value")
        for weight, one in zip(weights, ranks, strict=True)
    ]
    panels = [
        line_chart(
            [series("explicit", weights, ranks)],
            title=title,
            panel="effective rank",
            x_label="weight",
            y_label="effective rank",
            log_x=True,
            reference=(float(rank), "true rank"),
            id="li-path-rank",
        ),
        line_chart(
            lines,
            title=title,
            panel="distance to the critical points",
            x_label="weight",
            y_label="relative distance",
            log_x=True,
            log_y=True,
            id="li-path-distance",
        ),
    ]
    caption = (
        f"{_words(some[0])}. Adam at depth 1, at one weight of the penalty after another, the smallest "
        "first. From right to left, as the weight falls, the rank grows, as it does "
        f"over time in a flow. {spread(some, 'bands')}"
    )
    return Figure("explicit-path", title, caption, svg=panels, data=data)


def _at(weight: float, field: str) -> dict[str, Cell]:
    return {"weight": weight, "field": field}
