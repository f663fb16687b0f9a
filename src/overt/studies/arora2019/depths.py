"""Depth over the number of observations, in completion and in sensing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Bar, Rule, above, below
from overt.studies.claims.vocabulary import fitted, recovered
from overt.studies.fields import check_instance
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

PAPER = "Arora et al. 2019, arXiv 1905.13655"
FIT = 1e-4  # a relative loss: residuals of 1 %, below the errors that are compared
DEEP = ("depth 3", "depth 4")
DEPTHS = {"depth 2": 2, "depth 3": 3, "depth 4": 4}
METHODS = (*DEPTHS, "nuclear norm")


class DepthsConfig(StudyConfig):
    """One run: an n×n matrix of a rank, what is seen of it, and a method.

    Attributes
    ----------
    n, rank, n_observed, problem
        The matrix, and how many entries or Gaussian measurements of it are given.
    regime : str
        "few": about twice the degrees of freedom (in sensing from once and a half); "many": at least twice
        that, as far as there is room; "fewer": 1.4 times; "between" for the figures.
    method : str
        Plain gradient descent on a network of full width, or the minimum nuclear norm.
    init_scale : float
        Standard deviation of the entries of the end-to-end matrix at the start.
    """

    part: Literal["depths"] = "depths"
    problem: Literal["completion", "sensing"] = "completion"
    n: int = Field(default=100, ge=2)
    rank: int = Field(default=5, ge=1)
    n_observed: int = Field(default=2000, ge=1)
    regime: Literal["fewer", "few", "between", "many"] = "few"
    method: Literal["depth 2", "depth 3", "depth 4", "nuclear norm"] = "depth 2"
    init_scale: float = Field(default=1e-3, gt=0)
    max_steps: int = Field(default=10_000, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> DepthsConfig:
        check_instance(self.n, self.rank, self.n_observed if self.problem == "completion" else None)
        return self


def _sizes(problem: str, n: int, sizes: dict[int, dict[int, str]]) -> list[dict[str, Any]]:
    return [
        {"problem": problem, "n": n, "rank": rank, "n_observed": count, "regime": regime}
        for rank, counts in sizes.items()
        for count, regime in counts.items()
    ]


QUICK = (
    *_sizes("completion", 50, {3: {400: "fewer", 600: "few", 1250: "many"}}),
    *_sizes("sensing", 20, {2: {150: "few", 260: "many"}}),
)
FULL = (
    *_sizes(
        "completion",
        100,
        {
            5: {1350: "fewer", 2000: "few", 3000: "between", 5000: "many"},
            10: {2650: "fewer", 4000: "few", 8000: "many"},
        },
    ),
    *_sizes("sensing", 40, {5: {560: "few", 1200: "many"}, 10: {1050: "few", 1500: "many"}}),
)


RECOVERIES = Share(
    recovered,
    "that recovered after the refit",
    {"problem": "completion", "regime": "fewer"},
    each=("rank", "method"),
)


def _over_depth_2(field: str, problem: str, depth: str) -> Ratio:
    where = {"problem": problem, "regime": "few"}
    label = f"{field.replace('_', ' ')}, {depth} / depth 2"
    return Ratio(field, label, where, ("rank",), of_={"method": depth}, over={"method": "depth 2"})


def _depth_helps(problem: str) -> tuple[Bar, ...]:
    """With few observations half the error of depth 2 at a lower rank, with many a small error."""
    many = {"problem": problem, "regime": "many", "method": tuple(DEPTHS)}
    return (
        *(below(_over_depth_2("raw_error", problem, depth), 0.5, refuted=1) for depth in DEEP),
        *(below(_over_depth_2("effective_rank", problem, depth), 1) for depth in DEEP),
        below(Median("raw_error", "relative error", many, each=("rank", "method")), 0.05),
    )


def _panels(problem: str, ranks: tuple[int, ...], name: str) -> tuple[Panel, ...]:
    at = {"problem": problem, "rank": ranks}
    return (
        Panel(
            Median("raw_error", "relative error", at),
            f"{name}: error, not refitted",
            log=True,
            limits=(1e-4, 1.5),
            reference=(0.05, "bar with many"),
        ),
        Panel(
            Share(recovered, "recovered after the refit", at),
            f"{name}: share recovered, refitted",
            limits=(0.0, 1.0),
        ),
        Panel(Median("effective_rank", "effective rank", at), f"{name}: effective rank"),
    )


class Depths(Part[DepthsConfig]):
    """Does depth help where little is observed, without and with the same refit?"""

    config = DepthsConfig
    grids = {
        "quick": Grid(6, size=QUICK, method=METHODS, max_steps=4_000),
        "full": Grid(10, size=FULL, method=METHODS),
    }
    claims = (
        Claim(
            "A1",
            "Depth helps completion where entries are few",
            "With few observed entries, factorizations of depth 3 and 4 reconstruct far more accurately than "
            "depth 2, at a lower effective rank; with many entries all depths do well.",
            f"{PAPER}, figure 1 (100×100, rank 5 and 10, full width; no refit)",
            Rule(*_depth_helps("completion")),
        ),
        Claim(
            "A2",
            "Depth helps matrix sensing where measurements are few",
            "What depth does in completion it does with Gaussian measurements as well.",
            f"{PAPER}, appendix, sensing counterpart of figure 1 (there 100×100; here 40×40)",
            Rule(*_depth_helps("sensing")),
        ),
        Claim(
            "A7",
            "Refitted alike, depths 3 and 4 recover from entries too few for depth 2 and the nuclear norm",
            "From 1.4 times the degrees of freedom, gradient descent at depths 3 and 4 without a penalty "
            "recovers the matrix after a refit at its largest gap; depth 2 and the minimum nuclear norm do "
            "not after the same refit.",
            "Own hypothesis",
            Rule(
                above(RECOVERIES.at(method=DEEP), 0.5),
                below(RECOVERIES.at(method=("depth 2", "nuclear norm")), 0.5),
            ),
            kind="own",
        ),
    )
    figures = tuple(
        Lines(
            f"over-{problem}",
            f"Depth over the number of {what}",
            (*_panels(problem, (2, 3, 5), "rank up to 5"), *_panels(problem, (10,), "rank 10")),
            claim=claim,
            x="n_observed",
            by="method",
            x_label=what,
        )
        for problem, what, claim in (
            ("completion", "observed entries", "A1"),
            ("sensing", "measurements", "A2"),
        )
    )

    def execute(self, config: DepthsConfig, context: RunContext) -> RunOutput:
        """Descend, or minimize the nuclear norm; then refit."""
        from overt.studies.arora2019.training import descend, instance, minimum_nuclear_norm

        problem = instance(config.problem, config.n, config.rank, config.n_observed, config.seed)
        if config.method == "nuclear norm":
            return RunOutput([minimum_nuclear_norm(problem)])
        record = descend(
            problem,
            DEPTHS[config.method],
            config.init_scale,
            rank=config.rank,
            max_steps=config.max_steps,
            tolerance=1e-6,
            seed=config.seed,
            context=context,
        )
        return RunOutput([record])

    def ended(self, run: Run) -> bool:
        """Whether the data were fitted."""
        return fitted(run, FIT)
