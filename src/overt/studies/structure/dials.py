"""What the gain of a sparse Jacobian penalty depends on: one dial at a time, all else as usual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, MissingRunsError, PerSeed
from overt.studies.claims.verdict_rules import Rule, above, below, between
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Lines, Panel
from overt.studies.structure import problems
from overt.studies.structure.penalties import CAPTION, GAIN, LOSS, NONE, OWN, WORDS, known

Dial = Literal["irrelevant", "rank", "samples", "noise", "rotation"]
AXES, EIGEN = "jacobian 2/3 identity", "jacobian 2/3 eigen"
USUAL = ("weight decay", "nothing")
LEVELS: dict[tuple[Dial, str], tuple[float, ...]] = {
    ("irrelevant", "staircase"): (0, 50, 200, 800),
    ("irrelevant", "digits"): (0, 50, 200, 800),
    ("rank", "multi-index"): (1, 3, 10, 60),
    ("samples", "staircase"): (250, 500, 1000, 2000),
    ("noise", "staircase"): (0, 0.1, 0.5, 1),
    ("rotation", "multi-index"): (0, 1),
}
SMALLEST = 1e-4  # an error; below it a ratio says nothing


class DialsConfig(StudyConfig):
    """One method at one level of one dial.

    Attributes
    ----------
    dial : str
        What is turned: the number of irrelevant inputs, the rank of a target in 60 inputs, the training rows,
        the deviation of the noise, or whether the directions are rotated (0 or 1).
    level : float
        Its value.
    problem, method : str
        As in the part ``penalties``.
    width, lr, batch_size, max_steps
        As there.
    """

    part: Literal["dials"] = "dials"
    dial: Dial = "irrelevant"
    level: float = Field(default=50, ge=0)
    problem: Literal["staircase", "digits", "multi-index"] = "staircase"
    method: Annotated[str, AfterValidator(known)] = AXES
    width: int = Field(default=96, ge=1)
    lr: float = Field(default=4e-3, gt=0)
    batch_size: int = Field(default=64, ge=1)
    max_steps: int = Field(default=1000, ge=1)

    @property
    def sizes(self) -> dict[str, Any]:
        """What the level says of the problem."""
        whole = round(self.level)
        if self.dial == "irrelevant":
            return {"irrelevant": whole} if self.problem == "digits" else {"dim": 3 + whole}
        name = {"rank": "rank", "samples": "n_samples"}.get(self.dial, "")
        if name:
            return {name: whole}
        return {"noise": self.level} if self.dial == "noise" else {"rotated": bool(self.level)}


def growth(runs: Sequence[Run], ours: str) -> float:
    """The slope of log2 gain over weight decay, per level of the dial."""
    errors = {(run.config["method"], run.config["level"]): run.records[0]["error"] for run in runs}
    levels = sorted({level for _, level in errors})
    if len(levels) < 2 or any((method, one) not in errors for method in (ours, USUAL[0]) for one in levels):
        raise MissingRunsError("each level of the dial needs both methods, and there must be two levels")
    if any(value is None for value in errors.values()):
        return math.nan
    doublings = [
        math.log2(max(errors[USUAL[0], one], SMALLEST) / max(errors[ours, one], SMALLEST)) for one in levels
    ]
    return float(np.polyfit(range(len(levels)), doublings, 1)[0])


def growth_on_axes(runs: Sequence[Run]) -> float:
    """The growth of the gain in the basis of the axes."""
    return growth(runs, AXES)


def growth_in_eigenbasis(runs: Sequence[Run]) -> float:
    """The growth of the gain in the eigenbasis."""
    return growth(runs, EIGEN)


def grown(dial: Dial, problem: str, ours: str = AXES) -> PerSeed:
    """By how much the gain grows with a dial."""
    return PerSeed(
        growth_on_axes if ours == AXES else growth_in_eigenbasis,
        f"doublings of the gain per level ({dial}, {problem})",
        {"dial": dial, "problem": problem, "method": (ours, USUAL[0])},
        across=("method", "level"),
    )


def at(dial: Dial, problem: str, ours: Mapping[str, Any], rival: Mapping[str, Any], **both: Any) -> Ratio:
    """The error of one arm over that of another at levels of a dial."""

    def said(arm: Mapping[str, Any]) -> str:
        return ", ".join(str(WORDS.get(v, f"{k} {v:g}" if k == "level" else v)) for k, v in arm.items())

    return Ratio(
        "error",
        f"{dial}: error of {said({**both, **ours})} / {said({**both, **rival})}",
        {"dial": dial, "problem": problem, **both},
        least=SMALLEST,
        of_=ours,
        over=rival,
    )


def _grids(seeds: int) -> list[Grid]:
    return [
        Grid(
            seeds,
            dial=dial,
            problem=problem,
            level=tuple(reversed(LEVELS[dial, problem])),
            method=_methods(dial),
        )
        for dial, problem in LEVELS
    ]


def _methods(dial: Dial) -> tuple[str, ...]:
    ours = {"rank": (EIGEN,), "rotation": (EIGEN, AXES)}.get(dial, (AXES,))
    return (*ours, *USUAL)


class Dials(Part[DialsConfig]):
    """What does the gain of p = ⅔ over weight decay depend on?"""

    config = DialsConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": Grid(6, dial="rank", problem="multi-index", level=(60.0, 1.0), method=(EIGEN, *USUAL)),
        "full": _grids(10),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "T10",
            "The gain of p = ⅔ grows with the number of irrelevant inputs",
            "With 0, 50, 200 and 800 irrelevant inputs the error of weight decay over that of p = ⅔ grows, "
            "on the staircase and on digits.",
            OWN,
            Rule(above(grown("irrelevant", "staircase"), 0.0), above(grown("irrelevant", "digits"), 0.0)),
            kind="own",
        ),
        Claim(
            "T11",
            "The gain of p = ⅔ shrinks as more directions matter",
            "On rotated targets of rank 1, 3, 10 and 60 in 60 inputs the gain in the eigenbasis falls with "
            "the rank, and at full rank it costs less than 5 %.",
            OWN,
            Rule(
                below(grown("rank", "multi-index", EIGEN), 0.0),
                below(
                    at("rank", "multi-index", {"method": EIGEN}, {"method": "weight decay"}, level=60.0), LOSS
                ),
            ),
            kind="own",
        ),
        Claim(
            "T12",
            "The gain of p = ⅔ shrinks as the noise grows",
            "On the staircase with noise of deviation 0, 0.1, 0.5 and 1 the gain falls with the noise, and "
            "at 1 it costs less than 5 %.",
            OWN,
            Rule(
                below(grown("noise", "staircase"), 0.0),
                below(
                    at("noise", "staircase", {"method": AXES}, {"method": "weight decay"}, level=1.0), LOSS
                ),
            ),
            kind="own",
        ),
        Claim(
            "T13",
            "p = ⅔ learns more of the staircase than weight decay does from twice as many rows",
            "From 250 and from 500 rows the error of p = ⅔ is below that of weight decay from 500 and 1000.",
            OWN,
            Rule(
                *(
                    below(
                        at(
                            "samples",
                            "staircase",
                            {"method": AXES, "level": float(rows)},
                            {"method": "weight decay", "level": 2.0 * rows},
                        ),
                        1.0,
                    )
                    for rows in (250, 500)
                )
            ),
            kind="own",
        ),
        Claim(
            "T14",
            "A rotation takes the gain from the basis of the axes and none from the eigenbasis",
            "On one function of three directions p = ⅔ in the basis of the axes has less than 0.8 of the "
            "error of weight decay where these are axes, and more than 0.95 where they are rotated; in the "
            "eigenbasis the two errors are between 0.8 and 1.25 of each other.",
            OWN,
            Rule(
                below(
                    at("rotation", "multi-index", {"method": AXES}, {"method": "weight decay"}, level=0.0),
                    GAIN,
                ),
                above(
                    at("rotation", "multi-index", {"method": AXES}, {"method": "weight decay"}, level=1.0),
                    NONE,
                ),
                between(
                    at("rotation", "multi-index", {"level": 1.0}, {"level": 0.0}, method=EIGEN),
                    GAIN,
                    1 / GAIN,
                ),
            ),
            kind="own",
        ),
    )
    figures = (
        *(
            Lines(
                f"{dial}-{problem}",
                title,
                (Panel(Median("error", "test error", {"dial": dial, "problem": problem}), log=True),),
                claim=claim,
                caption=f"As in penalties ({problems.WORDS[problem]}), but for the dial. {CAPTION}",
                words=WORDS,
                x="level",
                by="method",
                x_label=label,
                log_x=dial in ("rank", "samples"),
            )
            for dial, problem, title, claim, label in (
                ("irrelevant", "staircase", "Irrelevant inputs: the staircase", "T10", "irrelevant inputs"),
                ("irrelevant", "digits", "Irrelevant inputs: digits", "T10", "columns of noise"),
                ("rank", "multi-index", "The number of directions that matter", "T11", "rank"),
                ("noise", "staircase", "Noise", "T12", "deviation of the noise"),
                ("samples", "staircase", "Training rows", "T13", "training rows"),
            )
        ),
        Dots(
            "rotation",
            "One function of three directions, on axes and rotated",
            (Panel(Median("error", "test error", {"dial": "rotation"}), log=True),),
            claim="T14",
            caption=f"Rank 3 of 60. {CAPTION}",
            words=WORDS | {0.0: "on axes", 1.0: "rotated"},
            rows=("method", "level"),
        ),
    )

    def execute(self, config: DialsConfig, context: RunContext) -> RunOutput:
        """Train each setting, test the chosen one."""
        from overt.studies.structure.networks import Recipe
        from overt.studies.structure.tuning import record_of

        problem = problems.instance(config.problem, config.seed, **config.sizes)
        recipe = Recipe(config.seed, config.width, 2, config.lr, config.max_steps, config.batch_size)
        context.progress(f"{config.dial} {config.level:g}, {config.problem}, {config.method}")
        return RunOutput([record_of(problem, config.method, recipe)])
