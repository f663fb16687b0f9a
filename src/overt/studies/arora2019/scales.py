"""The scale of the initialization, beside the minimum nuclear norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field, model_validator

from overt.studies.arora2019.depths import DEPTHS, PAPER
from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Difference, Ratio
from overt.studies.claims.quantities import Median, Share, Value
from overt.studies.claims.verdict_rules import Bar, Rule, above, below, between
from overt.studies.claims.vocabulary import fitted, recovered
from overt.studies.fields import check_instance
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

FIT = 1e-6  # a relative loss: residuals of 0.1 %, half of the finest bar
SMALLEST, LARGEST = 1e-7, 1e-1
NUCLEAR = {"method": "nuclear norm"}


def over_truth(run: Run) -> float:
    """The nuclear norm over the truth's."""
    return float(run.records[0]["nuclear_norm"] / run.records[0]["true_nuclear_norm"])


class ScalesConfig(StudyConfig):
    """One run: as in the part ``depths``; ``init_scale`` is 0 for the nuclear norm, which has no start."""

    part: Literal["scales"] = "scales"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    regime: Literal["few", "many"] = "few"
    method: Literal["depth 2", "depth 3", "nuclear norm"] = "depth 2"
    init_scale: float = Field(default=SMALLEST, ge=0)
    max_steps: int = Field(default=20_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> ScalesConfig:
        check_instance(self.n, self.rank, self.n_observed)
        if (self.method == "nuclear norm") != (self.init_scale == 0):
            raise ValueError(f"init_scale must be 0 for the nuclear norm alone, got {self.init_scale:g}")
        return self


def _grid(seeds: int, few: int, many: int, scales: tuple[float, ...], **size: int) -> Grid:
    arms = [{"method": d, "init_scale": s} for d in ("depth 3", "depth 2") for s in scales]
    counts = ({"regime": "few", "n_observed": few}, {"regime": "many", "n_observed": many})
    return Grid(seeds, counts=counts, arm=(*arms, {**NUCLEAR, "init_scale": 0.0}), **size)


def _each_depth(
    bar: Callable[..., Bar],
    quantity: type[Ratio | Difference],
    value: Value,
    *ends: float,
    regime: str = "few",
    nuclear: bool = True,
) -> list[Bar]:
    """A bar on depths 2 and 3 from the smallest scale, against the nuclear norm or the largest scale."""
    bars = []
    for depth in ("depth 2", "depth 3"):
        over = NUCLEAR if nuclear else {"method": depth, "init_scale": LARGEST}
        what = value.replace("_", " ") if isinstance(value, str) else "nuclear norm in units of the truth's"
        of = {"method": depth, "init_scale": SMALLEST}
        bars.append(bar(quantity(value, what, {"regime": regime}, of_=of, over=over), *ends))
    return bars


def _panels(regime: str) -> tuple[Panel, ...]:
    at = {"regime": regime}
    return (
        Panel(
            Median(over_truth, "nuclear norm / truth", at), f"{regime}: nuclear norm", reference=(1, "truth")
        ),
        Panel(Median("effective_rank", "effective rank", at), f"{regime}: effective rank"),
        Panel(
            Median("raw_error", "relative error", at),
            f"{regime}: error, not refitted",
            log=True,
            limits=(1e-4, 1.5),
        ),
        Panel(
            Share(recovered, "share recovered", at), f"{regime}: share recovered, refitted", limits=(0.0, 1.0)
        ),
    )


class Scales(Part[ScalesConfig]):
    """What does a small initialization find that the minimum nuclear norm does not?"""

    config = ScalesConfig
    grids = {
        "quick": _grid(6, 600, 1250, (SMALLEST, LARGEST), n=50, rank=3),
        "full": _grid(10, 2000, 5000, (SMALLEST, 1e-5, 1e-3, LARGEST)),
    }
    claims = (
        Claim(
            "A3",
            "Gradient descent and the nuclear norm part ways where entries are few",
            "With few observed entries and a tiny initialization, gradient descent ends at a larger nuclear "
            "norm and a lower effective rank than the minimum nuclear norm solution; with many, all end at "
            "the same nuclear norm.",
            f"{PAPER}, figure 2 (100×100, rank 5, 2000 and 5000 entries, depths 2 and 3)",
            Rule(
                *_each_depth(above, Difference, over_truth, 0.002),
                *_each_depth(below, Ratio, "effective_rank", 0.9),
                *_each_depth(between, Difference, over_truth, -0.01, 0.01, regime="many"),
            ),
        ),
        Claim(
            "A4",
            "A smaller initialization means a lower effective rank and error",
            "With few observed entries the effective rank and the reconstruction error fall as the "
            "initialization shrinks.",
            f"{PAPER}, figure 2 (no refit)",
            Rule(
                *_each_depth(below, Ratio, "effective_rank", 0.8, nuclear=False),
                *_each_depth(below, Ratio, "raw_error", 0.5, nuclear=False),
            ),
        ),
    )
    figures = (
        Dots(
            "over-scales",
            "Initialization scale, beside the minimum nuclear norm",
            (*_panels("few"), *_panels("many")),
            claim="A3",
            caption="Scales are standard deviations of the entries of the end-to-end matrix at the start.",
            rows=("method", "init_scale"),
            words={0.0: "(no start)"},
        ),
    )

    def execute(self, config: ScalesConfig, context: RunContext) -> RunOutput:
        """Descend, or minimize the nuclear norm; then refit."""
        from overt.studies.arora2019.training import descend, instance, minimum_nuclear_norm

        problem = instance("completion", config.n, config.rank, config.n_observed, config.seed)
        if config.method == "nuclear norm":
            return RunOutput([minimum_nuclear_norm(problem)])
        record = descend(
            problem,
            DEPTHS[config.method],
            config.init_scale,
            rank=config.rank,
            max_steps=config.max_steps,
            tolerance=FIT,
            seed=config.seed,
            context=context,
        )
        return RunOutput([record])

    def ended(self, run: Run) -> bool:
        """Whether the data were fitted to 0.1 %."""
        return fitted(run, FIT)
