"""Which runs each preset makes.

Learning rates and the number of steps are from pilot runs with seeds 100 to 102, none of which the presets
use: around the best of a few, a decade or half a decade apart. The runs of ``quick`` have the best one alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from overt.studies.adam.config import AdamConfig

RATES: dict[str, tuple[float, ...]] = {
    "shampoo": (2e-2, 1e-1),
    "muon": (2e-2, 5e-2),
    "gd": (3.0, 10.0, 30.0, 100.0),
    "momentum": (1.0, 3.0, 10.0),
    "normalized_gd": (2e-2, 1e-1, 2e-1),
    "grouprmsprop": (2e-1, 1.0),
    "sign": (2e-3, 1e-2),
    "rmsprop": (5e-3, 1e-2),
    "adam": (2e-2, 3e-2),
    "adam_beta1_0": (2e-2, 3e-2),
}
QUICK: dict[str, tuple[float, ...]] = {
    "muon": (5e-2,),
    "gd": (10.0,),
    "momentum": (1.0,),
    "normalized_gd": (1e-1,),
    "sign": (1e-2,),
    "rmsprop": (1e-2,),
    "adam": (3e-2,),
    "adam_beta1_0": (3e-2,),
}
OF_ADAM = ("keep_vectors", "keep_space", "gradient_direction", "only_leaving", "keep_space_all")
OF_GD = ("adam_penalty", "adam_length", "adam_entries", "adam_data")
STEP = (1e-3, 3e-3, 1e-2)  # of the alternation, over the norm of the matrix
SCALES = (1e-3, 1.0, 1e3)
WEIGHTS = (1e-2, 1e-1, 1.0)

Runs = Iterator[AdamConfig]


def plan(preset: str, seed: int) -> list[AdamConfig]:
    """Return all runs of a preset, the long ones first."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 8))
    parts = (optimizers, interventions, rotations, scales, weights)
    return [run for part in parts for run in part(quick, seeds)]


def _runs(seeds: range, **settings: Any) -> Runs:
    for seed in seeds:
        yield AdamConfig(**settings, seed=seed)


def optimizers(quick: bool, seeds: range) -> Runs:
    """A1, A2: every optimizer left alone."""
    for name, rates in (QUICK if quick else RATES).items():
        for lr in rates:
            yield from _runs(seeds, group="optimizers", optimizer=name, lr=lr)


def interventions(quick: bool, seeds: range) -> Runs:
    """A3–A5: Adam with less, gradient descent with more, and the alternation."""
    shared: dict[str, Any] = {"group": "interventions"}
    for name in OF_ADAM[:3] if quick else OF_ADAM:
        for lr in (QUICK if quick else RATES)["adam"]:
            yield from _runs(seeds, optimizer="adam", intervention=name, lr=lr, **shared)
    for name in OF_GD[:2] if quick else OF_GD:
        for lr in (10.0,) if quick else (10.0, 30.0):
            yield from _runs(seeds, optimizer="gd", intervention=name, lr=lr, **shared)
    for lr in STEP[1:2] if quick else STEP:
        yield from _runs(seeds, optimizer="gd", intervention="alternation", lr=lr, **shared)


def rotations(quick: bool, seeds: range) -> Runs:
    """A6: Adam and sign descent on a matrix whose coordinates are turned."""
    for name in ("adam",) if quick else ("adam", "sign"):
        for lr in (QUICK if quick else RATES)[name]:
            yield from _runs(seeds, group="rotations", optimizer=name, lr=lr, rotated=True)


def scales(quick: bool, seeds: range) -> Runs:
    """A7: the objective times a constant, all else equal; both presets alike."""
    del quick
    for name in ("adam", "normalized_gd"):
        for scale in SCALES:
            settings: dict[str, Any] = {"optimizer": name, "lr": QUICK[name][0], "objective_scale": scale}
            yield from _runs(seeds, group="scales", **settings)


def weights(quick: bool, seeds: range) -> Runs:
    """A8: gradient descent with stronger penalties."""
    for weight in WEIGHTS[1:] if quick else WEIGHTS:
        for lr in (10.0,) if quick else (3.0, 10.0, 30.0):
            yield from _runs(seeds, group="weights", optimizer="gd", lr=lr, weight=weight)
