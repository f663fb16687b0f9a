"""The runs of each preset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from overt.studies.measure.config import Data, MeasureConfig, Model

Runs = Iterator[MeasureConfig]

# What is varied, each alone, around the defaults of the configuration.
FULL: dict[str, tuple[Any, ...]] = {
    "depth": (2, 4, 5),
    "scale": (1e-4, 1e-2, 10.0),
    "width": (16, 256, 1024),
    "lr": (0.01, 0.3),
    "batch_size": (10, 1000),
}
QUICK: dict[str, tuple[Any, ...]] = {
    "depth": (2, 5),
    "scale": (1e-3,),
    "width": (16, 256),
    "lr": (0.03, 0.3),
    "batch_size": (10, 300),
}
DATA: tuple[Data, ...] = ("real", "scrambled", "permuted")


def plan(preset: str, seed: int) -> list[MeasureConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    return [*alignment(quick, seed), *dynamics(quick, seed), *collapse(quick, seed)]


def alignment(quick: bool, seed: int) -> Runs:
    """M7–M13. 3×3 convolutions of 16 and 32 channels and a linear layer: 20 490 parameters."""
    seeds = range(seed, seed + (5 if quick else 10))
    train, held_out = (200, 200) if quick else (1000, 500)
    shared: dict[str, Any] = {
        "group": "alignment",
        "n_train": train,
        "n_measure": held_out,
        "points": 4,
        "check_every": 5 if quick else 10,
    }
    kinds: dict[Literal["circular", "zeros"], tuple[Data, ...]] = {
        "circular": DATA,
        "zeros": DATA[:1] if quick else (DATA[0], DATA[2]),
    }
    for padding in kinds:
        for data in kinds[padding]:
            for one in seeds:
                yield MeasureConfig(model="conv", padding=padding, data=data, seed=one, **shared)
    for data in DATA:
        for one in seeds:
            yield MeasureConfig(model="fc", width=0, data=data, seed=one, **shared)


def dynamics(quick: bool, seed: int) -> Runs:
    """M3–M6. Rates and step budgets are from a pilot on one other seed that looked at losses alone."""
    seeds = range(seed, seed + (3 if quick else 10))
    train, held_out = (300, 200) if quick else (1000, 500)
    shared: dict[str, Any] = {"group": "dynamics", "n_train": train, "n_measure": held_out}
    factors = QUICK if quick else FULL
    smallest = min(factors["scale"])
    settings: list[dict[str, Any]] = [{}]
    settings += [{factor: value} for factor, values in factors.items() for value in values]
    controls: list[dict[str, Any]] = [{"depth": 2}, {"depth": 5}, {"scale": smallest}, {}]
    settings += [{"activation": "linear", **control} for control in controls]
    for setting in settings:
        for one in seeds:
            yield MeasureConfig(seed=one, **shared, **setting)


def collapse(quick: bool, seed: int) -> Runs:
    """M1 and M2: balanced starts; the diagonal network starts at zero, as close to balanced as it can be."""
    seeds = range(seed, seed + (3 if quick else 10))
    cases: tuple[tuple[Model, dict[str, Any]], ...] = (
        ("linear", {"width": 15, "scale": 1e-2, "lr": 0.1}),
        ("linear", {"width": 4, "scale": 1e-2, "lr": 0.1}),  # a bottleneck
        ("convolution_1d", {"scale": 1e-3, "lr": 2e-3}),
        ("convolution_2d", {"scale": 1e-3, "size": 6, "lr": 5e-4}),
        ("diagonal", {"scale": 1e-6, "lr": 0.1}),
    )
    for depth in (2, 3):
        for model, fields in cases:
            for one in seeds:
                yield MeasureConfig(
                    group="collapse", model=model, depth=depth, seed=one, max_steps=1000, points=8, **fields
                )
