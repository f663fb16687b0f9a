"""The story's figures, as a pure function of stored runs. What is not there yet is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overt.studies.base import Run
from overt.studies.claims.evidence import RECOVERED
from overt.studies.claims.numbers import (
    NAMES,
    columns,
    distinct,
    errors,
    instance,
    losses,
    made,
    median,
    series,
    spread,
    values,
)
from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, format_number
from overt.studies.story.figures_cost import cost
from overt.studies.story.figures_real import movielens, photographs
from overt.studies.story.figures_regression import regression
from overt.studies.story.figures_sweeps import inits, nuclear, optimizers, weights

__all__ = ["figures"]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the stored runs allow.

    Parameters
    ----------
    runs : sequence of Run
        Runs of the story in any order; skipped and missing ones leave gaps.

    Returns
    -------
    list of Figure
        In the order of the story; a figure without any of its runs is left out.
    """
    makers = (
        spectra,
        error_over_observations,
        photographs,
        movielens,
        optimizers,
        weights,
        inits,
        nuclear,
        regression,
        cost,
    )
    return draw(makers, runs)


def spectra(runs: Sequence[Run]) -> Figure | None:
    """Singular values over the steps of training: depth 3 beside the explicit penalty at depth 1."""
    deep = made(runs, group="depths", method="deep", depth=3, optimizer="gd", n_observed=2000)
    explicit = made(runs, group="portrait", method="explicit")
    found = {
        name: some[0]
        for name, some in (("depth 3, implicit", deep), ("depth 1, explicit", explicit))
        if some and some[0].arrays.get("step") is not None and len(some[0].arrays["step"])
    }
    if not found:
        return None
    first = next(iter(found.values()))
    rank = int(first.config["rank"])
    title = "Singular values during training"
    panels = [Spectra(name, run.arrays["step"], run.arrays["singular_values"]) for name, run in found.items()]
    drawings = spectrum_chart(
        panels, title=title, rank=rank, x_label="step", y_label="singular values", id="spectra"
    )
    ranks = [
        Series(name, run.arrays["step"], run.arrays["effective_rank"])
        for name, run in found.items()
        if "effective_rank" in run.arrays
    ]
    if ranks:
        chart = line_chart(
            ranks,
            title=title,
            panel=" and ".join(found),
            x_label="step",
            y_label="effective rank",
            log_x=True,
            reference=(float(rank), f"true rank {rank}"),
            id="spectra-rank",
        )
        drawings = (*drawings, chart)
    return Figure("spectra", title, _spectra_caption(found, rank), svg=drawings, data=_spectra_data(found))


def _spectra_caption(found: dict[str, Run], rank: int) -> str:
    first = next(iter(found.values()))
    ends = [
        f"{name}: effective rank {run.arrays['effective_rank'][-1]:.2f}, relative error "
        f"{format_number(float(run.arrays['error'][-1]), 2)}"
        for name, run in found.items()
        if "effective_rank" in run.arrays and "error" in run.arrays
    ]
    shared = "The panels share their axes. " if len(found) > 1 else ""
    return (
        f"Each line is one singular value of the end-to-end matrix while it is fitted to {instance(first)} "
        f"(seed {first.config['seed']}). Coloured: the first {rank}, as many as the true rank; grey: all "
        "others that were recorded. A preference for low rank shows as grey lines that stay at zero or "
        "return to it while the coloured ones grow; the last panel sums this up as the effective rank. "
        f"Horizontal: step, logarithmic. {shared}Units: at depth 3 those of the data, whose observed entries "
        "have a mean square of about 1; at depth 1 the observed entries are scaled to a mean square of "
        f"exactly 1. At the last recorded step, before any refit, {'; '.join(ends)}."
    )


