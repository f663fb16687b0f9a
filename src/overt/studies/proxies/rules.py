"""The verdicts of P1–P7, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import middle, missing, outcome, say, select
from overt.studies.claims.rule import judged
from overt.studies.proxies.functionals import PAIRS, PROXIES
from overt.studies.proxies.tried import errors, shares, steps, stopped, windows

__all__ = ["judge"]

OURS = "nuclear / F"
BLIND = [name for name, proxy in PROXIES.items() if not proxy.told_rank]
RIVALS = [name for name in BLIND if name != OURS]
HALF = 0.5
FOUND, WORKS = 0.1, 0.05  # an error at which the matrix has been found; one at which a proxy works
DECADE, MARGIN = 1.0, 0.5  # of weights
SLOWER = 2.0
NEVER = 1e3  # budgets that a run takes which never gets there


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "P1": nuclear,
        "P2": others,
        "P3": pick,
        "P4": optimizers,
        "P5": weights,
        "P6": initialization,
        "P7": cost,
    }
    return judged(rules, runs, {})


def _asked(
    runs: Sequence[Run], verdict: Verdict, names: Sequence[str], baselines: Sequence[str] = ()
) -> Verdict:
    """The verdict, or *inconclusive* where a proxy that it compares has not fitted the data."""
    if not (early := stopped(runs, [*names, *baselines], baselines=baselines)):
        return verdict
    reason = f"did not fit the data: {', '.join(early)}; as they are: {verdict.reason}"
    return replace(verdict, outcome="inconclusive", reason=reason)


def _lacking(claim: str, runs: Sequence[Run], names: Sequence[str]) -> Verdict:
    return missing(claim, select(runs, group="penalties", optimizer="adam"), proxy=tuple(names))


def _no_windows(claim: str, runs: Sequence[Run], what: str) -> Verdict:
    """The verdict where there are runs and none that walk along weights or scales."""
    made = select(runs, group="penalties", optimizer="adam")
    if made and not any(run.config["window_seeds"] for run in made):
        why = f"no run tries several {what} (window_seeds is 0, as in the preset quick)"
        return missing(claim, reason=why)
    return _lacking(claim, runs, BLIND)


def gain(runs: Sequence[Run], plain: str, optimizer: str = "adam") -> Estimate | None:
    """Error of the normalized form over that of the plain one; None without runs of both."""
    first, second = errors(runs, PAIRS[plain], optimizer), errors(runs, plain, optimizer)
    if not ev.paired(first, second):
        return None
    return ev.ratio(first, second, f"error of {PAIRS[plain]}, relative to {plain}", "high")


def nuclear(runs: Sequence[Run]) -> Verdict:
    """P1."""
    found = gain(runs, "nuclear")
    if found is None:
        return _lacking("P1", runs, [OURS, "nuclear"])
    ours, plain = (say(middle(errors(runs, name))) for name in (OURS, "nuclear"))
    reason = f"median errors: {ours} normalized, {plain} plain"
    verdict = Verdict("P1", outcome(ev.high(found) <= HALF, ev.low(found) > HALF), reason, (found,))
    return _asked(runs, verdict, [OURS], ["nuclear"])


def others(runs: Sequence[Run]) -> Verdict:
    """P2."""
    found = {plain: gain(runs, plain) for plain in PAIRS if plain != "nuclear"}
    there = {plain: one for plain, one in found.items() if one is not None}
    if len(there) < len(found):
        return _lacking("P2", runs, [*found, *(PAIRS[plain] for plain in found)])
    yes = [plain for plain, one in there.items() if ev.high(one) <= HALF]
    no = [plain for plain, one in there.items() if ev.low(one) > HALF]
    parts = ", ".join(
        f"{plain} {say(middle(errors(runs, plain)))} → {say(middle(errors(runs, PAIRS[plain])))}"
        for plain in there
    )
    reason = f"normalizing helps {len(yes)} of {len(there)}; median errors plain → normalized: {parts}"
    verdict = Verdict("P2", outcome(len(yes) >= 3, len(no) >= 2), reason, tuple(there.values()))
    return _asked(runs, verdict, [PAIRS[plain] for plain in there], list(there))


def pick(runs: Sequence[Run]) -> Verdict:
    """P3."""
    ours = errors(runs, OURS)
    found = {name: errors(runs, name) for name in RIVALS}
    if not all(ev.paired(other, ours) for other in found.values()):
        return _lacking("P3", runs, BLIND)
    estimates = {
        name: ev.ratio(other, ours, f"error of {name}, relative to {OURS}") for name, other in found.items()
    }
    better = [name for name, one in estimates.items() if ev.high(one) <= HALF]
    near = all(ev.low(one) > HALF for one in estimates.values())
    small = middle(ours) <= FOUND
    order = sorted([*found, OURS], key=lambda name: middle(errors(runs, name)))
    reason = "median errors: " + ", ".join(f"{name} {say(middle(errors(runs, name)))}" for name in order)
    if better:
        reason += f"; clearly better: {', '.join(better)}"
    fails = bool(better) or not small
    return _asked(
        runs, Verdict("P3", outcome(near and small, fails), reason, tuple(estimates.values())), BLIND
    )


def optimizers(runs: Sequence[Run]) -> Verdict:
    """P4."""
    works: dict[str, list[str]] = {}
    undecided: dict[str, list[str]] = {}
    for optimizer in ("adam", "gd", "muon"):
        found = {name: errors(runs, name, optimizer) for name in BLIND}
        if not all(found.values()):
            some = select(runs, group="penalties")
            return missing("P4", some, optimizer=("adam", "gd", "muon"), proxy=tuple(BLIND))
        levels = {name: ev.median(values.values(), name) for name, values in found.items()}
        early = stopped(runs, BLIND, optimizer)
        works[optimizer] = [name for name, one in levels.items() if ev.high(one) <= WORKS]
        undecided[optimizer] = [
            name
            for name, one in levels.items()
            if name not in works[optimizer] and (ev.low(one) <= WORKS or name in early)
        ]
    others_ = [*works["gd"], *works["muon"]]
    holds = len(works["adam"]) >= 3 and not (others_ or undecided["gd"] or undecided["muon"])
    fails = len(works["adam"]) + len(undecided["adam"]) < 3 or bool(others_)
    parts = [
        f"{name}: {', '.join(some) or 'none'}"
        + (f" (undecided: {', '.join(undecided[name])})" if undecided[name] else "")
        for name, some in works.items()
    ]
    estimates = tuple(
        Estimate(f"proxies that work under {name}", float(len(some)), None, None, len(BLIND))
        for name, some in works.items()
    )
    return Verdict("P4", outcome(holds, fails), "work: " + "; ".join(parts), estimates)


def weights(runs: Sequence[Run]) -> Verdict:
    """P5."""
    ours = windows(runs, OURS, FOUND)
    found = {name: windows(runs, name, FOUND) for name in RIVALS}
    if not all(ev.paired(other, ours) for other in found.values()):
        return _no_windows("P5", runs, "weights")
    width = ev.median(ours.values(), f"decades of weights, {OURS}")
    gaps = {
        name: ev.difference(ours, other, f"decades of weights, {OURS} − {name}", "decades")
        for name, other in found.items()
    }
    wide = width.value >= DECADE
    holds = wide and all(ev.low(one) >= -MARGIN for one in gaps.values())
    fails = not wide or any(ev.high(one) < -MARGIN for one in gaps.values())
    order = sorted([*found, OURS], key=lambda name: -middle(windows(runs, name, FOUND)))
    reason = "median decades: " + ", ".join(
        f"{name} {middle(windows(runs, name, FOUND)):.1f}" for name in order
    )
    return _asked(runs, Verdict("P5", outcome(holds, fails), reason, (width, *gaps.values())), BLIND)


def initialization(runs: Sequence[Run]) -> Verdict:
    """P6."""
    ours = shares(runs, OURS, FOUND)
    if not ours:
        return _no_windows("P6", runs, "initialization scales")
    share = ev.median(ours.values(), f"share of the initialization scales at which {OURS} works")
    others_ = {name: middle(shares(runs, name, FOUND)) for name in RIVALS}
    parts = ", ".join(f"{name} {say(value)}" for name, value in others_.items() if math.isfinite(value))
    reason = f"median share of the scales: {say(share.value)}; the others: {parts or 'not run'}"
    verdict = Verdict("P6", outcome(ev.low(share) >= 1.0, ev.high(share) < 1.0), reason, (share,))
    return _asked(runs, verdict, [OURS])


def cost(runs: Sequence[Run]) -> Verdict:
    """P7."""
    ours = steps(runs, OURS)
    found = {name: other for name in RIVALS if ev.paired(other := steps(runs, name), ours)}
    if not found:
        return _lacking("P7", runs, BLIND)
    fastest = min(sorted(found), key=lambda name: middle(found[name]))
    if not math.isfinite(min(middle(ours), middle(found[fastest]))):
        return missing(
            "P7", reason="no proxy that is not told the rank reaches an error of 0.1 in most seeds"
        )
    first, second = (
        {seed: min(share, NEVER) for seed, share in one.items()} for one in (ours, found[fastest])
    )
    ratio = ev.ratio(first, second, f"steps to an error of 0.1, {OURS} relative to {fastest}")
    reason = (
        f"median share of the budget: {OURS} {_budget(ours)}, the fastest other, {fastest}, "
        f"{_budget(found[fastest])}"
    )
    return Verdict("P7", outcome(ev.high(ratio) <= SLOWER, ev.low(ratio) > SLOWER), reason, (ratio,))


def _budget(values: dict[int, float]) -> str:
    value = middle(values)
    return say(value) if math.isfinite(value) else "never"
