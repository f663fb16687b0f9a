"""Which runs each preset makes.

``full``: every method with both networks at 500 training images, ten seeds; fewer methods at 100 and at 5000
images, five seeds. It takes 305 minutes on one fast core. It leaves out the other methods away from 500
images, sizes between, more seeds, and other data sets (``--set source=FOLDER``).

``quick`` shows that all parts work: 200 images, small networks, few steps, methods and seeds, too few for a
verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from overt.studies.generalization.config import GeneralizationConfig

__all__ = ["MAIN_SIZE", "methods", "plan"]

MAIN_SIZE = {"quick": 200, "full": 500}
NETWORKS: tuple[Literal["cnn", "mlp"], ...] = ("cnn", "mlp")  # the long ones first
Runs = Iterator[GeneralizationConfig]
Fields = dict[str, Any]


def plan(preset: str, seed: int) -> list[GeneralizationConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    if preset == "quick":
        return [*_main_quick(range(seed, seed + 3)), *_units(range(seed, seed + 3), True), *_cost(seed, True)]
    seeds = range(seed, seed + 10)
    return [
        *_sizes(((5000, 2000, 5),), seeds),
        *_main(seeds),
        *_sizes(((100, 1000, 5),), seeds),
        *_units(seeds, False),
        *_cost(seed, False),
    ]


def methods() -> list[Fields]:
    """All methods, by the fields that tell them apart."""
    plain = (
        "nothing",
        "early_stopping",
        "weight_decay",
        "dropout",
        "nuclear_norm",
        "normalized_nuclear_norm",
    )
    found: list[Fields] = [{"method": name} for name in plain]
    found += [{"method": "overparameterized", "factors": factors} for factors in (2, 3)]
    found += [{"method": "composition"}, jacobian(2.0)]
    found += [
        jacobian(p, basis, normalized)
        for p in (1.0, 2 / 3)
        for basis in ("eigen", "fourier", "identity")
        for normalized in (False, True)
    ]
    return found


def jacobian(p: float, basis: str = "eigen", normalized: bool = False) -> Fields:
    """A Jacobian penalty. The trace (p = 2) is the same in each basis; the identity is the cheapest."""
    basis = "identity" if p == 2 else basis
    return {"method": "jacobian", "p": p, "basis": basis, "normalized": normalized}


def few() -> list[Fields]:
    """The methods over the training-set size."""
    plain = ("nothing", "early_stopping", "weight_decay", "dropout", "normalized_nuclear_norm")
    found: list[Fields] = [{"method": name} for name in plain]
    found += [{"method": "overparameterized", "factors": 2}, jacobian(2.0)]
    found += [jacobian(1.0), jacobian(1.0, normalized=True), jacobian(1.0, "fourier")]
    return found


def _main(seeds: range) -> Runs:
    # Methods inside of seeds: what reads the images once serves many runs.
    for network in NETWORKS:
        for seed in seeds:
            for fields in methods():
                yield GeneralizationConfig(network=network, seed=seed, **fields)


def _sizes(sizes: tuple[tuple[int, int, int], ...], seeds: range) -> Runs:
    for n_train, steps, count in sizes:
        for network in NETWORKS:
            for seed in list(seeds)[:count]:
                for fields in few():
                    shared: Fields = {"n_train": n_train, "max_steps": steps, "network": network}
                    yield GeneralizationConfig(group="sizes", seed=seed, **shared, **fields)


def _units(seeds: range, quick: bool) -> Runs:
    """The same networks with pixels in units a hundred times smaller, so that the numbers are larger."""
    for seed in seeds:
        for fields in (jacobian(1.0), jacobian(1.0, normalized=True)):
            yield GeneralizationConfig(
                group="units", units=100.0, seed=seed, **fields, **(_small("mlp") if quick else {})
            )


def _cost(seed: int, quick: bool) -> Runs:
    for network in NETWORKS:
        shared: Fields = {"group": "cost", "network": network, "exclusive": True}
        yield GeneralizationConfig(
            seed=seed, max_steps=5 if quick else 60, n_validation=10, n_test=10, **shared
        )


def _small(network: str) -> Fields:
    widths = (32,) if network == "mlp" else (8, 16)
    sizes: Fields = {
        "n_train": MAIN_SIZE["quick"],
        "n_validation": 500,
        "n_test": 2000,
        "max_steps": 60,
        "lr": 3e-3,
    }
    return {"network": network, "widths": widths, **sizes}


def _main_quick(seeds: range) -> Runs:
    plain = ("nothing", "early_stopping", "weight_decay", "dropout", "normalized_nuclear_norm")
    some: list[Fields] = [{"method": name} for name in plain]
    some += [{"method": "overparameterized", "factors": 2}, jacobian(2.0)]
    some += [jacobian(1.0), jacobian(1.0, normalized=True), jacobian(1.0, "fourier")]
    for network in NETWORKS:
        for seed in seeds:
            for fields in some:
                yield GeneralizationConfig(seed=seed, **_small(network), **fields)
