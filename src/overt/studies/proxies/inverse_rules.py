"""The verdicts of I1–I7, as pure functions of stored runs. The rules in words are in ``inverse_claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import count, missing, outcome, repetitions, say, select
from overt.studies.claims.rule import Guard, ended, judged
from overt.studies.proxies.inverse_claims import LARGE, SMALL, STATIONARY, TINY

SCHATTEN = "schatten_norm"
FIT = 1e-4  # relative loss: the residual of 1 % at which infer_penalty warns
# The depths, optimizers and initialization scales that each claim is about.
RESTS_ON: dict[str, tuple[tuple[int, str, float], ...]] = {
    "I1": ((1, "gd", SMALL),),
    "I2": ((2, "gd", TINY),),
    "I3": ((1, "gd", SMALL), (2, "gd", SMALL), (4, "gd", SMALL)),
    "I4": ((3, "gd", SMALL), (4, "gd", SMALL)),
    "I5": ((3, "gd", SMALL),),
    "I6": ((2, "gd", LARGE), (2, "gd", SMALL)),
    "I7": ((2, "adam", SMALL), (2, "gd", SMALL)),
}
INVARIANT = ("normalized_schatten_norm", "effective_rank", "stable_rank")

Record = dict[str, Any]


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "I1": frobenius,
        "I2": nuclear,
        "I3": exponent,
        "I4": no_norm,
        "I5": invariant,
        "I6": large,
        "I7": adam,
    }
    return judged(rules, runs, {claim: _guard(claim) for claim in rules})


def _guard(claim: str) -> Guard:
    """Networks must have fitted the data; the few that have not are without an answer."""

    def done(run: Run) -> bool | None:
        config = run.config
        if config["group"] != "inverse":
            return None
        here = (config["depth"], config["optimizer"], config["init_scale"])
        return ended(run, FIT) if here in RESTS_ON[claim] else None

    return Guard(done, f"ended before they fitted the data (relative loss above {FIT:g})", ("best",))


def _lacking(claim: str, runs: Sequence[Run]) -> Verdict:
    """The verdict without the runs, or without an answer from them."""
    chosen = select(runs, group="inverse")
    names = ("depth", "optimizer", "init_scale")
    wanted: dict[str, Any] = {
        name: tuple(dict.fromkeys(setting[place] for setting in RESTS_ON[claim]))
        for place, name in enumerate(names)
    }
    return missing(claim, chosen, **wanted)


def answers(
    runs: Sequence[Run],
    of: Callable[[Record], float],
    depth: int,
    optimizer: str = "gd",
    scale: float = SMALL,
) -> dict[int, float]:
    """One number per seed, of runs that have an answer: fitted, and not determined by their data."""
    chosen = repetitions(select(runs, group="inverse", depth=depth, optimizer=optimizer, init_scale=scale))
    found = {}
    for run in chosen:
        record = run.records[0]
        if record.get("best"):
            found[int(run.config["seed"])] = of(record)
    return {seed: value for seed, value in found.items() if not math.isnan(value)}


def ratio_at(record: Record, p: float) -> float:
    """The ratio of one Schatten norm."""
    return next((m["ratio"] for m in record["members"] if m["name"] == SCHATTEN and m["p"] == p), math.nan)


def lowest(record: Record, *names: str) -> float:
    """The lowest ratio of some functionals, of all where none is named."""
    ratios = [m["ratio"] for m in record["members"] if not names or m["name"] in names]
    return min((value for value in ratios if not math.isnan(value)), default=math.nan)


def best_p(record: Record) -> float:
    """The best exponent of the Schatten family."""
    return float(record["p"])


def _judged(claim: str, estimates: Sequence[Estimate], holds: bool, fails: bool, more: str = "") -> Verdict:
    words = "; ".join(f"{one.label}: {say(one.value)} over {count(one.n, 'seed')}" for one in estimates)
    return Verdict(claim, outcome(holds, fails), words + more, tuple(estimates))


def frobenius(runs: Sequence[Run]) -> Verdict:
    """I1."""
    ratios = answers(runs, lambda r: ratio_at(r, 2.0), 1)
    exponents = answers(runs, best_p, 1)
    if not ratios or not ev.paired(ratios, exponents):
        return _lacking("I1", runs)
    ratio = ev.median(ratios.values(), "ratio of the Frobenius norm at depth 1")
    hits = sum(p == 2 for p in exponents.values())
    holds = hits == len(exponents) and ev.high(ratio) < STATIONARY
    fails = ev.low(ratio) > STATIONARY or 2 * hits < len(exponents)
    return _judged("I1", [ratio], holds, fails, f"; p = 2 is best in {hits} of {len(exponents)}")


def nuclear(runs: Sequence[Run]) -> Verdict:
    """I2."""
    ratios = answers(runs, lambda r: ratio_at(r, 1.0), 2, scale=TINY)
    if not ratios:
        return _lacking("I2", runs)
    ratio = ev.median(ratios.values(), "ratio of the nuclear norm at depth 2")
    p = ev.median(answers(runs, best_p, 2, scale=TINY).values() or [math.inf], "best exponent at depth 2")
    return _judged("I2", [ratio, p], ev.high(ratio) < STATIONARY, ev.low(ratio) > STATIONARY)


def exponent(runs: Sequence[Run]) -> Verdict:
    """I3."""
    p = {depth: answers(runs, best_p, depth) for depth in (1, 2, 4)}
    estimates = []
    for shallow, deep in ((1, 2), (2, 4)):
        seeds = set(p[shallow]) & set(p[deep])
        if not seeds:
            return _lacking("I3", runs)
        first, second = ({s: p[d][s] for s in seeds} for d in (deep, shallow))
        estimates.append(ev.difference(first, second, f"exponent of depth {deep} − depth {shallow}"))
    still = all(one.low == one.high == 0 for one in estimates)
    holds = all(ev.high(one) < 0 for one in estimates)
    return _judged("I3", estimates, holds, still or any(ev.low(one) > 0 for one in estimates))


def no_norm(runs: Sequence[Run]) -> Verdict:
    """I4."""
    estimates = []
    for depth in (3, 4):
        ratios = answers(runs, lambda r: lowest(r, SCHATTEN), depth)
        if not ratios:
            return _lacking("I4", runs)
        estimates.append(ev.median(ratios.values(), f"lowest ratio of a Schatten norm at depth {depth}"))
    holds = all(ev.low(one) > STATIONARY for one in estimates)
    return _judged("I4", estimates, holds, any(ev.high(one) < STATIONARY for one in estimates))


def invariant(runs: Sequence[Run]) -> Verdict:
    """I5."""
    first = answers(runs, lambda r: lowest(r, *INVARIANT), 3)
    second = answers(runs, lambda r: lowest(r, SCHATTEN), 3)
    if not ev.paired(first, second):
        return _lacking("I5", runs)
    quotient = ev.ratio(
        first, second, "lowest ratio at depth 3, scale-invariant functionals over norms", "high"
    )
    return _judged("I5", [quotient], ev.high(quotient) < 1, ev.low(quotient) > 1)


def large(runs: Sequence[Run]) -> Verdict:
    """I6."""
    return _quotient("I6", runs, answers(runs, lowest, 2, scale=LARGE), answers(runs, lowest, 2), 2.0)


def adam(runs: Sequence[Run]) -> Verdict:
    """I7."""
    first, second = (answers(runs, lambda r: ratio_at(r, 1.0), 2, name) for name in ("adam", "gd"))
    return _quotient("I7", runs, first, second, 1.0)


def _quotient(
    claim: str, runs: Sequence[Run], first: dict[int, float], second: dict[int, float], bar: float
) -> Verdict:
    seeds = set(first) & set(second)
    if not seeds:
        return _lacking(claim, runs)
    a, b = ({seed: values[seed] for seed in seeds} for values in (first, second))
    words = {"I6": "lowest ratio, scale 0.3 over 1e-3", "I7": "ratio of the nuclear norm, Adam over GD"}
    quotient = ev.ratio(a, b, words[claim], "low")
    return _judged(claim, [quotient], ev.low(quotient) > bar, ev.high(quotient) < bar)
