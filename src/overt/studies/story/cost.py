"""Seconds until the matrix is recovered, with the same refit tried at the same steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import RECOVERED, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.zhao2022.methods import SETTINGS

if TYPE_CHECKING:
    pass

TUNED = ("setting",)


class CostConfig(StudyConfig):
    """One route on one matrix, alone on the machine.

    Attributes
    ----------
    method : str
        A network, see `overt.studies.zhao2022.methods.SETTINGS`, or IRLS, which the normalized rank drives.
    setting : int
        0 to 2: which of a network's three settings.
    max_steps : int
        Of a network.
    """

    part: Literal["cost"] = "cost"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    method: Literal["penalty", "depth 3", "weight 0", "irls"] = "penalty"
    setting: int = Field(default=0, ge=0, le=2)
    max_steps: int = Field(default=10_000, ge=1)
    exclusive: bool = True

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return SETTINGS[self.method][self.setting][2] if self.method in SETTINGS else 0.0


def _grids(seeds: int, settings: tuple[int, ...], steps: int, **fixed: Any) -> list[Grid]:
    return [
        Grid(seeds, method=("penalty", "depth 3"), setting=settings, max_steps=steps, **fixed),
        Grid(seeds, method="weight 0", max_steps=steps, **fixed),
        Grid(seeds, method="irls", **fixed),
    ]


class Cost(Part[CostConfig]):
    """How many seconds does each route take to recover the matrix?"""

    config = CostConfig
    grids = {
        "quick": _grids(6, (0,), 2_000, n=50, rank=3, n_observed=(600, 450)),
        "full": _grids(10, (0, 1, 2), 10_000, n_observed=(2000, 1500)),
    }
    claims = (
        Claim(
            "S8",
            "The penalty recovers the matrix in no more seconds than depth",
            "With the same refit tried at the same steps, one layer with the penalty under Adam recovers the "
            "matrix no later than depth 3, with two and with one and a half observations for each degree of "
            "freedom.",
            "Own measurement",
            Rule(
                below(
                    Ratio(
                        "seconds_to_recovery",
                        "seconds, penalty / depth 3",
                        each=("n_observed",),
                        tuned=TUNED,
                        over_time=True,
                        budget="seconds",
                        of_={"method": "penalty"},
                        over={"method": "depth 3"},
                    ),
                    1.0,
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "cost",
            "Seconds to recovery",
            (
                Panel(
                    Median("seconds_to_recovery", "seconds", tuned=TUNED, over_time=True, budget="seconds"),
                    log=True,
                ),
                Panel(Share(recovered, "share recovered", tuned=TUNED), limits=(0.0, 1.0)),
            ),
            claim="S8",
            caption="One thread, nothing else running. Networks at the faster of their settings; their "
            "refits at log-spaced steps count, too.",
            words={"penalty": "one layer, penalty", "irls": "IRLS", "weight 0": "one layer, weight 0"},
            rows=("n_observed", "method"),
        ),
    )

    def execute(self, config: CostConfig, context: RunContext) -> RunOutput:
        """Run one route on one thread, against the clock."""
        import torch

        from overt.completion import irls
        from overt.studies.shared.completion_runs import Arm, completed, instance
        from overt.studies.shared.recovery_time import time_to_recovery

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            problem = instance(config.n, config.rank, config.n_observed, config.seed)
            irls(instance(20, 1, 200, 0))  # the first calls pay for imports
            if config.method != "irls":
                optimizer, lr, weight = SETTINGS[config.method][config.setting]
                depth = 3 if config.method == "depth 3" else 1
                arm = Arm(config.seed, depth, weight, optimizer, lr, config.max_steps)
                result, record = time_to_recovery(problem, arm, context)
                return RunOutput([completed(result.W, problem) | record])
            start = time.perf_counter()
            found = irls(problem)
            seconds = time.perf_counter() - start
            record = completed(found.W, problem) | {"seconds": seconds, "steps": found.n_iter}
            good = record["raw_error"] <= RECOVERED
            record |= {"error": record["raw_error"], "seconds_to_recovery": seconds if good else None}
            return RunOutput([record | {"status": "converged"}])
        finally:
            torch.set_num_threads(threads)

    def ended(self, run: Run) -> bool:
        """Whether a refit recovered the matrix, or a solver ended; a network may go on until one does."""
        return bool(run.records[0]["status"] != "budget")
