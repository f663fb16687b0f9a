"""The verdicts of S1–S8, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from overt.studies.base import Estimate, Outcome, Run, Verdict
from overt.studies.statistics import bootstrap, paired_difference, paired_ratio, proportion
from overt.studies.story.config import by_seed, select

RECOVERED = 1e-5  # an error at or below this counts as recovery


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are not there."""
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
        if not _paired(deep, flat):
            return _missing("S1")
        ratio = _ratio(deep, flat, f"error of depth 3 / depth 1, {count} entries")
        drop = _difference(rank3, rank1, f"effective rank of depth 3 − depth 1, {count} entries")
        estimates += [ratio, drop]
        good += [_high(ratio) <= 0.5, _high(drop) < 0]
        bad += [_low(ratio) > 0.5, _low(drop) > 0]
    convex = by_seed(runs, "error", group="depths", method="nuclear_norm", n_observed=2000)
    if not convex:
        return _missing("S1")
    nuclear_error = _median(convex.values(), "error of the minimum nuclear norm, 2000 entries")
    deep_error = _median(_depth_errors(runs, 3, 2000).values(), "error of depth 3, 2000 entries")
    estimates += [deep_error, nuclear_error]
    split = nuclear_error.value > 0.1 > deep_error.value
    at_5000 = by_seed(runs, "error", group="depths", method="nuclear_norm", n_observed=5000)
    remark = f"; with 5000 the minimum nuclear norm has {_say(_middle(at_5000))}" if at_5000 else ""
    reason = (
        f"with 2000 entries depth 3 has a median error of {_say(deep_error.value)}, the minimum nuclear norm "
        f"{_say(nuclear_error.value)}, depth 1 {_say(_middle(_depth_errors(runs, 1, 2000)))}{remark}"
    )
    return Verdict("S1", _outcome(all(good) and split, any(bad) or not split), reason, tuple(estimates))


def explicit(runs: Sequence[Run]) -> Verdict:
    """S2."""
    estimates, reasons, good, bad = [], [], [], []
    for count, bar in ((2000, 0.9), (1500, 0.8)):
        chosen = select(runs, group="depths", method="explicit", n_observed=count)
        best = _best_depth(runs, count)
        if not chosen or not best:
            return _missing("S2")
        hits = 0
        for run in chosen:
            record, rank = run.records[0], run.config["rank"]
            limit = min(RECOVERED, best.get(int(run.config["seed"]), math.inf))
            hits += record["error"] <= limit and record["rank"] == rank
        share = proportion(hits, len(chosen), label=f"share of seeds recovered, {count} entries")
        largest = max(run.records[0]["largest_entry"] for run in chosen)
        estimates.append(share)
        reasons.append(
            f"{hits} of {len(chosen)} seeds with {count} entries (best depth: {_say(_middle(best))}; largest "
            f"entry {largest:.1f} × the largest observed)"
        )
        good.append(share.value >= bar)
        bad.append(_high(share) < bar)
    return Verdict(
        "S2",
        _outcome(all(good), any(bad)),
        "recovered at the exact rank: " + ", ".join(reasons),
        tuple(estimates),
    )


def optimizers(runs: Sequence[Run]) -> Verdict:
    """S3."""
    chosen = select(runs, group="optimizers")
    names = sorted({run.config["optimizer"] for run in chosen})
    if not {"adam", "gd", "momentum"} <= set(names):
        return _missing("S3")
    shares = {name: _best_share([run for run in chosen if run.config["optimizer"] == name]) for name in names}
    works = {name for name, share in shares.items() if share.value >= 2 / 3}
    order = ["adam", "gd", "momentum", *(name for name in names if name not in {"adam", "gd", "momentum"})]
    estimates = tuple(replace(shares[name], label=f"share recovered, {name}") for name in order)
    fails = sorted(set(names) - works)
    reason = f"work: {', '.join(sorted(works)) or 'none'}; do not: {', '.join(fails) or 'none'}"
    holds = "adam" in works and not works & {"gd", "momentum"}
    return Verdict("S3", _outcome(holds, not holds), reason, estimates)


