"""The verdicts of Z1–Z9, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from overt.studies import evidence as ev
from overt.studies.base import Estimate, Run, Verdict
from overt.studies.evidence import by_seed, middle, missing, number, outcome, say, select
from overt.studies.zhao2022.config import ADAPTIVE, PLAIN, penalty_name
from overt.studies.zhao2022.slices import DENSE, SCARCE, best, chosen_by_validation, settings

HALF = 0.5  # a penalty is felt where it halves the error
COMPARABLE = 2.0  # errors within this factor are comparable
SMALL = 0.05  # an error that shows the matrix found, up to the penalty's own bias
RMSE_MARGIN = 0.005  # stars

Errors = dict[int, float]


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are not there."""
    rules: tuple[Callable[[Sequence[Run]], Verdict], ...] = (
        adam,
        relatives,
        curvature,
        depth,
        observations,
        penalties,
        nonlinear,
        lambda given: movielens(given, "Z8"),
        lambda given: movielens(given, "Z9"),
    )
    return [rule(runs) for rule in rules]


# ---- optimizers ------------------------------------------------------------------------------------


def effect(runs: Sequence[Run], optimizer: str) -> Estimate | None:
    """Error with the penalty over error without, each at its own best learning rate; None without runs."""
    chosen = select(runs, group="optimizers", optimizer=optimizer)
    with_it = best([run for run in chosen if run.config["weight"] > 0], ("lr", "weight"))
    without = best([run for run in chosen if run.config["weight"] == 0], ("lr",))
    if not ev.paired(with_it, without):
        return None
    return ev.ratio(with_it, without, f"error with / without the penalty, {optimizer}")


def feels(estimate: Estimate) -> bool | None:
    """True or False where the interval lies on one side of a half, else None."""
    return True if ev.high(estimate) <= HALF else False if ev.low(estimate) > HALF else None


def adam(runs: Sequence[Run]) -> Verdict:
    """Z1."""
    found = {name: effect(runs, name) for name in ("adam", *PLAIN)}
    there = {name: one for name, one in found.items() if one is not None}
    if len(there) < len(found):
        return missing("Z1")
    felt = {name: feels(one) for name, one in there.items()}
    holds = felt["adam"] is True and all(felt[name] is False for name in PLAIN)
    fails = felt["adam"] is False or any(felt[name] is True for name in PLAIN)
    reason = f"the penalty changes the error by a factor of {_factors(there)}"
    return Verdict("Z1", outcome(holds, fails), reason, tuple(there.values()))


def relatives(runs: Sequence[Run]) -> Verdict:
    """Z2."""
    names = [name for name in ADAPTIVE if name != "adam"]
    there = {name: one for name in names if (one := effect(runs, name)) is not None}
    if len(there) < len(names):
        return missing("Z2")
    felt = {name: feels(one) for name, one in there.items()}
    yes = [name for name, one in felt.items() if one is True]
    no = [name for name, one in felt.items() if one is False]
    reason = (
        f"{len(yes)} of {len(names)} feel the penalty ({', '.join(yes) or 'none'}), {len(no)} do not "
        f"({', '.join(no) or 'none'}); factors: {_factors(there)}"
    )
    return Verdict("Z2", outcome(len(yes) >= 6, len(no) >= 3), reason, tuple(there.values()))


def curvature(runs: Sequence[Run]) -> Verdict:
    """Z3."""
    found = effect(runs, "lbfgs")
    if found is None:
        return missing("Z3")
    reason = f"the penalty changes the error by a factor of {_factors({'L-BFGS': found})}"
    felt = feels(found)
    return Verdict("Z3", outcome(felt is False, felt is True), reason, (found,))


def _factors(found: dict[str, Estimate]) -> str:
    return ", ".join(f"{say(one.value)} ({name})" for name, one in found.items())


# ---- depths and observations -----------------------------------------------------------------------


def explicit_errors(runs: Sequence[Run], depth: int = 1) -> Errors:
    """Errors of a penalized linear network at its best setting."""
    chosen = select(runs, method="train", depth=depth, activation="linear")
    return best([run for run in chosen if run.config["weight"] > 0], ("optimizer", "lr", "weight"))


def implicit_errors(runs: Sequence[Run], depth: int = 3) -> Errors:
    """Errors of a linear network without a penalty at its best optimizer and learning rate."""
    return best(
        select(runs, method="train", depth=depth, activation="linear", weight=0.0), ("optimizer", "lr")
    )


def depth(runs: Sequence[Run]) -> Verdict:
    """Z4."""
    estimates: list[Estimate] = []
    good, bad, parts = [], [], []
    for words, some in settings(select(runs, group="depths"), DENSE).items():
        ours, deep = explicit_errors(some), implicit_errors(some)
        if not ev.paired(ours, deep):
            return missing("Z4")
        share = ev.ratio(ours, deep, f"error of depth 1 with the penalty / depth 3 without, {words}")
        level = ev.median(ours.values(), f"error of depth 1 with the penalty, {words}")
        estimates += [share, level]
        good += [ev.high(share) <= COMPARABLE, level.value <= SMALL]
        bad += [ev.low(share) > COMPARABLE, level.value > SMALL]
        parts.append(f"{words}: {say(middle(ours))} against {say(middle(deep))} at depth 3")
    if not estimates:
        return missing("Z4")
    return Verdict("Z4", outcome(all(good), any(bad)), "median errors, " + "; ".join(parts), tuple(estimates))


