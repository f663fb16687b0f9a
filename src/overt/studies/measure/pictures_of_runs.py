"""The figures that show stored arrays: spectra along training, and sensitivities over the frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import seeds
from overt.studies.claims.quantities import select
from overt.studies.report.figures import Cell, Figure, encode_png

if TYPE_CHECKING:
    from overt.studies.part import Part

__all__ = ["sensitivities", "spectra_along_training"]

KINDS = {"real": "real images", "scrambled": "phases scrambled", "permuted": "pixels permuted"}


def spectra_along_training(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The measure of each linear model, for the first seed at the largest depth."""
    from overt.studies.report.charts import Spectra, spectrum_chart

    group = select(part.own(runs), {})
    if not group:
        return None
    deepest = max(run.config["depth"] for run in group)
    panels: dict[str, Spectra] = {}
    data: list[dict[str, Cell]] = []
    for run in sorted(group, key=lambda run: int(run.config["seed"])):
        name = str(run.config["model"])
        if run.config["depth"] != deepest or name in panels or name == "bottleneck":
            continue
        steps = np.maximum(run.arrays["step"], 0.5)  # the start, on a logarithmic axis
        shown = np.asarray(run.arrays["singular_values"])[:, :12]
        panels[name] = Spectra(name, steps, shown)
        data += [
            {"model": name, "step": int(step), "index": index, "value": float(value)}
            for step, row in zip(run.arrays["step"], shown, strict=True)
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
    svg = spectrum_chart(list(panels.values()), title=title, y_label="value", id="collapse")
    return Figure("collapse", title, caption, svg=svg, data=data)


def sensitivities(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Where the networks are sensitive, and where the data varies."""
    group = [run for run in select(part.own(runs), {}) if "fourier_values" in run.arrays]
    images = []
    for kind, words in KINDS.items():
        for network in ("conv, circular", "fully connected"):
            some = select(group, {"data": kind, "network": network})
            if not some:
                continue
            if network == "conv, circular":
                images.append((f"{words}: the data", _picture(some, "data_fourier_values")))
            images.append((f"{words}: {network}", _picture(some, "fourier_values")))
    if not images:
        return None
    caption = (
        "√diag(F M F*) over the frequencies, the mean frequency in the middle, and the root of the data's "
        f"power spectrum. Means over {seeds(group)}; logarithmic grey from a thousandth of the largest value "
        "(black) to the largest (white) of each picture."
    )
    title = "Where the networks are sensitive and where the data varies"
    return Figure("pictures", title, caption, images=images)


def _picture(some: Sequence[Run], name: str) -> bytes:
    mean = np.mean([np.asarray(run.arrays[name], dtype=np.float64) for run in some], axis=0)
    grey = 1.0 + np.log10(np.maximum(mean / mean.max(), 1e-3)) / 3.0
    return encode_png(np.kron(np.fft.fftshift(grey), np.ones((8, 8))))