def settings(runs: Sequence[Run]) -> Verdict:
    """S4."""
    by_weight = _medians(select(runs, group="weights"), "weight")
    by_scale = _medians(select(runs, group="inits", method="explicit"), "init_scale")
    deep = _medians(select(runs, group="inits", method="deep"), "init_scale")
    if not by_weight or not by_scale or not deep:
        return _missing("S4")
    window = sorted(weight for weight, error in by_weight.items() if error <= RECOVERED)
    decade = bool(window) and window[-1] / window[0] >= 10 * (1 - 1e-9)
    failing = sorted(scale for scale, error in by_scale.items() if error > RECOVERED)
    largest = max(deep)
    growth = deep[largest] / max(min(deep.values()), 1e-300)
    weights = f"{window[0]:g} to {window[-1]:g}" if window else "none"
    scales = (
        "at every initialization scale"
        if not failing
        else "not at scale " + ", ".join(f"{s:g}" for s in failing)
    )
    reason = (
        f"the explicit route recovers with weights {weights}, and {scales}; depth 3 has "
        f"{_say(deep[largest])} at scale {largest:g} against {_say(min(deep.values()))} at its best"
    )
    decades = math.log10(window[-1] / window[0]) if window else 0.0
    estimates = (
        Estimate("decades of weights that recover", decades, None, None, len(by_weight)),
        Estimate("depth 3: error at scale 1 / at its best", min(growth, 1e300), None, None, len(deep)),
    )
    holds = decade and not failing and growth >= 10
    return Verdict("S4", _outcome(holds, not holds), reason, estimates)


def nuclear(runs: Sequence[Run]) -> Verdict:
    """S5."""
    ours = by_seed(runs, "error", group="nuclear", functional="normalized_nuclear_norm")
    weights = sorted(
        {run.config["weight"] for run in select(runs, group="nuclear", functional="nuclear_norm")}
    )
    theirs = {
        weight: by_seed(runs, "error", group="nuclear", functional="nuclear_norm", weight=weight)
        for weight in weights
    }
    theirs = {weight: errors for weight, errors in theirs.items() if _paired(errors, ours)}
    if not ours or not theirs:
        return _missing("S5")
    best = min(theirs, key=lambda weight: _middle(theirs[weight]))
    ratio = _ratio(theirs[best], ours, "error of the nuclear norm / normalized nuclear norm")
    reason = (
        f"at its best weight ({best:g}) the nuclear norm has a median error of "
        f"{_say(_middle(theirs[best]))}, the normalized one {_say(_middle(ours))}"
    )
    return Verdict("S5", _outcome(_low(ratio) >= 10, _high(ratio) < 10), reason, (ratio,))


def regression(runs: Sequence[Run]) -> Verdict:
    """S6."""
    base = {"group": "regression"}
    distance = by_seed(runs, "to_minimum_norm", method="gd", rank=0, **base)
    floor = by_seed(runs, "minimum_norm_error", method="l1_over_l2", **base)
    ours = by_seed(runs, "error", method="l1_over_l2", **base)
    scales = sorted({run.config["init_scale"] for run in select(runs, method="diagonal", depth=2, **base)})
    if not distance or not floor or not scales:
        return _missing("S6")
    small = by_seed(runs, "error", method="diagonal", depth=2, init_scale=scales[0], **base)
    large = by_seed(runs, "error", method="diagonal", depth=2, init_scale=scales[-1], **base)
    limit = _middle(floor)
    checks = (
        max(distance.values()) <= 1e-6,
        _middle(small) <= 0.1 * limit,
        _middle(ours) <= 0.1 * limit,
        _middle(large) >= 0.5 * limit,
    )
    estimates = (
        _median(ours.values(), "error of ‖w‖₁/‖w‖₂"),
        _median(small.values(), f"error of depth 2 from {scales[0]:g}"),
        _median(large.values(), f"error of depth 2 from {scales[-1]:g}"),
        _median(floor.values(), "error of the minimum norm"),
        _median(distance.values(), "distance of gradient descent to the minimum norm"),
    )
    reason = (
        f"gradient descent ends within {_say(max(distance.values()))} of the minimum norm; median errors: "
        f"minimum norm {_say(limit)}, depth 2 {_say(_middle(small))} from {scales[0]:g} and "
        f"{_say(_middle(large))} from {scales[-1]:g}, ‖w‖₁/‖w‖₂ {_say(_middle(ours))}"
    )
    return Verdict("S6", _outcome(all(checks), not all(checks)), reason, estimates)


