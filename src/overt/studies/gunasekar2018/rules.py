"""The verdicts of G1–G5, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from overt.studies import evidence as ev
from overt.studies.base import Run, Verdict
from overt.studies.evidence import by_seed, middle, missing, number, outcome, say, select

EARLY = 30.0  # the margin at which the excess is first looked at
SCALE = 1e-6  # of the initialization, for regression
EXPONENTS = {("convolution", 2): 1.0, ("convolution", 3): 2 / 3, ("full", 2): 2.0, ("full", 3): 2.0}
WITHIN = 0.25


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are not there."""
    rules: tuple[Callable[[Sequence[Run]], Verdict], ...] = (
        full,
        convolution,
        exponents,
        regression,
        explicit,
    )
    return [rule(runs) for rule in rules]


def full(runs: Sequence[Run]) -> Verdict:
    """G1."""
    estimates, good, bad = [], [], []
    for depth in (2, 3):
        here = _settings("full", depth)
        angles, excess = by_seed(runs, "angle_l2", **here), by_seed(runs, "l2_excess", **here)
        if not angles:
            return missing("G1")
        angle = ev.median(angles.values(), f"angle to the ℓ2 margin, depth {depth}, degrees")
        above = ev.median(excess.values(), f"excess of ‖w‖₂ per margin, depth {depth}")
        estimates += [angle, above]
        good.append(angle.value <= 5 and above.value <= 0.01)
        bad.append(ev.low(angle) > 5)
    reason = (
        f"median angle to the support vector machine {estimates[0].value:.2g} degrees at depth 2 and "
        f"{estimates[2].value:.2g} at depth 3"
    )
    return Verdict("G1", outcome(all(good), any(bad)), reason, tuple(estimates))


def convolution(runs: Sequence[Run]) -> Verdict:
    """G2."""
    here = _settings("convolution", 2)
    excess = by_seed(runs, "l1_excess", **here)
    other = by_seed(runs, "l2_solution_l1_excess", **here)
    early = {int(run.config["seed"]): _excess_at(run, EARLY) for run in select(runs, **here)}
    if not ev.paired(excess, other):
        return missing("G2")
    share = ev.ratio(excess, other, "excess of ‖ŵ‖₁ per margin / that of the ℓ2 solution")
    fall = ev.ratio(excess, early, f"excess at the end / at margin {EARLY:g}")
    reason = (
        f"‖ŵ‖₁ per margin is {say(middle(excess))} above its minimum (relative, median) at a margin of "
        f"{say(middle(by_seed(runs, 'margin', **here)))}; {say(middle(early))} at margin {EARLY:g}; ℓ2 "
        f"solution {say(middle(other))}"
    )
    holds = ev.high(share) < 0.5 and ev.high(fall) < 1
    fails = ev.low(share) > 0.5 or ev.low(fall) > 1
    return Verdict("G2", outcome(holds, fails), reason, (share, fall))


def _excess_at(run: Run, margin: float) -> float:
    """The excess of ‖ŵ‖₁ when the margin was first this large; NaN where it never was."""
    path = np.asarray(run.arrays["path"])
    reached = path[path[:, 0] >= margin] if path.size else path
    return number(float(reached[0, 1])) if len(reached) else number(None)


def exponents(runs: Sequence[Run]) -> Verdict:
    """G3."""
    estimates, good, bad, words = [], [], [], []
    for (architecture, depth), expected in EXPONENTS.items():
        here = _settings(architecture, depth)
        values, residuals = by_seed(runs, "exponent", **here), by_seed(runs, "residual", **here)
        if not values:
            return missing("G3")
        name = "convolution" if architecture == "convolution" else "fully connected"
        one = ev.median(values.values(), f"exponent, {name}, depth {depth}")
        estimates.append(one)
        words.append(f"{name} depth {depth} {one.value:.2f}")
        good.append(ev.low(one) >= expected - WITHIN and ev.high(one) <= expected + WITHIN)
        bad.append(ev.high(one) < expected - WITHIN or ev.low(one) > expected + WITHIN)
        if architecture == "convolution":
            residual = ev.median(residuals.values(), f"residual at p = 2/L, depth {depth}")
            estimates.append(residual)
            good.append(residual.value <= 0.1)
            bad.append(ev.low(residual) > 0.1)
    reason = f"measured exponents (medians): {', '.join(words)}; predicted 1, ⅔, 2 and 2"
    return Verdict("G3", outcome(all(good), any(bad)), reason, tuple(estimates))


def regression(runs: Sequence[Run]) -> Verdict:
    """G4."""
    base: dict[str, Any] = {"group": "regress", "init_scale": SCALE}
    short = by_seed(runs, "to_l2", architecture="full", depth=2, **base)
    conv = {
        depth: by_seed(runs, "l1_excess", architecture="convolution", depth=depth, **base) for depth in (2, 3)
    }
    other = by_seed(runs, "l2_solution_l1_excess", architecture="convolution", depth=2, **base)
    if not short or not conv[2] or not conv[3]:
        return missing("G4")
    near = ev.median(short.values(), "distance of the fully connected network to the minimum norm")
    above = [
        ev.median(conv[depth].values(), f"excess of ‖ŵ‖₁, convolution, depth {depth}") for depth in (2, 3)
    ]
    limit = ev.median(other.values(), "excess of ‖ŵ‖₁, minimum norm")
    found = [near, *above]
    reason = (
        f"fully connected within {say(near.value)} of the minimum norm; ‖ŵ‖₁ above its minimum by "
        f"{say(above[0].value)} at depth 2 and {say(above[1].value)} at depth 3 of convolution, by "
        f"{say(limit.value)} for the minimum norm (medians)"
    )
    holds = all(one.value <= 0.05 for one in found) and limit.value > 0.15
    fails = any(ev.low(one) > 0.05 for one in found) or ev.high(limit) < 0.15
    return Verdict("G4", outcome(holds, fails), reason, (*found, limit))


def explicit(runs: Sequence[Run]) -> Verdict:
    """G5."""
    classified = by_seed(runs, "l1_excess", group="explicit", p=1.0)
    regressed = by_seed(runs, "l1_excess", group="explicit_regress", p=1.0)
    ours = by_seed(runs, "bridge", group="explicit", p=2 / 3)
    deep = by_seed(runs, "bridge", **_settings("convolution", 3))
    if not classified or not regressed or not ev.paired(ours, deep):
        return missing("G5")
    first = ev.median(classified.values(), "excess of ‖ŵ‖₁ per margin, penalty p = 1, classification")
    second = ev.median(regressed.values(), "excess of ‖ŵ‖₁, penalty p = 1, regression")
    ratio = ev.ratio(ours, deep, "‖ŵ‖_⅔ per margin, penalty p = ⅔ / depth 3")
    reason = (
        f"with p = 1 ‖ŵ‖₁ is {say(first.value)} above its minimum in classification and {say(second.value)} "
        f"in regression; with p = ⅔ ‖ŵ‖_⅔ per margin is {ratio.value:.3f} times that of depth 3 (medians)"
    )
    holds = first.value <= 0.05 and second.value <= 0.05 and ev.high(ratio) <= 1.05
    fails = ev.low(first) > 0.05 or ev.low(second) > 0.05 or ev.low(ratio) > 1.05
    return Verdict("G5", outcome(holds, fails), reason, (first, second, ratio))


def _settings(architecture: str, depth: int) -> dict[str, Any]:
    return {"group": "classify", "architecture": architecture, "depth": depth, "loss": "exponential"}
