"""The penalty under eleven optimizers, each with and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule
from overt.studies.claims.vocabulary import FELT, ended, felt, fitted, recovered, unfelt
from overt.studies.fields import OptimizerName
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

PAPER = "Zhao (2022)"
WEIGHT = 3e-2
FIT = 1e-6  # a relative loss at which a run at weight zero has ended
RELATIVES = ("amsgrad", "nadam", "radam", "adamax", "rmsprop", "adagrad", "adadelta")
PLAIN = ("gd", "momentum")
# Two learning rates of each, found on an instance (seed 100) that no verdict rests on, and the steps in
# thousands: those whose steps shrink with the gradient need more. A step of L-BFGS makes some 20 evaluations.
RATES: dict[str, tuple[tuple[float, float], float]] = {
    "gd": ((10.0, 30.0), 12),
    "momentum": ((1.0, 3.0), 12),
    "adadelta": ((10.0, 30.0), 12),
    "lbfgs": ((0.3, 1.0), 0.3),
    "radam": ((1e-2, 2e-2), 6),
    "adagrad": ((1e-1, 2e-1), 6),
    "rmsprop": ((3e-3, 5e-3), 6),
    "adam": ((1e-2, 2e-2), 4),
    "amsgrad": ((1e-2, 3e-2), 4),
    "nadam": ((1e-2, 2e-2), 4),
    "adamax": ((2e-2, 5e-2), 4),
}
TUNED = ("lr",)
WITH = {"weight": WEIGHT}


class OptimizersConfig(StudyConfig):
    """One training of one layer, at ``weight`` zero or not.

    ``norm_floor`` is the guard near zero that docs/penalties.md asks for; at 0 the penalty is as published.
    AdamW is left out: with its decay it minimizes another objective, without it is Adam.
    """

    part: Literal["optimizers"] = "optimizers"
    n: int = Field(default=30, ge=2)
    rank: int = Field(default=2, ge=1)
    n_observed: int = Field(default=300, ge=1)
    optimizer: OptimizerName = "adam"
    lr: float = Field(default=1e-2, gt=0)
    weight: float = Field(default=WEIGHT, ge=0)
    norm_floor: float = Field(default=0.1, ge=0)
    max_steps: int = Field(default=4_000, ge=1)


def _grids(seeds: int, quick: bool) -> list[Grid]:
    size: dict[str, Any] = {"n": 20, "rank": 1, "n_observed": 150} if quick else {}
    grids = []
    for name, (rates, thousands) in RATES.items():
        steps = int((500 if quick else 1_000) * thousands)
        # Without a floor larger steps of descent leave for the far side of zero.
        floors = (0.1, 0.0) if name in ("adam", *PLAIN) else 0.1
        lr = rates[-1:] if quick and name not in PLAIN else rates
        arms = tuple({"weight": weight} for weight in (WEIGHT, 0.0))
        grids.append(Grid(seeds, optimizer=name, lr=lr, arm=arms, norm_floor=floors, max_steps=steps, **size))
    return grids


class Optimizers(Part[OptimizersConfig]):
    """Which optimizers feel the penalty?"""

    config = OptimizersConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, True),
        "full": _grids(10, False),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "Z1",
            "The penalty takes effect under Adam, and not under gradient descent",
            "The penalty ‖W‖⁎/‖W‖F only takes effect with certain adaptive gradient optimizers such as Adam; "
            "under gradient descent and momentum it has no such effect.",
            f"{PAPER}, abstract",
            Rule(
                felt(WITH, where={"optimizer": "adam"}, each=("norm_floor",), tuned=TUNED),
                unfelt(WITH, where={"optimizer": PLAIN}, each=("optimizer", "norm_floor"), tuned=TUNED),
            ),
        ),
        Claim(
            "Z2",
            "The penalty takes effect under all of Adam's relatives",
            "What Adam does with the penalty AMSGrad, NAdam, RAdam, Adamax, RMSprop, Adagrad and Adadelta "
            "do, too.",
            f"{PAPER}, the optimizers of its experiments",
            Rule(felt(WITH, where={"optimizer": RELATIVES}, each=("optimizer",), tuned=TUNED)),
        ),
        Claim(
            "Z3",
            "The penalty takes no effect under L-BFGS",
            "L-BFGS, which adapts to the curvature and not entry by entry, does not make the penalty work.",
            f"{PAPER}, the optimizers of its experiments",
            Rule(unfelt(WITH, where={"optimizer": "lbfgs"}, tuned=TUNED)),
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "optimizers",
            "What the penalty does, by optimizer",
            (
                Panel(
                    felt(WITH, where={"norm_floor": 0.1}, tuned=TUNED).quantity,
                    "with the floor",
                    limits=(0.0, 1.2),
                    reference=(FELT, "felt"),
                ),
                Panel(
                    felt(WITH, where={"norm_floor": 0.0}, tuned=TUNED).quantity,
                    "as published, without the floor",
                    limits=(0.0, 1.2),
                    reference=(FELT, "felt"),
                ),
                Panel(
                    Share(recovered, "recovered, floor", WITH | {"norm_floor": 0.1}, tuned=TUNED),
                    "share recovered after the refit",
                    limits=(0.0, 1.0),
                ),
                Panel(
                    Median("raw_error", "error without refit", WITH | {"norm_floor": 0.1}, tuned=TUNED),
                    log=True,
                    limits=(1e-3, 3.0),
                ),
            ),
            claim="Z1",
            caption="Each arm has the better of two learning rates; every run goes on until loss and penalty "
            "together stand still, and what its budget ended has an open interval.",
            rows=("optimizer",),
        ),
    )

    def execute(self, config: OptimizersConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.studies.shared.completion_runs import run_arm

        return run_arm(config, context)

    def ended(self, run: Run) -> bool:
        """Whether the whole objective stands still; at weight zero, whether the data are fitted."""
        return ended(run) if run.config["weight"] > 0 else fitted(run, FIT)
