"""The verdicts L1–L4, as a pure function of stored runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import (
    count,
    middle,
    missing,
    number,
    outcome,
    repetitions,
    say,
    select,
    usual,
)
from overt.studies.claims.numbers import short
from overt.studies.claims.rule import Guard, judged
from overt.studies.claims.statistics import proportion


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """One verdict for each claim."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "L1": greedy,
        "L2": plateaus,
        "L3": depths,
        "L4": path,
    }
    return judged(rules, runs, {claim: _guard(claim) for claim in rules})


def _guard(claim: str) -> Guard:
    """A flow must have come to its wanted loss, a path to a better fit than any matrix of lower rank."""
    if claim == "L4":
        words = "fit nowhere better than a matrix of lower rank"
        return Guard(lambda run: _fits(run) if run.config["group"] == "path" else None, words)

    def done(run: Run) -> bool | None:
        asked = run.config["group"] == "flow" and (claim != "L1" or run.config["depth"] == 2)
        return run.records[0]["status"] == "converged" if asked else None

    words = "were stopped before they came to the wanted loss"
    return Guard(done, words, ("distances", "plateaus", "nearest_losses", "excess"))


def _fits(run: Run) -> bool:
    fit = min(number(record["loss"]) for record in run.records)
    return fit <= float(run.records[0]["critical_losses"][-2])


def greedy(runs: Sequence[Run]) -> Verdict:
    """L1: depth 2 passes by the greedy algorithm's points."""
    scales = _scales(runs, 2)
    if not scales:
        return missing("L1", select(runs, group="flow"), depth=2)
    if len(scales) < 2:
        return missing("L1", reason=_one_scale(scales))
    small, large = _distances(runs, 2, scales[0]), _distances(runs, 2, scales[-1])
    if not ev.paired(small, large):
        return missing("L1")
    chosen = _flows(runs, 2, scales[0])
    hits = sum(passes(run) for run in chosen)
    share = proportion(hits, len(chosen), label=f"share of seeds that pass all points, from {scales[0]:g}")
    gap = ev.ratio(small, large, f"distance to the points from {scales[0]:g} / from {scales[-1]:g}", "high")
    reason = (
        f"from {short(scales[0])}, {hits} of {count(len(chosen), 'seed')} pass all critical points in order; "
        f"median distance {say(middle(small))} against {say(middle(large))} from {short(scales[-1])}"
    )
    holds = share.value >= 0.8 and ev.high(gap) <= 0.5
    return Verdict("L1", outcome(holds, share.value < 0.5 or ev.low(gap) > 0.5), reason, (share, gap))


def passes(run: Run, near: float = 0.05) -> bool:
    """Whether a flow comes within ``near`` of every critical point, in the order of their ranks."""
    record = run.records[0]
    times = record["nearest_times"]
    ordered = all(a < b for a, b in pairwise(times))
    return ordered and all(number(distance) <= near for distance in record["distances"])


