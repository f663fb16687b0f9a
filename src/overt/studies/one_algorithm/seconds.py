"""How many seconds does each form take until it has the matrix?"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import RECOVERED
from overt.studies.one_algorithm.methods import WORDS, FormConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

TUNED = ("setting",)


class SecondsConfig(FormConfig):
    """One form on one instance, alone on the machine."""

    part: Literal["seconds"] = "seconds"
    exclusive: bool = True


def _grids(seeds: int, settings: tuple[int, ...], steps: int) -> list[Grid]:
    problem, levels = ({"problem": "completion", "n": 30}, {"problem": "sensing", "n": 16}), (2.0, 3.0)
    trained = {"rho": levels, "problem": problem, "max_steps": steps}
    return [
        Grid(seeds, method=("penalty", "depth 3"), setting=settings, **trained),
        Grid(seeds, method="weight 0", **trained),
        Grid(seeds, method=("irls", "machine 3"), rho=levels, problem=problem),
    ]


def _faster(ours: str, theirs: str) -> Ratio:
    return Ratio(
        "seconds_to_recovery",
        f"seconds until recovery, {WORDS[ours]} / {WORDS[theirs]}",
        each=("problem", "rho"),
        tuned=TUNED,
        over_time=True,
        budget="seconds",
        of_={"method": ours},
        over={"method": theirs},
    )


class Seconds(Part[SecondsConfig]):
    """How many seconds does each form take until it has the matrix?"""

    config = SecondsConfig
    grids: ClassVar[Any] = {"quick": _grids(6, (0,), 1_000), "full": _grids(10, (0, 1), 6_000)}
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "OA8",
            "The feature machine has the matrix in fewer seconds than the depth that it stands for",
            "With two and with three observations for each degree of freedom the feature machine with "
            "α = 2/3 recovers the matrix in less time than a linear network of depth 3, at the better of its "
            "two learning rates and with the refit tried at log-spaced steps; alone on the machine.",
            "Own measurement",
            Rule(below(_faster("machine 3", "depth 3"), 1.0)),
            kind="own",
        ),
        Claim(
            "OA9",
            "Reweighting both sides has the matrix in fewer seconds than one layer with the penalty",
            "IRLS recovers the matrix in less time than one layer with the normalized nuclear norm under "
            "Adam, at the better of two weights and with the refit tried at log-spaced steps.",
            "Own measurement",
            Rule(below(_faster("irls", "penalty"), 1.0)),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "seconds",
            "Seconds until the matrix is recovered",
            tuple(
                Panel(
                    Median(
                        "seconds_to_recovery",
                        "seconds",
                        {"problem": one},
                        tuned=TUNED,
                        over_time=True,
                        budget="seconds",
                    ),
                    one,
                    log=True,
                )
                for one in ("completion", "sensing")
            ),
            claim="OA8",
            caption="One thread, nothing else running; networks at the faster of two settings, their refits "
            "at log-spaced steps counted.",
            words=WORDS,
            rows=("rho", "method"),
        ),
    )

    def execute(self, config: SecondsConfig, context: RunContext) -> RunOutput:
        """Solve or train against the clock, after a first call that pays for imports."""
        from overt.studies.one_algorithm.methods import SOLVERS, arm_of, instance_of, solve, summarized
        from overt.studies.shared.recovery_time import time_to_recovery

        small = {"n": 8, "rank": 1, "rho": 3.0, "max_steps": 5}
        warm = context.directory / "warm"
        warm.mkdir(exist_ok=True)
        solve(config.model_copy(update=small), RunContext(warm, context.progress))
        if config.method in SOLVERS:
            record = solve(config, context)
            good = record["raw_error"] <= RECOVERED  # a solver ends by itself, and needs no refit
            return RunOutput([record | {"seconds_to_recovery": record["seconds"] if good else None}])
        problem = instance_of(config)
        result, record = time_to_recovery(problem, arm_of(config), context)
        return RunOutput([summarized(result.W, problem) | record])

    def ended(self, run: Run) -> bool:
        """Whether a refit recovered the matrix, or a solver ended; a network may go on until one does."""
        return bool(run.records[0]["status"] != "budget")
