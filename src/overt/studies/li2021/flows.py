"""Gradient flow from small starts among the critical points of greedy low-rank learning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share, Value
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import recovered
from overt.studies.li2021.settings import FlowsConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

if TYPE_CHECKING:
    from overt.studies.report.figures import Cell, Figure

PAPER = "Li, Luo & Lyu 2021, arXiv 2012.09839"
SCALES = {2: (1e-12, 1e-6, 1e-3, 1e-1), 3: (1e-5, 1e-3, 1e-1), 4: (1e-4, 1e-3, 1e-1)}
LARGEST, PRACTICAL = 1e-1, 1e-3
NEAR = 0.05  # a relative distance at which a flow has come to a critical point


def passes(run: Run) -> bool:
    """Comes within 5 % of every critical point, in the order of their ranks."""
    record = run.records[0]
    ordered = all(a < b for a, b in pairwise(record["nearest_times"]))
    return ordered and all(far is not None and far <= NEAR for far in record["distances"])


def mean_distance(run: Run) -> float:
    """The geometric mean of the smallest distances to the critical points of lower rank than the truth."""
    return _mean(run.records[0]["distances"][:-1])


def mean_plateau(run: Run) -> float:
    """The geometric mean of the times that the loss spends within 5 % of these points' losses."""
    return _mean(run.records[0]["plateaus"])


def off_the_losses(run: Run) -> float:
    """The largest relative distance, at the closest approaches, of the loss from these points' losses."""
    record = run.records[0]
    pairs = list(zip(record["nearest_losses"], record["critical_losses"], strict=True))[:-1]
    return max(math.inf if loss is None else abs(loss / level - 1) for loss, level in pairs)


def _mean(values: Sequence[float | None]) -> float:
    if any(value is None for value in values):
        return math.inf
    return math.exp(sum(math.log(max(value or 0.0, 1e-16)) for value in values) / len(values))


def _smallest(value: Value, label: str, depth: int) -> Ratio:
    """From the smallest scale over from the largest."""
    first, last = {"init_scale": SCALES[depth][0]}, {"init_scale": LARGEST}
    return Ratio(value, f"{label}, depth {depth}", {"depth": depth}, of_=first, over=last)


def _over_depth_2(value: Value, label: str, depth: int) -> Ratio:
    at = {"init_scale": PRACTICAL}
    return Ratio(value, f"{label}, depth {depth} / 2", at, of_={"depth": depth}, over={"depth": 2})


