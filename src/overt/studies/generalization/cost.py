"""What does a step with a Jacobian penalty cost?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from overt.studies.base import Claim, Run, RunContext, RunOutput
from overt.studies.claims.quantities import Median, select
from overt.studies.claims.verdict_rules import Rule, below
from overt.studies.generalization.methods import METHODS
from overt.studies.generalization.settings import WORDS, TunedConfig
from overt.studies.part import Grid, Part

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

DEAREST = 3.0  # times a plain step


class CostConfig(TunedConfig):
    """One network, on which all methods take their turn."""

    part: Literal["cost"] = "cost"


def _figure(part: Part[Any], runs: Sequence[Run]) -> Figure | None:
    """The cost of a step with each method."""
    from overt.studies.claims.numbers import columns
    from overt.studies.report.charts import Interval, interval_chart
    from overt.studies.report.figures import Cell, Figure

    title, panels, data = "The cost of a step", list[str](), list[dict[str, Cell]]()
    for network in ("mlp", "cnn"):
        some = select(part.own(runs), {"network": network})
        rows = []
        for method in METHODS if some else ():
            value = _times_of(method)
            one = Median(value, METHODS[method].label).estimate(some, part.ended)
            rows.append(Interval(METHODS[method].label, one.value, one.low, one.high))
            data.append({"network": network, "method": method, **columns(one, "times")})
        if rows:
            panels.append(
                interval_chart(
                    rows,
                    title=title,
                    panel=WORDS[network],
                    x_label="times a plain step",
                    reference=(DEAREST, "three plain steps"),
                    id=f"cost-{network}",
                )
            )
    caption = (
        "Seconds of a training step over those of AdamW; all methods in turn in one process, alone on the "
        "machine. Spectral penalties of weights renew their singular directions at every fifth step, "
        "Jacobian penalties use the whole batch at every step. Medians with 95 % intervals over repetitions."
    )
    return Figure("cost", title, caption, svg=panels, data=data) if panels else None


def _times_of(method: str) -> Any:
    return lambda run: run.records[0]["times"][method]


class Cost(Part[CostConfig]):
    """What does a step with a Jacobian penalty cost?"""

    config = CostConfig
    grids = {
        "quick": Grid(6, network=("cnn", "mlp"), exclusive=True, max_steps=5, n_validation=10, n_test=10),
        "full": Grid(10, network=("cnn", "mlp"), exclusive=True, max_steps=60, n_validation=10, n_test=10),
    }
    claims = (
        Claim(
            "G11",
            "A step with a Jacobian penalty costs at most three plain ones",
            "A step with the dearest Jacobian penalty on the whole batch takes at most three times as long "
            "as a step of AdamW, for both networks; all methods in turn in one process, alone on the "
            "machine.",
            "Own target: one vector–Jacobian product, differentiated once more",
            Rule(
                below(Median("dearest", "cost of the dearest Jacobian penalty", each=("network",)), DEAREST)
            ),
            kind="own",
        ),
    )
    figures = (_figure,)

    def execute(self, config: CostConfig, context: RunContext) -> RunOutput:
        """Seconds per step of each method, in turn, over those of weight decay (AdamW as it is)."""
        from dataclasses import replace

        from overt.studies.generalization.data import Data
        from overt.studies.generalization.trials import trial
        from overt.studies.shared.classifiers import fit

        data = Data(config)
        seconds = {}
        for method in METHODS:
            context.progress(method)
            # A value in the middle: what a step costs does not depend on it.
            one = trial(config.model_copy(update={"method": method}), METHODS[method].knob[1])
            model = data.build(one)
            recipe = replace(one.recipe, max_steps=config.max_steps)
            ended = fit(model, data.train, recipe, None if one.penalty is None else one.penalty(model))
            seconds[method] = ended.seconds_per_step
        times = {name: value / seconds["weight_decay"] for name, value in seconds.items()}
        dearest = max(value for name, value in times.items() if METHODS[name].p)
        return RunOutput([{"seconds_per_step": seconds, "times": times, "dearest": dearest}])
