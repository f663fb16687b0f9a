"""Does reweighted least squares complete a matrix from fewer entries than the nuclear norm?"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.part import Grid, Part, StudyOfParts
from overt.studies.plots import Lines, Panel

METHODS = ("irls", "nuclear norm", "weight 0")
AT_TWO, IRLS = {"oversampling": 2.0}, {"method": "irls"}


def solved(run: Run) -> bool:
    """Find the matrix: a relative error below 1e-3."""
    return bool(run.records[0]["error"] < 1e-3)


class EntriesConfig(StudyConfig):
    """One run: a random matrix, and a method that completes it. Every field can be changed with ``--set``.

    Attributes
    ----------
    method : str
        "weight 0" fits the entries without any penalty: it leaves zero wherever there is none.
    n, rank : int
        Of the matrix, which is square.
    oversampling : float
        How many entries are observed, per degree of freedom of the matrix.
    """

    part: Literal["entries"] = "entries"
    method: Literal["irls", "nuclear norm", "weight 0"] = "irls"
    n: int = Field(default=20, ge=4)
    rank: int = Field(default=2, ge=1)
    oversampling: float = Field(default=2.0, gt=1)


class Entries(Part[EntriesConfig]):
    """From how many entries does each method find the matrix?"""

    config = EntriesConfig
    grids = {
        "quick": Grid(8, oversampling=(2.0, 4.0), method=METHODS),
        "full": Grid(40, oversampling=(1.5, 2.0, 3.0, 4.0), method=METHODS),
    }
    claims = (
        Claim(
            "O1",
            "The nuclear norm completes a matrix from four times its degrees of freedom",
            "A matrix of low rank is the one of smallest nuclear norm among all that agree with its entries, "
            "once a sufficient number of them is observed at random.",
            "Candès and Recht 2009, theorem 1.1; the number is ours",
            Rule(
                above(Share(solved, "matrices found", {"method": "nuclear norm", "oversampling": 4.0}), 0.5)
            ),
        ),
        Claim(
            "O2",
            "At twice the degrees of freedom reweighted least squares is better",
            "From the same entries its error is below a hundredth of that of the nuclear norm, and of that "
            "without a penalty.",
            "Own hypothesis",
            Rule(
                *(
                    below(
                        Ratio("error", f"error / that of {other}", AT_TWO, of_=IRLS, over={"method": other}),
                        0.01,
                        refuted=1,
                    )
                    for other in METHODS[1:]
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Lines(
            "entries",
            "The error falls with the number of entries",
            (Panel(Median("error", "relative error"), log=True, reference=(1e-3, "solved")),),
            claim="O2",
            x="oversampling",
            by="method",
            x_label="entries per degree of freedom",
        ),
    )

    def execute(self, config: EntriesConfig, context: RunContext) -> RunOutput:
        """Complete one matrix. What it gives depends on the configuration alone."""
        from overt.completion import irls, nuclear_norm_minimization
        from overt.problems import matrix_completion

        freedom = config.rank * (2 * config.n - config.rank)
        problem = matrix_completion(
            (config.n, config.n),
            rank=config.rank,
            n_observed=round(config.oversampling * freedom),
            seed=config.seed,
            min_per_line=config.rank,
        )
        context.progress(f"{config.method}, seed {config.seed}")
        if config.method == "weight 0":
            found = problem.adjoint(problem.y)
        elif config.method == "irls":
            found = irls(problem).W
        else:
            found = nuclear_norm_minimization(problem).W
        return RunOutput([{"error": problem.error(found)}])


study = StudyOfParts("oversampling", "Completion from few entries", [Entries()])
