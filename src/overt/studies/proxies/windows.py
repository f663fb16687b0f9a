"""The weight, and the scale of the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import PerSeed, Share
from overt.studies.claims.verdict_rules import Rule, above
from overt.studies.claims.vocabulary import ended, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Heat, Panel
from overt.studies.proxies.config import OURS, ProxyConfig

COMPARED = (OURS, "nuclear", "log-det", "log-det / F", "effective rank")
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STARTS = (1e-6, 1e-3, 1.0)
MIDDLE = {"weight": 1e-2, "init_scale": 1e-3}
SHARE = Share(recovered, "that are recovered")


def decades(runs: Sequence[Run]) -> float:
    """The decades of the widest unbroken row of weights that recover; 0 for one or none."""
    widest, start = 0.0, math.nan
    for run in runs:
        weight = float(run.config["weight"])
        start = math.nan if not recovered(run) else weight if math.isnan(start) else start
        widest = max(widest, 0.0 if math.isnan(start) else math.log10(weight / start))
    return widest


DECADES = PerSeed(
    decades,
    "decades of weights at which the matrix is recovered",
    {"weight": WEIGHTS, "init_scale": MIDDLE["init_scale"]},
    across=("weight",),
)


class WindowsConfig(ProxyConfig):
    """One run under Adam."""

    part: Literal["windows"] = "windows"


def _grids(seeds: int, names: tuple[str, ...], **shared: Any) -> list[Grid]:
    arms: list[dict[str, Any]] = [
        {"proxy": names, "weight": WEIGHTS},
        {"proxy": names, "weight": MIDDLE["weight"], "init_scale": (STARTS[0], STARTS[2])},
        {"weight": 0.0, "init_scale": STARTS},
    ]
    return [Grid(seeds, **arm, **shared) for arm in arms]


class Windows(Part[WindowsConfig]):
    """How robust is a proxy to its weight and to the start?"""

    config = WindowsConfig
    grids = {
        "quick": _grids(6, (OURS,), n=20, rank=2, n_observed=110, max_steps=800),
        "full": _grids(10, COMPARED),
    }
    claims = (
        Claim(
            "N5",
            "The normalized nuclear norm recovers the matrix over a decade of weights",
            "At one learning rate of Adam there is an unbroken row of weights, a decade long or longer, at "
            "which the matrix is recovered.",
            "Own hypothesis",
            Rule(above(DECADES.at(proxy=OURS), 1.0)),
            kind="own",
        ),
        Claim(
            "N6",
            "The normalized nuclear norm recovers the matrix from starts of any size",
            "At one weight it recovers the matrix in most seeds from entries of 1e-6, 1e-3 and 1, the size "
            "of the truth's.",
            "Own hypothesis",
            Rule(
                above(
                    replace(SHARE.at(proxy=OURS, weight=MIDDLE["weight"]), each=("init_scale",)),
                    0.5,
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Heat(
            "weights",
            "The window of weights",
            (Panel(SHARE.at(init_scale=MIDDLE["init_scale"], weight=WEIGHTS), limits=(0.0, 1.0)),),
            claim="N5",
            caption="At weight 1 the gradient of a proxy at the zero-filled data is as large as the loss's.",
            row="proxy",
            col="weight",
        ),
        Heat(
            "starts",
            "The window of starts",
            (Panel(SHARE.at(weight=MIDDLE["weight"]), limits=(0.0, 1.0)),),
            claim="N6",
            row="proxy",
            col="init_scale",
        ),
        Dots("decades", "Decades of weights", (Panel(DECADES),), rows=("proxy",)),
    )

    def execute(self, config: WindowsConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.proxies.training import execute

        del context
        return execute(config)

    def ended(self, run: Run) -> bool:
        """Whether the matrix is recovered, or the whole objective stationary."""
        return recovered(run) or ended(run)
