"""Which runs each preset makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from overt.studies.story.config import StoryConfig

# Learning rates of plain gradient descent by depth, chosen on one pilot instance with |Ω| = 2000: for each
# depth the largest of a few that trains without oscillation.
GD_RATES = {1: 1000.0, 2: 10.0, 3: 5.0, 4: 3.0}

Runs = Iterator[StoryConfig]


def plan(preset: str, seed: int) -> list[StoryConfig]:
    """Return all runs of a preset, the long ones first so that two workers end together."""
    quick = preset == "quick"
    seeds = range(seed, seed + (3 if quick else 10))
    parts = [
        photographs(quick, seeds),
        movielens(quick, seeds),
        depths(quick, seeds),
        nuclear(quick, seeds[:5]),
        optimizers(quick, seeds[:5]),
        weights(quick, seeds[:5]),
        inits(quick, seeds[:5]),
        regression(quick, seeds),
        cost(quick, seeds),
    ]
    return [run for part in parts for run in part]


def depths(quick: bool, seeds: range) -> Runs:
    """S1 and S2: every method over the number of observations."""
    counts = (1500, 2000, 5000) if quick else (1000, 1500, 2000, 3000, 5000)
    steps = 2_000 if quick else 10_000
    for seed in seeds:
        for count in counts:
            shared: dict[str, Any] = {"group": "depths", "n_observed": count, "seed": seed}
            for depth in (3, 4) if quick and count == 1500 else (1, 2, 3, 4):
                options: dict[str, Any] = {
                    "optimizer": "gd",
                    "lr": GD_RATES[depth],
                    "weight": 0.0,
                    "max_steps": steps,
                }
                yield StoryConfig(method="deep", depth=depth, **options, **shared)
            yield StoryConfig(method="explicit", **shared)
            yield StoryConfig(method="nuclear_norm", **shared)
            if not quick:
                yield StoryConfig(method="soft_impute", **shared)
                yield StoryConfig(method="irls", **shared)
                options = {"optimizer": "adam", "lr": 1e-3, "weight": 0.0, "max_steps": steps}
                yield StoryConfig(method="deep", depth=4, **options, **shared)
    yield StoryConfig(group="portrait", method="explicit", seed=seeds[0], early_refit=False)


def small(quick: bool) -> dict[str, Any]:
    """The instance of the sweeps: the real one, or for ``quick`` a small one at the same oversampling."""
    if quick:
        return {"n": 30, "rank": 2, "n_observed": 300, "max_steps": 3_600}
    return {"n": 50, "rank": 3, "n_observed": 600, "max_steps": 8_000}


def optimizers(quick: bool, seeds: range) -> Runs:
    """S3: each optimizer over its own learning rates; only the collapse may end a run, no early refit.

    Three of them run again with the explicit route's floor under the norm.
    """
    rates: dict[str, tuple[float, ...]] = {
        "adam": (1e-3, 1e-2),
        "amsgrad": (1e-2, 1e-1),
        "adamw": (1e-3, 1e-2),
        "nadam": (1e-3, 1e-2),
        "radam": (1e-3, 1e-2),
        "adamax": (1e-2, 3e-2),
        "rmsprop": (1e-3, 1e-2),
        "adagrad": (1e-1, 1.0),
        "adadelta": (1.0, 10.0),
        "gd": (10.0, 100.0),
        "momentum": (1.0, 10.0),
        "muon": (1e-2, 1e-1),
        "grouprmsprop": (1e-2, 1e-1),
        "lbfgs": (1.0,),
    }
    if quick:
        rates = {
            "adam": (2e-2,),
            "amsgrad": (2e-2,),
            "nadam": (2e-2,),
            "rmsprop": (1e-2,),
            "adagrad": (1e-1,),
            "gd": (10.0, 50.0),
            "momentum": (1.0, 10.0),
            "muon": (1e-1,),
            "grouprmsprop": (1e-2,),
        }
    for name, values in rates.items():
        for lr in values:
            for seed in seeds:
                shared: dict[str, Any] = {"method": "explicit", "early_refit": False, "seed": seed}
                shared |= {"optimizer": name, "lr": lr, **small(quick)}
                yield StoryConfig(group="optimizers", norm_floor=0.0, **shared)
                if name in ("adam", "gd", "momentum"):
                    yield StoryConfig(group="floored", **shared)


def weights(quick: bool, seeds: range) -> Runs:
    """S4: three decades of the penalty's weight, beside the learning rate."""
    values = (1e-3, 1e-2, 1e-1, 1.0) if quick else (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    rates = (2e-2,) if quick else (3e-3, 1e-2)
    for weight in values:
        for lr in rates:
            for seed in seeds:
                shared: dict[str, Any] = {
                    "group": "weights",
                    "method": "explicit",
                    "early_refit": False,
                    "seed": seed,
                }
                yield StoryConfig(weight=weight, lr=lr, **shared, **small(quick))


def inits(quick: bool, seeds: range) -> Runs:
    """S4: six decades of the initialization, beside the learning rate, explicit and deep."""
    scales = (1e-6, 1e-3, 1e-1, 1.0) if quick else (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    for scale in scales:
        for seed in seeds:
            for lr in (2e-2,) if quick else (1e-2,):
                shared: dict[str, Any] = {"group": "inits", "init_scale": scale, "lr": lr, "seed": seed}
                yield StoryConfig(method="explicit", early_refit=False, **shared, **small(quick))
            for lr in (1e-3,) if quick else (3e-4, 1e-3):
                shared = {"group": "inits", "init_scale": scale, "lr": lr, "seed": seed}
                yield StoryConfig(method="deep", depth=3, weight=0.0, **shared, **small(quick))


def nuclear(quick: bool, seeds: range) -> Runs:
    """S5: the nuclear norm over its weights, and the normalized one, with the same everything."""
    for seed in seeds:
        shared: dict[str, Any] = {
            "group": "nuclear",
            "method": "explicit",
            "early_refit": False,
            "seed": seed,
        }
        shared |= small(quick) | {"lr": 2e-2 if quick else 1e-2}
        yield StoryConfig(**shared)
        for weight in (1e-5, 1e-4, 1e-3) if quick else (1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
            yield StoryConfig(functional="nuclear_norm", weight=weight, **shared)


def regression(quick: bool, seeds: range) -> Runs:
    """S6: 100 unknowns, 50 samples; a dense truth for the minimum norm, five non-zeros for sparsity."""
    steps = 8_000 if quick else 20_000
    shared: dict[str, Any] = {"group": "regression", "n": 100, "n_observed": 50, "max_steps": steps}
    plain: dict[str, Any] = {"optimizer": "gd", "weight": 0.0, **shared}
    for seed in seeds:
        yield StoryConfig(method="gd", rank=0, lr=0.05, seed=seed, **plain)
        yield StoryConfig(method="gd", rank=5, lr=0.05, seed=seed, **plain)
        for depth in (2, 3):
            for scale in (1e-6, 1.0) if quick else (1e-8, 1e-6, 1e-4, 1e-2, 1.0):
                lr = 0.1 if scale < 0.1 else 0.01 / depth  # the curvature grows with the initialization
                options: dict[str, Any] = {"depth": depth, "init_scale": scale, "lr": lr, "seed": seed}
                yield StoryConfig(method="diagonal", rank=5, **options, **plain)
        yield StoryConfig(method="l1_over_l2", rank=5, lr=1e-3, seed=seed, **shared)


def photographs(quick: bool, seeds: range) -> Runs:
    """S7: a photograph with pixels removed."""
    size: dict[str, Any] = {"height": 107, "width": 160} if quick else {"height": 214, "width": 320}
    steps: dict[str, Any] = {"max_steps": 1_500 if quick else 3_000}
    for kept in (0.3,) if quick else (0.2, 0.3, 0.5):
        for seed in list(seeds)[:2]:
            shared: dict[str, Any] = {"group": "photograph", "seed": seed, "kept": kept, **size}
            lr = 0.03 if quick else 0.01
            yield StoryConfig(method="explicit", early_refit=False, lr=lr, **steps, **shared)
            yield StoryConfig(method="deep", depth=3, lr=1e-3, weight=0.0, **steps, **shared)
            for method in ("nuclear_norm", "soft_impute"):
                yield StoryConfig(method=method, **shared)


def movielens(quick: bool, seeds: range) -> Runs:
    """S7: MovieLens 100K, the published split u1; the verdict takes each method's setting by validation."""
    steps: dict[str, Any] = {"max_steps": 150 if quick else 500}
    for seed in list(seeds)[:1] if quick else list(seeds)[:3]:
        shared: dict[str, Any] = {"group": "movielens", "seed": seed}
        yield StoryConfig(method="biases", **shared)
        yield StoryConfig(method="soft_impute", **shared)
        for lr in (5e-4, 1e-3) if quick else (1e-4, 3e-4, 1e-3, 3e-3):
            yield StoryConfig(method="deep", depth=3, lr=lr, weight=0.0, **steps, **shared)
        for weight in (1e-3, 3e-3) if quick else (1e-4, 1e-3, 3e-3, 1e-2):
            yield StoryConfig(method="explicit", lr=1e-3, weight=weight, **steps, **shared)


def cost(quick: bool, seeds: range) -> Runs:
    """S8: all methods side by side in one process, alone on the machine."""
    for seed in list(seeds)[:1] if quick else list(seeds)[:3]:
        for count in (2000, 1500):
            yield StoryConfig(
                group="cost", method="race", n_observed=count, quick=quick, exclusive=True, seed=seed
            )