def observations(runs: Sequence[Run]) -> Verdict:
    """Z5."""
    estimates: list[Estimate] = []
    parts = []
    for words, some in settings(select(runs, group="depths"), SCARCE).items():
        ours = explicit_errors(some)
        rivals = {
            "depth 3": implicit_errors(some),
            "the minimum nuclear norm": by_seed(some, "error", method="nuclear_norm"),
        }
        for name, errors in rivals.items():
            if not ev.paired(ours, errors):
                return missing("Z5")
            estimates.append(ev.ratio(ours, errors, f"error of depth 1 with the penalty / {name}, {words}"))
        others = ", ".join(f"{name} {say(middle(errors))}" for name, errors in rivals.items())
        parts.append(f"{words}: {say(middle(ours))}; {others}")
    if not estimates:
        return missing("Z5")
    holds = all(ev.high(one) <= HALF for one in estimates)
    fails = any(ev.low(one) > HALF for one in estimates)
    return Verdict("Z5", outcome(holds, fails), "median errors, " + "; ".join(parts), tuple(estimates))


# ---- penalties, nonlinear networks, MovieLens --------------------------------------------------------


def penalties(runs: Sequence[Run]) -> Verdict:
    """Z6."""
    chosen = select(runs, group="penalties")
    names = sorted({penalty_name(run.config) for run in chosen})
    errors = {
        name: best([run for run in chosen if penalty_name(run.config) == name], ("lr", "weight"))
        for name in names
    }
    ours = errors.pop("nuclear / Frobenius", {})
    if not errors or not all(ev.paired(ours, other) for other in errors.values()):
        return missing("Z6")
    estimates = {
        name: ev.ratio(other, ours, f"error of {name}, relative to nuclear / Frobenius")
        for name, other in errors.items()
    }
    better = [name for name, one in estimates.items() if ev.high(one) <= HALF]
    holds = all(ev.low(one) > HALF for one in estimates.values())
    order = sorted(errors, key=lambda name: middle(errors[name]))
    found = ", ".join(f"{name} {say(middle(errors[name]))}" for name in order)
    reason = f"median errors at the best weight: nuclear / Frobenius {say(middle(ours))}, {found}"
    if better:
        reason += f"; clearly better: {', '.join(better)}"
    return Verdict("Z6", outcome(holds, bool(better)), reason, tuple(estimates.values()))


def nonlinear(runs: Sequence[Run]) -> Verdict:
    """Z7."""
    chosen = select(runs, group="relu")
    ours = explicit_errors(chosen)
    relu = [run for run in chosen if run.config["activation"] == "relu" and run.config["depth"] == 3]
    theirs = best(relu, ("optimizer", "lr", "weight"))
    if not ev.paired(ours, theirs):
        return missing("Z7")
    share = ev.ratio(ours, theirs, "error of depth 1 with the penalty / depth 3 with ReLU")
    reason = f"median errors: {say(middle(ours))} at depth 1, {say(middle(theirs))} at depth 3 with ReLU"
    return Verdict("Z7", outcome(ev.high(share) <= 1, ev.low(share) > 1), reason, (share,))


def movielens(runs: Sequence[Run], claim: str) -> Verdict:
    """Z8 on the published splits, Z9 on random ones."""
    everything = [run for run in runs if run.config.get("group") == "movielens"]
    mine = [run for run in everything if (run.config["split"] == "random") == (claim == "Z9")]
    skipped = [run for run in mine if run.skipped]
    rmse = {name: _test_rmse(mine, name) for name in ("explicit", "deep", "biases")}
    if not ev.paired(rmse["explicit"], rmse["deep"]) or not rmse["biases"]:
        return Verdict(claim, "skipped", skipped[0].reason) if skipped else missing(claim)
    keys = sorted(rmse["explicit"])
    label = "test RMSE of the penalized network − depth 3"
    excess = ev.difference(_numbered(rmse["explicit"], keys), _numbered(rmse["deep"], keys), label, "stars")
    levels = {name: middle(_numbered(found, list(found))) for name, found in rmse.items()}
    below = levels["explicit"] < levels["biases"]
    reason = f"{len(keys)} splits, median test RMSE: " + ", ".join(
        f"{name} {value:.4f}" for name, value in levels.items()
    )
    holds, fails = excess.value <= RMSE_MARGIN and below, ev.low(excess) > RMSE_MARGIN or not below
    return Verdict(claim, outcome(holds, fails), reason, (excess,))


def _test_rmse(runs: Sequence[Run], method: str) -> dict[Any, float]:
    chosen = chosen_by_validation(runs, method)
    return {key: number(run.records[0].get("test_rmse")) for key, run in chosen.items()}


def _numbered(values: dict[Any, float], keys: Sequence[Any]) -> Errors:
    return {place: values.get(key, math.inf) for place, key in enumerate(keys)}
