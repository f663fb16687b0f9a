"""Gradient descent on the 2×2 problem: when finite steps lose what gradient flow keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median, PerSeed, Share
from overt.studies.claims.verdict_rules import Rule, above, below, between
from overt.studies.part import Grid, Part
from overt.studies.plots import Lines, Panel
from overt.studies.razin2020.growth import PAPER
from overt.studies.razin2020.settings import StepsConfig

OWN = f"Own hypothesis; {PAPER}, section 4, where gradient descent stands for gradient flow"
RATES = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)
CROSSING = Median(
    "crossed_at", "time (steps × rate) of the crossing", {"depth": 2}, over_time=True, budget="time"
)


def crossed(run: Run) -> bool:
    """Crossed det W = 0."""
    return run.records[0]["crossed_at"] is not None


def _times(runs: Sequence[Run]) -> tuple[list[float], list[float]]:
    """log 1/rate and the time of the crossing, the largest rate first."""
    pairs = [(-math.log(run.config["lr"]), run.records[0]["crossed_at"]) for run in runs]
    found = sorted((x, math.inf if t is None else float(t)) for x, t in pairs)
    return [x for x, _ in found], [t for _, t in found]


def power(runs: Sequence[Run]) -> float:
    """The power of 1/rate by which the time grows between the two smallest rates; 0 for a logarithm."""
    x, times = _times(runs)
    return math.log(times[-1] / times[-2]) / (x[-1] - x[-2])


def off_the_line(runs: Sequence[Run]) -> float:
    """The largest relative distance of the times from a line in log 1/rate."""
    import numpy as np

    x, times = _times(runs)
    if not all(map(math.isfinite, times)):
        return math.inf
    fitted = np.polyval(np.polyfit(x, times, 1), x)
    return float(np.abs(np.asarray(times) / fitted - 1).max())


class Steps(Part[StepsConfig]):
    """Does gradient descent keep the positive determinant that gradient flow keeps?"""

    config = StepsConfig
    grids = {
        "quick": Grid(6, depth=(4, 3, 2), lr=RATES[:4], horizon=100.0),
        "full": Grid(10, depth=(4, 3, 2), lr=RATES[::-1]),
    }
    claims = (
        Claim(
            "R7",
            "At depth 2 gradient descent of any step size loses the positive determinant",
            "Gradient flow keeps det W > 0. Gradient descent on two balanced layers crosses det W = 0, and "
            "so leaves the bound of R1, at every rate from 0.1 to 1e-4.",
            OWN,
            Rule(above(Share(crossed, "that cross det W = 0", {"depth": 2}, each=("lr",)), 0.5)),
            kind="own",
        ),
        Claim(
            "R8",
            "Smaller steps delay the crossing by no more than log 1/rate",
            "The time (steps × rate) of the crossing at depth 2 grows as the rate falls, but no faster than "
            "its logarithm: it lies on a line in log 1/rate, and its power of 1/rate goes to zero.",
            OWN,
            Rule(
                between(
                    PerSeed(
                        power,
                        "power of 1/rate by which the time grows at the smallest rates",
                        {"depth": 2},
                        across=("lr",),
                    ),
                    0.01,
                    0.25,
                ),
                below(
                    PerSeed(
                        off_the_line,
                        "largest relative distance from a line in log 1/rate",
                        {"depth": 2},
                        across=("lr",),
                    ),
                    0.05,
                ),
            ),
            kind="own",
        ),
        Claim(
            "R9",
            "Depths 3 and 4 keep the determinant at least four times as long as depth 2",
            "At rates of 0.1 and less gradient descent on three or four balanced layers keeps det W > 0 for "
            "at least four times the time that two layers keep it.",
            OWN,
            Rule(
                *(
                    below(
                        Ratio(
                            "crossed_at",
                            f"time of the crossing, depth 2 / {depth}",
                            each=("lr",),
                            of_={"depth": 2},
                            over={"depth": depth},
                            over_time=True,
                            budget="time",
                        ),
                        0.25,
                    )
                    for depth in (3, 4)
                )
            ),
            kind="own",
        ),
    )
    figures = (
        Lines(
            "crossing",
            "Gradient descent crosses det W = 0",
            (
                Panel(CROSSING, "depth 2: time of the crossing"),
                Panel(Share(crossed, "share that crossed"), "crossed in the time of the run", limits=(0, 1)),
            ),
            claim="R7",
            x="lr",
            by="depth",
            log_x=True,
            x_label="rate",
        ),
    )

    def execute(self, config: StepsConfig, context: RunContext) -> RunOutput:
        """Descend until the determinant changes its sign, or to the end of the time."""
        from overt.studies.razin2020.descent import descend
        from overt.studies.razin2020.two_by_two import network

        layers = [weight.detach().reshape(-1).tolist() for weight in network(config).weights]
        return RunOutput([descend(layers, config, context)])
