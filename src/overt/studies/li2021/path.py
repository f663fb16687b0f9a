"""The path of an explicit penalty over its weight, beside the greedy algorithm's critical points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import STATIONARY
from overt.studies.li2021.settings import PathConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

if TYPE_CHECKING:
    from overt.studies.report.figures import Cell, Figure

PATH, ZERO = {"method": "path"}, {"method": "weight 0"}


def settled(run: Run) -> list[dict[str, Any]]:
    """The records at which the whole objective is stationary, from the largest weight on."""
    kept = [one for one in run.records if (one["relative_gradient"] or 0.0) <= STATIONARY]
    return sorted(kept, key=lambda one: -float(one["weight"]))


def climbs(run: Run) -> bool:
    """Takes each rank up to the true one before it exceeds it, as the weight falls."""
    rank, seen = int(run.config["rank"]), list[int]()
    for record in settled(run):
        value = int(record["numerical_rank"])
        if value > rank:
            break
        if not seen or value != seen[-1]:
            seen.append(value)
    return seen == list(range(1, rank + 1))


def farthest(run: Run) -> float:
    """The distance of the closest matrix to the critical point that is missed most."""
    rows = [one["distances"] for one in settled(run)]
    return max((min(column) for column in zip(*rows, strict=True)), default=math.inf)


def along(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Effective rank and distance to the critical points over the weight, medians over seeds."""
    import numpy as np

    from overt.studies.report.charts import Series, line_chart
    from overt.studies.report.figures import Figure

    own = [run for run in part.own(runs) if run.config["method"] == "path" and run.records]
    if not own:
        return None
    title = "The explicit path: the normalized nuclear norm over its weight"
    weights = [float(one["weight"]) for one in own[0].records]
    ranks = np.median([[one["effective_rank"] for one in run.records] for run in own], axis=0)
    far = np.median([[one["distances"] for one in run.records] for run in own], axis=0)
    options: dict[str, Any] = {"title": title, "x_label": "weight", "log_x": True}
    rank = own[0].config["rank"]
    panels = [
        line_chart(
            [Series("explicit", weights, ranks)],
            panel="effective rank",
            y_label="effective rank",
            reference=(float(rank), "true rank"),
            id="li-path-rank",
            **options,
        ),
        line_chart(
            [Series(f"to W{r + 1}", weights, far[:, r]) for r in range(rank)],
            panel="distance to the critical points",
            y_label="relative distance",
            log_y=True,
            id="li-path-distance",
            **options,
        ),
    ]
    data: list[dict[str, Cell]] = [
        {"weight": w, "effective rank": float(one), **{f"to W{r + 1}": float(to[r]) for r in range(rank)}}
        for w, one, to in zip(weights, ranks, far, strict=True)
    ]
    caption = (
        f"Medians over {len(own)} seeds. From right to left, as the weight falls, the rank grows, as it does "
        "over time in a flow."
    )
    return Figure("explicit-path", title, caption, svg=panels, data=data)


class Path(Part[PathConfig]):
    """Does an explicit penalty, as its weight falls, go through the ranks that the flow goes through?"""

    config = PathConfig
    grids = {
        "quick": Grid(
            6, method=("path", "weight 0"), n=12, rank=2, n_observed=100, number=6, max_steps=1_500
        ),
        "full": Grid(10, method=("path", "weight 0")),
    }
    claims = (
        Claim(
            "L4",
            "The path of an explicit penalty passes near the points of greedy low-rank learning",
            "As its weight falls, the normalized nuclear norm at depth 1 with Adam goes through the ranks 1, "
            "2, … in order, and comes within 0.2 of the critical point of each; the same training at weight "
            "zero does not.",
            "Own question; the penalty is that of Zhao 2022",
            Rule(
                above(Share(climbs, "that take the ranks in order", PATH), 0.5),
                below(Median(farthest, "distance to the farthest point", PATH), 0.2),
                below(Ratio(farthest, "distance to the farthest point", of_=PATH, over=ZERO), 0.5, refuted=1),
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "path-and-zero",
            "How near the explicit path comes to the farthest critical point",
            (Panel(Median(farthest, "relative distance"), log=True, reference=(0.2, "bar")),),
            claim="L4",
            rows=("method",),
        ),
        along,
    )

    def execute(self, config: PathConfig, context: RunContext) -> RunOutput:
        """Train at one weight after another."""
        from overt.studies.li2021.among import climb

        return climb(config, context)

    def ended(self, run: Run) -> bool:
        """Whether all but a quarter of the weights came to rest; those that did not are left out."""
        lost = any(one["status"] == "diverged" for one in run.records)
        return lost or 4 * len(settled(run)) >= 3 * len(run.records)
