"""The eight penalties of the paper's experiments, each over its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import RECOVERED, ended, fitted, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

THIRD, TWO_THIRDS = 1 / 3, 2 / 3
FIT = 1e-6  # a relative loss at which a run at weight zero has ended
OURS = "nuclear / Frobenius"
# Functional, exponents, and three weights a factor of ten apart around the best on seed 100.
PENALTIES: dict[str, tuple[str, dict[str, float], tuple[float, float, float]]] = {
    OURS: ("normalized_nuclear_norm", {}, (1e-3, 1e-2, 1e-1)),
    "nuclear": ("nuclear_norm", {}, (1e-5, 1e-4, 1e-3)),
    "Schatten 1/2": ("schatten_norm", {"p": 0.5}, (1e-7, 1e-6, 1e-5)),
    "Schatten 1/3": ("schatten_norm", {"p": THIRD}, (1e-9, 1e-8, 1e-7)),
    "Schatten 2/3": ("schatten_norm", {"p": TWO_THIRDS}, (1e-7, 1e-6, 1e-5)),
    "S 1/2 / S 2/3": ("normalized_schatten_norm", {"p": 0.5, "q": TWO_THIRDS}, (1e-3, 1e-2, 1e-1)),
    "S 1/3 / S 2/3": ("normalized_schatten_norm", {"p": THIRD, "q": TWO_THIRDS}, (1e-4, 1e-3, 1e-2)),
    "S 1/3 / S 1/2": ("normalized_schatten_norm", {"p": THIRD, "q": 0.5}, (1e-4, 1e-3, 1e-2)),
}
OTHERS = tuple(name for name in PENALTIES if name != OURS)
TUNED = ("strength",)


class PenaltiesConfig(StudyConfig):
    """One layer under Adam with one penalty, or none.

    Attributes
    ----------
    penalty : str
        See `PENALTIES`, or "weight 0".
    strength : int
        0, 1 or 2: which of the penalty's three weights.
    norm_floor : float
        The guard near zero of the scale-invariant ones; they have the cap above, too (docs/penalties.md).
    """

    part: Literal["penalties"] = "penalties"
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=200, ge=1)
    penalty: Literal[
        "nuclear / Frobenius",
        "nuclear",
        "Schatten 1/2",
        "Schatten 1/3",
        "Schatten 2/3",
        "S 1/2 / S 2/3",
        "S 1/3 / S 2/3",
        "S 1/3 / S 1/2",
        "weight 0",
    ] = "nuclear / Frobenius"
    strength: int = Field(default=1, ge=0, le=2)
    norm_floor: float = Field(default=0.1, ge=0)
    lr: float = Field(default=2e-2, gt=0)
    max_steps: int = Field(default=4_000, ge=1)

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return PENALTIES[self.penalty][2][self.strength] if self.penalty in PENALTIES else 0.0


def _grids(seeds: int, strengths: tuple[int, ...], **fixed: Any) -> list[Grid]:
    return [
        Grid(seeds, penalty=tuple(PENALTIES), strength=strengths, **fixed),
        Grid(seeds, penalty="weight 0", **fixed),
    ]


def _than(other: str) -> Ratio:
    return Ratio(
        "error",
        f"error after the refit, {OURS} / {other}",
        tuned=TUNED,
        least=RECOVERED,
        of_={"penalty": OURS},
        over={"penalty": other},
    )


class Penalties(Part[PenaltiesConfig]):
    """Is one of the other penalties of the paper better?"""

    config = PenaltiesConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, (1,), n=20, rank=1, n_observed=90, max_steps=2_000),
        "full": _grids(10, (0, 1, 2)),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "Z6",
            "None of the other penalties is clearly better",
            "Under Adam none of the seven other penalties of the paper has half the error of ‖W‖⁎/‖W‖F, each "
            "at the best of three weights and after the same refit, where entries are few.",
            "Zhao (2022), the penalties of its experiments",
            Rule(*(below(_than(other), 2.0) for other in OTHERS)),
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "penalties",
            "The penalties of the paper",
            (
                Panel(
                    Median("raw_error", "relative error without refit", tuned=TUNED),
                    log=True,
                    limits=(1e-3, 3.0),
                ),
                Panel(
                    Share(recovered, "recovered", tuned=TUNED),
                    "share recovered after the refit",
                    limits=(0.0, 1.0),
                ),
            ),
            claim="Z6",
            caption="Each at the best of three weights; the scale-invariant ones have a floor and a cap.",
            rows=("penalty",),
        ),
    )

    def execute(self, config: PenaltiesConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.shared.completion_runs import run_arm

        functional, options, _ = PENALTIES.get(config.penalty, PENALTIES[OURS])
        return run_arm(config, context, functional=functional, options=options)

    def ended(self, run: Run) -> bool:
        """Whether the whole objective stands still; at weight zero, whether the data are fitted."""
        return fitted(run, FIT) if run.config["penalty"] == "weight 0" else ended(run)
