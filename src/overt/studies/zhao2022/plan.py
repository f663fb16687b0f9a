"""Which runs each preset makes: slices around the paper's reference setting, not a full cross product.

The reference is one layer, ‖W‖_*/‖W‖_F, Adam at learning rate 1e-2, initialization 1e-3. Learning rates,
weights and numbers of steps were chosen on pilot instances (seed 100) that no verdict rests on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from overt.studies.zhao2022.config import OPTIMIZERS, PENALTIES, ZhaoConfig

Runs = Iterator[ZhaoConfig]

# Learning rates of each optimizer, from one that fits the data slowly to one near the edge of stability.
RATES: dict[str, tuple[float, ...]] = {
    "adam": (3e-3, 1e-2, 2e-2),
    "amsgrad": (1e-2, 3e-2),
    "adamw": (1e-2, 2e-2),
    "nadam": (1e-2, 2e-2),
    "radam": (1e-2, 2e-2),
    "adamax": (2e-2, 5e-2),
    "rmsprop": (3e-3, 1e-2),
    "adagrad": (3e-2, 1e-1),
    "adadelta": (3.0, 10.0),
    "gd": (3.0, 10.0, 50.0),
    "momentum": (0.3, 1.0, 5.0),
    "lbfgs": (0.3, 1.0),
}
QUICK = {"gd": 10.0, "momentum": 1.0}  # where the last of them is not the one for a quick look
# A step of L-BFGS is up to 20 iterations of one or more evaluations; the others make one evaluation per step.
LBFGS_EVALUATIONS = 25

# Weights a factor of ten apart around the best on a pilot instance: the scales of the functionals differ.
WEIGHTS: dict[str, tuple[float, ...]] = {
    "nuclear / Frobenius": (1e-3, 1e-2, 1e-1),
    "nuclear": (1e-5, 1e-4, 1e-3),
    "Schatten 1/2": (1e-7, 1e-6, 1e-5),
    "Schatten 1/3": (1e-9, 1e-8, 1e-7),
    "Schatten 2/3": (1e-7, 1e-6, 1e-5),
    "S 1/2 / S 2/3": (1e-3, 1e-2, 1e-1),
    "S 1/3 / S 2/3": (1e-4, 1e-3, 1e-2),
    "S 1/3 / S 1/2": (1e-4, 1e-3, 1e-2),
}

# (rank, entries): the first two of each rank are the scarce and the dense instance of the verdicts.
LARGE = {"n": 100, "counts": ((5, 1500), (5, 2000), (10, 3000), (10, 4000)), "more": ((5, 3000),)}
SMALL = {"n": 30, "counts": ((2, 180), (2, 240), (4, 350), (4, 470)), "more": ()}


def plan(preset: str, seed: int) -> list[ZhaoConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 5))
    parts = (movielens, depths, optimizers, penalties, relu)
    return [run for part in parts for run in part(quick, seeds)]


def depths(quick: bool, seeds: range) -> Runs:
    """Z4, Z5: depths with and without the penalty, and the baselines, over the number of entries."""
    size: dict[str, Any] = SMALL if quick else LARGE
    steps = 2_400 if quick else 5_000
    for rank, count in (*size["counts"], *size["more"]):
        base: dict[str, Any] = {"group": "depths", "n": size["n"], "rank": rank, "n_observed": count}
        dense = (rank, count) in size["counts"][1::2]
        for seed in seeds:
            # Scarce entries take longer to collapse.
            more = steps + steps // 5 if (rank, count) in size["counts"][::2] else steps
            lr, weight = (2e-2, 1e-2) if quick else (1e-2, 5e-3)
            yield ZhaoConfig(lr=lr, weight=weight, max_steps=more, seed=seed, **base)
            if dense and not quick:
                for depth in (2, 3):
                    yield ZhaoConfig(depth=depth, lr=1e-3, weight=5e-3, max_steps=3_000, seed=seed, **base)
            yield from _implicit(quick, seed, base)
            yield ZhaoConfig(method="nuclear_norm", weight=0.0, seed=seed, **base)
            if not quick:
                for method in ("soft_impute", "optspace"):
                    yield ZhaoConfig(method=method, weight=0.0, seed=seed, **base)


def _implicit(quick: bool, seed: int, base: dict[str, Any]) -> Runs:
    """Networks without a penalty, under Adam and under gradient descent."""
    steps = 1_500 if quick else 2_000
    networks = [(1, "adam", 1e-2), (3, "adam", 1e-3), (3, "gd", 5.0)]
    if not quick:
        networks += [(2, "adam", 1e-3), (3, "adam", 3e-4), (4, "adam", 1e-3)]
    for depth, optimizer, lr in networks:
        options: dict[str, Any] = {"depth": depth, "optimizer": optimizer, "lr": lr}
        yield ZhaoConfig(weight=0.0, max_steps=steps, seed=seed, **options, **base)


def wide(quick: bool) -> dict[str, Any]:
    """The instance of the wide slices, which has some observations to spare."""
    return {"n": 20, "rank": 1, "n_observed": 150} if quick else {"n": 30, "rank": 2, "n_observed": 300}


def optimizers(quick: bool, seeds: range) -> Runs:
    """Z1, Z2, Z3: each optimizer with and without the penalty over its own learning rates."""
    steps = 1_400 if quick else 3_600
    for name in OPTIMIZERS:
        for lr in (QUICK.get(name, RATES[name][-1]),) if quick else RATES[name]:
            for weight in (1e-2, 0.0):
                budget = steps // LBFGS_EVALUATIONS if name == "lbfgs" else steps
                for seed in seeds:
                    yield ZhaoConfig(
                        group="optimizers",
                        optimizer=name,
                        lr=lr,
                        weight=weight,
                        max_steps=budget,
                        seed=seed,
                        **wide(quick),
                    )


def penalties(quick: bool, seeds: range) -> Runs:
    """Z6: each penalty over its weights."""
    steps = 1_800 if quick else 3_600
    for name, fields in PENALTIES.items():
        for weight in WEIGHTS[name][1:2] if quick else WEIGHTS[name]:
            for seed in seeds:
                yield ZhaoConfig(
                    group="penalties",
                    weight=weight,
                    lr=2e-2 if quick else 1e-2,
                    max_steps=steps,
                    seed=seed,
                    **fields,
                    **wide(quick),
                )


def relu(quick: bool, seeds: range) -> Runs:
    """Z7: three layers, linear or with ReLU between them, with and without the penalty."""
    steps = 1_200 if quick else 4_000
    base: dict[str, Any] = {"group": "relu", "max_steps": steps, **wide(quick)}
    for seed in seeds:
        yield ZhaoConfig(lr=2e-2 if quick else 1e-2, seed=seed, **base)
        for activation in ("linear", "relu"):
            for weight in (1e-2, 0.0):
                for lr in (1e-3,) if quick else (3e-4, 1e-3):
                    yield ZhaoConfig(depth=3, activation=activation, weight=weight, lr=lr, seed=seed, **base)


def movielens(quick: bool, seeds: range) -> Runs:
    """Z8, Z9: the published splits and random ones; two settings per method, chosen on validation ratings."""
    published = ("u1",) if quick else ("u1", "u2", "u3", "u4", "u5")
    drawn = list(seeds)[:1] if quick else list(seeds)[:3]
    splits = [(split, seeds[0]) for split in published] + [("random", seed) for seed in drawn]
    if not quick:
        # The full matrix, one decomposition of 943×1682 a step.
        for split in ("u1", "random"):
            yield ZhaoConfig(
                group="movielens", split=split, lr=2e-2, weight=3e-2, max_steps=80, seed=seeds[0]
            )
    for split, seed in splits:
        base: dict[str, Any] = {"group": "movielens", "split": split, "seed": seed}
        steps = 100 if quick else 150
        for lr in (1e-3,) if quick else (1e-3, 2e-3):
            yield ZhaoConfig(depth=3, lr=lr, weight=0.0, max_steps=steps, **base)
        for weight in (1e-3,) if quick else (1e-3, 3e-3):
            yield ZhaoConfig(depth=2, lr=1e-3, weight=weight, max_steps=steps, **base)
        # The control: the same two factors without the penalty.
        yield ZhaoConfig(depth=2, lr=1e-3, weight=0.0, max_steps=steps, **base)
        yield ZhaoConfig(method="biases", depth=2, weight=0.0, **base)