def real(runs: Sequence[Run]) -> Verdict:
    """S7."""
    ours = by_seed(runs, "psnr", group="photograph", method="explicit", kept=0.3)
    deep = by_seed(runs, "psnr", group="photograph", method="deep", kept=0.3)
    if not _paired(ours, deep):
        return _missing("S7")
    gain = _difference(ours, deep, "PSNR of the explicit route − depth 3", unit="dB")
    estimates, checks = [gain], [gain.value >= -0.1]
    reason = f"photograph: {_middle(ours):.2f} dB against {_middle(deep):.2f} at depth 3"
    skipped = [run for run in runs if run.skipped and run.config.get("group") == "movielens"]
    rmse = {
        name: by_seed(runs, "test_rmse", group="movielens", method=name)
        for name in ("explicit", "deep", "biases")
    }
    if all(rmse.values()):
        excess = _difference(rmse["explicit"], rmse["deep"], "test RMSE of the explicit route − depth 3")
        estimates.append(excess)
        checks += [excess.value <= 0.005, _middle(rmse["explicit"]) < _middle(rmse["biases"])]
        reason += "; MovieLens u1 test RMSE: " + ", ".join(
            f"{name} {_middle(values):.4f}" for name, values in rmse.items()
        )
    elif skipped:
        reason += f"; MovieLens skipped: {skipped[0].reason}"
    else:
        return _missing("S7")
    return Verdict("S7", _outcome(all(checks), not all(checks)), reason, tuple(estimates))


def cost(runs: Sequence[Run]) -> Verdict:
    """S8."""
    dense = {int(run.config["seed"]): run.records for run in select(runs, group="cost", n_observed=2000)}
    sparse = {int(run.config["seed"]): run.records for run in select(runs, group="cost", n_observed=1500)}
    seeds = sorted(set(dense) & set(sparse))
    if not seeds:
        return _missing("S8")
    deep = [_deep_seconds(dense[seed]) for seed in seeds]
    at_2000 = [_explicit_seconds(dense[seed]) for seed in seeds]
    at_1500 = [_explicit_seconds(sparse[seed]) for seed in seeds]
    wins = [a <= d and b <= 3 * d for a, b, d in zip(at_2000, at_1500, deep, strict=True)]
    estimates = []
    for values, label in ((at_2000, "2000 entries"), (at_1500, "1500 entries")):
        if all(map(math.isfinite, values)):
            name = f"explicit seconds, {label} / fastest deep seconds, 2000 entries"
            estimates.append(_pairs_ratio(values, deep, name))
    never = sum(_reached(dense[seed], deep=True) is None for seed in seeds)
    note = f" (a lower bound in {never} of {len(seeds)} seeds: given up before)" if never else ""
    reason = (
        f"median seconds to 1e-4: explicit {_say(float(np.median(at_2000)))} with 2000 entries and "
        f"{_say(float(np.median(at_1500)))} with 1500; fastest deep network "
        f"{_say(float(np.median(deep)))} with 2000{note}"
    )
    return Verdict("S8", _outcome(all(wins), not any(wins)), reason, tuple(estimates))


# ---- pieces ------------------------------------------------------------------------------------------------


