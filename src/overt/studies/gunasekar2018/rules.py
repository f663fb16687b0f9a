"""The verdicts of G1–G5, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from overt.studies.base import Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import by_seed, count, middle, missing, number, outcome, say, select, usual
from overt.studies.claims.numbers import listed
from overt.studies.claims.rule import Guard, diverged, ended, judged

EARLY = 30.0  # the margin at which the excess is first looked at
SCALE = 1e-6  # of the initialization, for regression
WITHIN = 0.25
# Relative losses of regression at which norms of the solution nearby mean something: for a network a residual
# of 1e-3, for a penalty, whose bias stays, a residual of the bar itself.
FIT, FIT_OF_PENALTY = 1e-6, 0.05**2
ARCHITECTURES = ("convolution", "full")
NAMES = {"convolution": "convolution", "full": "fully connected"}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "G1": full,
        "G2": convolution,
        "G3": exponents,
        "G4": regression,
        "G5": explicit,
    }
    return judged(rules, runs, {claim: _guard(claim, runs) for claim in rules})


def _guard(claim: str, runs: Sequence[Run]) -> Guard:
    """Networks must have separated the data by a margin of 30 (a loss of 1e-13), or fitted it."""
    loss, scale = judged_loss(runs), judged_scale(runs)
    fields = ("angle_l2", "l1_excess", "l2_excess", "exponent", "residual", "to_l2", "bridge")

    def done(run: Run) -> bool | None:
        config, record = run.config, run.records[0]
        network = (config["architecture"], config["depth"])
        if config["group"] == "classify" and config["loss"] == loss:
            asked = {
                "G1": network[0] == "full",
                "G2": network == ("convolution", 2),
                "G3": True,
                "G5": network == ("convolution", 3),
            }
            if asked.get(claim, False):
                return diverged(run) or number(record["margin"], 0.0) >= EARLY
        if claim == "G4" and config["group"] == "regress" and config["init_scale"] == scale:
            return ended(run, FIT)
        if claim == "G5" and config["group"] == "explicit_regress":
            return ended(run, FIT_OF_PENALTY)
        return None

    words = {"G4": f"ended before they fitted the data (relative loss above {FIT:g})"}
    return Guard(done, words.get(claim, f"ended below a margin of {EARLY:g}, or far from the data"), fields)


def judged_loss(runs: Sequence[Run]) -> str:
    """The loss that networks are judged at: exponential where it was run."""
    return str(usual(select(runs, group="classify"), "loss", "exponential"))


def judged_scale(runs: Sequence[Run]) -> float:
    """The initialization scale that regression is judged at."""
    return float(usual(select(runs, group="regress"), "init_scale", SCALE))


def networks(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """Architectures and depths of classification, in the order of figures."""
    there = {
        (str(run.config["architecture"]), int(run.config["depth"])) for run in select(runs, group="classify")
    }
    return [one for kind in ARCHITECTURES for one in sorted(there) if one[0] == kind]


def predicted(architecture: str, depth: int) -> float:
    """The exponent that theory predicts."""
    return 2 / depth if architecture == "convolution" else 2.0


def full(runs: Sequence[Run]) -> Verdict:
    """G1."""
    estimates, good, bad = [], [], []
    depths = [depth for architecture, depth in networks(runs) if architecture == "full"]
    if not depths:
        return missing("G1", select(runs, group="classify"), architecture="full")
    for depth in depths:
        here = _settings(runs, "full", depth)
        angles, excess = by_seed(runs, "angle_l2", **here), by_seed(runs, "l2_excess", **here)
        if not angles:
            return missing("G1", select(runs, group="classify"), loss=here["loss"])
        angle = ev.median(angles.values(), f"angle to the ℓ2 margin, depth {depth}, degrees")
        above = ev.median(excess.values(), f"excess of ‖w‖₂ per margin, depth {depth}")
        estimates += [angle, above]
        good.append(angle.value <= 5 and above.value <= 0.01)
        bad.append(ev.low(angle) > 5)
    angles_ = [
        f"{say(one.value)} degrees at depth {d}" for one, d in zip(estimates[::2], depths, strict=True)
    ]
    reason = f"median angle to the support vector machine {listed(angles_)}"
    return Verdict("G1", outcome(all(good), any(bad)), reason, tuple(estimates))


def convolution(runs: Sequence[Run]) -> Verdict:
    """G2."""
    here = _settings(runs, "convolution", 2)
    excess = by_seed(runs, "l1_excess", **here)
    other = by_seed(runs, "l2_solution_l1_excess", **here)
    early = {int(run.config["seed"]): _excess_at(run, EARLY) for run in select(runs, **here)}
    if not ev.paired(excess, other):
        return missing("G2", select(runs, group="classify"), **here)
    if unseen := sum(not math.isfinite(value) for value in early.values()):
        seen = f"{unseen} of {count(len(early), 'run')} have no record at a margin of {EARLY:g} or more"
        return missing("G2", reason=seen)
    share = ev.ratio(excess, other, "excess of ‖ŵ‖₁ per margin / that of the ℓ2 solution", "high")
    fall = ev.ratio(excess, early, f"excess at the end / at margin {EARLY:g}", "high")
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
    there = networks(runs)
    if {architecture for architecture, _ in there} != set(ARCHITECTURES):
        return missing("G3", select(runs, group="classify"), architecture=ARCHITECTURES)
    for architecture, depth in there:
        here, expected = _settings(runs, architecture, depth), predicted(architecture, depth)
        values, residuals = by_seed(runs, "exponent", **here), by_seed(runs, "residual", **here)
        if not values:
            return missing("G3", select(runs, group="classify"), loss=here["loss"])
        name = NAMES[architecture]
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
    wanted = [say(predicted(*network)) for network in there]
    reason = f"measured exponents (medians): {', '.join(words)}; predicted {listed(wanted)}"
    return Verdict("G3", outcome(all(good), any(bad)), reason, tuple(estimates))


def regression(runs: Sequence[Run]) -> Verdict:
    """G4."""
    base: dict[str, Any] = {"group": "regress", "init_scale": judged_scale(runs)}
    short = by_seed(runs, "to_l2", architecture="full", depth=2, **base)
    conv = {
        depth: by_seed(runs, "l1_excess", architecture="convolution", depth=depth, **base) for depth in (2, 3)
    }
    other = by_seed(runs, "l2_solution_l1_excess", architecture="convolution", depth=2, **base)
    if not short or not conv[2] or not conv[3]:
        some = select(runs, group="regress")
        return missing("G4", some, architecture=ARCHITECTURES, depth=(2, 3), init_scale=base["init_scale"])
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
    settings = _settings(runs, "convolution", 3)
    deep = by_seed(runs, "bridge", **settings)
    if not classified or not regressed or not ours:
        return missing(
            "G5", [*select(runs, group="explicit"), *select(runs, group="explicit_regress")], p=(1.0, 2 / 3)
        )
    if not ev.paired(ours, deep):
        return missing("G5", select(runs, group="classify"), **settings)
    first = ev.median(classified.values(), "excess of ‖ŵ‖₁ per margin, penalty p = 1, classification")
    second = ev.median(regressed.values(), "excess of ‖ŵ‖₁, penalty p = 1, regression")
    ratio = ev.ratio(ours, deep, "‖ŵ‖⅔ per margin, penalty p = ⅔ / depth 3", "high")
    reason = (
        f"with p = 1 ‖ŵ‖₁ is {say(first.value)} above its minimum in classification and {say(second.value)} "
        f"in regression; with p = ⅔ ‖ŵ‖⅔ per margin is {ratio.value:.3f} times that of depth 3 (medians)"
    )
    holds = first.value <= 0.05 and second.value <= 0.05 and ev.high(ratio) <= 1.05
    fails = ev.low(first) > 0.05 or ev.low(second) > 0.05 or ev.low(ratio) > 1.05
    return Verdict("G5", outcome(holds, fails), reason, (first, second, ratio))


def _settings(runs: Sequence[Run], architecture: str, depth: int) -> dict[str, Any]:
    network = {"architecture": architecture, "depth": depth}
    return {"group": "classify", **network, "loss": judged_loss(runs)}
