"""One thing changed in the steps."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from overt._utils.checks import check_choice
from overt.studies.adam.config import (
    NAMES,
    PANELS,
    SHARE,
    TENTH,
    WITH,
    DescentConfig,
    rates,
    times_as_long,
)
from overt.studies.base import Claim, RunContext, RunOutput
from overt.studies.claims.comparisons import Difference
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots

CHANGES = {
    "none": "left alone",
    "keep_vectors": "penalty's step: singular vectors kept",
    "keep_space": "penalty's step: within the leading column and row space",
    "gradient_direction": "penalty's step: gradient's direction, Adam's length",
    "turned": "in turned coordinates",
    "adam_penalty": "penalty's step from Adam",
    "adam_length": "penalty's step of Adam's length",
    "alternation": "exact fit and shrinking in turn",
}
KEPT = ("keep_vectors", "keep_space", "gradient_direction")  # the singular vectors, or the space
LENGTHS = (3e-3, 1e-2, 3e-2)  # of the alternation's step, over the norm of the matrix


def _with(optimizer: str, change: str = "none") -> dict[str, str]:
    return {"optimizer": optimizer, "change": change}


ADAM, GD = _with("adam"), _with("gd")


class InterventionsConfig(DescentConfig):
    """One run: an optimizer, and what is changed in its steps (see ``CHANGES``).

    A step is the sum of what the data and what the penalty cause.
    """

    part: Literal["interventions"] = "interventions"
    optimizer: Literal["adam", "gd"] = "adam"
    change: str = "none"

    @field_validator("change")
    @classmethod
    def _known(cls, name: str) -> str:
        check_choice(name, "change", CHANGES)
        return name


def _grids(seeds: int, quick: bool, **shared: int) -> list[Grid]:
    lengths = LENGTHS[1:2] if quick else LENGTHS
    found = [Grid(seeds, optimizer="gd", change="alternation", lr=lengths, **shared)]
    for name, changes in (("gd", ("adam_penalty", "adam_length")), ("adam", (*KEPT, "turned"))):
        found += [
            Grid(seeds, optimizer=name, change=("none", *changes), lr=rates(name, quick), **shared),
            Grid(seeds, optimizer=name, lr=rates(name, quick), weight=0.0, **shared),
        ]
    return found


class Interventions(Part[InterventionsConfig]):
    """What is it in Adam's steps that makes the penalty work?"""

    config = InterventionsConfig
    grids = {
        "quick": _grids(6, True, n=30, rank=3, n_observed=300, max_steps=2_000),
        "full": _grids(20, False),
    }
    claims = (
        Claim(
            "D2",
            "Adam's steps turn the singular vectors",
            "The penalty's own gradient leaves the singular vectors of W as they are; more than a tenth of "
            "the energy of Adam's step along it is off the diagonal in their basis.",
            "Lewis 1995 for the gradient; own measurement",
            Rule(
                *(
                    (above if name == "adam" else below)(
                        Median(
                            "penalty_turning",
                            f"share of the penalty's step that turns singular vectors, {NAMES[name]}",
                            {**WITH, "optimizer": name, "change": "none"},
                            each=("lr",),
                        ),
                        bar,
                    )
                    for name, bar in (("adam", 0.1), ("gd", 1e-6))
                )
            ),
            kind="own",
        ),
        Claim(
            "D3",
            "Adam needs steps that leave the column and row space",
            "Adam recovers the matrix, and takes at least ten times as long once its step of the penalty "
            "keeps the singular vectors, stays in the leading column and row space, or has the gradient's "
            "own direction.",
            "Own hypothesis, put to an intervention",
            Rule(
                above(SHARE.at(**ADAM), 0.5),
                *(
                    below(times_as_long(f"Adam / with {CHANGES[name]}", ADAM, _with("adam", name)), TENTH)
                    for name in KEPT
                ),
            ),
            kind="own",
        ),
        Claim(
            "D4",
            "The direction of Adam's penalty step speeds gradient descent up",
            "With Adam's step of the penalty gradient descent takes at most half its own steps, and half of "
            "those that it takes with a step of the same length along the gradient.",
            "Own hypothesis, put to an intervention",
            Rule(
                below(times_as_long("Adam's step / left alone", _with("gd", "adam_penalty"), GD), 0.5),
                below(
                    times_as_long(
                        "Adam's step / of its length", _with("gd", "adam_penalty"), _with("gd", "adam_length")
                    ),
                    0.5,
                ),
            ),
            kind="own",
        ),
        Claim(
            "D5",
            "Adam mimics alternating minimization",
            "Fitting the data exactly and shrinking in turn takes at most twice Adam's steps, and in Adam's "
            "steps loss and penalty oppose each other more often than in those of gradient descent.",
            "Own hypothesis, put to an intervention and a measurement",
            Rule(
                below(times_as_long("alternation / Adam", _with("gd", "alternation"), ADAM), 2.0),
                above(
                    Difference(
                        "against",
                        "share of steps in which loss and penalty oppose each other, Adam − gradient descent",
                        WITH,
                        of_={**ADAM, "lr": rates("adam", True)},
                        over={**GD, "lr": rates("gd", True)},
                    ),
                    0.0,
                ),
            ),
            kind="own",
        ),
        Claim(
            "D6",
            "Adam works because entries are what is measured",
            "Normalizing entries singles out the unobserved ones: in coordinates turned by random orthogonal "
            "matrices Adam takes at least ten times as long.",
            "Own hypothesis; Adam is not rotation-invariant (Kingma & Ba 2015)",
            Rule(below(times_as_long("Adam / turned coordinates", ADAM, _with("adam", "turned")), TENTH)),
            kind="own",
        ),
        Claim(
            "D9",
            "What gradient descent lacks is the length of the penalty's step",
            "With a step along the penalty's own gradient that is as long as Adam's, gradient descent takes "
            "at most half its own steps, and at most twice Adam's.",
            "Own hypothesis",
            Rule(
                below(times_as_long("Adam's length / left alone", _with("gd", "adam_length"), GD), 0.5),
                below(times_as_long("Adam's length / Adam", _with("gd", "adam_length"), ADAM), 2.0),
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "interventions",
            "Interventions in the steps",
            PANELS,
            claim="D3",
            caption="Each at the best of three learning rates (of the alternation, step lengths). Within the "
            "leading column and row space a step cannot shrink the trailing singular values either.",
            words={**NAMES, **CHANGES},
            rows=("optimizer", "change"),
        ),
    )

    def execute(self, config: InterventionsConfig, context: RunContext) -> RunOutput:
        """Descend, with the change."""
        from overt.studies.adam.descent import Descent

        return Descent(config, config.optimizer, config.change)(context)
