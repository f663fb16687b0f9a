"""From how few observations does each form find the matrix, and does the exponent do what depth does?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, MissingRunsError, PerSeed, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import FELT, ended, fitted, recovered
from overt.studies.one_algorithm.methods import FIT, MACHINES, NETWORKS, SOLVERS, WORDS, FormConfig
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel

PAPER = "Radhakrishnan, Belkin & Drusvyatskiy 2025, PNAS 122(13)"
SAME = 1.1  # the ratio of two neighbouring levels is at least 1.18
TUNED = ("setting",)
FEW = 1.3  # observations for each degree of freedom: too few for most forms


class FewestConfig(FormConfig):
    """One form on one instance."""

    part: Literal["fewest"] = "fewest"


def fewest(runs: Sequence[Run], methods: Sequence[str]) -> float:
    """The least ρ from which on every level is recovered by one of the methods at one of its settings."""
    found: dict[float, bool] = {}
    for run in runs:
        if run.config["method"] in methods:
            rho = float(run.config["rho"])
            found[rho] = found.get(rho, False) or recovered(run)
    if not found:
        raise MissingRunsError(f"there is no run of {' or '.join(methods)}")
    least = math.inf
    for rho in sorted(found, reverse=True):
        if not found[rho]:
            break
        least = rho
    return least


def as_few(ours: Sequence[str], theirs: Sequence[str]) -> Callable[[Sequence[Run]], float]:
    """Of one seed the fewest observations of one form over those of another."""

    def ratio(runs: Sequence[Run]) -> float:
        first, second = fewest(runs, ours), fewest(runs, theirs)
        if math.isinf(first) and math.isinf(second):
            said = " or ".join((*ours, *theirs))
            raise MissingRunsError(f"{said} recover the matrix at no rho that was tried")
        return first / second

    return ratio


def _as_few(ours: Sequence[str], theirs: Sequence[str], said: str, problem: str) -> PerSeed:
    return PerSeed(
        as_few(ours, theirs),
        f"fewest observations, {said} ({problem})",
        {"problem": problem, "method": (*ours, *theirs)},
        across=("method", "rho", "setting"),
    )


def _grids(seeds: int, levels: tuple[float, ...], settings: tuple[int, ...], steps: int) -> list[Grid]:
    problem = ({"problem": "completion", "n": 30}, {"problem": "sensing", "n": 16})
    trained = {"rho": levels, "problem": problem, "max_steps": steps}
    return [
        Grid(seeds, method=("penalty", *reversed(NETWORKS)), setting=settings, **trained),
        Grid(seeds, method="weight 0", **trained),
        Grid(seeds, method=SOLVERS, **trained),
    ]


def _deeper(kind: str, said: str) -> Ratio:
    return Ratio(
        "effective_rank",
        f"effective rank, {said}: L = 4 / L = 2",
        {"rho": FEW},
        each=("problem",),
        tuned=TUNED,
        of_={"method": f"{kind} 4"},
        over={"method": f"{kind} 2"},
    )


PROBLEMS, EACH = ("completion", "sensing"), ("problem",)
COMPARED = {"method": ("irls told", "irls", "machine 1", "machine 3", "depth 3", "penalty", "weight 0")}


class Fewest(Part[FewestConfig]):
    """From how few observations does each of four forms of one bias find the matrix?"""

    config = FewestConfig
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]] = {
        "quick": _grids(6, (1.3, 2.0), (0,), 2_000),
        "full": _grids(10, (1.1, 1.3, 1.6, 2.0, 3.0), (0, 1), 6_000),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "OA1",
            "Linear feature machines complete matrices better than deep linear networks",
            "A recursive feature machine restricted to linear models outperforms deep linear networks for "
            "the completion of low-rank matrices; both without a refit, at the better of three depths L and "
            "α = 1 − 1/L.",
            f"{PAPER}, abstract; the sizes and depths are ours",
            Rule(
                below(
                    Ratio(
                        "raw_error",
                        "error without refit, feature machine / deep linear network",
                        {"problem": "completion", "rho": (2.0, 3.0)},
                        each=("rho",),
                        tuned=("method", "setting"),
                        of_={"method": MACHINES},
                        over={"method": NETWORKS},
                    ),
                    1.0,
                )
            ),
        ),
        Claim(
            "OA2",
            "After one refit for all the feature machine needs no more entries than IRLS that knows the rank",
            "With the same refit the linear feature machine with α = 2/3, which nobody tells the rank, finds "
            "the matrix from as few observations as iteratively reweighted least squares that is told it.",
            "Own hypothesis, from six seeds of a solver that weights both sides",
            Rule(
                *(
                    below(
                        _as_few(("machine 3",), ("irls told",), "feature machine / IRLS told the rank", one),
                        SAME,
                    )
                    for one in PROBLEMS
                )
            ),
            kind="own",
        ),
        Claim(
            "OA3",
            "IRLS that must find the rank needs no more observations than IRLS that knows it",
            "Driven by its own normalized nuclear norm, reweighting of both sides finds the matrix from as "
            "few observations as when it is told the rank.",
            "Own hypothesis, from six seeds of completion",
            Rule(
                *(
                    below(_as_few(("irls",), ("irls told",), "IRLS / IRLS told the rank", one), SAME)
                    for one in PROBLEMS
                )
            ),
            kind="own",
        ),
        Claim(
            "OA4",
            "The penalty and the feature machine need 1.6 observations for each degree of freedom",
            "Trained with the normalized nuclear norm under Adam, one layer is refitted to the matrix itself "
            "on most instances with 1.6 and 2 observations for each degree of freedom, as the feature "
            "machine with α = 2/3 is.",
            "Own hypothesis: one functional, two algorithms; from larger matrices with 1.54",
            Rule(
                *(
                    above(
                        Share(
                            recovered,
                            f"recovered, {WORDS[one]}",
                            {"method": one, "rho": (1.6, 2.0)},
                            each=("problem", "rho"),
                            tuned=TUNED,
                        ),
                        0.5,
                    )
                    for one in ("penalty", "machine 3")
                )
            ),
            kind="own",
        ),
        Claim(
            "OA5",
            "The exponent 1 − 1/L lowers the rank as the depth L does",
            "With too few observations to find the matrix, four layers end at a lower effective rank than "
            "two, and so does the feature machine with α = 3/4 beside that with α = 1/2: by a tenth at "
            "least, as a penalty that is felt.",
            f"Own hypothesis, after {PAPER}, where α is matched to the depth",
            Rule(
                below(_deeper("machine", "feature machine"), FELT, refuted=1.0),
                below(_deeper("depth", "deep linear network"), FELT, refuted=1.0),
            ),
            kind="own",
        ),
        Claim(
            "OA6",
            "Reweighting is what finds the matrix",
            "From two observations for each degree of freedom the feature machine with α = 2/3 finds the "
            "matrix; without reweighting (α = 0, the least Frobenius norm), and from one layer at weight 0, "
            "the same refit does not.",
            "Own hypothesis; the control of OA2",
            Rule(
                above(
                    Share(recovered, "recovered, α = 2/3", {"method": "machine 3", "rho": 2.0}, EACH),
                    0.5,
                ),
                *(
                    below(
                        Share(recovered, f"recovered, {WORDS[one]}", {"method": one, "rho": 2.0}, EACH), 0.5
                    )
                    for one in ("machine 1", "weight 0")
                ),
            ),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Lines(
            "fewest",
            "Recovered matrices over the number of observations",
            tuple(
                Panel(
                    Share(recovered, "share recovered", {"problem": one} | COMPARED, tuned=TUNED),
                    f"{one}, after the refit",
                    limits=(0.0, 1.0),
                )
                for one in PROBLEMS
            ),
            claim="OA2",
            caption="All forms get the same refit at the largest gap of singular values; networks at the "
            "better of two settings.",
            words=WORDS,
            x="rho",
            by="method",
            x_label="observations per degree of freedom, ρ",
        ),
        Lines(
            "raw",
            "The error before any refit",
            tuple(
                Panel(
                    Median(
                        "raw_error",
                        "relative error without refit",
                        {"problem": one} | COMPARED,
                        tuned=TUNED,
                    ),
                    one,
                    log=True,
                    limits=(1e-16, 3.0),
                )
                for one in PROBLEMS
            ),
            claim="OA1",
            words=WORDS,
            x="rho",
            by="method",
            x_label="observations per degree of freedom, ρ",
        ),
        Lines(
            "dial",
            "The effective rank of what each form ends at",
            tuple(
                Panel(
                    Median(
                        "effective_rank",
                        "effective rank",
                        {"problem": one, "method": (*MACHINES, *NETWORKS)},
                        tuned=TUNED,
                    ),
                    one,
                )
                for one in PROBLEMS
            ),
            claim="OA5",
            caption="Before the refit; the truth has rank 2.",
            words=WORDS,
            x="rho",
            by="method",
            x_label="observations per degree of freedom, ρ",
        ),
    )

    def execute(self, config: FewestConfig, context: RunContext) -> RunOutput:
        """Solve or train, then refit."""
        from overt.studies.one_algorithm.methods import solve

        return RunOutput([solve(config, context)])

    def ended(self, run: Run) -> bool:
        """Whether a solver has ended, the data are fitted, or the whole objective stands still."""
        return fitted(run, FIT) if run.config["method"] in (*NETWORKS, "weight 0") else ended(run)
