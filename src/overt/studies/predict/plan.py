"""Which networks each preset trains.

Sizes, learning rates and weights of penalties are from pilot runs with seed 100: as far apart as most
networks still reach the target loss at, so that the gap differs by more than the seed alone changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from overt.studies.predict.config import PredictConfig

Levels = Mapping[str, tuple[Any, ...]]

SHARED: Levels = {
    "lr": (0.004, 0.015),
    "batch_size": (128, 32),
    "weight_decay": (0.0, 4e-3),
    "penalty": ("none", "jacobian", "nuclear"),
    "n_train": (600, 200),
}
FAMILIES: dict[str, Levels] = {
    "mlp": {"depth": (1, 3), "width": (128, 24), **SHARED},
    "cnn": {"depth": (1, 3), "width": (32, 8), **SHARED},
}
JACOBIAN_WEIGHT = {"mlp": 2e-3, "cnn": 7e-4}
QUICK_BASE: dict[str, dict[str, Any]] = {
    "mlp": {"depth": 1, "width": 24, "lr": 0.015, "batch_size": 128, "n_train": 200},
    "cnn": {"depth": 1, "width": 8, "lr": 0.015, "batch_size": 128, "n_train": 200},
}
QUICK_SEEDS = {"mlp": 6, "cnn": 4}


def plan(preset: str, seed: int) -> list[PredictConfig]:
    """Return the networks of a preset, the convolutional ones first."""
    return list(quick(seed) if preset == "quick" else full(seed))


def full(seed: int) -> Iterator[PredictConfig]:
    """Every combination of two or three values of seven hyperparameters in both families, two seeds each."""
    for own in range(seed, seed + 2):
        for family in ("cnn", "mlp"):
            levels = FAMILIES[family]
            for values in product(*levels.values()):
                chosen = dict(zip(levels, values, strict=True))
                yield PredictConfig(**_shared(family, own), **chosen)


def quick(seed: int) -> Iterator[PredictConfig]:
    """One network of each family, and what becomes of it when one hyperparameter changes: 8 a seed."""
    for family in ("cnn", "mlp"):
        base = QUICK_BASE[family] | {"weight_decay": 0.0, "penalty": "none"}
        for own in range(seed, seed + QUICK_SEEDS[family]):
            shared = _shared(family, own)
            yield PredictConfig(**shared, **base)
            for axis, values in FAMILIES[family].items():
                other = next(value for value in values if value != base[axis])
                yield PredictConfig(**shared, **{**base, axis: other})


def _shared(family: str, seed: int) -> dict[str, Any]:
    return {"family": family, "seed": seed, "data_seed": seed, "jacobian_weight": JACOBIAN_WEIGHT[family]}
