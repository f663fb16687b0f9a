"""The same network with every penalty, on targets of few directions and on controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from overt._utils.checks import check_choice
from overt.studies.base import Claim, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Bar, Rule, above, below, between
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Heat, Panel
from overt.studies.structure import methods, problems
from overt.studies.structure.methods import METHODS
from overt.studies.structure.problems import CONTROLS, RIGHT, Name

OWN = "Own hypothesis"
NAMES = ("staircase", "digits", "multi-index", "additive", "rotated additive")
STRUCTURED = ("staircase", "digits", "multi-index")
ON_AXES = ("staircase", "digits")
USUAL = ("nothing", "weight decay")
GAIN, NONE, LOSS = 0.8, 0.95, 1.05  # a ratio of errors: a gain, no gain worth the name, a loss
CAPTION = (
    "Four settings of each method, setting and step chosen on a fifth of the training rows. Error: mean "
    "squared error over the target's variance; of digits, the share of wrong classes."
)
WORDS = problems.WORDS | methods.WORDS


def known(method: str) -> str:
    """Refuse a method that there is not."""
    check_choice(method, "method", METHODS)
    return method


class PenaltiesConfig(StudyConfig):
    """One method on one problem: each of its settings is trained, validation chooses, that one is tested.

    Attributes
    ----------
    problem, method : str
        Of `overt.studies.structure.problems` and `overt.studies.structure.methods`.
    settings : tuple of float
        Values of the method's knob; empty for its own four.
    n_samples : int, optional
        Training rows, of which a fifth is for validation; by default those of the problem.
    width, lr, batch_size, max_steps
        Of the network, which has two hidden layers, and of every training; ``nothing`` has learning rates of
        its own.
    """

    part: Literal["penalties"] = "penalties"
    problem: Name = "staircase"
    method: Annotated[str, AfterValidator(known)] = "jacobian 2/3 identity"
    settings: tuple[float, ...] = ()
    n_samples: int | None = Field(default=None, ge=10)
    width: int = Field(default=96, ge=1)
    lr: float = Field(default=4e-3, gt=0)
    batch_size: int = Field(default=64, ge=1)
    max_steps: int = Field(default=1000, ge=1)


def sparse(problem: str, p: str = "2/3", *, right: bool = True) -> str:
    """The Jacobian penalty in the basis that suits a problem, or in the other one."""
    other = {"identity": "eigen", "eigen": "identity"}
    return f"jacobian {p} {RIGHT[problem] if right else other[RIGHT[problem]]}"


def against(problem: str, ours: str, rival: str) -> Ratio:
    """The error of one method over that of another."""
    label = f"{problem}: error of {METHODS[ours].label} / {METHODS[rival].label}"
    return Ratio("error", label, {"problem": problem}, of_={"method": ours}, over={"method": rival})


def gains(rivals: Sequence[str], names: Sequence[str] = STRUCTURED, bar: float = GAIN) -> list[Bar]:
    """p = ⅔ in the right basis is below ``bar`` times each rival."""
    return [below(against(name, sparse(name), rival), bar) for name in names for rival in rivals]


class Penalties(Part[PenaltiesConfig]):
    """Which penalty learns a target that depends on few directions, at an equal tuning budget?"""

    config = PenaltiesConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": Grid(
            6,
            problem="multi-index",
            method=("jacobian 2/3 eigen", "jacobian 2/3 identity", "group lasso", *USUAL),
        ),
        "full": Grid(10, problem=NAMES, method=tuple(reversed(METHODS))),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "T1",
            "Where few directions matter, p = ⅔ has less than 0.8 of the error of p = 2",
            "On the staircase, on digits beside columns of noise (axes) and on a rotated target of rank 3 "
            "(eigenbasis) the Jacobian penalty with p = ⅔ has a test error below 0.8 times that of p = 2.",
            OWN,
            Rule(*gains(("jacobian 2",))),
            kind="own",
        ),
        Claim(
            "T2",
            "Where few directions matter, p = ⅔ has less than 0.8 of the error of weight decay",
            "On the same three targets its test error is below 0.8 times that of weight decay and of no "
            "penalty at all.",
            OWN,
            Rule(*gains(("weight decay", "nothing"))),
            kind="own",
        ),
        Claim(
            "T3",
            "Where all inputs matter, p = ⅔ costs less than five per cent",
            "On additive targets of all inputs, rotated or not, its test error is below 1.05 times that of "
            "weight decay, of p = 2 and of no penalty, in the basis of the axes and in the eigenbasis.",
            OWN,
            Rule(
                *(
                    below(against(name, f"jacobian 2/3 {basis}", rival), LOSS)
                    for name in CONTROLS
                    for basis in ("identity", "eigen")
                    for rival in ("weight decay", "jacobian 2", "nothing")
                )
            ),
            kind="own",
        ),
        Claim(
            "T4",
            "In the basis of the axes p = ⅔ gains nothing on a rotated target",
            "On the rotated target the diagonal of M has no small entries, so that in this basis p = ⅔ is "
            "next to p = 2: its test error is above 0.95 times that of weight decay, and that in the "
            "eigenbasis below 0.8 times it.",
            f"{OWN}: if all entries of diag M are alike, P_p is a power of tr M",
            Rule(
                above(against("multi-index", sparse("multi-index", right=False), "weight decay"), NONE),
                below(
                    against("multi-index", sparse("multi-index"), sparse("multi-index", right=False)), GAIN
                ),
            ),
            kind="own",
        ),
        Claim(
            "T5",
            "In the eigenbasis p = ⅔ gains nothing where the directions are axes",
            "On the staircase and on digits the test error in the eigenbasis is above 0.95 times that of "
            "weight decay: the wrong basis loses the gain. (Theory does not say so: P_p in the eigenbasis "
            "does not see axes, but it still prefers few directions.)",
            OWN,
            Rule(
                *(above(against(name, sparse(name, right=False), "weight decay"), NONE) for name in ON_AXES)
            ),
            kind="own",
        ),
        Claim(
            "T6",
            "On axes, the basis of the axes has less than 0.8 of the error of the eigenbasis",
            "On the staircase and on digits p = ⅔ in the basis of the axes has a test error below 0.8 times "
            "that in the eigenbasis, which has to find the axes as well.",
            OWN,
            Rule(*(below(against(name, sparse(name), sparse(name, right=False)), GAIN) for name in ON_AXES)),
            kind="own",
        ),
        Claim(
            "T7",
            "On axes p = ⅔ and group lasso on the first layer are equally good",
            "On the staircase and on digits the two have test errors between 0.8 and 1.25 of each other.",
            OWN,
            Rule(*(between(against(name, sparse(name), "group lasso"), GAIN, 1 / GAIN) for name in ON_AXES)),
            kind="own",
        ),
        Claim(
            "T8",
            "On a rotated target p = ⅔ has less than 0.8 of the error of group lasso",
            "Group lasso on the columns of the first layer prefers few axes. On the rotated target of rank 3 "
            "the penalty in the eigenbasis has a test error below 0.8 times that of group lasso.",
            OWN,
            Rule(*gains(("group lasso",), ("multi-index",))),
            kind="own",
        ),
        Claim(
            "T9",
            "Where few directions matter, a smaller p has a smaller error",
            "On the three targets, in the right basis, the test error falls from p = 2 over p = 1 to p = ⅔.",
            f"{OWN}: p = 2/L is a depth dial",
            Rule(
                *(below(against(name, sparse(name, "1"), "jacobian 2"), 1.0) for name in STRUCTURED),
                *(below(against(name, sparse(name), sparse(name, "1")), 1.0) for name in STRUCTURED),
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "penalties",
            "Test error of every method",
            tuple(
                Panel(Median("error", "test error", {"problem": one}), WORDS[one], log=True) for one in NAMES
            ),
            claim="T2",
            caption=CAPTION,
            words=WORDS,
            rows=("method",),
        ),
        Heat(
            "ranks",
            "How many directions the networks are sensitive to",
            (Panel(Median("effective_rank", "effective rank of M"), log=True),),
            claim="T9",
            caption="Of the chosen network, M = E[JᵀJ] over the training rows.",
            words=WORDS,
            row="method",
            col="problem",
        ),
    )

    def execute(self, config: PenaltiesConfig, context: RunContext) -> RunOutput:
        """Train each setting, test the chosen one."""
        from overt.studies.structure.networks import Recipe
        from overt.studies.structure.tuning import record_of

        problem = problems.instance(config.problem, config.seed, n_samples=config.n_samples)
        recipe = Recipe(config.seed, config.width, 2, config.lr, config.max_steps, config.batch_size)
        context.progress(f"{config.problem}, {config.method}")
        record: dict[str, Any] = record_of(problem, config.method, recipe, config.settings)
        return RunOutput([record])
