"""Synthetic runs of the study of measures of generalization."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from overt.studies import Run
from overt.studies.predict.measures import MEASURES
from overt.studies.predict.settings import PredictConfig

LEVELS: dict[str, tuple[Any, ...]] = {
    "depth": (1, 3),
    "width": (8, 16),
    "lr": (0.01, 0.1),
    "batch_size": (16, 64),
    "n_train": (100, 400),
}
Value = Callable[[dict[str, Any], float, np.random.Generator], float]


def truthful(config: dict[str, Any], gap: float, rng: np.random.Generator) -> float:
    """A measure that follows the gap with little noise."""
    del config
    return gap + 0.03 * rng.normal()


def wrong(config: dict[str, Any], gap: float, rng: np.random.Generator) -> float:
    """A measure that ranks upside down."""
    return -truthful(config, gap, rng)


def blind(config: dict[str, Any], gap: float, rng: np.random.Generator) -> float:
    """A measure that knows nothing."""
    del config, gap
    return float(rng.normal())


def record(gap: float | None, measures: dict[str, float]) -> dict[str, Any]:
    """The record of one network; of one that did not reach the target where there is no gap."""
    return {
        "status": "budget" if gap is None else "loss",
        "reached": gap is not None,
        "gap": gap,
        "measures": measures,
    }


def zoo_runs(
    default: Value = blind,
    failed: int = 0,
    families: tuple[str, ...] = ("mlp", "cnn"),
    seeds: int = 1,
    **values: Value,
) -> list[Run]:
    """A full grid of five hyperparameters in each family, with measures that follow the gap as told."""
    runs: list[Run] = []
    rng = np.random.default_rng(0)
    for family, seed, row in product(families, range(seeds), product(*LEVELS.values())):
        fields = dict(zip(LEVELS, row, strict=True))
        config = PredictConfig(family=family, seed=seed, **fields).model_dump()  # type: ignore[arg-type]
        steps = [LEVELS[name].index(value) for name, value in fields.items()]
        gap = 0.2 + float(np.dot([0.05, -0.04, 0.06, -0.07, 0.08], steps)) + 0.01 * float(rng.normal())
        measures = {measure.name: values.get(measure.name, default)(config, gap, rng) for measure in MEASURES}
        lost = len(runs) < failed
        runs.append(
            Run(
                "predict",
                f"{len(runs):012x}",
                config,
                [record(None, {}) if lost else record(gap, measures)],
            )
        )
    return runs