def _reached(records: Iterable[dict[str, Any]], *, deep: bool) -> float | None:
    seconds = [
        record["seconds_0.0001"]
        for record in records
        if record["route"].startswith("depth") == deep and record["seconds_0.0001"] is not None
    ]
    return min(seconds) if seconds else None


def _deep_seconds(records: list[dict[str, Any]]) -> float:
    """Seconds of the fastest deep network; where none got there, the longest that one was given."""
    reached = _reached(records, deep=True)
    if reached is not None:
        return reached
    return max(float(record["total_seconds"]) for record in records if record["route"].startswith("depth"))


def _explicit_seconds(records: list[dict[str, Any]]) -> float:
    reached = _reached(records, deep=False)
    return math.inf if reached is None else reached


def _deep(depth: int, count: int) -> dict[str, Any]:
    return {"group": "depths", "method": "deep", "optimizer": "gd", "depth": depth, "n_observed": count}


def _depth_errors(runs: Sequence[Run], depth: int, count: int) -> dict[int, float]:
    return by_seed(runs, "error", **_deep(depth, count))


def _best_depth(runs: Sequence[Run], count: int) -> dict[int, float]:
    """The smallest error of any depth and optimizer, seed by seed."""
    best: dict[int, float] = {}
    for run in select(runs, group="depths", method="deep", n_observed=count):
        seed = int(run.config["seed"])
        best[seed] = min(best.get(seed, math.inf), float(run.records[0]["error"]))
    return best


def _recovered(run: Run) -> bool:
    record = run.records[0]
    return bool(record["error"] <= RECOVERED and record["rank"] == run.config["rank"])


def _best_share(runs: Sequence[Run]) -> Estimate:
    """The share of seeds recovered at the learning rate where it is largest."""
    shares = []
    for lr in sorted({run.config["lr"] for run in runs}):
        some = [run for run in runs if run.config["lr"] == lr]
        shares.append(proportion(sum(map(_recovered, some)), len(some)))
    return max(shares, key=lambda share: share.value)


def _medians(runs: Sequence[Run], field: str) -> dict[float, float]:
    """For each value of a field the median error over seeds at the best learning rate."""
    found: dict[float, float] = {}
    for value in {run.config[field] for run in runs}:
        rates = {run.config["lr"] for run in runs if run.config[field] == value}
        found[float(value)] = min(_middle(by_seed(runs, "error", lr=lr, **{field: value})) for lr in rates)
    return found


def _paired(first: dict[int, float], second: dict[int, float]) -> bool:
    return bool(first) and set(first) == set(second)


def _ratio(first: dict[int, float], second: dict[int, float], label: str) -> Estimate:
    seeds = sorted(first)
    return _pairs_ratio([first[s] for s in seeds], [second[s] for s in seeds], label)


def _pairs_ratio(first: Sequence[float], second: Sequence[float], label: str) -> Estimate:
    tiny = 1e-16  # an exact recovery has an error of rounding size; zero would make a ratio infinite
    return paired_ratio([max(v, tiny) for v in first], [max(v, tiny) for v in second], label=label)


def _difference(first: dict[int, float], second: dict[int, float], label: str, unit: str = "") -> Estimate:
    seeds = sorted(first)
    return paired_difference([first[s] for s in seeds], [second[s] for s in seeds], label=label, unit=unit)


def _median(values: Iterable[float], label: str) -> Estimate:
    return bootstrap(list(values), label=label)


def _middle(values: dict[int, float]) -> float:
    return float(np.median(list(values.values()))) if values else math.nan


def _low(estimate: Estimate) -> float:
    return estimate.value if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def _say(value: float) -> str:
    return f"{value:.2g}"


def _outcome(holds: bool, fails: bool) -> Outcome:
    return "reproduced" if holds else "not reproduced" if fails else "inconclusive"


def _missing(claim: str) -> Verdict:
    return Verdict(claim, "inconclusive", "the runs that the rule needs are not there")
