"""Without depth: gradient descent from zero."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

TO_L2 = Median("to_l2", "relative distance to the minimum ℓ2 norm", each=("nonzeros",))


class MinimumConfig(StudyConfig):
    """One problem: ``n`` unknowns, ``n_observed`` samples, ``nonzeros`` of the truth (0: dense)."""

    part: Literal["minimum"] = "minimum"
    n: int = Field(default=100, ge=2)
    n_observed: int = Field(default=40, ge=1)
    nonzeros: int = Field(default=5, ge=0)
    max_steps: int = Field(default=10_000, ge=1)


class Minimum(Part[MinimumConfig]):
    """Which solution does gradient descent on w itself find, from zero?"""

    config = MinimumConfig
    grids = {"quick": Grid(6, nonzeros=(0, 5)), "full": Grid(10, nonzeros=(0, 5))}
    claims = (
        Claim(
            "W1",
            "Gradient descent from zero finds the minimum ℓ2 norm",
            "Without depth, gradient descent from zero converges to the interpolating solution of minimum ℓ2 "
            "norm, whether the truth is dense or sparse.",
            "Well known (Zhang et al. 2017, section 5); the depth-1 end of Woodworth et al. 2020",
            Rule(below(TO_L2, 1e-6)),
        ),
    )
    figures = (
        Dots(
            "minimum",
            "Without depth gradient descent ends at the minimum ℓ2 norm",
            (Panel(TO_L2, log=True, reference=(1e-6, "bar")),),
            claim="W1",
            words={0: "dense truth"},
            rows=("nonzeros",),
        ),
    )

    def execute(self, config: MinimumConfig, context: RunContext) -> RunOutput:
        """Descend from zero."""
        from overt.problems import linear_regression
        from overt.studies.woodworth2020.networks import compared, descend

        problem = linear_regression(
            config.n, n_samples=config.n_observed, seed=config.seed, nonzeros=config.nonzeros or None
        )
        result = descend(problem, 1, 0.0, config.max_steps, context)
        return RunOutput([compared(result.W, problem, result)])

    def ended(self, run: Run) -> bool:
        """Whether the loss is small beside the bar's square."""
        return bool(run.records[0]["status"] != "budget" or run.records[0]["loss"] <= 1e-12)
