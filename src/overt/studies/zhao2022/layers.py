"""Nonlinear layers in the place of one linear layer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import ended, fitted, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

WEIGHTS, RATES = (1e-2, 3e-3), (1e-2, 2e-2)
DEEP_RATES = (1e-3, 3e-3)
FIT, FIT_OF_PENALTY = 1e-4, 1e-2  # relative losses: residuals of 1 %, and of 10 % where a penalty biases
TUNED = ("weight", "lr")
FLAT = {"depth": 1, "weight": WEIGHTS}
RELU = {"depth": 3, "activation": "relu"}


class LayersConfig(StudyConfig):
    """One network under Adam: ``depth`` layers, linear or with ReLU between them, with a penalty or not."""

    part: Literal["layers"] = "layers"
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=300, ge=1)
    depth: int = Field(default=1, ge=1)
    activation: Literal["linear", "relu"] = "linear"
    weight: float = Field(default=1e-2, ge=0)
    lr: float = Field(default=1e-2, gt=0)
    max_steps: int = Field(default=12_000, ge=1)


def _grids(seeds: int, rates: slice, steps: int, **fixed: Any) -> list[Grid]:
    return [
        Grid(seeds, weight=WEIGHTS[rates], lr=RATES, max_steps=steps, **fixed),
        Grid(
            seeds,
            depth=3,
            activation=("linear", "relu"),
            weight=(WEIGHTS[0], 0.0),
            lr=DEEP_RATES[rates],
            max_steps=steps,
            **fixed,
        ),
        Grid(seeds, weight=0.0, lr=RATES[rates], max_steps=steps, **fixed),
    ]


class Layers(Part[LayersConfig]):
    """Are nonlinear layers more accurate than one layer with the penalty?"""

    config = LayersConfig
    grids = {
        "quick": _grids(6, slice(1), 6_000, n=20, rank=1, n_observed=150),
        "full": _grids(10, slice(2), 12_000),
    }
    claims = (
        Claim(
            "Z7",
            "Nonlinear layers are not needed either",
            "One layer with the penalty is at least as accurate as three layers with ReLU between them, with "
            "the penalty or without, at four settings each.",
            "Zhao (2022), the nonlinear networks of its experiments",
            Rule(
                below(
                    Ratio(
                        "raw_error",
                        "error without refit, one layer with the penalty / three with ReLU",
                        tuned=TUNED,
                        of_=FLAT,
                        over=RELU,
                    ),
                    1.0,
                )
            ),
        ),
    )
    figures = (
        Dots(
            "layers",
            "Linear layers and ReLU between layers",
            (
                Panel(
                    Median("raw_error", "relative error without refit", tuned=("lr",)),
                    log=True,
                    limits=(1e-3, 3.0),
                ),
                Panel(
                    Share(recovered, "recovered", tuned=("lr",)),
                    "share recovered after the refit",
                    limits=(0.0, 1.0),
                ),
            ),
            claim="Z7",
            caption="Each at the better of its learning rates.",
            rows=("depth", "activation", "weight"),
        ),
    )

    def execute(self, config: LayersConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.shared.completion_runs import run_arm

        return run_arm(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the objective stands still, for several layers or weight zero whether the data are fitted.

        The gradient is that of the end-to-end matrix: with ReLU not every matrix near it can be reached.
        """
        if run.config["depth"] == 1 and run.config["weight"] > 0:
            return ended(run)
        return fitted(run, FIT_OF_PENALTY if run.config["weight"] > 0 else FIT)
