"""The 2×2 problem with a small observation in the place of zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median, PerSeed
from overt.studies.claims.verdict_rules import Rule, above, between
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel
from overt.studies.razin2020.growth import DEPTHS, PAPER
from overt.studies.razin2020.settings import FlowConfig


class PerturbedConfig(FlowConfig):
    """One flow; ``corner`` is the ε that is observed."""

    part: Literal["perturbed"] = "perturbed"
    corner: float = Field(default=0.1, gt=0)
    loss_target: float = Field(default=1e-9, gt=0, lt=0.1)


def power(runs: Sequence[Run]) -> float:
    """The slope of log |w₁₁| over log ε."""
    x = [math.log(run.config["corner"]) for run in runs]
    y = [math.log(run.records[0]["open_entry"]) for run in runs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


class Perturbed(Part[PerturbedConfig]):
    """How large does the open entry become where a small number is observed in the place of zero?"""

    config = PerturbedConfig
    grids = {
        "quick": Grid(6, depth=DEPTHS, corner=(0.1, 0.03, 0.01)),
        "full": Grid(10, depth=DEPTHS, corner=(0.3, 0.1, 0.03, 0.01, 0.003)),
    }
    claims = (
        Claim(
            "R4",
            "A small observation in the place of zero makes a large entry",
            "With w₂₂ = ε observed the solutions of zero loss that the flow can reach have |w₁₁| ≥ |w₁₂w₂₁| "
            "/ |ε|: the norm grows as ε falls although solutions of small norm exist.",
            f"{PAPER}, robustness to perturbed observations",
            Rule(
                between(
                    PerSeed(power, "slope of log |w₁₁| over log ε", each=("depth",), across=("corner",)),
                    -1.05,
                    -0.95,
                ),
                above(
                    Median("over_bound", "|w₁₁| / ((1 − √(2ℓ))² / (ε + √(2ℓ)))", each=("depth", "corner")),
                    0.99,
                ),
            ),
        ),
    )
    figures = (
        Lines(
            "perturbed",
            "A small observation makes a large entry",
            (Panel(Median("open_entry", "|w₁₁| at the end"), log=True),),
            claim="R4",
            caption="Solutions with w₁₁ = 0 exist at every ε.",
            x="corner",
            by="depth",
            log_x=True,
            x_label="ε, observed in the place of 0",
        ),
    )

    def execute(self, config: PerturbedConfig, context: RunContext) -> RunOutput:
        """Follow the flow."""
        from overt.studies.razin2020.two_by_two import follow

        return follow(config, context)
