"""Curves of the study: accuracy kept over rank, scores over the number of images, and over the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overt.studies.base import Estimate, Run
from overt.studies.claims.evidence import select
from overt.studies.claims.numbers import columns, seeds, series
from overt.studies.generalization.methods import key, label, look
from overt.studies.generalization.results import NETWORKS, Cell, cells, keys, mean, numbers, trials
from overt.studies.report.charts import Series, line_chart
from overt.studies.report.figures import Cell as Value
from overt.studies.report.figures import Figure

__all__ = ["rank_curves", "size_curves", "weight_curves"]

# Six lines are what a reader can tell apart.
DRAWN = (
    "nothing",
    "weight_decay",
    "normalized_nuclear_norm",
    "overparameterized 2",
    "jacobian 2",
    "jacobian 1 eigen",
)


def _mean(values: Sequence[float]) -> Estimate | None:
    return mean(values) if values else None


def rank_curves(runs: Sequence[Run]) -> Figure | None:
    """Share of the accuracy kept over the rank of every layer."""
    panels: list[str] = []
    data: list[dict[str, Value]] = []
    for network, name in NETWORKS.items():
        some = Cell(network).runs(runs)
        lines = []
        for method in [m for m in keys(some) if m in DRAWN]:
            rows = [run.records[0]["truncations"] for run in some if key(run.config) == method]
            ranks = [row["rank"] for row in rows[0]]
            found = [_mean([row[i]["kept"] for row in rows]) for i in range(len(ranks))]
            lines.append(series(label(method), ranks, found, method=look(method)))
            data += [
                {"network": name, "method": label(method), "rank": rank, **columns(one, "kept")}
                for rank, one in zip(ranks, found, strict=True)
            ]
        if lines:
            panels.append(
                _chart("kept", network, name, lines, "rank of every layer", "share of accuracy kept")
            )
    if not panels:
        return None
    caption = (
        "Accuracy of the network with every layer truncated to a rank (singular value decomposition; "
        "layers that would not become smaller are left), as a share of its own; products of linear layers "
        f"are multiplied out before. Means over {seeds(select(runs, group='main'))}; bands: 95 % "
        "bootstrap intervals."
    )
    return Figure("truncation", "Accuracy kept by truncated networks", caption, svg=panels, data=data)


def size_curves(runs: Sequence[Run]) -> Figure | None:
    """Accuracy and cross-entropy over the number of training images."""
    if len({cell.n_train for cell in cells(runs)}) < 2:
        return None
    panels: list[str] = []
    data: list[dict[str, Value]] = []
    for network, name in NETWORKS.items():
        there = [cell for cell in cells(runs) if cell.network == network]
        counts = [cell.n_train or 0 for cell in there]
        for field, words in (("accuracy", "test accuracy"), ("cross_entropy", "test cross-entropy (nats)")):
            lines = []
            for method in DRAWN:
                found = [_mean(list(numbers(runs, cell, method, field).values())) for cell in there]
                if any(found):
                    lines.append(series(label(method), counts, found, method=look(method)))
                    data += [
                        {"network": name, "method": label(method), "images": n, **columns(one, field)}
                        for n, one in zip(counts, found, strict=True)
                    ]
            if lines:
                panels.append(_chart(f"sizes-{field[:5]}", network, name, lines, "training images", words))
    made = {len({run.config["seed"] for run in cell.runs(runs)}) for cell in cells(runs)}
    spans = " to ".join(str(n) for n in sorted({min(made), max(made)}))
    caption = (
        "Scores over the number of training images; each method chooses one of its four settings anew at "
        f"each. Means over {spans} seeds; bands: 95 % bootstrap intervals."
    )
    return Figure("sizes", "Over the number of training images", caption, svg=panels, data=data)


def weight_curves(runs: Sequence[Run]) -> Figure | None:
    """G7: validation cross-entropy over the weight, in each place where it was tuned."""
    panels: list[str] = []
    data: list[dict[str, Value]] = []
    for method in ("jacobian 1 eigen", "jacobian 1 eigen normalized"):
        lines = []
        for cell in [*cells(runs), Cell("mlp", "units")]:
            found = trials(runs, cell, method)
            if not found:
                continue
            place = f"{NETWORKS[cell.network]}, {cell.n_train} images"
            place = "pixels in other units" if cell.group == "units" else place
            settings = sorted(next(iter(found.values())))
            values = [_mean([min(row[w], 10.0) for row in found.values() if w in row]) for w in settings]
            lines.append(series(place, settings, values, method=place))
            data += [
                {"method": label(method), "place": place, "weight": w, **columns(one, "cross_entropy")}
                for w, one in zip(settings, values, strict=True)
            ]
        if lines:
            id_ = "weights-normalized" if "normalized" in method else "weights"
            panels.append(_chart(id_, "", label(method), lines, "weight", "validation cross-entropy (nats)"))
    if not panels:
        return None
    caption = (
        "Validation cross-entropy over the weight of the penalty, wherever it was tuned: where the curves "
        "have their lowest points one above the other, one weight serves all. Pixels in other units are a "
        "hundred times larger. Means over the seeds; bands: 95 % bootstrap intervals."
    )
    return Figure("weights", "Does one weight serve all scales?", caption, svg=panels, data=data)


def _chart(id_: str, network: str, panel: str, lines: Sequence[Series], x: str, y: str) -> str:
    draw: Callable[..., str] = line_chart
    name = f"{id_}-{network}" if network else id_
    return draw(lines, title=y, x_label=x, y_label=y, panel=panel, log_x=True, id=name.replace("_", "-"))
