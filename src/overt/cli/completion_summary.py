"""What came of a completion: lines for people, JSON for programs, a picture of the spectrum."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overt._utils.files import whole_file, write_whole
from overt.cli.fitting import Fit
from overt.cli.triplets import Triplets
from overt.studies.report.palette import COLOURS

__all__ = ["draw_spectrum", "summarize", "summary_lines", "write_summary"]


def summarize(triplets: Triplets, fit: Fit, *, seconds: float, **more: Any) -> dict[str, Any]:
    """Return the facts about a completion; numbers that do not exist are None."""
    model = fit.model
    m, n = triplets.shape
    k = int(triplets.values.size)
    low, high = (_finite(end) for end in model.heldout_interval_)
    return {
        "rows": m,
        "columns": n,
        "observed": k,
        "observed_share": k / (m * n),
        "duplicates_merged": triplets.merged,
        "solver": model.solver_,
        "rank": int(model.rank_),
        "effective_rank": float(model.effective_rank_),
        "offsets": bool(np.any(model.row_offsets_)),
        "heldout_error": _finite(model.heldout_error_),
        "heldout_interval": None if low is None or high is None else [low, high],
        "column_mean_error": _finite(model.baseline_error_),
        "noise_std": _finite(model.noise_std_),
        "identifiable": model.identifiable_,
        "converged": bool(model.converged_),
        "interrupted": fit.signum is not None,
        "iterations": int(model.n_iter_),
        "message": model.message_,
        "singular_values": [float(value) for value in model.singular_values_],
        "warnings": list(fit.warnings),
        "seconds": seconds,
        **more,
    }


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def summary_lines(facts: Mapping[str, Any]) -> list[str]:
    """Write the facts as aligned lines."""
    share = 100 * facts["observed_share"]
    repeated = facts["duplicates_merged"]
    offsets = ", row and column offsets" if facts["offsets"] else ""
    steps = facts["iterations"]
    ended = ("converged" if facts["converged"] else "not converged") + f" after {steps} iteration(s)"
    ended += f": {facts['message']}" if facts["message"] else ""
    lines = {
        "matrix": f"{facts['rows']} rows × {facts['columns']} columns",
        "observed": f"{facts['observed']} entries, {share:.3g} %"
        + (f" ({repeated} merged with an earlier one)" if repeated else ""),
        "model": f"{facts['solver']}{offsets}",
        "rank": f"{facts['rank']}, effective rank {facts['effective_rank']:.3g}",
        "held-out error": _error(facts),
        "identifiable": {True: "yes", False: "no", None: "not checked"}[facts["identifiable"]],
        "fit": ended,
        "seconds": f"{facts['seconds']:.1f}",
        "predictions": _predictions(facts),
    }
    width = max(map(len, lines))
    return [f"{name:<{width}}  {line}" for name, line in lines.items()]


def _error(facts: Mapping[str, Any]) -> str:
    error, interval = facts["heldout_error"], facts["heldout_interval"]
    if error is None:
        return "unknown: no entry could be held out"
    between = f" [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
    what = "RMSE, 95 % interval" if interval else "RMSE"
    baseline = facts["column_mean_error"]
    beside = "" if baseline is None else f"; column means {baseline:.4g}"
    return f"{error:.4g}{between} ({what}{beside})"


def _predictions(facts: Mapping[str, Any]) -> str:
    unknown = facts["unknown_pairs"]
    means = f", {unknown} of them with unknown ids, given means" if unknown else ""
    return f"{facts['predictions']} in {facts['out']}{means}"


def write_summary(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts as JSON."""
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text.encode())


def draw_spectrum(path: Path, singular_values: NDArray[np.floating[Any]], effective_rank: float) -> None:
    """Draw the singular values of the low-rank part as SVG or PNG, by the suffix."""
    from matplotlib.ticker import MaxNLocator

    from overt.studies.report.canvas import WIDTH, drawing, finish, grid, scale_axis

    rank = len(singular_values)
    log = rank > 0 and float(singular_values[-1]) < 0.01 * float(singular_values[0])
    with drawing(WIDTH, 290.0) as canvas:
        axes = canvas.add_subplot()
        if rank:
            low = 0.5 * float(singular_values[-1]) if log else 0.0
            index = np.arange(1, rank + 1)
            axes.vlines(index, low, singular_values, color=COLOURS["blue"])
            axes.plot(index, singular_values, color=COLOURS["blue"], marker="o", linestyle="")
            scale_axis(axes, "y", log=log, limits=(low, 1.1 * float(singular_values[0])))
        else:
            axes.text(0.5, 0.5, "no low-rank part", ha="center", va="center", transform=axes.transAxes)
            axes.set_yticks([])
        axes.set_xlim(0.5, max(rank, 1) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        grid(axes)
        title = f"singular values: rank {rank}, effective rank {effective_rank:.3g}"
        finish(canvas, axes, x_label="index", y_label=title)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else None
        with whole_file(path) as file:
            canvas.savefig(file, format=kind, facecolor="white", dpi=200, metadata=metadata)
