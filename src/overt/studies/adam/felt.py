"""The penalty's effect on runs that go on to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from overt.studies.adam.config import NAMES, WEIGHT, DescentConfig
from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule
from overt.studies.claims.vocabulary import ended, felt
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel
from overt.studies.report.figures import Cell, Figure

INSTANCE = {"n": 20, "rank": 2, "n_observed": 150}
LONG = (
    {"optimizer": "gd", "lr": 30.0, "max_steps": 50_000},
    {"optimizer": "adam", "lr": 1e-2, "max_steps": 5_000},
)
SHORT = (
    {"optimizer": "gd", "lr": 30.0, "max_steps": 20_000},
    {"optimizer": "adam", "lr": 1e-2, "max_steps": 4_000},
)
WEIGHTS = (WEIGHT, 0.0)


class FeltConfig(DescentConfig):
    """One run, to its end."""

    part: Literal["felt"] = "felt"
    optimizer: Literal["gd", "adam"] = "gd"


def trajectories(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The effective rank over the steps, of the first seed."""
    from overt.studies.report.charts import Series, line_chart

    made = [run for run in part.own(runs) if run.arrays]
    first = min((int(run.config["seed"]) for run in made), default=0)
    lines, data = [], list[dict[str, Cell]]()
    for run in made:
        if run.config["seed"] != first:
            continue
        label = f"{NAMES[run.config['optimizer']]}, weight {run.config['weight']:g}"
        steps, ranks = (run.arrays[name][1:] for name in ("step", "effective_rank"))
        lines.append(Series(label, steps, ranks))
        data += [
            {"run": label, "step": int(step), "effective_rank": float(rank)}
            for step, rank in zip(steps, ranks, strict=True)
        ]
    if not lines:
        return None
    title = "The effective rank on the way"
    svg = line_chart(
        lines, title=title, x_label="step", y_label="effective rank", log_x=True, id="felt-trajectories"
    )
    return Figure(
        "trajectories",
        title,
        f"Seed {first}. Without the penalty a run ends once the data are fitted.",
        svg=[svg],
        data=data,
    )


class Felt(Part[FeltConfig]):
    """Does gradient descent feel the penalty, given the steps?"""

    config = FeltConfig
    grids = {
        "quick": Grid(6, arm=SHORT, weight=WEIGHTS, **INSTANCE),
        "full": Grid(10, arm=LONG, weight=WEIGHTS, **INSTANCE),
    }
    claims = (
        Claim(
            "D8",
            "Gradient descent feels the penalty at its usual weight",
            "Run until the whole objective is stationary, gradient descent ends with an effective rank of at "
            "most 0.9 of that without the penalty, as Adam does.",
            "Own hypothesis, against Zhao 2022, who reports no effect under gradient descent",
            Rule(felt({"weight": WEIGHT}, each=("optimizer",))),
            kind="own",
        ),
    )
    figures = (
        Dots(
            "felt",
            "The penalty lowers the effective rank under gradient descent, too",
            (
                Panel(Median("effective_rank", "effective rank at the end")),
                Panel(Median("raw_error", "relative error before the refit"), log=True),
                Panel(Median("error", "relative error after the refit"), log=True, limits=(1e-16, 3.0)),
            ),
            claim="D8",
            words=NAMES,
            rows=("optimizer", "weight"),
        ),
        trajectories,
    )

    def execute(self, config: FeltConfig, context: RunContext) -> RunOutput:
        """Descend to the end."""
        from overt.studies.adam.descent import Descent

        return Descent(config, config.optimizer, to_the_end=True)(context)

    def ended(self, run: Run) -> bool:
        """Whether the whole objective is stationary."""
        return ended(run)