def plateaus(runs: Sequence[Run]) -> Verdict:
    """L2: the loss rests at the critical points' losses, the longer the smaller the initialization."""
    estimates: list[Estimate] = []
    reasons, good, bad = [], [], []
    for depth in (2, 3, 4):
        scales = _scales(runs, depth)
        if not scales:
            return missing("L2", select(runs, group="flow"), depth=(2, 3, 4))
        if len(scales) < 2:
            return missing("L2", reason=_one_scale(scales))
        small, large = (
            {int(run.config["seed"]): _mean(run.records[0]["plateaus"]) for run in _flows(runs, depth, scale)}
            for scale in (scales[0], scales[-1])
        )
        if not ev.paired(small, large):
            return missing("L2")
        chosen = _flows(runs, depth, scales[0])
        rests = sum(map(_rests, chosen))
        share = proportion(rests, len(chosen), label=f"share of seeds at the points' losses, depth {depth}")
        longer = _long_ratio(
            small, large, f"plateaus from {scales[0]:g} / from {scales[-1]:g}, depth {depth}"
        )
        estimates += [longer, share]
        good += [ev.low(longer) >= 2, share.value >= 0.8]
        bad += [ev.high(longer) < 2, share.value < 0.5]
        reasons.append(
            f"depth {depth}: plateaus {say(longer.value)} times as long from "
            f"{short(scales[0])} as from {short(scales[-1])}, {rests} of {count(len(chosen), 'seed')} at "
            "the points' losses"
        )
    return Verdict("L2", outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def _rests(run: Run) -> bool:
    record = run.records[0]
    pairs = list(zip(record["nearest_losses"], record["critical_losses"], strict=True))[:-1]
    return all(abs(number(loss) - level) <= 0.1 * level for loss, level in pairs)


def depths(runs: Sequence[Run], scale: float = 1e-3) -> Verdict:
    """L3: depths 3 and 4 against depth 2 at one practical scale."""
    estimates, reasons, good, bad = [], [], [], []
    scale = usual(select(runs, group="flow"), "init_scale", scale)
    shallow = _distances(runs, 2, scale)
    rest = _excess(runs, 2, scale)
    for depth in (3, 4):
        deep, left = _distances(runs, depth, scale), _excess(runs, depth, scale)
        if not ev.paired(deep, shallow):
            return missing("L3", select(runs, group="flow"), depth=(2, 3, 4), init_scale=scale)
        nearer = ev.ratio(deep, shallow, f"distance to the points, depth {depth} / 2", "high")
        lower = ev.ratio(left, rest, f"singular value behind the rank, depth {depth} / 2", "high")
        estimates += [nearer, lower]
        good += [ev.high(one) <= 0.5 for one in (nearer, lower)]
        bad += [ev.low(one) > 0.5 for one in (nearer, lower)]
        reasons.append(f"depth {depth} {say(middle(deep))}")
    reason = (
        f"from {short(scale)} median distances: depth 2 {say(middle(shallow))}, {', '.join(reasons)}; median "
        f"singular value behind the rank: depth 2 {say(middle(rest))}, depth 4 {say(middle(left))}"
    )
    return Verdict("L3", outcome(all(good), any(bad)), reason, tuple(estimates))


def path(runs: Sequence[Run]) -> Verdict:
    """L4: the penalty's path over its weight."""
    made = select(runs, group="path")
    chosen = repetitions([run for run in made if len(run.records) > 1])
    if not chosen:
        return missing("L4", reason="a path has two weights or more" if made else "")
    followed, nearest = [], []
    for run in chosen:
        rows = [record["distances"] for record in trained(run)]
        closest = [min(number(far) for far in column) for column in zip(*rows, strict=True)]
        nearest.append(max(closest))
        followed.append(climbs(run) and max(closest) <= 0.2)
    share = proportion(sum(followed), len(followed), label="share of seeds whose path passes the points")
    far = ev.median(nearest, "distance of the path to its farthest point")
    reason = (
        f"{sum(followed)} of {count(len(followed), 'seed')} go through the ranks in order and within 0.2 of "
        f"each critical point; the point that the path misses most is {say(far.value)} away in the median"
    )
    return Verdict("L4", outcome(share.value >= 0.8, share.value < 0.5), reason, (share, far))


def trained(run: Run) -> list[dict[str, Any]]:
    """The records of a path, from the largest weight on, without those that were stopped on their way.

    Among minimizers the loss never rises as the weight falls; where it is higher than at a larger weight, by
    more than a tenth, training at that weight had not ended.
    """
    kept: list[dict[str, Any]] = []
    least = math.inf
    for record in sorted(run.records, key=lambda record: -float(record["weight"])):
        loss = number(record["loss"])
        if loss <= 1.1 * least:
            kept.append(record)
        least = min(least, loss)
    return kept


def climbs(run: Run) -> bool:
    """Whether the rank takes each value up to the true one before it exceeds it, as the weight falls."""
    rank = int(run.config["rank"])
    seen: list[int] = []
    for record in trained(run):
        value = int(record["rank"])
        if value > rank:
            break
        if not seen or value != seen[-1]:
            seen.append(value)
    return seen == list(range(1, rank + 1))


# ---- which runs ------------------------------------------------------------------------------------


def _flows(runs: Sequence[Run], depth: int, scale: float) -> list[Run]:
    return list(repetitions(select(runs, group="flow", depth=depth, init_scale=scale)))


def _one_scale(scales: Sequence[float]) -> str:
    return f"the rule compares values of init_scale; the runs have init_scale {short(scales[0])}"


def _scales(runs: Sequence[Run], depth: int) -> list[float]:
    return sorted({float(run.config["init_scale"]) for run in select(runs, group="flow", depth=depth)})


def _distances(runs: Sequence[Run], depth: int, scale: float) -> dict[int, float]:
    """The mean distance, seed by seed."""
    return {int(run.config["seed"]): mean_distance(run) for run in _flows(runs, depth, scale)}


def mean_distance(run: Run) -> float:
    """The geometric mean of a flow's smallest distances to the saddles: all critical points but the last,
    to which every flow that fits the data comes."""
    return _mean(run.records[0]["distances"][:-1])


def _excess(runs: Sequence[Run], depth: int, scale: float) -> dict[int, float]:
    return {int(run.config["seed"]): number(run.records[0]["excess"]) for run in _flows(runs, depth, scale)}


def _mean(values: Sequence[float | None]) -> float:
    """The geometric mean; a value that is not positive counts as tiny."""
    logs = [math.log(max(number(value), ev.SMALLEST)) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs and all(map(math.isfinite, logs)) else math.inf


def _long_ratio(first: dict[int, float], second: dict[int, float], label: str) -> Estimate:
    """The median ratio of times, which may be far larger than errors can be."""
    unit = max([*(value for value in second.values() if math.isfinite(value)), 1e-300])
    floor = 1e-9 * unit
    scaled = [{seed: max(value, floor) / unit for seed, value in some.items()} for some in (first, second)]
    return ev.ratio(scaled[0], scaled[1], label, "low")
