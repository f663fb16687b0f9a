"""Of which functional is the solution that a deep network finds the least one?"""

from __future__ import annotations

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median, Share
from overt.studies.claims.verdict_rules import Rule, above, below
from overt.studies.claims.vocabulary import fitted
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel
from overt.studies.razin2020.growth import PAPER
from overt.studies.razin2020.settings import FUNCTIONALS, SMOOTH, WhichConfig

FIT = 1e-6  # a relative loss: residuals of 0.1 %, a tenth of what values may differ by
JUDGED = {"n_observed": 160, "init_scale": 1e-5}


def _excess(name: str) -> Median:
    def excess(run: Run) -> float:
        return float(run.records[0]["excess"][name])

    return Median(excess, f"excess of the {name} over its least known value")


def _least(name: str, local: bool = False) -> Share:
    def least(run: Run) -> bool:
        record = run.records[0]
        return bool((record["drops"] if local else record["excess"])[name] <= 0.01)

    said = f"where descent lowers the {name} by at most 1 %" if local else f"with the least {name}"
    return Share(least, said)


class Which(Part[WhichConfig]):
    """Which functional of its solution does a deep network minimise: the rank or a norm?"""

    config = WhichConfig
    grids = {
        "quick": Grid(6, n_observed=160),
        "full": [Grid(20, n_observed=(120, 160, 200)), Grid(20, n_observed=160, init_scale=1e-3)],
    }
    claims = (
        Claim(
            "R6",
            "Of four functionals only the rank is least at what a deep network finds",
            "Of rank, effective rank, normalized nuclear norm and nuclear norm, only the rank of the "
            "solution that a network of depth 3 finds from near zero is the least (to 1 %) of all known "
            "solutions of the same data: the truth, the minimum nuclear norm, the network's solution with "
            "one huge open entry, and what descent on each functional finds. The instances are those where "
            "rank and norm differ.",
            f"Own measurement; {PAPER} asks whether rank or a continuous surrogate is minimised",
            Rule(
                above(_least("rank").at(**JUDGED), 0.5),
                *(below(_least(name).at(**JUDGED), 0.5) for name in SMOOTH),
            ),
            kind="own",
        ),
    )
    figures = (
        Lines(
            "which",
            "Of which functional is the network's solution the least one?",
            (
                *(Panel(_excess(name), f"excess of the {name}") for name in FUNCTIONALS),
                *(Panel(_least(name, local=True), f"{name}: least nearby", limits=(0, 1)) for name in SMOOTH),
            ),
            claim="R6",
            caption="One huge open entry brings both continuous ranks to one and leaves the rank above the "
            "truth's. Least nearby: the share of seeds in which descent over the open entries lowers the "
            "functional by at most 1 %.",
            x="n_observed",
            by="init_scale",
            x_label="observed entries",
        ),
    )

    def execute(self, config: WhichConfig, context: RunContext) -> RunOutput:
        """Draw an instance, train, and compare with other solutions."""
        from overt.studies.razin2020.solutions import compare

        return RunOutput([compare(config, context)])

    def ended(self, run: Run) -> bool:
        """Whether the entries were fitted to 0.1 %."""
        return fitted(run, FIT)
