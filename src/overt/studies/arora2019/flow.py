"""The singular values under gradient flow, on synthetic entries and on ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from overt._utils.checks import check_integer
from overt.studies.arora2019.depths import PAPER
from overt.studies.arora2019.settings import FlowConfig
from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.fields import check_instance
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.shared.published import skipped_without_data

if TYPE_CHECKING:
    from overt.studies.report.figures import Cell, Figure

ALLOWED = 0.02  # of a velocity
SHOWN = 3  # singular values whose velocity is drawn


class SyntheticConfig(FlowConfig):
    """A flow on entries of an n×n matrix of a rank."""

    part: Literal["synthetic"] = "synthetic"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> SyntheticConfig:
        check_instance(self.n, self.rank, self.n_observed)
        check_integer(self.leading, "leading", most=min(self.n, self.width or self.n))
        return self


class RatingsConfig(FlowConfig):
    """A flow on ratings.

    The start has rank ``width``, and by the formula a singular value of zero stays zero for two layers or
    more: so narrow layers give the flow of full width exactly.
    """

    part: Literal["ratings"] = "ratings"
    n_observed: int = Field(default=10_000, ge=1, le=99_999)
    width: int = Field(default=10, ge=0)
    until: float = Field(default=0.05, gt=0, lt=1)


def off_exponent(run: Run) -> float | None:
    """How far the exponent fitted to the measured velocities is from 1 − 1/N."""
    exponent = run.records[0]["exponent"]
    return None if exponent is None else abs(float(exponent) - (1 - 1 / run.config["depth"]))


DEVIATION = Median("deviation", "largest deviation from the formula", each=("depth",))
OTHER = Median("other_deviation", "median deviation from the best formula of another depth", each=("depth",))
RULE = Rule(
    below(DEVIATION, ALLOWED),
    below(Median(off_exponent, "distance of the exponent from 1 − 1/N", each=("depth",)), 0.01),
    above(OTHER, ALLOWED),
)


def trajectories(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """Singular values along the flow by depth, and measured against predicted velocities."""
    from overt.studies.report.charts import Series, Spectra, line_chart, spectrum_chart
    from overt.studies.report.figures import Figure

    chosen: dict[int, Run] = {}
    for run in part.own(runs):
        if "time" in run.arrays:
            chosen.setdefault(run.config["depth"], run)
    if not chosen:
        return None
    title = "Singular values under gradient flow, and their velocities"
    spectra = [
        Spectra(f"depth {d}", run.arrays["time"], run.arrays["singular_values"], method=f"depth {d}")
        for d, run in sorted(chosen.items())
    ]
    panels = list(
        spectrum_chart(spectra, title=title, x_label="time", rank=SHOWN, log_x=False, id=f"flow-{part.name}")
    )
    data: list[dict[str, Cell]] = []
    for depth, run in sorted(chosen.items()):
        t, s, measured, formula = (
            run.arrays[key] for key in ("time", "singular_values", "measured", "predicted")
        )
        shown = range(min(SHOWN, measured.shape[1]))
        lines = [
            Series(f"σ{r + 1}, {name}", t, values[:, r])
            for r in shown
            for name, values in (("measured", measured), ("formula", formula))
        ]
        panels.append(
            line_chart(
                lines,
                title=title,
                panel=f"depth {depth}: velocities",
                x_label="time",
                y_label="dσ/dt",
                id=f"velocity-{part.name}-{depth}",
            )
        )
        for r in shown:
            columns = {"time": t, "sigma": s[:, r], "measured": measured[:, r], "formula": formula[:, r]}
            for row in zip(*columns.values(), strict=True):
                numbers = {k: float(f"{v:.6g}") for k, v in zip(columns, row, strict=True)}
                data.append({"depth": depth, "r": r + 1, **numbers})
    first = next(iter(chosen.values()))
    caption = (
        f"Seed {first.config['seed']}. Upper panels: the leading singular values of the end-to-end matrix "
        f"from small balanced layers. Lower panels: the velocity of the first {SHOWN}, by central "
        "differences along the trajectory and by the formula."
    )
    return Figure(f"{part.name}-flow", title, caption, svg=panels, data=data)


def _deviations(name: str, claim: str) -> Dots:
    panels = tuple(
        Panel(one, name, log=True, limits=(1e-8, 10.0), reference=(ALLOWED, "bar"))
        for one, name in ((DEVIATION, "own formula, largest"), (OTHER, "best other formula, median"))
    )
    title = "Measured velocities against the formula, and against that of another depth"
    return Dots(f"{name}-deviations", title, panels, claim=claim, rows=("depth",))


class Synthetic(Part[SyntheticConfig]):
    """Do singular values under gradient flow move as the formula says?"""

    config = SyntheticConfig
    grids = {
        "quick": Grid(6, depth=(4, 3, 2), n=20, rank=2, n_observed=200, leading=5),
        "full": Grid(10, depth=(4, 3, 2)),
    }
    claims = (
        Claim(
            "A5",
            "Singular values move as the formula says",
            "Under gradient flow from balanced layers σ̇_r = −N (σ_r²)^{1−1/N} ⟨∇ℓ(W), u_r v_rᵀ⟩: measured "
            "velocities are nowhere further than 2 % from it (of at least 1e-3 of the largest velocity of "
            "the same singular value), their exponent is 1 − 1/N, and the formula of no other depth fits.",
            f"{PAPER}, theorem 3; figure 3, top",
            RULE,
        ),
    )
    figures = (_deviations("synthetic", "A5"), trajectories)

    def execute(self, config: SyntheticConfig, context: RunContext) -> RunOutput:
        """Integrate the flow."""
        from overt.studies.arora2019.training import instance
        from overt.studies.arora2019.velocities import run_flow

        problem = instance("completion", config.n, config.rank, config.n_observed, config.seed)
        return run_flow(config, problem, context)


class Ratings(Part[RatingsConfig]):
    """Do they on the ratings of MovieLens 100K?"""

    config = RatingsConfig
    grids = {
        "quick": Grid(6, depth=(4, 3, 2), width=5, leading=5, until=0.1),
        "full": Grid(10, depth=(4, 3, 2)),
    }
    claims = (
        Claim(
            "A6",
            "Singular values move as the formula says on MovieLens 100K",
            "The same on ratings: 10 000 of MovieLens 100K, a 943×1682 matrix.",
            f"{PAPER}, theorem 3; figure 3, bottom",
            RULE,
        ),
    )
    figures = (_deviations("ratings", "A6"), trajectories)

    def execute(self, config: RatingsConfig, context: RunContext) -> RunOutput:
        """Integrate the flow; skipped where the data are not there."""
        from overt.problems import movielens_100k
        from overt.studies.arora2019.velocities import run_flow

        with skipped_without_data():
            # The held-out ratings are all others: their root mean squared error is the recorded error.
            problem = movielens_100k("random", seed=config.seed, test_share=1 - config.n_observed / 100_000)
        return run_flow(config, problem, context)
