"""The verdicts of W1–W7, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import (
    by_seed,
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
from overt.studies.claims.numbers import distinct
from overt.studies.claims.rule import Guard, ended, judged
from overt.studies.woodworth2020.claims import GROUPS
from overt.studies.woodworth2020.config import ENOUGH, FEW

MIDDLE = 0.1  # the α that W2 and W5 are judged at
# Relative losses at which a run has fitted the data: residuals of 1e-3, a twentieth of the finest bar, and of
# 1e-6, the bar of W1.
FIT, EXACT_FIT = 1e-6, 1e-12
ACCURACY = 1e-3  # of an excess of a norm, which that residual limits
PENALTIES: dict[str, dict[str, Any]] = {
    "ℓ1": {"p": 1.0, "q": None},
    "ℓ⅔": {"p": 2 / 3, "q": None},
    "ℓ½": {"p": 0.5, "q": None},
    "ℓ1/ℓ2": {"p": 1.0, "q": 2.0},
}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "W1": minimum,
        "W2": second,
        "W3": deeper,
        "W4": regimes,
        "W5": transition,
        "W6": quasi_norm,
        "W7": explicit,
    }
    return judged(rules, runs, {claim: _guard(claim) for claim in rules})


def _guard(claim: str) -> Guard:
    """Networks must have fitted the data; W7 looks at them beside the penalties."""
    groups = GROUPS[claim] - {"explicit"}
    bar = EXACT_FIT if claim == "W1" else FIT
    depths = {"W2": (2,), "W3": (3, 4), "W5": (2, 3), "W7": (3,)}.get(claim)

    def done(run: Run) -> bool | None:
        asked = run.config["group"] in groups and (depths is None or run.config["depth"] in depths)
        return ended(run, bar) if asked else None

    words = f"ended before they fitted the data (relative loss above {bar:g})"
    return Guard(done, words, ("to_l1", "to_l2", "to_prediction", "l1_excess", "error"))


def minimum(runs: Sequence[Run]) -> Verdict:
    """W1."""
    chosen = repetitions(select(runs, group="minimum"), "nonzeros")
    if not chosen:
        return missing("W1")
    distances = [number(run.records[0]["to_l2"]) for run in chosen]
    worst = max(distances)
    reason = f"{count(len(chosen), 'run')} end within {say(worst)} of the minimum ℓ2 norm"
    estimate = ev.median(distances, "distance to the minimum ℓ2 norm")
    return Verdict("W1", outcome(worst <= 1e-6, worst > 1e-6), reason, (estimate,))


def second(runs: Sequence[Run]) -> Verdict:
    """W2."""
    estimates, good, bad = _predicted(runs, 2)
    alpha = usual(select(runs, group="scale", depth=2), "alpha", MIDDLE)
    here: dict[str, Any] = {"group": "scale", "depth": 2, "alpha": alpha}
    close = middle(by_seed(runs, "to_prediction", **here))
    l1, l2 = middle(by_seed(runs, "to_l1", **here)), middle(by_seed(runs, "to_l2", **here))
    if not estimates or not close >= 0:
        return missing("W2", select(runs, group="scale"), depth=2, alpha=alpha)
    reason = (
        f"median distance to the minimizer of Q_α at most {say(max(one.value for one in estimates))} over "
        f"{count(len(estimates), 'value')} of α; at α = {alpha:g} {say(close)}, to ℓ1 {say(l1)}, to ℓ2 "
        f"{say(l2)}"
    )
    holds = min(l1, l2) > 10 * close
    return Verdict("W2", outcome(good and holds, bad or min(l1, l2) < close), reason, tuple(estimates))


def deeper(runs: Sequence[Run]) -> Verdict:
    """W3."""
    found = {depth: _predicted(runs, depth) for depth in (3, 4)}
    estimates = [one for each, _, _ in found.values() for one in each]
    if not all(each for each, _, _ in found.values()):
        return missing("W3", select(runs, group="scale"), depth=(3, 4))
    worst = {depth: max(one.value for one in each) for depth, (each, _, _) in found.items()}
    reason = (
        f"median distance to the minimizer of Q_α at most {say(worst[3])} at depth 3 and {say(worst[4])} at "
        f"depth 4, over {count(len(estimates), 'setting')}"
    )
    good, bad = all(one for _, one, _ in found.values()), any(one for _, _, one in found.values())
    return Verdict("W3", outcome(good, bad), reason, tuple(estimates))


def _predicted(runs: Sequence[Run], depth: int) -> tuple[list[Estimate], bool, bool]:
    """Distances to the prediction at each α; whether all are within 2 %, and whether one is not."""
    estimates = []
    chosen = select(runs, group="scale", depth=depth)
    for alpha in distinct(chosen, "alpha"):
        values = by_seed(chosen, "to_prediction", alpha=alpha)
        label = f"distance to the minimizer of Q, depth {depth}, α = {alpha:g}"
        estimates.append(ev.median(values.values(), label))
    return (
        estimates,
        all(one.value <= 0.02 for one in estimates),
        any(ev.low(one) > 0.02 for one in estimates),
    )


def regimes(runs: Sequence[Run]) -> Verdict:
    """W4."""
    estimates, good, bad = [], [], []
    for depth in (2, 3, 4):
        chosen = select(runs, group="scale", depth=depth)
        alphas = distinct(chosen, "alpha")
        if not alphas:
            return missing("W4", select(runs, group="scale"), depth=(2, 3, 4))
        if len(alphas) < 2:
            return missing(
                "W4", reason=f"the rule compares values of alpha; the runs have alpha {alphas[0]:g}"
            )
        for alpha, field, bar, words in (
            (alphas[-1], "to_l2", 0.1, "distance to the minimum ℓ2 norm"),
            (alphas[0], "l1_excess", 0.05, "excess of ‖w‖₁"),
        ):
            values = by_seed(chosen, field, alpha=alpha)
            one = ev.median(values.values(), f"{words}, depth {depth}, α = {alpha:g}")
            estimates.append(one)
            good.append(one.value <= bar)
            bad.append(ev.low(one) > bar)
    reason = (
        f"from the largest α at most {say(max(one.value for one in estimates[::2]))} from the ℓ2 minimizer, "
        f"from the smallest ‖w‖₁ is at most {say(max(one.value for one in estimates[1::2]))} above its "
        "minimum"
    )
    return Verdict("W4", outcome(all(good), any(bad)), reason, tuple(estimates))


def transition(runs: Sequence[Run]) -> Verdict:
    """W5."""
    alpha = usual(
        [run for run in select(runs, group="scale") if run.config["depth"] in (2, 3)], "alpha", MIDDLE
    )
    here: dict[str, Any] = {"group": "scale", "alpha": alpha}
    two, three = (
        {
            seed: max(value, ACCURACY)
            for seed, value in by_seed(runs, "l1_excess", depth=depth, **here).items()
        }
        for depth in (2, 3)
    )
    if not ev.paired(three, two):
        return missing("W5", select(runs, group="scale"), depth=(2, 3), alpha=alpha)
    ratio = ev.ratio(three, two, "excess of ‖w‖₁, depth 3 / depth 2", against="high")
    reason = (
        f"at α = {alpha:g} ‖w‖₁ exceeds its minimum by {say(middle(two))} at depth 2 and by "
        f"{say(middle(three))} at depth 3 (relative, medians)"
    )
    return Verdict("W5", outcome(ev.high(ratio) < 0.5, ev.low(ratio) > 0.5), reason, (ratio,))


def quasi_norm(runs: Sequence[Run]) -> Verdict:
    """W6."""
    estimates, good, bad, counts = [], [], [], []
    for depth in (3, 4):
        chosen = repetitions(select(runs, group="few", depth=depth))
        hard = [run for run in chosen if number(run.records[0]["l1_error"]) > 0.1]
        if not hard:
            if chosen:
                return missing("W6", reason="the ℓ1 minimizer misses the truth (error above 0.1) in no seed")
            return missing("W6", select(runs, group="few"), depth=(3, 4))
        to_l1, error = ([number(run.records[0][field]) for run in hard] for field in ("to_l1", "error"))
        label = f"distance to ℓ1 / distance to the truth, depth {depth}"
        ratio = ev.pairs_ratio(to_l1, error, label, against="high")
        estimates.append(ratio)
        counts.append(f"{len(hard)} of {count(len(chosen), 'seed')}")
        good.append(ev.high(ratio) < 0.5)
        bad.append(ev.low(ratio) > 0.5)
    reason = (
        f"with {_counts(select(runs, group='few'))} samples, where ℓ1 misses the truth ({counts[0]} at depth "
        f"3, {counts[1]} at depth 4), the solution is {say(estimates[0].value)} and "
        f"{say(estimates[1].value)} times as far from ℓ1's as from the truth"
    )
    return Verdict("W6", outcome(all(good), any(bad)), reason, tuple(estimates))


def explicit(runs: Sequence[Run]) -> Verdict:
    """W7."""
    hard = [
        run
        for run in select(runs, n_observed=FEW)
        if number(run.records[0].get("l1_error"), 0.0) > 0.1 and run.config["group"] != "minimum"
    ]
    depth = by_seed(hard, "error", group="few", depth=3)
    errors = {
        samples: {
            name: by_seed(some, "error", group="explicit", n_observed=samples, **fields)
            for name, fields in PENALTIES.items()
        }
        for samples, some in ((ENOUGH, runs), (FEW, hard))
    }
    if not depth or not all(values for each in errors.values() for values in each.values()):
        if errors[FEW]["ℓ1"] and errors[ENOUGH]["ℓ1"] and not hard:
            return missing("W7", reason="the ℓ1 minimizer misses the truth (error above 0.1) in no seed")
        return missing("W7", select(runs, group="explicit"), n_observed=(ENOUGH, FEW), p=(1.0, 2 / 3, 0.5))
    estimates = [
        ev.median(values.values(), f"error of {name}, {samples} samples")
        for samples, each in errors.items()
        for name, values in each.items()
    ]
    enough = {name: middle(values) for name, values in errors[ENOUGH].items()}
    few = {name: middle(values) for name, values in errors[FEW].items()}
    best = min((name for name in few if name != "ℓ1"), key=lambda name: few[name])
    limit = middle(depth)
    reason = (
        f"median errors with {ENOUGH} samples: {_listed(enough)}; with {FEW}, where ℓ1 misses the "
        f"truth ({count(len(depth), 'seed')}): {_listed(few)}, depth 3 {say(limit)}; best with few: {best}"
    )
    holds = max(enough.values()) <= 0.05 and few[best] <= 0.5 * limit
    fails = max(enough.values()) > 0.05 or few[best] > limit
    return Verdict("W7", outcome(holds, fails), reason, tuple(estimates))


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {say(value)}" for name, value in values.items())


def _counts(runs: Sequence[Run]) -> str:
    return " or ".join(str(samples) for samples in distinct(runs, "n_observed"))
