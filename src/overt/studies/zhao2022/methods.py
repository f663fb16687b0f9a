"""One layer with the penalty against depth and other methods, where entries are many and few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.claims.vocabulary import ended, fitted, recovered
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel
from overt.studies.shared.spectra import spectra

if TYPE_CHECKING:
    from overt.completion.result import Completion
    from overt.problems import CompletionProblem

PAPER = "Zhao (2022), abstract"
SMALL = 0.05  # an error that shows the matrix found, up to the penalty's own bias
LEAST = 0.02  # errors below count as this one: the penalty's bias, which its weight sets
COMPARABLE = 2.0
FIT = 1e-6  # a relative loss: a residual of 1e-3, a twentieth of the smallest error compared
# Three settings of each network: optimizer, learning rate, weight. Found on seed 100.
SETTINGS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "penalty": (("adam", 2e-2, 1e-2), ("adam", 1e-2, 1e-2), ("adam", 2e-2, 5e-3)),
    "depth 3": (("adam", 1e-3, 0.0), ("adam", 3e-4, 0.0), ("gd", 5.0, 0.0)),
    "weight 0": (("adam", 2e-2, 0.0), ("adam", 1e-2, 0.0), ("adam", 3e-3, 0.0)),
}
SOLVERS = ("nuclear_norm", "soft_impute", "optspace")
ERROR = Median("raw_error", "relative error without refit", tuned=("setting",))
# Observations for each degree of freedom of a matrix of rank r, |Ω| / (r (2n − r)): two, and one and a half.
DENSE = ({"rank": 5, "n_observed": 2000}, {"rank": 10, "n_observed": 4000})
SCARCE = ({"rank": 5, "n_observed": 1500}, {"rank": 10, "n_observed": 3000})
QUICK = ({"n": 30, "rank": 2, "n_observed": 240}, {"n": 30, "rank": 2, "n_observed": 180})


class MethodsConfig(StudyConfig):
    """One method on one matrix.

    Attributes
    ----------
    method : str
        "penalty" (one layer), "depth 3", "weight 0" (one layer), or a solver; OptSpace is told the rank.
    setting : int
        0 to 2: which of the three settings of a network, see `SETTINGS`.
    dense : bool
        Some two observations for each degree of freedom, else one and a half.
    """

    part: Literal["methods"] = "methods"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    dense: bool = True
    method: Literal["penalty", "depth 3", "weight 0", "nuclear_norm", "soft_impute", "optspace"] = "penalty"
    setting: int = Field(default=0, ge=0, le=2)
    max_steps: int = Field(default=5_000, ge=1)

    @property
    def weight(self) -> float:
        """Of the penalty."""
        return SETTINGS[self.method][self.setting][2] if self.method in SETTINGS else 0.0


def _grids(
    seeds: int, problems: tuple[dict[str, Any], ...], settings: tuple[int, ...], steps: int
) -> list[Grid]:
    return [
        Grid(seeds, method=tuple(SETTINGS), setting=settings, problem=problems, max_steps=steps),
        Grid(seeds, method=SOLVERS, problem=problems),
    ]


def _against(rival: str, **where: Any) -> Ratio:
    return Ratio(
        "raw_error",
        f"error without refit, penalty / {rival.replace('_', ' ')}",
        where,
        each=("rank", "n_observed"),
        tuned=("setting",),
        least=LEAST,
        of_={"method": "penalty"},
        over={"method": rival},
    )


class Methods(Part[MethodsConfig]):
    """Is one layer with the penalty as accurate as depth and as other methods of completion?"""

    config = MethodsConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, tuple(one | {"dense": k == 0} for k, one in enumerate(QUICK)), (0,), 5_000),
        "full": _grids(
            10,
            (*(one | {"dense": True} for one in DENSE), *(one | {"dense": False} for one in SCARCE)),
            (0, 1, 2),
            15_000,
        ),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "Z4",
            "The penalty makes depth unnecessary",
            "With the penalty and Adam a single layer has an error comparable to that of a deep linear "
            "network, with some two observations for each degree of freedom.",
            PAPER,
            Rule(
                below(_against("depth 3", dense=True), COMPARABLE),
                below(
                    Median(
                        "raw_error",
                        "error without refit, penalty",
                        {"dense": True, "method": "penalty"},
                        each=("rank", "n_observed"),
                        tuned=("setting",),
                    ),
                    SMALL,
                ),
            ),
        ),
        Claim(
            "Z5",
            "The single layer is competitive where entries are scarce",
            "The single-layer network performs competitively with or better than other approaches (depth, "
            "the minimum nuclear norm, SoftImpute, OptSpace) with one and a half observations for each "
            "degree of freedom, too.",
            PAPER,
            Rule(*(below(_against(rival, dense=False), COMPARABLE) for rival in ("depth 3", *SOLVERS))),
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Lines(
            "methods",
            "One layer with the penalty, depth, and other methods",
            tuple(
                Panel(quantity.at(rank=rank), f"{words}, rank {rank}", log=quantity is ERROR)
                for rank in (2, 5, 10)
                for quantity, words in (
                    (ERROR, "error without refit"),
                    (Share(recovered, "recovered", tuned=("setting",)), "share recovered after the refit"),
                )
            ),
            claim="Z5",
            caption="Networks at the best of three settings each; all methods get the same refit at the "
            "largest gap of singular values. OptSpace is told the rank.",
            words={"penalty": "one layer, penalty", "weight 0": "one layer, weight 0"},
            x="n_observed",
            by="method",
        ),
        spectra,
    )

    def execute(self, config: MethodsConfig, context: RunContext) -> RunOutput:
        """Train or solve, then refit."""
        from overt.completion import nuclear_norm_minimization, soft_impute
        from overt.studies.shared.completion_runs import Arm, completed, instance, train_arm
        from overt.studies.zhao2022.optspace import optspace

        problem = instance(config.n, config.rank, config.n_observed, config.seed)
        if config.method in SETTINGS:
            optimizer, lr, weight = SETTINGS[config.method][config.setting]
            depth = 3 if config.method == "depth 3" else 1
            arm = Arm(config.seed, depth, weight, optimizer, lr, config.max_steps)
            record, arrays = train_arm(problem, arm, context, trace=True)
            return RunOutput([record], arrays)
        solvers: dict[str, Callable[[CompletionProblem], Completion]] = {
            "nuclear_norm": lambda given: nuclear_norm_minimization(given, max_iter=20_000),
            "soft_impute": soft_impute,
            "optspace": lambda given: optspace(given, rank=config.rank),
        }
        found = solvers[config.method](problem)
        record = completed(found.W, problem) | {"steps": found.n_iter, "seconds": found.seconds}
        return RunOutput([record | {"status": "converged" if found.converged else "budget"}])

    def ended(self, run: Run) -> bool:
        """Whether the whole objective stands still, the data are fitted, or a solver has converged."""
        if run.config["method"] in ("depth 3", "weight 0"):
            return fitted(run, FIT)
        return ended(run)
