"""A made-up report of the size of a real one: eight claims, eight figures. Its numbers mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overt.studies import Claim, Estimate, Run, Verdict
from overt.studies.report.build import StudySection
from overt.studies.report.charts import (
    Interval,
    Series,
    Spectra,
    heat_map,
    heat_maps,
    interval_chart,
    line_chart,
    spectrum_chart,
)
from overt.studies.report.figures import Figure, Table, encode_png

TITLES = (
    "Depth lowers the effective rank and the error",
    "The explicit penalty replaces depth",
    "Which optimizers feel the penalty",
    "Weight, initialization and learning rate",
    "The nuclear norm in its place",
    "Linear regression: ℓ2 and sparsity",
    "A photograph and MovieLens 100K",
    "Cost: steps and seconds",
)
OUTCOMES = ("reproduced",) * 3 + ("inconclusive", "reproduced", "reproduced", "skipped", "not reproduced")
METHODS = ("depth 1", "depth 2", "depth 3", "depth 4", "explicit", "nuclear norm")
OPTIMIZERS = ("gd", "momentum", "rmsprop", "adam", "amsgrad", "adamw", "muon", "grouprmsprop")


def section(runs: Sequence[Run] | None = None, name: str = "story") -> StudySection:
    """Return the sample section."""
    return StudySection(
        name,
        "What gradient descent prefers implicitly, and the penalty that does it explicitly",
        [claim(number) for number in range(8)],
        [verdict(number) for number in range(8)],
        figures(),
        sample_runs() if runs is None else runs,
        planned=126,
        preset="quick",
    )


def claim(number: int) -> Claim:
    """Return a claim with prose of realistic length."""
    return Claim(
        f"S{number + 1}",
        TITLES[number],
        "Gradient descent from a small initialization on a product of matrices finds a matrix of low "
        "effective rank, and with it a low error on the entries that nobody observed; a single matrix and "
        "the minimum nuclear norm do not.",
        "Arora, Cohen, Hu and Luo (2019), Implicit Regularization in Deep Matrix Factorization, section 4",
        "Reproduced if the median error at depth 3 is below 1e−2 and below a tenth of that at depth 1 at "
        "both numbers of observations, with intervals that do not overlap; not reproduced if it is above; "
        "inconclusive otherwise.",
    )


def verdict(number: int) -> Verdict:
    """Return a verdict; one of each outcome is among them."""
    outcome = OUTCOMES[number]
    if outcome == "skipped":
        return Verdict(
            "S7", outcome, "MovieLens 100K is not here: set OVERT_DATA to a folder that holds ml-100k.zip."
        )
    return Verdict(
        f"S{number + 1}",
        outcome,
        "Median error 3.1e−3 at depth 3 against 0.83 at depth 1 with 2 000 entries, over ten seeds.",
        (
            Estimate("error, depth 3", 3.1e-3, 1.9e-3, 4.4e-3, 10),
            Estimate("error, depth 1", 0.8312, 0.79, 0.87, 10),
            Estimate("time to error 1e−2", 0.412, None, None, 1, "s"),
        ),
    )


def sample_runs() -> list[Run]:
    """Return stored runs, one of them skipped."""
    meta = {
        "status": "done",
        "seconds": 1.8731,
        "versions": {
            "overt": "0.1.0",
            "torch": "2.13.0",
            "numpy": "2.3.1",
            "scipy": "1.17.0",
            "python": "3.11.2",
        },
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": True,
        "machine": {"system": "Linux", "processor": "x86_64", "cores": 2},
        "command": ["overt", "run", "story", "--preset", "quick", "--out", "overt-runs/story quick"],
    }
    runs = []
    for number in range(124):
        config = {"seed": number % 10, "method": METHODS[number % 6], "n_observed": (1500, 2000)[number % 2]}
        runs.append(Run("story", f"{number:012x}", config, [], {}, meta))
    skipped = {
        **meta,
        "status": "skipped",
        "seconds": 0.01,
        "reason": "MovieLens 100K is neither here nor reachable",
    }
    runs.append(Run("story", f"{999:012x}", {"seed": 0, "method": "movielens"}, [], {}, skipped))
    return runs


def figures() -> list[Figure]:
    """Return eight figures, one of each kind and some twice."""
    return [
        _spectra(),
        _errors(),
        _photograph(),
        _optimizers(),
        _sensitivity(),
        _cost(),
        _regression(),
        _settings(),
    ]


def _spectra() -> Figure:
    steps = np.unique(np.geomspace(1, 20_000, 90).astype(int))
    truth = np.array([31.0, 27, 21, 16, 12])

    def path(delay: float, noise: float) -> np.ndarray:
        rise = 1 / (1 + np.exp(-3 * (np.log10(steps)[:, None] - delay - 0.14 * np.arange(5))))
        rest = noise * np.exp(-np.arange(6) / 3) * np.exp(-(((np.log10(steps) - delay) / 0.8)[:, None] ** 2))
        return np.hstack([truth * rise, rest])

    panels = [
        Spectra("depth 3, implicit", steps, path(2.2, 4), truth),
        Spectra("depth 1, explicit", steps, path(3.1, 9), truth),
    ]
    data = [
        {
            "method": panel.title,
            "step": int(step),
            "index": k + 1,
            "value": float(np.asarray(panel.values)[t, k]),
        }
        for panel in panels
        for t, step in enumerate(steps)
        for k in range(11)
    ]
    return Figure(
        "spectra",
        "Singular values over time: implicit beside explicit",
        "The eleven largest singular values of the end-to-end matrix, n = 100, rank 5, 2 000 entries. "
        "Dotted: the true values. Both panels have the same axes.",
        svg=spectrum_chart(panels, title="Singular values over time"),
        data=data,
    )


def _errors() -> Figure:
    observed = np.array([1000, 1500, 2000, 3000, 4000, 5000])
    series, data = [], []
    for number, method in enumerate(METHODS):
        error = 0.9 * np.exp(-(number + 1) * np.arange(6) / 4.0)
        series.append(Series(method, observed, error, error * 0.6, error * 1.6))
        data += [
            {
                "method": method,
                "observed": int(n),
                "error": float(e),
                "low": float(0.6 * e),
                "high": float(1.6 * e),
            }
            for n, e in zip(observed, error, strict=True)
        ]
    svg = line_chart(
        series,
        title="Error over the number of observed entries",
        x_label="observed entries",
        y_label="relative error",
        log_y=True,
        reference=(1e-2, "1e−2"),
    )
    caption = "Median over ten seeds; bands are 95 % bootstrap intervals."
    return Figure("error", "Error over the number of observed entries", caption, svg=svg, data=data)


def _photograph() -> Figure:
    y, x = np.mgrid[0:120, 0:180] / 180
    photo = np.stack(
        [0.5 + 0.4 * np.sin(7 * x + 3 * y), 0.6 * y + 0.3, 0.5 + 0.3 * np.cos(9 * x * y)], axis=-1
    )
    holes = np.where(np.random.default_rng(0).random(photo.shape[:2]) < 0.3, photo[..., 0], np.nan)
    images = [
        ("original", encode_png(photo)),
        ("30 % of the pixels kept", encode_png(holes)),
        ("depth 3, PSNR 24.1 dB", encode_png(photo * 0.9)),
        ("explicit, PSNR 25.3 dB", encode_png(photo * 0.95)),
        ("nuclear norm, PSNR 23.8 dB", encode_png(photo * 0.8)),
    ]
    table = Table(
        ("method", "error", "PSNR (dB)", "effective rank"),
        [
            ("depth 3", 0.118, 24.1, 31.2),
            ("explicit", 0.104, 25.3, 24.8),
            ("nuclear norm", 0.123, 23.8, 58.0),
        ],
    )
    caption = "Error and PSNR are over the removed pixels."
    return Figure("photograph", "A photograph with pixels removed", caption, table=table, images=images)


def _optimizers() -> Figure:
    columns = ("1 500, penalty", "2 000, penalty", "1 500, none", "2 000, none")
    values = np.geomspace(1e-7, 0.9, 32).reshape(8, 4)[::-1]
    diverged = np.zeros((8, 4), dtype=bool)
    diverged[0, 2] = True
    values[5, 1] = np.nan
    svg = heat_map(
        OPTIMIZERS,
        columns,
        values,
        title="Error by optimizer",
        label="error",
        log=True,
        diverged=diverged,
        row_label="optimizer",
    )
    data = [
        {"optimizer": o, "setting": c, "error": float(values[i, j])}
        for i, o in enumerate(OPTIMIZERS)
        for j, c in enumerate(columns)
    ]
    return Figure(
        "optimizers", "Which optimizers feel the penalty", "Median error over five seeds.", svg=svg, data=data
    )


def _sensitivity() -> Figure:
    weights, scales = ("1e−3", "1e−2", "1e−1"), ("1e−6", "1e−5", "1e−4", "1e−3", "1e−2", "1e−1")
    grids = {
        "depth 1, explicit": np.geomspace(1e-7, 1e-1, 18).reshape(3, 6),
        "depth 3, implicit": np.geomspace(1e-4, 0.9, 18).reshape(3, 6),
    }
    svg = heat_maps(
        grids,
        weights,
        scales,
        title="Error by weight and initialization scale",
        label="error",
        log=True,
        row_label="weight",
        col_label="initialization scale",
    )
    data = [
        {"method": m, "weight": w, "error": float(g[i, 0])}
        for m, g in grids.items()
        for i, w in enumerate(weights)
    ]
    return Figure(
        "sensitivity", "Weight and initialization scale", "The colour scale is shared.", svg=svg, data=data
    )


def _cost() -> Figure:
    rows = [
        Interval("depth 3", 0.64, 0.55, 0.8),
        Interval("depth 4", 0.41, 0.33, 0.52),
        Interval("explicit", 0.39, 0.36, 0.43),
        Interval("explicit, as published", 25.1, 22.0, 29.5, method="explicit, slow"),
        Interval("depth 2", None, note="not reached"),
    ]
    svg = (
        interval_chart(
            rows, title="Seconds to error 1e−2", panel="to error 1e−2", x_label="seconds", log_x=True
        ),
        interval_chart(
            rows, title="Seconds to error 1e−4", panel="to error 1e−4", x_label="seconds", log_x=True
        ),
    )
    data = [{"method": row.label, "seconds": row.value, "low": row.low, "high": row.high} for row in rows]
    return Figure(
        "cost", "Seconds to a given error", "Median over five seeds, one run at a time.", svg=svg, data=data
    )


def _regression() -> Figure:
    x = np.arange(40)
    series = [
        Series("ℓ2 minimum", x, np.cos(x / 4)),
        Series("depth 3", x, np.exp(-x / 6)),
        Series("ℓ1/ℓ2", x, 1e5 * np.exp(-x)),
    ]
    svg = line_chart(series[:2], title="Coefficients", x_label="coordinate", y_label="coefficient")
    data = [{"x": int(i), "gd": float(np.cos(i / 4))} for i in x]
    return Figure("regression", "Coefficients of linear regression", "One seed.", svg=svg, data=data)


def _settings() -> Figure:
    table = Table(
        ("setting", "value", "why it is a long heading"),
        [("lr", 1e-3, "default"), ("steps", 20000, None), ("flag", True, "<b>")],
    )
    return Figure("settings", "Settings of the quick preset", "As planned.", table=table)
