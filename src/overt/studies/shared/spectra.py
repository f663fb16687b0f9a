"""The singular values of two trainings over their steps, as a figure of a part that compares methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overt.studies.base import Run
from overt.studies.report.figures import Cell, Figure, format_number

if TYPE_CHECKING:
    from overt.studies.part import Part

__all__ = ["spectra"]

NAMES = {"depth 3": "depth 3, no penalty", "penalty": "one layer, penalty"}


def spectra(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The spectrum of the first seed with entries enough, of depth 3 and of one layer with the penalty."""
    from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart

    found: dict[str, Run] = {}
    for run in sorted(part.own(runs), key=lambda run: (run.config["rank"], run.config["seed"])):
        wanted = run.config["dense"] and run.config["setting"] == 0 and "step" in run.arrays
        if wanted and run.config["method"] in NAMES:
            found.setdefault(NAMES[run.config["method"]], run)
    if not found:
        return None
    config, title = next(iter(found.values())).config, "Singular values during training"
    panels = [Spectra(name, run.arrays["step"], run.arrays["singular_values"]) for name, run in found.items()]
    lines = [Series(name, run.arrays["step"], run.arrays["effective_rank"]) for name, run in found.items()]
    chart = line_chart(
        lines,
        title=title,
        panel="effective rank",
        x_label="step",
        y_label="effective rank",
        log_x=True,
        reference=(float(config["rank"]), f"true rank {config['rank']}"),
        id="spectra-rank",
    )
    ends = "; ".join(
        f"{name}: effective rank {run.arrays['effective_rank'][-1]:.2f}, error "
        f"{format_number(float(run.arrays['error'][-1]), 2)}"
        for name, run in found.items()
    )
    caption = (
        f"Each line is one singular value of the end-to-end matrix, {config['n']}×{config['n']} of rank "
        f"{config['rank']} with {config['n_observed']} entries observed, seed {config['seed']}. Coloured: "
        f"the first {config['rank']}; grey: all others that were recorded. A preference for low rank shows "
        f"as grey lines that stay at zero or return to it. At the end, before any refit, {ends}."
    )
    drawings = spectrum_chart(panels, title=title, rank=int(config["rank"]), id="spectra")
    return Figure("spectra", title, caption, svg=(*drawings, chart), data=_data(found))


def _data(found: dict[str, Run]) -> list[dict[str, Cell]]:
    """Six digits are more than a drawing shows."""
    return [
        {
            "method": name,
            "step": int(step),
            "effective_rank": _six(run.arrays["effective_rank"][t]),
            "error": _six(run.arrays["error"][t]),
            **{f"sigma_{k + 1}": _six(value) for k, value in enumerate(run.arrays["singular_values"][t])},
        }
        for name, run in found.items()
        for t, step in enumerate(run.arrays["step"])
    ]


def _six(value: Any) -> float:
    return float(f"{float(value):.6g}")
