"""The verdicts of W1–W7, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from overt.studies import evidence as ev
from overt.studies.base import Estimate, Run, Verdict
from overt.studies.evidence import by_seed, middle, missing, number, outcome, say, select
from overt.studies.numbers import distinct
from overt.studies.woodworth2020.config import ENOUGH, FEW

MIDDLE = 0.1  # the α that W2 and W5 are judged at
PENALTIES: dict[str, dict[str, Any]] = {
    "ℓ1": {"p": 1.0, "q": None},
    "ℓ⅔": {"p": 2 / 3, "q": None},
    "ℓ½": {"p": 0.5, "q": None},
    "ℓ1/ℓ2": {"p": 1.0, "q": 2.0},
}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are not there."""
    rules: tuple[Callable[[Sequence[Run]], Verdict], ...] = (
        minimum, second, deeper, regimes, transition, quasi_norm, explicit,
    )  # fmt: skip
    return [rule(runs) for rule in rules]


def minimum(runs: Sequence[Run]) -> Verdict:
    """W1."""
    chosen = select(runs, group="minimum")
    if not chosen:
        return missing("W1")
    distances = [number(run.records[0]["to_l2"]) for run in chosen]
    worst = max(distances)
    reason = f"{len(chosen)} runs end within {say(worst)} of the minimum ℓ2 norm"
    estimate = ev.median(distances, "distance to the minimum ℓ2 norm")
    return Verdict("W1", outcome(worst <= 1e-6, worst > 1e-6), reason, (estimate,))


def second(runs: Sequence[Run]) -> Verdict:
    """W2."""
    estimates, good, bad = _predicted(runs, 2)
    here: dict[str, Any] = {"group": "scale", "depth": 2, "alpha": MIDDLE}
    close = middle(by_seed(runs, "to_prediction", **here))
    l1, l2 = middle(by_seed(runs, "to_l1", **here)), middle(by_seed(runs, "to_l2", **here))
    if not estimates or not close >= 0:
        return missing("W2")
    reason = (
        f"median distance to the minimizer of Q_α at most {say(max(one.value for one in estimates))} over "
        f"{len(estimates)} values of α; at α = {MIDDLE:g} {say(close)}, to ℓ1 {say(l1)}, to ℓ2 {say(l2)}"
    )
    holds = min(l1, l2) > 10 * close
    return Verdict("W2", outcome(good and holds, bad or min(l1, l2) < close), reason, tuple(estimates))


def deeper(runs: Sequence[Run]) -> Verdict:
    """W3."""
    found = {depth: _predicted(runs, depth) for depth in (3, 4)}
    estimates = [one for each, _, _ in found.values() for one in each]
    if not all(each for each, _, _ in found.values()):
        return missing("W3")
    worst = {depth: max(one.value for one in each) for depth, (each, _, _) in found.items()}
    reason = (
        f"median distance to the minimizer of Q_α at most {say(worst[3])} at depth 3 and {say(worst[4])} at "
        f"depth 4, over {len(estimates)} settings"
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
        if len(alphas) < 2:
            return missing("W4")
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
    here: dict[str, Any] = {"group": "scale", "alpha": MIDDLE}
    two, three = (by_seed(runs, "l1_excess", depth=depth, **here) for depth in (2, 3))
    if not ev.paired(three, two):
        return missing("W5")
    ratio = ev.ratio(three, two, "excess of ‖w‖₁, depth 3 / depth 2")
    reason = (
        f"at α = {MIDDLE:g} ‖w‖₁ exceeds its minimum by {say(middle(two))} at depth 2 and by "
        f"{say(middle(three))} at depth 3 (relative, medians)"
    )
    return Verdict("W5", outcome(ev.high(ratio) < 0.5, ev.low(ratio) > 0.5), reason, (ratio,))


def quasi_norm(runs: Sequence[Run]) -> Verdict:
    """W6."""
    estimates, good, bad, counts = [], [], [], []
    for depth in (3, 4):
        chosen = select(runs, group="few", depth=depth)
        hard = [run for run in chosen if number(run.records[0]["l1_error"]) > 0.1]
        if not hard:
            return missing("W6")
        to_l1, error = ([number(run.records[0][field]) for run in hard] for field in ("to_l1", "error"))
        ratio = ev.pairs_ratio(to_l1, error, f"distance to ℓ1 / distance to the truth, depth {depth}")
        estimates.append(ratio)
        counts.append(f"{len(hard)} of {len(chosen)}")
        good.append(ev.high(ratio) < 0.5)
        bad.append(ev.low(ratio) > 0.5)
    reason = (
        f"where ℓ1 misses the truth ({counts[0]} seeds at depth 3, {counts[1]} at depth 4) the solution is "
        f"{estimates[0].value:.2g} and {estimates[1].value:.2g} times as far from ℓ1's as from the truth"
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
        count: {
            name: by_seed(some, "error", group="explicit", n_observed=count, **fields)
            for name, fields in PENALTIES.items()
        }
        for count, some in ((ENOUGH, runs), (FEW, hard))
    }
    if not depth or not all(values for each in errors.values() for values in each.values()):
        return missing("W7")
    estimates = [
        ev.median(values.values(), f"error of {name}, {count} samples")
        for count, each in errors.items()
        for name, values in each.items()
    ]
    enough = {name: middle(values) for name, values in errors[ENOUGH].items()}
    few = {name: middle(values) for name, values in errors[FEW].items()}
    best = min((name for name in few if name != "ℓ1"), key=lambda name: few[name])
    limit = middle(depth)
    reason = (
        f"median errors with {ENOUGH} samples: {_listed(enough)}; with {FEW}, where ℓ1 misses the "
        f"truth ({len(depth)} seeds): {_listed(few)}, depth 3 {say(limit)}; best with few: {best}"
    )
    holds = max(enough.values()) <= 0.05 and few[best] <= 0.5 * limit
    fails = max(enough.values()) > 0.05 or few[best] > limit
    return Verdict("W7", outcome(holds, fails), reason, tuple(estimates))


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {say(value)}" for name, value in values.items())
