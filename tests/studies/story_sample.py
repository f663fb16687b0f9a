"""Made-up runs of the story's real plan, as if every run had been made. Their numbers mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from overt.studies import Run
from overt.studies.runs.identity import config_hash
from overt.studies.story.config import StoryConfig
from overt.studies.story.plan import plan

Made = tuple[list[dict[str, Any]], dict[str, Any]]


def sample(preset: str = "quick", skip_movielens: bool = True) -> list[Run]:
    """Return one run for each configuration of a preset, in the order of their hashes."""
    return sorted((_run(config, skip_movielens) for config in plan(preset, 0)), key=lambda run: run.hash)


def _run(config: StoryConfig, skip_movielens: bool) -> Run:
    name, fields = config_hash("story", 1, config), config.model_dump(mode="json")
    if config.group == "movielens" and skip_movielens:
        reason = "MovieLens 100K is neither here nor reachable: set OVERT_DATA or get network access"
        return Run("story", name, fields, [], {}, {"status": "skipped", "reason": reason})
    makers: dict[str, Callable[[StoryConfig, np.random.Generator], Made]] = {
        "photograph": _photograph,
        "movielens": _movielens,
        "regression": _regression,
        "cost": _cost,
    }
    rng = np.random.default_rng(int(name, 16))
    records, arrays = makers.get(config.group, _completion)(config, rng)
    return Run("story", name, fields, records, arrays, {"status": "done", "seconds": 1.0})


def _completion(config: StoryConfig, rng: np.random.Generator) -> Made:
    found = _recovers(config)
    lost = config.optimizer in ("gd", "momentum") and config.method == "explicit" and config.lr >= 50
    error = 10 ** rng.uniform(-13, -9) if found else 10 ** rng.uniform(-1.5, 0.0)
    record = {
        "error": None if lost else error,
        "rank": config.rank if found else config.n,
        "effective_rank": config.rank * 0.95 if found else float(rng.uniform(20, 60)) * config.n / 100,
        "status": "diverged" if lost else "converged" if found else "budget",
        "largest_entry": 1.5,
        "steps": config.max_steps,
        "seconds": 3.1,
        "message": "",
    }
    wanted = config.group == "portrait" or (config.method == "deep" and config.group == "depths")
    return [record], _trace(config) if wanted else {}


def _recovers(config: StoryConfig) -> bool:
    if config.functional == "nuclear_norm" or config.method == "nuclear_norm":
        return config.n_observed >= 4000
    if config.group == "optimizers":
        return config.optimizer in ("adam", "adamax", "nadam") and config.lr <= 3e-2
    if config.group == "weights":
        return 1e-2 <= config.weight <= 1e-1 and config.lr <= 2e-2
    if config.method == "deep":
        return (config.depth > 2 and config.n_observed >= 3000) or config.init_scale <= 1e-5
    return config.method != "soft_impute" or config.n_observed >= 4000


def _trace(config: StoryConfig) -> dict[str, Any]:
    steps = np.unique(np.concatenate([[0], np.geomspace(1, config.max_steps, 90)]).astype(np.int64))
    time = np.log10(steps + 1.0)
    delay = 3.0 if config.method == "explicit" else 2.0
    truth = config.n / np.sqrt(config.rank) * np.linspace(1.3, 0.7, config.rank)
    rise = 1 / (1 + np.exp(-3 * (time[:, None] - delay - 0.14 * np.arange(config.rank))))
    grown = truth * rise
    rest = 9 * np.exp(-np.arange(15) / 3) * np.exp(-(((time - delay) / 0.8)[:, None] ** 2))
    values = -np.sort(-np.hstack([grown, rest]), axis=1)
    shares = values / values.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    return {
        "step": steps,
        "singular_values": values,
        "effective_rank": np.exp(entropy),
        "error": np.geomspace(1, 1e-2, steps.size),
    }


def _photograph(config: StoryConfig, rng: np.random.Generator) -> Made:
    y, x = np.mgrid[0 : config.height, 0 : config.width] / config.width
    truth = 0.5 + 0.3 * np.sin(9 * x + 4 * y) + 0.15 * np.cos(40 * x * y)
    strength = {"explicit": 0.03, "deep": 0.05, "nuclear_norm": 0.08, "soft_impute": 0.07}[config.method]
    picture = truth + strength * rng.standard_normal(truth.shape)
    arrays = {
        "picture": picture.astype(np.float32),
        "truth": truth.astype(np.float32),
        "observed": rng.random(truth.shape) < config.kept,
    }
    psnr = -20 * np.log10(strength) + rng.normal() * 0.2
    record = {"error": 2 * strength, "psnr": psnr, "effective_rank": 300 * strength, "status": "converged"}
    return [record], arrays


def _movielens(config: StoryConfig, rng: np.random.Generator) -> Made:
    base = {"biases": 0.962, "soft_impute": 0.941, "deep": 0.938, "explicit": 0.936}[config.method]
    record = {
        "validation_rmse": base - 0.01 + config.lr,
        "test_rmse": base + config.lr,
        "effective_rank": None if config.method == "biases" else 12.3,
        "steps": 0 if config.method == "biases" else 200,
        "status": "stopped",
    }
    if config.method in ("deep", "explicit"):
        record["best_step"] = 150
    return [record], {}


def _regression(config: StoryConfig, rng: np.random.Generator) -> Made:
    minimum = float(rng.uniform(0.65, 0.75))
    error = minimum
    if config.method == "l1_over_l2":
        error = 10 ** rng.uniform(-4, -3)
    elif config.method == "diagonal":
        error = min(
            minimum, 10 ** rng.uniform(-0.3, 0.1) * config.init_scale ** (0.5 if config.depth == 2 else 0.7)
        )
    record = {
        "error": error,
        "to_minimum_norm": 1e-12 if config.method == "gd" else 0.6,
        "minimum_norm_error": minimum,
        "loss": 1e-20,
        "l1_over_l2": 7.9 if config.method == "gd" else 2.1,
        "status": "converged",
        "steps": 1000,
    }
    return [record], {}


def _cost(config: StoryConfig, rng: np.random.Generator) -> Made:
    hard = config.n_observed == 1500

    def record(
        route: str, error: float, first: float | None, second: float | None, **more: Any
    ) -> dict[str, Any]:
        times = {"seconds_0.01": first, "steps_0.01": None if first is None else int(1000 * first)}
        times |= {"seconds_0.0001": second, "steps_0.0001": None if second is None else int(1000 * second)}
        total: dict[str, Any] = {"route": route, "error": error, "rank": None, "total_seconds": second or 4.0}
        return total | times | more

    shift = 1 + 0.1 * rng.random()
    records = [
        record("explicit, IRLS", 1e-12, 0.3 * shift, 0.3 * shift),
        record("explicit, Adam", 1e-12, 0.9 * shift, 0.9 * shift),
    ]
    if not config.quick:
        records.append(record("explicit, as published", 5e-3, 25 * shift, None))
    for depth, optimizer, lr, seconds in ((3, "gd", 5.0, 0.9), (4, "gd", 3.0, 0.7), (4, "adam", 1e-3, 0.4)):
        route, more = (
            f"depth {depth}, {optimizer}, lr {lr:g}",
            {"depth": depth, "optimizer": optimizer, "lr": lr},
        )
        if hard:
            records.append(record(route, 0.2 + 0.1 * seconds, None, None, status="budget", **more))
        else:
            last = 3 * seconds if optimizer == "gd" else None
            records.append(
                record(route, 1e-4 if last else 3e-3, seconds * shift, last, status="stopped", **more)
            )
    return records, {}
