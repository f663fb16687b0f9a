"""Figures of the alignment with the Fourier basis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct, made, median, seeds, spread, values
from overt.studies.measure.counting import CIRCULAR, CONNECTED, ZEROS, advantage
from overt.studies.measure.figures_words import estimated, setting
from overt.studies.report.charts import interval_chart
from overt.studies.report.figures import Cell, Figure, encode_png

Rows = list[dict[str, Cell]]
NETWORKS = (("conv, circular", CIRCULAR), ("conv, zeros", ZEROS), ("fully connected", CONNECTED))
KINDS = {"real": "real images", "scrambled": "phases scrambled", "permuted": "pixels permuted"}


def alignment(runs: Sequence[Run]) -> Figure | None:
    """M7–M11: the alignments themselves."""
    group = made(runs, group="alignment")
    if not group:
        return None
    title = "Alignment with the Fourier basis"
    data, panels = Rows(), []
    for kind in (name for name in KINDS if name in distinct(group, "data")):
        rows = []
        for when, field in (("trained", "alignment"), ("untrained", "start_alignment")):
            for name, wanted in NETWORKS:
                some = [
                    run for run in made(runs, data=kind, **wanted) if run.records[0]["status"] == "reached"
                ]
                found = median(values(some, field))
                if found is not None:
                    rows.append(estimated(f"{name}, {when}", found, name))
                    data.append(_named(kind, name, when) | columns(found, "alignment"))
        own = median(values(made(runs, data=kind, **CONNECTED), "data_alignment"))
        if own is not None:
            rows.append(estimated("covariance of the data", own, "data"))
            data.append(_named(kind, "data", "") | columns(own, "alignment"))
        if rows:
            panels.append(
                interval_chart(
                    rows,
                    title=title,
                    panel=KINDS[kind],
                    x_label="a_Fourier",
                    x_lim=(0.0, 1.0),
                    id=f"alignment-{kind}",
                )
            )
    caption = (
        f"{setting(group)} a_Fourier is 1 where the Fourier basis diagonalizes M. Networks have three "
        f"layers and {_counts(group)} parameters. The covariance is that of the held-out images themselves. "
        f"{spread(group, 'lines')}"
    )
    return Figure("alignment", title, caption, svg=panels, data=data) if panels else None


def differences(runs: Sequence[Run]) -> Figure | None:
    """M7–M9 and M11–M13: what the verdicts rest on."""
    title = "Advantage of convolutional over fully connected networks"
    panels, data = [], Rows()
    for field, label in (("alignment", "a_Fourier"), ("corrected_alignment", "corrected a_Fourier")):
        rows = []
        for kind, words in KINDS.items():
            for name, wanted in NETWORKS[:2]:
                for when, prefix in (("trained", ""), ("untrained", "start_")):
                    found = advantage(runs, kind, wanted, prefix + field)
                    if found is not None:
                        rows.append(estimated(f"{words}, {name}, {when}", found, name))
                        named = _named(kind, name, when) | {"quantity": label}
                        data.append(named | columns(found, "difference"))
        if rows:
            panels.append(
                interval_chart(
                    rows,
                    title=title,
                    panel=label,
                    x_label=f"{label}, conv − fc",
                    reference=(0.0, "no difference"),
                    id=f"differences-{field.replace('_', '-')}",
                )
            )
    if not panels:
        return None
    group = made(runs, group="alignment")
    caption = (
        "Paired by seed, at the same training loss. Corrected: (a_Fourier − a_random) / (1 − a_random), with "
        f"that of the same M turned at random. {spread(group, 'lines')}"
    )
    return Figure("differences", title, caption, svg=panels, data=data)


def pictures(runs: Sequence[Run]) -> Figure | None:
    """The sensitivities themselves, over the frequencies."""
    images = []
    for kind, words in KINDS.items():
        for name, wanted in (NETWORKS[0], NETWORKS[2]):
            some = made(runs, data=kind, **wanted)
            if not some:
                continue
            if name == NETWORKS[0][0]:
                images.append((f"{words}: the data", _picture(some, "data_fourier_values")))
            images.append((f"{words}: {name}", _picture(some, "fourier_values")))
    if not images:
        return None
    group = made(runs, group="alignment")
    caption = (
        "√diag(F M F*) over the frequencies, the mean frequency in the middle, and the root of the data's "
        f"power spectrum. Means over {seeds(group)}; logarithmic grey from a thousandth of the largest value "
        "(black) to the largest (white) of each picture."
    )
    return Figure(
        "pictures", "Where the networks are sensitive and where the data varies", caption, images=images
    )


def _picture(some: Sequence[Run], name: str) -> bytes:
    mean = np.mean([np.asarray(run.arrays[name], dtype=np.float64) for run in some], axis=0)
    grey = 1.0 + np.log10(np.maximum(mean / mean.max(), 1e-3)) / 3.0
    centred = np.fft.fftshift(grey)
    return encode_png(np.kron(centred, np.ones((8, 8))))


def _counts(group: Sequence[Run]) -> str:
    counts = sorted({int(run.records[0]["parameters"]) for run in group})
    return " or ".join(f"{count:,}".replace(",", "\u202f") for count in counts)


def _named(data: str, network: str, when: str) -> dict[str, Cell]:
    return {"data": data, "network": network, "when": when}
