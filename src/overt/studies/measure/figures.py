"""The report's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct, made, median, series, short, spread, values
from overt.studies.measure.counting import FACTORS, around, linear_settings
from overt.studies.measure.figures_alignment import alignment, differences, pictures
from overt.studies.measure.figures_words import estimated, setting
from overt.studies.report.charts import Series, Spectra, interval_chart, line_chart, spectrum_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table

Rows = list[dict[str, Cell]]
NAMES = {"depth": "depth", "scale": "scale", "width": "width", "lr": "rate", "batch_size": "batch"}


def figures(runs: Sequence[Run]) -> list[Figure]:
    """All figures for which there are runs."""
    makers: tuple[Callable[[Sequence[Run]], Figure | None], ...] = (
        collapse,
        exactness,
        trajectories,
        factors,
        alignment,
        differences,
        pictures,
    )
    return draw(makers, runs)


# ---- linear models ----------------------------------------------------------------------------------------


def collapse(runs: Sequence[Run]) -> Figure | None:
    """M1: spectra along training, one seed."""
    group = made(runs, group="collapse")
    if not group:
        return None
    deepest = max(distinct(group, "depth"))
    panels, data = [], Rows()
    for name, some in linear_settings(group).items():
        one = some[0]
        if one.config["depth"] != deepest or "bottleneck" in name:
            continue
        steps = np.maximum(one.arrays["step"], 0.5)  # the start, on a logarithmic axis
        shown = one.arrays["singular_values"][:, :12]
        panels.append(Spectra(name, steps, shown))
        data += [
            {"model": name, "step": int(step), "index": index, "value": float(value)}
            for step, row in zip(one.arrays["step"], shown, strict=True)
            for index, value in enumerate(row)
        ]
    if not panels:
        return None
    title = "The measure along the training of linear models"
    caption = (
        "The twelve largest values of √diag(U M U*), U the basis that diagonalizes the model: the "
        "eigenbasis, Fourier (the two conjugate frequencies of a pair coincide) and the coordinates. "
        f"Gradient descent from a small start towards a map of {group[0].config['teacher_rank']} modes (for "
        "convolutions: pairs of frequencies) of size one. One seed; the start is drawn at step ½."
    )
    svg = spectrum_chart(panels, title=title, y_label="value", id="collapse")
    return Figure("collapse", title, caption, svg=svg, data=data)


def exactness(runs: Sequence[Run]) -> Figure | None:
    """M1 and M2: the worst deviation and the ratio of norms."""
    settings = linear_settings(made(runs, group="collapse"))
    if not settings:
        return None
    rows = []
    for name, some in settings.items():
        first = [run.records[0] for run in some]
        rows.append(
            (
                name,
                max(float(one["worst_error"]) for one in first),
                min(float(one["least_cost_ratio"]) for one in first),
                max(float(one["cost_ratio"]) for one in first),
                float(np.median([one["cost"] for one in first])),
                len(some),
            )
        )
    names = (
        "model",
        "deviation",
        "‖W‖²/P, least",
        "‖W‖²/P, end",
        "P, end",
        "seeds",
    )
    caption = (
        "Largest deviation of the measure from the known spectrum, relative to its largest value, over all "
        "recorded steps and seeds; and the layers' mean squared norm ‖W‖² over the representation cost "
        "P = P_{2/L}, which no weights can be below: the least over all steps, and the largest at the end."
    )
    title = "Collapse to known spectra and to the representation cost"
    return Figure("exactness", title, caption, table=Table(names, rows))


# ---- dynamics ---------------------------------------------------------------------------------------------


def trajectories(runs: Sequence[Run]) -> Figure | None:
    """M3–M5: effective rank over steps."""
    if not made(runs, group="dynamics"):
        return None
    title = "The effective rank of M along training"
    data, panels = Rows(), []
    for factor, words in (("depth", "by depth"), ("scale", "by initial scale")):
        for activation, kind in (("relu", "ReLU"), ("linear", "no ReLU")):
            lines = [
                _trajectory(some, f"{NAMES[factor]} {short(value)}", factor, activation, data)
                for value, some in around(runs, factor, activation).items()
            ]
            if lines:
                name = f"trajectories-{factor}-{activation}"
                panels.append(
                    line_chart(
                        lines,
                        title=title,
                        panel=f"{words}, {kind}",
                        x_label="step (the start at ½)",
                        y_label="effective rank",
                        log_x=True,
                        log_y=True,
                        id=name,
                    )
                )
    group = made(runs, group="dynamics")
    caption = (
        f"{setting(group)} Each line ends where fewer than half of the seeds are still training. "
        f"{spread(group, 'bands')}"
    )
    return Figure("trajectories", title, caption, svg=panels, data=data) if panels else None


def _trajectory(some: Sequence[Run], label: str, factor: str, activation: str, data: Rows) -> Series:
    found: dict[int, list[float]] = {}
    for run in some:
        # The last look is where the loss was reached, at another step for each seed.
        for step, value in zip(run.arrays["step"][:-1], run.arrays["effective_rank"][:-1], strict=True):
            found.setdefault(int(step), []).append(float(value))
    kept = {step: each for step, each in sorted(found.items()) if 2 * len(each) >= len(some)}
    estimates = [median(each) for each in kept.values()]
    names: dict[str, Cell] = {"factor": factor, "line": label, "activation": activation}
    data += [
        names | {"step": step} | columns(one, "effective_rank")
        for step, one in zip(kept, estimates, strict=True)
    ]
    return series(label, [max(step, 0.5) for step in kept], estimates)


def factors(runs: Sequence[Run]) -> Figure | None:
    """M4–M6: the measure at the same training loss, by factor."""
    group = made(runs, group="dynamics")
    if not group:
        return None
    title = "The measure at the same training loss"
    data, panels = Rows(), []
    measured = {
        "effective_rank": "effective rank of M",
        "normalized_nuclear_norm": "normalized nuclear norm of M",
        "alignment": "a_Fourier",
        "corrected_alignment": "a_Fourier, corrected for rank",
    }
    for field, words in measured.items():
        rows = []
        for factor in FACTORS:
            for value, some in around(runs, factor).items():
                reached = [run for run in some if run.records[0]["status"] == "reached"]
                found = median(values(reached, field))
                label = f"{NAMES[factor]} {short(value)}"
                rows.append(estimated(label, found, NAMES[factor]))
                data.append(
                    {"factor": factor, "value": value, "quantity": field, "seeds": len(reached)}
                    | columns(found, "median")
                )
        panels.append(
            interval_chart(
                rows, title=title, panel=words, x_label=words, id=f"factors-{field.replace('_', '-')}"
            )
        )
    accuracy = median(values(group, "accuracy"))
    right = f" Median accuracy on held-out images {accuracy.value:.0%}." if accuracy else ""
    caption = (
        f"{setting(group)} One factor at a time. Corrected: (a_Fourier − a_random) / (1 − a_random), with "
        f"that of the same M turned at random.{right} {spread(group, 'lines')}"
    )
    return Figure("factors", title, caption, svg=panels, data=data)