def visits(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Singular values, loss, and distance to each critical point over time, one flow of each depth."""
    import numpy as np

    from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart
    from overt.studies.report.figures import Figure

    chosen: dict[int, Run] = {}
    for run in sorted(part.own(runs), key=lambda run: run.config["init_scale"]):
        if "time" in run.arrays:
            chosen.setdefault(run.config["depth"], run)
    if not chosen:
        return None
    title = "From saddle to saddle: ranks are learned one after another"
    share = {d: np.asarray(run.arrays["time"] / run.arrays["time"][-1]) for d, run in chosen.items()}
    names = {d: f"depth {d}, from {run.config['init_scale']:g}" for d, run in sorted(chosen.items())}
    spectra = [
        Spectra(names[d], share[d], chosen[d].arrays["singular_values"], method=f"depth {d}") for d in names
    ]
    first = chosen[min(chosen)]
    options: dict[str, Any] = {"title": title, "x_label": "share of the time"}
    panels = [*spectrum_chart(spectra, rank=first.config["rank"], log_x=False, id="li-spectra", **options)]
    loss = [Series(names[d], share[d], chosen[d].arrays["loss"], method=f"depth {d}") for d in names]
    level = (float(first.records[0]["critical_losses"][0]), "loss of the first critical point")
    panels.append(
        line_chart(
            loss,
            panel="loss",
            y_label="training loss",
            log_y=True,
            reference=level,
            id="li-loss",
            **options,
        )
    )
    data: list[dict[str, Cell]] = []
    for depth, name in names.items():
        to = np.asarray(chosen[depth].arrays["distances"])
        lines = [Series(f"to W{r + 1}", share[depth], to[:, r]) for r in range(to.shape[1])]
        panels.append(
            line_chart(
                lines,
                panel=name,
                y_label="relative distance",
                log_y=True,
                id=f"li-saddles-{depth}",
                **options,
            )
        )
        for k, t in enumerate(share[depth]):
            row = {f"to W{r + 1}": float(f"{far:.6g}") for r, far in enumerate(to[k])}
            data.append({"depth": depth, "time": float(f"{t:.6g}"), **row})
    caption = (
        f"Seed {first.config['seed']}. Gradient flow from the smallest start of each depth. W1, W2, … are "
        "the ends of the phases of greedy low-rank learning, computed without any of these flows. Each dip "
        "is a visit; the last point is where the flow ends."
    )
    return Figure("visits", title, caption, svg=panels, data=data)


class Flows(Part[FlowsConfig]):
    """Does gradient flow from a small start learn one rank after another?"""

    config = FlowsConfig
    grids = {
        "quick": [
            Grid(6, depth=d, init_scale=s, n=12, rank=2, n_observed=100, until=1e-5)
            for d, s in sorted(SCALES.items(), reverse=True)
        ],
        "full": [Grid(20, depth=d, init_scale=SCALES[d]) for d in (4, 3, 2)],
    }
    claims = (
        Claim(
            "L1",
            "Gradient flow over two factors passes by the points of greedy low-rank learning in order",
            "From an infinitesimal initialization gradient flow over two factors follows Greedy Low-Rank "
            "Learning: it passes by the critical points of rank 1, 2, … that this algorithm finds, in order.",
            f"{PAPER}, algorithm 1 and the equivalence for depth 2",
            Rule(
                above(Share(passes, "that pass all points", {"depth": 2, "init_scale": SCALES[2][0]}), 0.5),
                below(_smallest(mean_distance, "distance to the points, smallest scale / largest", 2), 0.5),
            ),
        ),
        Claim(
            "L2",
            "The loss rests at the losses of the critical points, the longer the smaller the start",
            "On its way the loss rests on plateaus, at the losses of the critical points; the smaller the "
            "initialization, the longer.",
            f"{PAPER}, greedy phases of algorithm 1; plateaus of saddle-to-saddle dynamics",
            Rule(
                *(
                    above(_smallest(mean_plateau, "plateaus, smallest scale / largest", depth), 2)
                    for depth in SCALES
                ),
                *(
                    below(
                        Median(
                            off_the_losses,
                            f"distance of the loss from the points', depth {depth}",
                            {"depth": depth, "init_scale": SCALES[depth][0]},
                        ),
                        0.1,
                    )
                    for depth in SCALES
                ),
            ),
        ),
        Claim(
            "L3",
            "Depths 3 and 4 follow the greedy path from a less extreme start than depth 2",
            "With three layers or more the flow comes as close to the greedy path from an initialization of "
            "practical scale, 1e-3, as two layers do only from a far smaller one: at 1e-3 it is closer.",
            f"{PAPER}, depth ≥ 3; figure 5 (scale 1e-3, rank 3)",
            Rule(
                *(below(_over_depth_2(mean_distance, "distance to the points", d), 0.5) for d in (3, 4)),
                *(below(_over_depth_2("excess", "value behind the rank", d), 0.5) for d in (3, 4)),
            ),
        ),
    )
    figures = (
        Lines(
            "over-initialization",
            "How small the initialization must be, by depth",
            (
                Panel(Median(mean_distance, "mean distance to the critical points"), log=True),
                Panel(Median("excess", "value behind the rank / first"), log=True),
                Panel(Median("raw_error", "relative error at the end"), log=True),
                Panel(Share(recovered, "share recovered after the refit"), limits=(0.0, 1.0)),
            ),
            claim="L3",
            x="init_scale",
            by="depth",
            log_x=True,
            x_label="initialization scale",
        ),
        visits,
    )

    def execute(self, config: FlowsConfig, context: RunContext) -> RunOutput:
        """Follow the flow among the greedy algorithm's points."""
        from overt.studies.li2021.among import follow

        return follow(config, context)
