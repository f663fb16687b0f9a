"""The verdicts of P1–P7, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from overt.studies import evidence as ev
from overt.studies.base import Estimate, Run, Verdict
from overt.studies.evidence import middle, missing, outcome, say
from overt.studies.proxies.functionals import PAIRS, PROXIES
from overt.studies.proxies.tried import errors, shares, steps, windows

__all__ = ["judge"]

OURS = "nuclear / F"
BLIND = [name for name, proxy in PROXIES.items() if not proxy.told_rank]
RIVALS = [name for name in BLIND if name != OURS]
HALF = 0.5
FOUND, WORKS = 0.1, 0.05  # an error at which the matrix has been found; one at which a proxy works
DECADE, MARGIN = 1.0, 0.5  # of weights
SLOWER = 2.0


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are not there."""
    rules: tuple[Callable[[Sequence[Run]], Verdict], ...] = (
        nuclear,
        others,
        pick,
        optimizers,
        weights,
        initialization,
        cost,
    )
    return [rule(runs) for rule in rules]


def gain(runs: Sequence[Run], plain: str, optimizer: str = "adam") -> Estimate | None:
    """Error of the normalized form over that of the plain one; None without runs of both."""
    first, second = errors(runs, PAIRS[plain], optimizer), errors(runs, plain, optimizer)
    if not ev.paired(first, second):
        return None
    return ev.ratio(first, second, f"error of {PAIRS[plain]}, relative to {plain}")


def nuclear(runs: Sequence[Run]) -> Verdict:
    """P1."""
    found = gain(runs, "nuclear")
    if found is None:
        return missing("P1")
    ours, plain = (say(middle(errors(runs, name))) for name in (OURS, "nuclear"))
    reason = f"median errors: {ours} normalized, {plain} plain"
    return Verdict("P1", outcome(ev.high(found) <= HALF, ev.low(found) > HALF), reason, (found,))


def others(runs: Sequence[Run]) -> Verdict:
    """P2."""
    found = {plain: gain(runs, plain) for plain in PAIRS if plain != "nuclear"}
    there = {plain: one for plain, one in found.items() if one is not None}
    if len(there) < len(found):
        return missing("P2")
    yes = [plain for plain, one in there.items() if ev.high(one) <= HALF]
    no = [plain for plain, one in there.items() if ev.low(one) > HALF]
    parts = ", ".join(
        f"{plain} {say(middle(errors(runs, plain)))} → {say(middle(errors(runs, PAIRS[plain])))}"
        for plain in there
    )
    reason = f"normalizing helps {len(yes)} of {len(there)}; median errors plain → normalized: {parts}"
    return Verdict("P2", outcome(len(yes) >= 3, len(no) >= 2), reason, tuple(there.values()))


def pick(runs: Sequence[Run]) -> Verdict:
    """P3."""
    ours = errors(runs, OURS)
    found = {name: errors(runs, name) for name in RIVALS}
    if not all(ev.paired(other, ours) for other in found.values()):
        return missing("P3")
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
    return Verdict("P3", outcome(near and small, fails), reason, tuple(estimates.values()))


def optimizers(runs: Sequence[Run]) -> Verdict:
    """P4."""
    works: dict[str, list[str]] = {}
    for optimizer in ("adam", "gd", "muon"):
        found = {name: errors(runs, name, optimizer) for name in BLIND}
        if not all(found.values()):
            return missing("P4")
        works[optimizer] = [name for name, values in found.items() if middle(values) <= WORKS]
    holds = len(works["adam"]) >= 3 and not works["gd"] and not works["muon"]
    reason = "work: " + "; ".join(f"{name}: {', '.join(some) or 'none'}" for name, some in works.items())
    estimates = tuple(
        Estimate(f"proxies that work under {name}", float(len(some)), None, None, len(BLIND))
        for name, some in works.items()
    )
    return Verdict("P4", outcome(holds, not holds), reason, estimates)


def weights(runs: Sequence[Run]) -> Verdict:
    """P5."""
    ours = windows(runs, OURS, FOUND)
    found = {name: windows(runs, name, FOUND) for name in RIVALS}
    if not all(ev.paired(other, ours) for other in found.values()):
        return missing("P5")
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
    return Verdict("P5", outcome(holds, fails), reason, (width, *gaps.values()))


def initialization(runs: Sequence[Run]) -> Verdict:
    """P6."""
    ours = shares(runs, OURS, FOUND)
    if not ours:
        return missing("P6")
    share = ev.median(ours.values(), f"share of the initialization scales at which {OURS} works")
    others_ = {name: middle(shares(runs, name, FOUND)) for name in RIVALS}
    parts = ", ".join(f"{name} {value:.2g}" for name, value in others_.items() if math.isfinite(value))
    reason = f"median share of the scales: {share.value:.2g}; the others: {parts or 'not run'}"
    return Verdict("P6", outcome(ev.low(share) >= 1.0, ev.high(share) < 1.0), reason, (share,))


def cost(runs: Sequence[Run]) -> Verdict:
    """P7."""
    ours = steps(runs, OURS)
    found = {name: other for name in RIVALS if ev.paired(other := steps(runs, name), ours)}
    if not found:
        return missing("P7")
    fastest = min(sorted(found), key=lambda name: middle(found[name]))
    ratio = ev.ratio(ours, found[fastest], f"steps to an error of 0.1, {OURS} relative to {fastest}")
    reason = (
        f"median share of the budget: {OURS} {_budget(ours)}, the fastest other, {fastest}, "
        f"{_budget(found[fastest])}"
    )
    return Verdict("P7", outcome(ev.high(ratio) <= SLOWER, ev.low(ratio) > SLOWER), reason, (ratio,))


def _budget(values: dict[int, float]) -> str:
    value = middle(values)
    return f"{value:.2g}" if math.isfinite(value) else "never"
