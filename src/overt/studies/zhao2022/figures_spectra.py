"""Singular values during training: one layer with and without the penalty, beside depth 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overt.studies.base import Run
from overt.studies.claims.numbers import made
from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart
from overt.studies.report.figures import Cell, Figure, format_number
from overt.studies.zhao2022.slices import DENSE, settings

__all__ = ["spectra"]


def spectra(runs: Sequence[Run]) -> Figure | None:
    """The spectrum over the steps on one instance with entries enough, and the effective rank."""
    group = [run for run in made(runs, group="depths", method="train") if "step" in run.arrays]
    found = _chosen(next(iter(settings(group, DENSE).values()), []))
    if not found:
        return None
    config = next(iter(found.values())).config
    rank, title = int(config["rank"]), "Singular values during training"
    panels = [Spectra(name, run.arrays["step"], run.arrays["singular_values"]) for name, run in found.items()]
    drawings = spectrum_chart(panels, title=title, rank=rank, id="zhao-spectra")
    lines = [Series(name, run.arrays["step"], run.arrays["effective_rank"]) for name, run in found.items()]
    chart = line_chart(
        lines,
        title=title,
        panel="effective rank",
        x_label="step",
        y_label="effective rank",
        log_x=True,
        reference=(float(rank), f"true rank {rank}"),
        id="zhao-spectra-rank",
    )
    ends = "; ".join(
        f"{name}: effective rank {run.arrays['effective_rank'][-1]:.2f}, error "
        f"{format_number(float(run.arrays['error'][-1]), 2)}"
        for name, run in found.items()
    )
    caption = (
        f"Each line is one singular value of the end-to-end matrix, {config['n']}×{config['n']} of rank "
        f"{rank} with {format_number(config['n_observed'])} entries observed, seed {config['seed']}, under "
        f"Adam. Coloured: the first {rank}; grey: all others that were recorded. The last panel sums this "
        f"up as the effective rank. The panels share their axes. At the end, {ends}."
    )
    return Figure("spectra", title, caption, svg=(*drawings, chart), data=_data(found))


def _chosen(group: Sequence[Run]) -> dict[str, Run]:
    """The first seed of each network under Adam, at its largest learning rate."""
    kinds = {"explicit": (1, True), "depth 1": (1, False), "depth 3": (3, False)}
    found = {}
    for name, (depth, penalized) in kinds.items():
        some = [
            run
            for run in made(group, depth=depth, optimizer="adam", activation="linear")
            if (run.config["weight"] > 0) == penalized
        ]
        if some:
            found[name] = min(some, key=lambda run: (run.config["seed"], -run.config["lr"]))
    return found


def _data(found: Mapping[str, Run]) -> list[dict[str, Cell]]:
    return [
        {
            "method": name,
            "step": int(step),
            "effective_rank": float(run.arrays["effective_rank"][t]),
            "error": float(run.arrays["error"][t]),
            **{f"sigma_{i + 1}": float(value) for i, value in enumerate(run.arrays["singular_values"][t])},
        }
        for name, run in found.items()
        for t, step in enumerate(run.arrays["step"])
    ]
