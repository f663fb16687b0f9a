"""Weights and initializations, with the penalty and with depth."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import ended, fitted, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

FIT = 1e-6  # a relative loss at which a run at weight zero has ended
SMALL_START, LARGE_START = 1e-3, 1.0
WINDOW = (1e-2, 1e-1)
RATES = {1: (2e-2, 1e-2), 3: (1e-3, 3e-4)}  # by depth
TUNED = ("lr",)


class RobustConfig(StudyConfig):
    """One training under Adam; depth 1 with the penalty at ``weight``, or any depth at weight zero.

    The refit alone recovers some matrices, the more the more entries there are: see depth 1 at weight zero.
    """

    part: Literal["robust"] = "robust"
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=200, ge=1)
    depth: int = Field(default=1, ge=1)
    weight: float = Field(default=1e-2, ge=0)
    init_scale: float = Field(default=SMALL_START, gt=0)
    lr: float = Field(default=2e-2, gt=0)
    max_steps: int = Field(default=4_000, ge=1)


def _grids(
    seeds: int, weights: tuple[float, ...], starts: tuple[float, ...], rates: slice, steps: int
) -> list[Grid]:
    flat: dict[str, Any] = {"lr": RATES[1][rates], "max_steps": steps}
    return [
        Grid(seeds, weight=weights, **flat),
        Grid(seeds, init_scale=tuple(one for one in starts if one != SMALL_START), **flat),
        Grid(seeds, depth=3, weight=0.0, init_scale=starts, lr=RATES[3][rates], max_steps=steps),
        Grid(seeds, weight=0.0, **flat),
    ]


def _share(label: str, **where: Any) -> Share:
    return Share(recovered, label, {"depth": 1, **where}, tuned=TUNED)


class Robust(Part[RobustConfig]):
    """How much do the weight and the initialization matter?"""

    config = RobustConfig
    grids = {
        "quick": _grids(6, WINDOW, (1e-6, SMALL_START, LARGE_START), slice(1), 4_000),
        "full": _grids(
            10,
            (1e-3, 1e-2, 1e-1, 1.0),
            (1e-6, 1e-5, 1e-4, SMALL_START, 1e-2, 1e-1, LARGE_START),
            slice(2),
            12_000,
        ),
    }
    claims = (
        Claim(
            "S4",
            "The penalty needs neither a fine weight nor a small start, and depth needs a small start",
            "One layer recovers most matrices at two weights a factor of ten apart and from starts of any "
            "size between 1e-6 and 1; depth 3 from 1e-3 ends at half the effective rank of that from 1.",
            "Own hypothesis, after Zhao 2022 and Arora et al. 2019",
            Rule(
                *(
                    above(_share(f"recovered, weight {one:g}", weight=one, init_scale=SMALL_START), 0.5)
                    for one in WINDOW
                ),
                *(
                    above(_share(f"recovered, start {one:g}", weight=1e-2, init_scale=one), 0.5)
                    for one in (1e-6, LARGE_START)
                ),
                below(
                    Ratio(
                        "effective_rank",
                        "effective rank of depth 3, start 1e-3 / start 1",
                        {"depth": 3},
                        tuned=TUNED,
                        of_={"init_scale": SMALL_START},
                        over={"init_scale": LARGE_START},
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
    )
    figures = (
        Lines(
            "starts",
            "The size of the start",
            (
                Panel(
                    Share(recovered, "share recovered", {"weight": (1e-2, 0.0)}, tuned=("lr", "weight")),
                    limits=(0.0, 1.0),
                ),
            ),
            claim="S4",
            caption="Depth 1 has the penalty at weight 0.01, depth 3 none; all get the same refit.",
            words={1: "one layer, penalty", 3: "depth 3"},
            x="init_scale",
            by="depth",
            log_x=True,
        ),
    )

    def execute(self, config: RobustConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.shared.completion_runs import run_arm

        return run_arm(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the whole objective stands still; at weight zero, whether the data are fitted."""
        return ended(run) if run.config["weight"] > 0 else fitted(run, FIT)
