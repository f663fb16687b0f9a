"""How many seconds does each form take until it has the matrix?"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import ended, fitted, recovered
from overt.studies.one_algorithm.methods import FIT, NETWORKS, WORDS, FormConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

TUNED = ("setting",)


class SecondsConfig(FormConfig):
    """One form on one instance, alone on the machine."""

    part: Literal["seconds"] = "seconds"
    exclusive: bool = True


def seconds_until_recovered(run: Run) -> float | None:
    """The seconds that it took; None where the matrix is not recovered."""
    return float(run.records[0]["seconds"]) if recovered(run) else None


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
        seconds_until_recovered,
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
            "two learning rates; one thread, alone on the machine, without the refit's time.",
            "Own measurement",
            Rule(below(_faster("machine 3", "depth 3"), 1.0)),
            kind="own",
        ),
        Claim(
            "OA9",
            "Reweighting both sides has the matrix in fewer seconds than one layer with the penalty",
            "IRLS recovers the matrix in less time than one layer with the normalized nuclear norm under "
            "Adam, at the better of two weights.",
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
                        seconds_until_recovered,
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
            caption="One thread, nothing else running; networks at the faster of two settings.",
            words=WORDS,
            rows=("rho", "method"),
        ),
    )

    def execute(self, config: SecondsConfig, context: RunContext) -> RunOutput:
        """Solve or train against the clock, after a first call that pays for imports."""
        from overt.studies.one_algorithm.methods import solve

        small = {"n": 8, "rank": 1, "rho": 3.0, "max_steps": 5}
        warm = context.directory / "warm"
        warm.mkdir(exist_ok=True)
        solve(config.model_copy(update=small), RunContext(warm, context.progress))
        return RunOutput([solve(config, context)])

    def ended(self, run: Run) -> bool:
        """Whether a solver has ended, the data are fitted, or the whole objective stands still."""
        return fitted(run, FIT) if run.config["method"] in (*NETWORKS, "weight 0") else ended(run)