def _spectra_data(found: dict[str, Run]) -> list[dict[str, Cell]]:
    data: list[dict[str, Cell]] = []
    for name, run in found.items():
        arrays = run.arrays
        for t, step in enumerate(arrays["step"]):
            row: dict[str, Cell] = {"method": name, "step": int(step)}
            for key in ("effective_rank", "error"):
                row[key] = _six(arrays[key][t]) if key in arrays else None
            data.append(row | {f"sigma_{k + 1}": _six(s) for k, s in enumerate(arrays["singular_values"][t])})
    return data


def _six(value: Any) -> float:
    """Six digits are more than a drawing shows, and a third of the page's size."""
    return float(f"{float(value):.6g}")


def error_over_observations(runs: Sequence[Run]) -> Figure | None:
    """S1, S2: error and effective rank of every method over the number of observed entries."""
    group = made(runs, group="depths")
    if not group:
        return None
    methods = _methods(group)
    error_lines, rank_lines, data = [], [], []
    for label, some in methods.items():
        counts = distinct(some, "n_observed")
        at = [made(some, n_observed=count) for count in counts]
        error = [median(errors(here)) for here in at]
        rank = [median(values(here, "effective_rank")) for here in at]
        if "Adam" not in label:  # the deep networks with Adam are in the data: nine lines are enough
            error_lines.append(series(label, counts, error))
            rank_lines.append(series(label, counts, rank))
        data += [
            {"method": label, "observed": count, "seeds": len(here)}
            | columns(e, "error")
            | columns(r, "effective_rank")
            for count, here, e, r in zip(counts, at, error, rank, strict=True)
        ]
    title, x_label = "Error and effective rank over the number of observed entries", "observed entries"
    true_rank = int(group[0].config["rank"])
    counts = distinct(group, "n_observed")
    x_lim = (min(1000, 0.95 * counts[0]), 1.05 * counts[-1])
    svg = (
        line_chart(
            error_lines,
            title=title,
            panel="error",
            x_label=x_label,
            y_label="relative error",
            log_x=True,
            log_y=True,
            x_lim=x_lim,
            reference=(RECOVERED, "error 1e−5"),
            id="error",
            height=330,
        ),
        line_chart(
            rank_lines,
            title=title,
            panel="effective rank",
            x_label=x_label,
            y_label="effective rank",
            log_x=True,
            x_lim=x_lim,
            reference=(float(true_rank), f"true rank {true_rank}"),
            id="rank",
            height=330,
        ),
    )
    return Figure("error-over-observations", title, _error_caption(group, list(methods)), svg=svg, data=data)


def _methods(group: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by what the figure calls their method, in the order in which they are drawn."""
    found: dict[str, list[Run]] = {}
    deep = made(group, method="deep")
    for optimizer, suffix in (("gd", ""), ("adam", ", Adam")):
        for depth in distinct(deep, "depth"):
            found[f"depth {depth}{suffix}"] = made(deep, depth=depth, optimizer=optimizer)
        if optimizer == "gd":
            for method in ("explicit", "nuclear_norm", "soft_impute", "irls"):
                found[NAMES[method]] = made(group, method=method)
    return {label: some for label, some in found.items() if some}


def _error_caption(group: Sequence[Run], methods: Sequence[str]) -> str:
    n, rank = group[0].config["n"], group[0].config["rank"]
    words = ""
    if any(label.startswith("depth") for label in methods):
        words += "Lines named by their depth: gradient descent without a penalty, from a small start. "
    if "explicit" in methods:
        words += (
            "Explicit: depth 1 and Adam with the normalized nuclear norm, then a refit at the rank it found. "
        )
    if any("Adam" in label for label in methods):
        words += "Deep networks with Adam are in the data. "
    return (
        f"Completion of {instance(group[0], observed=False)}, which has "
        f"{format_number(rank * (2 * n - rank))} degrees of freedom. First panel: error relative to the "
        "truth, in the Frobenius norm; second: effective rank. "
        f"{words}{spread(group, 'bands')}{losses(group)}"
    )
