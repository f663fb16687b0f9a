"""The verdicts of Z1–Z9, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import by_seed, middle, missing, outcome, say, select
from overt.studies.claims.rule import any_setting, diverged, fitted, judged
from overt.studies.zhao2022.config import ADAPTIVE, PLAIN, penalty_name
from overt.studies.zhao2022.rules_movielens import movielens
from overt.studies.zhao2022.slices import DENSE, SCARCE, best, oversampling, settings

HALF = 0.5  # a penalty is felt where it halves the error
COMPARABLE = 2.0  # errors within this factor are comparable
SMALL = 0.05  # an error that shows the matrix found, up to the penalty's own bias
FIT = 1e-4  # relative loss: a residual of 1 %, below the errors compared
FIT_OF_PENALTY = 1e-2  # the same where a penalty biases the fit

Errors = dict[int, float]


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "Z1": adam,
        "Z2": relatives,
        "Z3": curvature,
        "Z4": depth,
        "Z5": observations,
        "Z6": penalties,
        "Z7": nonlinear,
        "Z8": lambda given: movielens(given, "Z8"),
        "Z9": lambda given: movielens(given, "Z9"),
    }
    return judged(rules, runs, {})


def trained(runs: Sequence[Run], *, baseline: bool = False) -> bool:
    """Whether a method fitted the data at one of its settings; one that always diverges has ended, too.

    A baseline must have fitted: that it diverged says nothing for what it is compared with.
    """
    fits = any_setting(runs, lambda run: fitted(run, _bar(run)))
    return fits or (not baseline and all(map(diverged, runs)))


def _bar(run: Run) -> float:
    return FIT_OF_PENALTY if run.config["weight"] > 0 else FIT


def untrained(claim: str, names: Sequence[str], said: str, estimates: Sequence[Estimate]) -> Verdict:
    """The verdict where a method that is compared was stopped before it fitted the data."""
    reason = f"nowhere fitted the data: {', '.join(names)}; as they are: {said}"
    return Verdict(claim, "inconclusive", reason, tuple(estimates))


# ---- optimizers ------------------------------------------------------------------------------------


def effect(runs: Sequence[Run], optimizer: str) -> Estimate | None:
    """Error with the penalty over error without, each at its own best learning rate; None without runs."""
    chosen = select(runs, group="optimizers", optimizer=optimizer)
    with_it = best([run for run in chosen if run.config["weight"] > 0], ("lr", "weight"))
    without = best([run for run in chosen if run.config["weight"] == 0], ("lr",))
    if not ev.paired(with_it, without):
        return None
    return ev.ratio(with_it, without, f"error with / without the penalty, {optimizer}", "high")


def feels(estimate: Estimate) -> bool | None:
    """True or False where the interval lies on one side of a half, else None."""
    return True if ev.high(estimate) <= HALF else False if ev.low(estimate) > HALF else None


def _stopped(runs: Sequence[Run], optimizer: str) -> bool:
    """Whether an optimizer fitted the data at no learning rate, with or without the penalty."""
    chosen = select(runs, group="optimizers", optimizer=optimizer)
    with_it = [run for run in chosen if run.config["weight"] > 0]
    without = [run for run in chosen if run.config["weight"] == 0]
    return not (trained(with_it) and trained(without, baseline=True))


def adam(runs: Sequence[Run]) -> Verdict:
    """Z1."""
    found = {name: effect(runs, name) for name in ("adam", *PLAIN)}
    there = {name: one for name, one in found.items() if one is not None}
    if len(there) < len(found):
        return missing("Z1", select(runs, group="optimizers"), optimizer=tuple(found))
    felt = {name: feels(one) for name, one in there.items()}
    holds = felt["adam"] is True and all(felt[name] is False for name in PLAIN)
    fails = felt["adam"] is False or any(felt[name] is True for name in PLAIN)
    reason = f"the penalty changes the error by a factor of {_factors(there)}"
    if stopped := [name for name in there if _stopped(runs, name)]:
        return untrained("Z1", stopped, reason, list(there.values()))
    return Verdict("Z1", outcome(holds, fails), reason, tuple(there.values()))


def relatives(runs: Sequence[Run]) -> Verdict:
    """Z2."""
    names = [name for name in ADAPTIVE if name != "adam"]
    there = {name: one for name in names if (one := effect(runs, name)) is not None}
    if len(there) < len(names):
        return missing("Z2", select(runs, group="optimizers"), optimizer=tuple(names))
    stopped = [name for name in there if _stopped(runs, name)]
    felt = {name: None if name in stopped else feels(one) for name, one in there.items()}
    yes = [name for name, one in felt.items() if one is True]
    no = [name for name, one in felt.items() if one is False]
    reason = (
        f"{len(yes)} of {len(names)} feel the penalty ({', '.join(yes) or 'none'}), {len(no)} do not "
        f"({', '.join(no) or 'none'}); factors: {_factors(there)}"
    )
    if stopped:
        reason += f"; nowhere fitted the data: {', '.join(stopped)}"
    return Verdict("Z2", outcome(len(yes) >= 6, len(no) >= 3), reason, tuple(there.values()))


def curvature(runs: Sequence[Run]) -> Verdict:
    """Z3."""
    found = effect(runs, "lbfgs")
    if found is None:
        return missing("Z3", select(runs, group="optimizers"), optimizer="lbfgs")
    reason = f"the penalty changes the error by a factor of {_factors({'L-BFGS': found})}"
    if _stopped(runs, "lbfgs"):
        return untrained("Z3", ["L-BFGS"], reason, [found])
    felt = feels(found)
    return Verdict("Z3", outcome(felt is False, felt is True), reason, (found,))


def _factors(found: dict[str, Estimate]) -> str:
    return ", ".join(f"{say(one.value)} ({name})" for name, one in found.items())


# ---- depths and observations -----------------------------------------------------------------------


def explicit_runs(runs: Sequence[Run], depth: int = 1) -> list[Run]:
    """Runs of a penalized linear network."""
    chosen = select(runs, method="train", depth=depth, activation="linear")
    return [run for run in chosen if run.config["weight"] > 0]


def implicit_runs(runs: Sequence[Run], depth: int = 3) -> list[Run]:
    """Runs of a linear network without a penalty."""
    return select(runs, method="train", depth=depth, activation="linear", weight=0.0)


def explicit_errors(runs: Sequence[Run], depth: int = 1) -> Errors:
    """Errors of a penalized linear network at its best setting."""
    return best(explicit_runs(runs, depth), ("optimizer", "lr", "weight"))


def implicit_errors(runs: Sequence[Run], depth: int = 3) -> Errors:
    """Errors of a linear network without a penalty at its best optimizer and learning rate."""
    return best(implicit_runs(runs, depth), ("optimizer", "lr"))


def _no_setting(runs: Sequence[Run], interval: tuple[float, float]) -> str:
    """Why no matrix of the runs is one that the claim is about."""
    there = sorted({f"{oversampling(run.config):.1f}" for run in runs})
    if not there:
        return ""
    low, high = interval
    return (
        f"the rule is about {low:g} to {high:g} observations for each degree of freedom (n, rank and "
        f"n_observed); the runs have {', '.join(there)}"
    )


def depth(runs: Sequence[Run]) -> Verdict:
    """Z4."""
    estimates: list[Estimate] = []
    good, bad, parts, stopped = [], [], [], list[str]()
    for words, some in settings(select(runs, group="depths"), DENSE).items():
        ours, deep = explicit_errors(some), implicit_errors(some)
        if not ev.paired(ours, deep):
            return missing("Z4", some, depth=(1, 3), optimizer="adam")
        stopped += [] if trained(explicit_runs(some)) else [f"depth 1 with the penalty, {words}"]
        stopped += [] if trained(implicit_runs(some), baseline=True) else [f"depth 3, {words}"]
        share = ev.ratio(ours, deep, f"error of depth 1 with the penalty / depth 3 without, {words}", "high")
        level = ev.median(ours.values(), f"error of depth 1 with the penalty, {words}")
        estimates += [share, level]
        good += [ev.high(share) <= COMPARABLE, level.value <= SMALL]
        bad += [ev.low(share) > COMPARABLE, level.value > SMALL]
        parts.append(f"{words}: {say(middle(ours))} against {say(middle(deep))} at depth 3")
    if not estimates:
        return missing("Z4", reason=_no_setting(select(runs, group="depths"), DENSE))
    reason = "median errors, " + "; ".join(parts)
    if stopped:
        return untrained("Z4", stopped, reason, estimates)
    return Verdict("Z4", outcome(all(good), any(bad)), reason, tuple(estimates))


def observations(runs: Sequence[Run]) -> Verdict:
    """Z5."""
    estimates: list[Estimate] = []
    parts, stopped = [], list[str]()
    for words, some in settings(select(runs, group="depths"), SCARCE).items():
        ours = explicit_errors(some)
        rivals = {
            "depth 3": implicit_errors(some),
            "the minimum nuclear norm": by_seed(some, "error", method="nuclear_norm"),
        }
        for name, errors in rivals.items():
            if not ev.paired(ours, errors):
                return missing("Z5", some, depth=(1, 3), method=("train", "nuclear_norm"))
            label = f"error of depth 1 with the penalty / {name}, {words}"
            estimates.append(ev.ratio(ours, errors, label, "high"))
        stopped += [] if trained(explicit_runs(some)) else [f"depth 1 with the penalty, {words}"]
        stopped += [] if trained(implicit_runs(some), baseline=True) else [f"depth 3, {words}"]
        convex = select(some, method="nuclear_norm")
        stopped += [] if trained(convex, baseline=True) else [f"the minimum nuclear norm, {words}"]
        others = ", ".join(f"{name} {say(middle(errors))}" for name, errors in rivals.items())
        parts.append(f"{words}: {say(middle(ours))}; {others}")
    if not estimates:
        return missing("Z5", reason=_no_setting(select(runs, group="depths"), SCARCE))
    reason = "median errors, " + "; ".join(parts)
    if stopped:
        return untrained("Z5", stopped, reason, estimates)
    holds = all(ev.high(one) <= HALF for one in estimates)
    fails = any(ev.low(one) > HALF for one in estimates)
    return Verdict("Z5", outcome(holds, fails), reason, tuple(estimates))


# ---- penalties, nonlinear networks --------------------------------------------------------


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
        lacking = "the penalties to compare with ‖W‖⁎/‖W‖F are missing" if chosen else ""
        return missing("Z6", reason=lacking)
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
    stopped = [
        name for name in names if not trained([run for run in chosen if penalty_name(run.config) == name])
    ]
    if stopped and not better:
        return untrained("Z6", stopped, reason, list(estimates.values()))
    return Verdict("Z6", outcome(holds, bool(better)), reason, tuple(estimates.values()))


def nonlinear(runs: Sequence[Run]) -> Verdict:
    """Z7."""
    chosen = select(runs, group="relu")
    ours = explicit_errors(chosen)
    relu = [run for run in chosen if run.config["activation"] == "relu" and run.config["depth"] == 3]
    theirs = best(relu, ("optimizer", "lr", "weight"))
    if not ev.paired(ours, theirs):
        return missing("Z7", chosen, depth=(1, 3), activation=("linear", "relu"))
    share = ev.ratio(ours, theirs, "error of depth 1 with the penalty / depth 3 with ReLU", "high")
    reason = f"median errors: {say(middle(ours))} at depth 1, {say(middle(theirs))} at depth 3 with ReLU"
    stopped = [] if trained(explicit_runs(chosen)) else ["depth 1 with the penalty"]
    stopped += [] if trained(relu, baseline=True) else ["depth 3 with ReLU"]
    if stopped:
        return untrained("Z7", stopped, reason, [share])
    return Verdict("Z7", outcome(ev.high(share) <= 1, ev.low(share) > 1), reason, (share,))
