"""What a step costs: every method on the same batches, one after the other, in one process."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from overt.studies.base import RunContext, RunOutput
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.generalization.data import Data, build
from overt.studies.generalization.methods import key, settings_of, trial
from overt.studies.generalization.plan import methods
from overt.studies.shared.classifiers import fit

ROUNDS = 5


def cost(config: GeneralizationConfig, context: RunContext) -> RunOutput:
    """Seconds per step of each method: the median over rounds, in each of which every method has a turn.

    One record for each method. As they take turns, a slow phase of the machine affects all of them.
    """
    data = Data(config)
    times: dict[str, list[float]] = {}
    for turn in range(ROUNDS):
        context.progress(f"round {turn + 1} of {ROUNDS}")
        for fields in methods():
            one_config = config.model_copy(update=fields)
            # A value in the middle: what a step costs does not depend on it.
            one = trial(one_config, settings_of(one_config)[1])
            model = build(one_config, data, one)
            recipe = replace(one.recipe, max_steps=config.max_steps)
            ended = fit(model, data.train, recipe, None if one.penalty is None else one.penalty(model))
            times.setdefault(key(one_config.model_dump()), []).append(ended.seconds_per_step)
    rows: list[dict[str, Any]] = [
        {"method": name, "seconds_per_step": statistics.median(found)} for name, found in times.items()
    ]
    plain = next(row["seconds_per_step"] for row in rows if row["method"] == "weight_decay")
    return RunOutput([{**row, "times": row["seconds_per_step"] / plain} for row in rows])
