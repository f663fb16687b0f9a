"""The verdicts of Z8 and Z9, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import count, middle, missing, number, outcome
from overt.studies.zhao2022.slices import chosen_by_validation

__all__ = ["movielens"]

RMSE_MARGIN = 0.005  # stars
WORDS = {
    "explicit": "two factors with the penalty",
    "control": "the same without it",
    "deep": "depth 3",
    "full": "depth 1 with the penalty",
    "biases": "biases",
}

Errors = dict[int, float]


def movielens(runs: Sequence[Run], claim: str) -> Verdict:
    """Z8 on the published splits, Z9 on random ones."""
    everything = [run for run in runs if run.config.get("group") == "movielens"]
    mine = [run for run in everything if (run.config["split"] == "random") == (claim == "Z9")]
    skipped = [run for run in mine if run.skipped]
    rmse = {name: _test_rmse(mine, name) for name in WORDS}
    if not ev.paired(rmse["explicit"], rmse["deep"]) or not rmse["biases"]:
        if skipped:
            return Verdict(claim, "skipped", skipped[0].reason)
        return missing(claim, mine, depth=(2, 3), method=("train", "biases"))
    estimates = [_gap(rmse, "explicit", "deep"), *_beside(rmse)]
    excess = estimates[0]
    levels = {name: middle(_numbered(found, list(found))) for name, found in rmse.items() if found}
    below = levels["explicit"] < levels["biases"]
    reason = f"{count(len(rmse['explicit']), 'split')}, median test RMSE: " + ", ".join(
        f"{WORDS[name]} {value:.4f}{_of(rmse, name)}" for name, value in levels.items()
    )
    reason += "; " + _added(rmse)
    holds, fails = excess.value <= RMSE_MARGIN and below, ev.low(excess) > RMSE_MARGIN or not below
    return Verdict(claim, outcome(holds, fails), reason, tuple(estimates))


def _of(rmse: dict[str, dict[Any, float]], name: str) -> str:
    """On how many splits, where these are not all."""
    there = len(rmse[name])
    return "" if there == len(rmse["explicit"]) else f" ({count(there, 'split')})"


def _gap(rmse: dict[str, dict[Any, float]], first: str, second: str) -> Estimate:
    """The paired difference of two methods over the splits that both have."""
    keys = sorted(set(rmse[first]) & set(rmse[second]))
    a, b = (_numbered(rmse[name], keys) for name in (first, second))
    return ev.difference(a, b, f"test RMSE of {WORDS[first]} − {WORDS[second]}", "stars")


def _beside(rmse: dict[str, dict[Any, float]]) -> list[Estimate]:
    """What is reported and not judged: the effect of the penalty, and depth 1 against depth 3."""
    pairs = (("explicit", "control"), ("full", "deep"))
    return [_gap(rmse, first, second) for first, second in pairs if set(rmse[first]) & set(rmse[second])]


def _added(rmse: dict[str, dict[Any, float]]) -> str:
    if not set(rmse["explicit"]) & set(rmse["control"]):
        return "what the penalty adds is not known: the same factors without it were not run"
    gap = _gap(rmse, "explicit", "control")
    return f"the penalty changes the RMSE of the same factors by {gap.value:+.4f}".replace("-", "−")


def _test_rmse(runs: Sequence[Run], method: str) -> dict[Any, float]:
    chosen = chosen_by_validation(runs, method)
    return {key: number(run.records[0].get("test_rmse")) for key, run in chosen.items()}


def _numbered(values: dict[Any, float], keys: Sequence[Any]) -> Errors:
    return {place: values.get(key, math.inf) for place, key in enumerate(keys)}
