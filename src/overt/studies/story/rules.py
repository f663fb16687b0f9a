"""The verdicts of S1–S8, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import RECOVERED, by_seed, middle, missing, number, outcome, say, select
from overt.studies.claims.statistics import paired_ratio, proportion
from overt.studies.story.config import ROUTES, chosen_by_validation


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "S1": depth,
        "S2": explicit,
        "S3": optimizers,
        "S4": settings,
        "S5": nuclear,
        "S6": regression,
        "S7": real,
        "S8": cost,
    }
    return [rule(runs) for rule in rules.values()]


def depth(runs: Sequence[Run]) -> Verdict:
    """S1."""
    estimates: list[Estimate] = []
    good, bad = [], []
    for count in (2000, 5000):
        deep, flat = _depth_errors(runs, 3, count), _depth_errors(runs, 1, count)
        rank3 = by_seed(runs, "effective_rank", **_deep(3, count))
        rank1 = by_seed(runs, "effective_rank", **_deep(1, count))
        if not ev.paired(deep, flat):
            return missing("S1")
        share = ev.ratio(deep, flat, f"error of depth 3 / depth 1, {count} entries")
        drop = ev.difference(rank3, rank1, f"effective rank of depth 3 − depth 1, {count} entries")
        estimates += [share, drop]
        good += [ev.high(share) <= 0.5, ev.high(drop) < 0]
        bad += [ev.low(share) > 0.5, ev.low(drop) > 0]
    convex = by_seed(runs, "error", group="depths", method="nuclear_norm", n_observed=2000)
    if not convex:
        return missing("S1")
    deep = _depth_errors(runs, 3, 2000)
    split = middle(convex) > 0.1 > middle(deep)
    estimates.append(ev.median(deep.values(), "error of depth 3, 2000 entries"))
    estimates.append(ev.median(convex.values(), "error of the minimum nuclear norm, 2000 entries"))
    at_5000 = by_seed(runs, "error", group="depths", method="nuclear_norm", n_observed=5000)
    remark = f"; with 5000 the minimum nuclear norm has {say(middle(at_5000))}" if at_5000 else ""
    reason = (
        f"with 2000 entries depth 3 has a median error of {say(middle(deep))}, the minimum nuclear norm "
        f"{say(middle(convex))}, depth 1 {say(middle(_depth_errors(runs, 1, 2000)))}{remark}"
    )
    return Verdict("S1", outcome(all(good) and split, any(bad) or not split), reason, tuple(estimates))


def explicit(runs: Sequence[Run]) -> Verdict:
    """S2."""
    estimates, reasons, good, bad = [], [], [], []
    for count, bar in ((2000, 0.9), (1500, 0.8)):
        chosen = select(runs, group="depths", method="explicit", n_observed=count)
        best = _best_depth(runs, count)
        if not chosen or not {int(run.config["seed"]) for run in chosen} <= set(best):
            return missing("S2")
        hits = 0
        for run in chosen:
            error = number(run.records[0]["error"])
            hits += ev.recovered(run) and error <= best[int(run.config["seed"])]
        share = proportion(hits, len(chosen), label=f"share of seeds recovered, {count} entries")
        largest = max(number(run.records[0].get("largest_entry")) for run in chosen)
        estimates.append(share)
        reasons.append(
            f"{hits} of {len(chosen)} seeds with {count} entries (best depth: {say(middle(best))}; largest "
            f"entry {largest:.1f} × the largest observed)"
        )
        good.append(share.value >= bar)
        bad.append(ev.high(share) < bar)
    reason = "recovered at the exact rank: " + ", ".join(reasons)
    return Verdict("S2", outcome(all(good), any(bad)), reason, tuple(estimates))


def optimizers(runs: Sequence[Run]) -> Verdict:
    """S3."""
    chosen = select(runs, group="optimizers")
    names = sorted({run.config["optimizer"] for run in chosen})
    named = ["adam", "gd", "momentum"]
    if not set(named) <= set(names):
        return missing("S3")
    shares = {name: ev.best_share([r for r in chosen if r.config["optimizer"] == name]) for name in names}
    works = {name for name, share in shares.items() if share.value >= 2 / 3}
    order = [*named, *(name for name in names if name not in named)]
    estimates = tuple(replace(shares[name], label=f"share recovered, {name}") for name in order)
    fails = sorted(set(names) - works)
    reason = f"work: {', '.join(sorted(works)) or 'none'}; do not: {', '.join(fails) or 'none'}"
    reason += _with_floor(select(runs, group="floored"))
    holds = "adam" in works and not works & {"gd", "momentum"}
    return Verdict("S3", outcome(holds, not holds), reason, estimates)


def _with_floor(runs: Sequence[Run]) -> str:
    """What becomes of the optimizers with a floor under the norm, which is not part of the claim."""
    names = sorted({run.config["optimizer"] for run in runs})
    works = [
        name
        for name in names
        if ev.best_share([run for run in runs if run.config["optimizer"] == name]).value >= 2 / 3
    ]
    return (
        f"; with a floor under the norm, of {', '.join(names)} work: {', '.join(works) or 'none'}"
        if names
        else ""
    )


def settings(runs: Sequence[Run]) -> Verdict:
    """S4."""
    by_weight = ev.medians(select(runs, group="weights"), "weight")
    by_scale = ev.medians(select(runs, group="inits", method="explicit"), "init_scale")
    deep = ev.medians(select(runs, group="inits", method="deep"), "init_scale")
    if not by_weight or not {1e-6, 1.0} <= set(by_scale) or 1.0 not in deep or len(deep) < 2:
        return missing("S4")
    window = sorted(weight for weight, error in by_weight.items() if error <= RECOVERED)
    span = window[-1] / window[0] if window else 1.0
    failing = sorted(scale for scale, error in by_scale.items() if error > RECOVERED)
    best = min(deep.values())
    growth = ev.pairs_ratio([deep[1.0]], [best], "").value
    weights = f"with weights {window[0]:g} to {window[-1]:g}" if window else "with no weight"
    failed = ", ".join(f"{scale:g}" for scale in failing)
    scales = f"not at scale {failed}" if failing else "at every initialization scale"
    reason = (
        f"the explicit route recovers {weights}, and {scales}; depth 3 has a median error of "
        f"{say(deep[1.0])} at scale 1 against {say(best)} at its best"
    )
    estimates = (
        Estimate("decades of weights that recover", math.log10(span), None, None, len(by_weight)),
        Estimate("depth 3: error at scale 1 / at its best", growth, None, None, len(deep)),
    )
    holds = span >= 10 * (1 - 1e-9) and not failing and growth >= 10
    return Verdict("S4", outcome(holds, not holds), reason, estimates)


def nuclear(runs: Sequence[Run]) -> Verdict:
    """S5."""
    ours = by_seed(runs, "error", group="nuclear", functional="normalized_nuclear_norm")
    theirs: dict[float, dict[int, float]] = {}
    for run in select(runs, group="nuclear", functional="nuclear_norm"):
        errors = theirs.setdefault(float(run.config["weight"]), {})
        errors[int(run.config["seed"])] = number(run.records[0]["error"])
    theirs = {weight: errors for weight, errors in sorted(theirs.items()) if ev.paired(errors, ours)}
    if not theirs:
        return missing("S5")
    best = min(theirs, key=lambda weight: middle(theirs[weight]))
    gap = ev.ratio(theirs[best], ours, "error of the nuclear norm / normalized nuclear norm")
    reason = (
        f"at its best weight ({best:g}) the nuclear norm has a median error of "
        f"{say(middle(theirs[best]))}, the normalized one {say(middle(ours))}"
    )
    return Verdict("S5", outcome(ev.low(gap) >= 10, ev.high(gap) < 10), reason, (gap,))


def regression(runs: Sequence[Run]) -> Verdict:
    """S6."""
    base: dict[str, Any] = {"group": "regression"}
    distances = [
        by_seed(runs, "to_minimum_norm", method="gd", rank=rank, **base)
        for rank in sorted({run.config["rank"] for run in select(runs, method="gd", **base)})
    ]
    floor = by_seed(runs, "minimum_norm_error", method="l1_over_l2", **base)
    ours = by_seed(runs, "error", method="l1_over_l2", **base)
    scales = sorted({run.config["init_scale"] for run in select(runs, method="diagonal", depth=2, **base)})
    if not distances or not floor or len(scales) < 2 or scales[-1] != 1.0:
        return missing("S6")
    small = by_seed(runs, "error", method="diagonal", depth=2, init_scale=scales[0], **base)
    large = by_seed(runs, "error", method="diagonal", depth=2, init_scale=1.0, **base)
    distance = [value for found in distances for value in found.values()]
    limit = middle(floor)
    checks = (
        max(distance) <= 1e-6,
        middle(small) <= 0.1 * limit,
        middle(ours) <= 0.1 * limit,
        middle(large) > 0.5 * limit,
    )
    estimates = (
        ev.median(ours.values(), "error of ‖w‖₁/‖w‖₂"),
        ev.median(small.values(), f"error of depth 2 from {scales[0]:g}"),
        ev.median(large.values(), "error of depth 2 from 1"),
        ev.median(floor.values(), "error of the minimum norm"),
        ev.median(distance, "distance of gradient descent to the minimum norm"),
    )
    reason = (
        f"gradient descent ends within {say(max(distance))} of the minimum norm; median errors: "
        f"minimum norm {say(limit)}, depth 2 {say(middle(small))} from {scales[0]:g} and "
        f"{say(middle(large))} from 1, ‖w‖₁/‖w‖₂ {say(middle(ours))}"
    )
    return Verdict("S6", outcome(all(checks), not all(checks)), reason, estimates)


def real(runs: Sequence[Run]) -> Verdict:
    """S7."""
    photograph: dict[str, Any] = {"worst": -math.inf, "group": "photograph", "kept": 0.3}
    ours = by_seed(runs, "psnr", method="explicit", **photograph)
    deep = by_seed(runs, "psnr", method="deep", **photograph)
    if not ev.paired(ours, deep):
        return missing("S7")
    gain = ev.difference(ours, deep, "PSNR of the explicit route − depth 3", unit="dB")
    estimates, checks = [gain], [gain.value >= -0.1]
    reason = f"photograph: {middle(ours):.2f} dB against {middle(deep):.2f} at depth 3"
    skipped = [run for run in runs if run.skipped and run.config.get("group") == "movielens"]
    rmse = {name: _test_rmse(runs, name) for name in ("explicit", "deep", "biases")}
    if rmse["biases"] and ev.paired(rmse["explicit"], rmse["deep"]):
        excess = ev.difference(rmse["explicit"], rmse["deep"], "test RMSE of the explicit route − depth 3")
        estimates.append(excess)
        checks += [excess.value <= 0.005, middle(rmse["explicit"]) < middle(rmse["biases"])]
        reason += "; MovieLens u1 test RMSE: " + ", ".join(
            f"{name} {middle(values):.4f}" for name, values in rmse.items()
        )
    elif skipped:
        reason += f"; MovieLens skipped: {skipped[0].reason}"
    else:
        return missing("S7")
    return Verdict("S7", outcome(all(checks), not all(checks)), reason, tuple(estimates))


def cost(runs: Sequence[Run]) -> Verdict:
    """S8."""
    dense = {int(run.config["seed"]): run.records for run in select(runs, group="cost", n_observed=2000)}
    sparse = {int(run.config["seed"]): run.records for run in select(runs, group="cost", n_observed=1500)}
    seeds = sorted(set(dense) & set(sparse))
    if not seeds or not all(any(map(_is_deep, dense[seed])) for seed in seeds):
        return missing("S8")
    reached = [_reached(dense[seed], _is_deep) for seed in seeds]
    bound = [_deep_seconds(dense[seed]) for seed in seeds]
    estimates, parts, sides = [], [], []
    for route in ROUTES:
        timed = [[_reached(records[seed], _is(route)) for seed in seeds] for records in (dense, sparse)]
        sides.append(_sides(timed[0], timed[1], reached, bound))
        for values, entries in zip(timed, ("2000 entries", "1500 entries"), strict=True):
            if None not in values:
                label = f"{route}, {entries}: seconds / fastest deep network's, 2000 entries"
                estimates.append(paired_ratio([float(v or 0.0) for v in values], bound, label=label))
        parts.append(f"{route} {_seconds(timed[0])} with 2000 entries and {_seconds(timed[1])} with 1500")
    best = [max(both) for both in zip(*sides, strict=True)]
    never = reached.count(None)
    note = f" (a lower bound in {never} of {len(seeds)} seeds: given up before)" if never else ""
    reason = (
        f"median seconds to 1e-4: {'; '.join(parts)}; fastest deep network {_seconds(bound)} with 2000{note}"
    )
    return Verdict("S8", outcome(min(best) > 0, max(best) < 0), reason, tuple(estimates))


def _sides(
    at_2000: Sequence[float | None],
    at_1500: Sequence[float | None],
    deep: Sequence[float | None],
    bound: Sequence[float],
) -> list[int]:
    """For each seed whether an explicit route is within its limits: 1 yes, −1 no, 0 undecided.

    Where no deep network got there its time is only known to be longer than ``bound``: an explicit route
    that is faster than that is within the limits, a slower one may be.
    """
    sides = []
    for dense, sparse, exact, limit in zip(at_2000, at_1500, deep, bound, strict=True):
        within = number(dense) <= limit and number(sparse) <= 3 * limit
        hopeless = dense is None or sparse is None
        sides.append(1 if within else -1 if hopeless or exact is not None else 0)
    return sides


# ---- which runs ------------------------------------------------------------------------------------


def _deep(depth: int, count: int) -> dict[str, Any]:
    return {"group": "depths", "method": "deep", "optimizer": "gd", "depth": depth, "n_observed": count}


def _depth_errors(runs: Sequence[Run], depth: int, count: int) -> dict[int, float]:
    return by_seed(runs, "error", **_deep(depth, count))


def _best_depth(runs: Sequence[Run], count: int) -> dict[int, float]:
    """The smallest error of any depth and optimizer, seed by seed."""
    best: dict[int, float] = {}
    for run in select(runs, group="depths", method="deep", n_observed=count):
        seed = int(run.config["seed"])
        best[seed] = min(best.get(seed, math.inf), number(run.records[0]["error"]))
    return best


def _test_rmse(runs: Sequence[Run], method: str) -> dict[int, float]:
    chosen = chosen_by_validation(runs, method)
    return {seed: number(record.get("test_rmse")) for seed, record in chosen.items()}


def _is_deep(record: dict[str, Any]) -> bool:
    return str(record["route"]).startswith("depth")


def _is(route: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record["route"] == route


def _reached(records: Iterable[dict[str, Any]], which: Callable[[dict[str, Any]], bool]) -> float | None:
    seconds = [
        float(record["seconds_0.0001"])
        for record in records
        if which(record) and record["seconds_0.0001"] is not None
    ]
    return min(seconds) if seconds else None


def _deep_seconds(records: list[dict[str, Any]]) -> float:
    """Seconds of the fastest deep network; where none got there, the longest that one was given."""
    reached = _reached(records, _is_deep)
    if reached is not None:
        return reached
    return max(float(record["total_seconds"]) for record in records if _is_deep(record))


def _seconds(values: Sequence[float | None]) -> str:
    value = float(np.median([number(value) for value in values]))
    return f"{value:.2g}" if math.isfinite(value) else "never"
