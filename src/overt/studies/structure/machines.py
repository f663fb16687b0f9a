"""Feature machines and reweighted networks beside tuned rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.structure import problems
from overt.studies.structure.penalties import GAIN, LOSS, OWN
from overt.studies.structure.problems import RIGHT, STRUCTURED, Name

Learner = Literal[
    "feature machine",
    "no rounds",
    "kernel ridge",
    "boosting",
    "weight decay",
    "penalty",
    "loop",
    "reweighted loop",
]
RIVALS = ("kernel ridge", "boosting", "weight decay", "penalty")
NAMES = (*STRUCTURED, "additive")
OURS = "feature machine"
WORDS = problems.WORDS | {
    "feature machine": "feature machine, nothing set",
    "no rounds": "feature machine without rounds",
    "weight decay": "network, weight decay",
    "penalty": "network, Jacobian p=2/3",
    "loop": "network, one weight decay",
    "reweighted loop": "the same, reweighted",
}


class MachinesConfig(StudyConfig):
    """One learner on one problem.

    Attributes
    ----------
    problem : str
        Of `overt.studies.structure.problems`.
    learner : str
        Kernel ridge, boosting and two networks are tuned over four settings and then fitted to all rows;
        "loop" is a network at one weight decay, "reweighted loop" the same within `overt.reweighted`;
        "feature machine" has no settings, and "no rounds" is what it is without any reweighting.
    n_samples : int, optional
        Training rows; by default those of the problem.
    width, lr, batch_size, max_steps
        Of the networks, as in the part ``penalties``.
    """

    part: Literal["machines"] = "machines"
    problem: Name = "staircase"
    learner: Learner = "feature machine"
    n_samples: int | None = Field(default=None, ge=10)
    width: int = Field(default=96, ge=1)
    lr: float = Field(default=4e-3, gt=0)
    batch_size: int = Field(default=64, ge=1)
    max_steps: int = Field(default=1000, ge=1)


def found_nothing(run: Run) -> bool:
    """Chose no round of reweighting."""
    return bool(run.records[0]["n_iter"] == 0)


def against(rival: str, ours: str = OURS, names: tuple[str, ...] = STRUCTURED) -> Ratio:
    """The error of one learner over that of another, on each problem."""
    return Ratio(
        "error",
        f"error of {ours} / {rival}",
        {"problem": names},
        each=("problem",),
        of_={"learner": ours},
        over={"learner": rival},
    )


class Machines(Part[MachinesConfig]):
    """Does reweighting by M find few directions without being told, and how good are tuned rivals?"""

    config = MachinesConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": Grid(
            6,
            problem=("staircase", "additive"),
            learner=("reweighted loop", OURS, "no rounds", "kernel ridge", "loop"),
            n_samples=300,
        ),
        "full": Grid(
            10,
            problem=NAMES,
            learner=(
                "boosting",
                "reweighted loop",
                "penalty",
                OURS,
                "weight decay",
                "no rounds",
                "loop",
                RIVALS[0],
            ),
        ),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "T15",
            "Untuned, the feature machine is within a fifth of the best tuned rival",
            "On the staircase, on parity, on digits beside columns of noise and on a rotated target of rank "
            "3 its test error is below 1.2 times that of kernel ridge, boosting and a network with weight "
            "decay or a Jacobian penalty with p = ⅔, each tuned over four settings.",
            OWN,
            Rule(*(below(against(rival), 1.2) for rival in RIVALS)),
            kind="own",
        ),
        Claim(
            "T16",
            "Where all inputs matter, the feature machine chooses no round",
            "On an additive target of all inputs, which has no structure of this kind, most fits have "
            "n_iter_ = 0.",
            OWN,
            Rule(
                above(
                    Share(found_nothing, "with no round", {"problem": "additive", "learner": OURS}),
                    0.5,
                )
            ),
            kind="own",
        ),
        Claim(
            "T17",
            "Where all inputs matter, its rounds cost the feature machine less than five per cent",
            "On the same target its test error is below 1.05 times that of the machine without rounds and of "
            "tuned kernel ridge.",
            OWN,
            Rule(*(below(against(one, names=("additive",)), LOSS) for one in ("no rounds", "kernel ridge"))),
            kind="own",
        ),
        Claim(
            "T18",
            "Reweighting leaves a network less than 0.8 of its error where few directions matter",
            "On the four targets of few directions a training loop within overt.reweighted has a test error "
            "below 0.8 times its own without weights, at the best of as many starts as it makes fits, and on "
            "the additive target one below 1.05 times it.",
            OWN,
            Rule(
                below(against("loop", "reweighted loop"), GAIN),
                below(against("loop", "reweighted loop", ("additive",)), LOSS),
            ),
            kind="own",
        ),
        Claim(
            "T19",
            "The gain of the feature machine comes from its rounds",
            "On the four targets of few directions its test error is below 0.8 times that of the same "
            "machine without rounds, which has the same kernels, ridges and stacking.",
            OWN,
            Rule(below(against("no rounds"), GAIN)),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "machines",
            "Test error of every learner",
            tuple(
                Panel(Median("error", "test error", {"problem": one}), WORDS[one], log=True) for one in NAMES
            ),
            claim="T15",
            caption="Tuned learners have four settings, chosen on a fifth of the training rows, and are then "
            "fitted to all rows. Error: mean squared error over the target's variance; of digits, the share "
            "of wrong classes.",
            words=WORDS,
            rows=("learner",),
        ),
        Dots(
            "rounds",
            "Rounds that the feature machine takes",
            (Panel(Median("n_iter", "rounds", {"learner": OURS})),),
            claim="T16",
            words=WORDS,
            rows=("problem",),
        ),
    )

    def execute(self, config: MachinesConfig, context: RunContext) -> RunOutput:
        """Fit, and test."""
        from overt.studies.structure import rivals
        from overt.studies.structure.networks import Recipe

        problem = problems.instance(config.problem, config.seed, n_samples=config.n_samples)
        recipe = Recipe(config.seed, config.width, 2, config.lr, config.max_steps, config.batch_size)
        context.progress(f"{config.problem}, {config.learner}")
        learners: dict[str, Callable[..., rivals.Found]] = {
            OURS: rivals.machine,
            "no rounds": partial(rivals.machine, rounds=0),
            "kernel ridge": rivals.kernel_ridge,
            "boosting": rivals.boosting,
            "weight decay": partial(rivals.network, method="weight decay"),
            "penalty": partial(rivals.network, method=f"jacobian 2/3 {RIGHT[config.problem]}"),
            "loop": rivals.loop,
            "reweighted loop": rivals.reweighted,
        }
        outputs, said = learners[config.learner](problem, recipe)
        record: dict[str, Any] = {
            "status": "diverged" if outputs is None else "fitted",
            "error": None if outputs is None else problems.test_error(outputs, problem),
            "steps": config.max_steps,
            **said,
        }
        return RunOutput([record])
