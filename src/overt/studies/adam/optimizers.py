"""Optimizers, each left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from overt.studies.adam.config import (
    FLOOR,
    NAMES,
    PANELS,
    SHARE,
    TENTH,
    WEIGHT,
    DescentConfig,
    Optimizer,
    rates,
    times_as_long,
)
from overt.studies.base import Claim, RunContext, RunOutput
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots

ELEMENTWISE = ("adam", "rmsprop", "sign", "adam_beta1_0")
OTHERS = ("gd", "momentum", "normalized_gd", "muon")
UNFLOORED = ("adam", "gd")  # run without the floor, too
SCALED = ("adam", "normalized_gd")
SCALES = (1e-3, 1e3)
USUAL = {"norm_floor": FLOOR, "objective_scale": 1.0}
ADAM = {"optimizer": "adam"}


class OptimizersConfig(DescentConfig):
    """One run: an optimizer, and a factor of the whole objective."""

    part: Literal["optimizers"] = "optimizers"
    optimizer: Optimizer = "adam"
    objective_scale: float = Field(default=1.0, gt=0)


def _grids(seeds: int, quick: bool, **shared: int) -> list[Grid]:
    everyone = (*OTHERS, *ELEMENTWISE)
    arms: list[tuple[str, dict[str, Any]]] = [(name, {"weight": (WEIGHT, 0.0)}) for name in everyone]
    arms += [(name, {"norm_floor": 0.0}) for name in UNFLOORED]
    arms += [(name, {"objective_scale": SCALES}) for name in SCALED]
    return [Grid(seeds, optimizer=name, lr=rates(name, quick), **arm, **shared) for name, arm in arms]


class Optimizers(Part[OptimizersConfig]):
    """Which optimizers recover the matrix through the penalty, and in how many steps?"""

    config = OptimizersConfig
    grids = {
        "quick": _grids(6, True, n=30, rank=3, n_observed=300, max_steps=2_000),
        "full": _grids(20, False),
    }
    claims = (
        Claim(
            "D1",
            "Only element-wise adaptive steps recover the matrix quickly",
            "Optimizers that normalize each entry of the step (Adam, RMSprop, sign descent, Adam without "
            "momentum) recover the matrix under ‖W‖_*/‖W‖_F; those that normalize the whole matrix or its "
            "spectrum, or nothing (gradient descent, momentum, normalized gradient descent, Muon), need at "
            "least ten times Adam's steps, if they get there.",
            "Own hypothesis, after Zhao 2022, who reports that the penalty takes effect with certain "
            "adaptive optimizers only",
            Rule(
                above(replace(SHARE.at(**USUAL, optimizer=ELEMENTWISE), each=("optimizer",)), 0.5),
                *(
                    below(times_as_long(f"Adam / {NAMES[name]}", ADAM, {"optimizer": name}, **USUAL), TENTH)
                    for name in OTHERS
                ),
            ),
            kind="own",
        ),
        Claim(
            "D7",
            "Steps that do not know the scale are not enough",
            "Adam recovers the matrix whatever the scale of the objective, and normalized gradient descent, "
            "which has only this in common with it, takes at least ten times as long at each scale.",
            "Kingma & Ba 2015, §2.1, for the invariance; own hypothesis",
            Rule(
                above(replace(SHARE.at(norm_floor=FLOOR, **ADAM), each=("objective_scale",)), 0.5),
                below(
                    replace(
                        times_as_long(
                            "Adam / normalized GD", ADAM, {"optimizer": "normalized_gd"}, norm_floor=FLOOR
                        ),
                        each=("objective_scale",),
                    ),
                    TENTH,
                ),
            ),
            kind="own",
        ),
        Claim(
            "D10",
            "Without the penalty the refit does not recover the matrix",
            "At weight zero none of the eight optimizers ends where the refit recovers the matrix, at any of "
            "the same learning rates: what is recovered elsewhere, the penalty recovers.",
            "Own hypothesis; the control of all others",
            Rule(below(replace(SHARE.at(**USUAL, weight=0.0), each=("optimizer",)), 0.5)),
            kind="own",
        ),
        Claim(
            "D11",
            "The floor under the norm halves the steps of Adam",
            "A penalty that does not know the scale has a huge gradient near zero, which Adam's running mean "
            "square remembers for long. Held below a tenth of the norm that the data suggest, Adam takes at "
            "most half the steps.",
            "Own hypothesis, from the documentation of `norm_floor`",
            Rule(
                below(
                    times_as_long(
                        "with / without the floor",
                        {"norm_floor": FLOOR},
                        {"norm_floor": 0.0},
                        objective_scale=1.0,
                        **ADAM,
                    ),
                    0.5,
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "optimizers",
            "Steps to recovery, by optimizer",
            tuple(replace(one, quantity=one.quantity.at(**USUAL)) for one in PANELS),
            claim="D1",
            caption="Each optimizer at the best of three learning rates. A run ends once the refit has "
            "recovered the matrix for as long as it took; its learning rate falls to zero meanwhile.",
            words=NAMES,
            rows=("optimizer",),
        ),
        Dots(
            "controls",
            "Without the penalty, without its floor, and at other scales of the objective",
            tuple(replace(one, quantity=replace(one.quantity, where={})) for one in PANELS[:2]),
            claim="D10",
            words=NAMES,
            rows=("optimizer", "weight", "norm_floor", "objective_scale"),
        ),
    )

    def execute(self, config: OptimizersConfig, context: RunContext) -> RunOutput:
        """Descend."""
        from overt.studies.adam.descent import Descent

        return Descent(config, config.optimizer, scale=config.objective_scale)(context)
