"""Depth against an explicit penalty, on the same instances, tuned and refitted alike."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from overt.studies.arora2019.depths import DEEP, DEPTHS, FIT
from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import RECOVERED, ended, fitted, recovered
from overt.studies.fields import check_instance
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

SCALES = {"depth 3": (1e-7, 1e-5, 1e-3), "depth 4": (1e-5, 1e-4, 1e-3)}
WEIGHTS = (1e-3, 1e-2, 1e-1)


class RivalsConfig(StudyConfig):
    """One run: a completion problem, and depth or a penalty.

    Attributes
    ----------
    n, rank, n_observed
        Of the completion of an n×n matrix; ``regime`` "few" or "fewer" entries.
    method : str
        "depth 3" or "depth 4": plain gradient descent without a penalty. "penalty": Adam on the matrix itself
        with ‖W‖_*/‖W‖_F, its norm kept from below and above; "weight 0": the same without it.
    strength : int
        0, 1 or 2: which of the three values that each method is tuned over, of the weight or of the scale of
        the initialization.
    lr, max_steps
        Of Adam, whose rate falls to zero; of depth only the steps.
    """

    part: Literal["rivals"] = "rivals"
    n: int = Field(default=50, ge=2)
    rank: int = Field(default=3, ge=1)
    n_observed: int = Field(default=600, ge=1)
    regime: Literal["few", "fewer"] = "few"
    method: Literal["depth 3", "depth 4", "penalty", "weight 0"] = "penalty"
    strength: int = Field(default=1, ge=0, le=2)
    lr: float = Field(default=2e-2, gt=0)
    max_steps: int = Field(default=15_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> RivalsConfig:
        check_instance(self.n, self.rank, self.n_observed)
        return self

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return WEIGHTS[self.strength] if self.method == "penalty" else 0.0


def _grids(
    seeds: int, strengths: tuple[int, ...], steps: int, few: int, fewer: int, **size: int
) -> list[Grid]:
    counts = ({"regime": "few", "n_observed": few}, {"regime": "fewer", "n_observed": fewer})
    return [
        Grid(seeds, counts=counts, method=(*DEEP, "penalty"), strength=strengths, max_steps=steps, **size),
        Grid(seeds, counts=counts, method="weight 0", strength=1, max_steps=steps, **size),
    ]


SHARE = Share(recovered, "recovered after the refit", each=("regime",), tuned=("strength",))


class Rivals(Part[RivalsConfig]):
    """Does an explicit penalty recover more than depth, where both are tuned and refitted alike?"""

    config = RivalsConfig
    grids = {
        "quick": _grids(6, (1,), 8_000, 300, 225, n=30, rank=2),
        "full": _grids(12, (0, 1, 2), 15_000, 600, 450),
    }
    claims = (
        Claim(
            "A8",
            "Depths 3 and 4 are as exact as an explicit penalty",
            "With entries of about twice and of one and a half times the degrees of freedom, depths 3 and 4 "
            "without a penalty end with at most twice the error of the penalty ‖W‖_*/‖W‖_F on the matrix "
            "itself, each at the best of three settings and with the same refit; without depth and penalty "
            "the refit alone does not recover the matrix.",
            "Own hypothesis; the penalty is that of Zhao 2022",
            Rule(
                *(
                    below(
                        Ratio(
                            "error",
                            f"error after the refit, {depth} / penalty",
                            each=("regime",),
                            tuned=("strength",),
                            least=RECOVERED,
                            of_={"method": depth},
                            over={"method": "penalty"},
                        ),
                        2,
                    )
                    for depth in DEEP
                ),
                below(SHARE.at(method="weight 0"), 0.5),
            ),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "rivals",
            "Depth and an explicit penalty, tuned and refitted alike",
            tuple(
                panel
                for regime in ("few", "fewer")
                for panel in (
                    Panel(SHARE.at(regime=regime), f"{regime} entries: recovered", limits=(0.0, 1.0)),
                    Panel(
                        Median("raw_error", "relative error", {"regime": regime}, tuned=("strength",)),
                        f"{regime} entries: error, not refitted",
                        log=True,
                        limits=(1e-4, 1.5),
                    ),
                )
            ),
            claim="A8",
            caption="Each method at the best of three settings: of the scale of its start, or of its weight.",
            rows=("method",),
        ),
    )

    def execute(self, config: RivalsConfig, context: RunContext) -> RunOutput:
        """Train, then refit."""
        from overt.problems import CompletionProblem
        from overt.studies.arora2019.training import descend, instance
        from overt.studies.shared.completion_runs import Arm, train_arm

        problem = instance("completion", config.n, config.rank, config.n_observed, config.seed)
        assert isinstance(problem, CompletionProblem)
        if config.method not in DEPTHS:
            arm = Arm(config.seed, weight=config.weight, lr=config.lr, max_steps=config.max_steps)
            return RunOutput([train_arm(problem, arm, context)[0]])
        record = descend(
            problem,
            DEPTHS[config.method],
            SCALES[config.method][config.strength],
            rank=config.rank,
            max_steps=config.max_steps,
            tolerance=1e-6,
            seed=config.seed,
            context=context,
        )
        return RunOutput([record])

    def ended(self, run: Run) -> bool:
        """Whether the data are fitted, or the whole objective is stationary."""
        return fitted(run, FIT) if run.config["method"] in DEPTHS else ended(run)
