"""The verdicts A1–A6, as a pure function of stored runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from overt.studies.arora2019.claims import GROUPS
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
)
from overt.studies.claims.numbers import short
from overt.studies.claims.rule import Guard, ended, fitted, judged
from overt.studies.claims.statistics import proportion

# Relative losses at which a run has fitted the data: a residual of 1 %, below the errors compared, and of
# 0.1 %, a tenth of what nuclear norms may differ by.
FIT, CLOSE_FIT = 1e-4, 1e-6
DEPTHS = (2, 3, 4)


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """One verdict for each claim."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "A1": lambda given: _depth("A1", "completion", given),
        "A2": lambda given: _depth("A2", "sensing", given),
        "A3": nuclear,
        "A4": initialization,
        "A5": lambda given: _dynamics("A5", "dynamics", given),
        "A6": lambda given: _dynamics("A6", "movielens", given),
    }
    return judged(rules, runs, {claim: _guard(claim, runs) for claim in rules})


def _guard(claim: str, runs: Sequence[Run]) -> Guard:
    """Networks must have fitted the data; one that others are compared with must not have diverged either."""
    scales = _scales(runs)

    def done(run: Run) -> bool | None:
        config = run.config
        if config["group"] not in GROUPS[claim]:
            return None
        if claim in ("A5", "A6"):
            return bool(run.records[0]["status"] == "converged")
        if claim == "A3":
            if config["method"] == "deep" and config["init_scale"] != scales[0]:
                return None
            return (fitted if config["method"] == "nuclear_norm" else ended)(run, CLOSE_FIT)
        if config["method"] != "deep" or config["regime"] == "between":
            return None
        if claim == "A4":
            if config["regime"] != "few" or config["init_scale"] not in (scales[0], scales[-1]):
                return None
            return (fitted if config["init_scale"] == scales[-1] else ended)(run, FIT)
        return (fitted if config["depth"] == 2 else ended)(run, FIT)

    bar = CLOSE_FIT if claim == "A3" else FIT
    words = f"did not fit the data (relative loss above {bar:g})"
    if claim in ("A5", "A6"):
        words = "were stopped before they came to the wanted loss"
    return Guard(done, words, ("error", "effective_rank", "nuclear_norm", "deviation"))


def _scales(runs: Sequence[Run]) -> list[float]:
    """The initialization scales of A3 and A4."""
    return sorted({run.config["init_scale"] for run in select(runs, group="scales", method="deep")})


def _depth(claim: str, group: str, runs: Sequence[Run]) -> Verdict:
    """A1, A2: depths 3 and 4 against depth 2, with few and with many observations."""
    estimates, reasons, good, bad = [], [], [], []
    ranks = sorted({run.config["rank"] for run in select(runs, group=group)})
    for rank in ranks:
        at: dict[str, Any] = {"group": group, "method": "deep", "rank": rank}
        few = {d: by_seed(runs, "error", depth=d, regime="few", **at) for d in (2, 3, 4)}
        many = {d: by_seed(runs, "error", depth=d, regime="many", **at) for d in (2, 3, 4)}
        ranked = {d: by_seed(runs, "effective_rank", depth=d, regime="few", **at) for d in DEPTHS}
        if not all(ev.paired(few[d], few[2]) for d in (3, 4)) or not all(many.values()):
            return missing(claim, select(runs, **at), depth=DEPTHS, regime=("few", "many"))
        for depth in (3, 4):
            error = ev.ratio(few[depth], few[2], f"rank {rank}: error of depth {depth} / depth 2", "high")
            label = f"rank {rank}: effective rank, {depth} / depth 2"
            lower = ev.ratio(ranked[depth], ranked[2], label, "high")
            estimates += [error, lower]
            good += [ev.high(error) <= 0.5, ev.high(lower) < 1]
            bad += [ev.low(error) > 0.5, ev.low(lower) >= 1]
        worst = max(middle(errors) for errors in many.values())
        good.append(worst <= 0.05)
        bad.append(worst > 0.05)
        medians = ", ".join(say(middle(few[d])) for d in (2, 3, 4))
        reasons.append(
            f"rank {rank}: with few, depths 2, 3, 4 have median errors {medians}, "
            f"with many at most {say(worst)}"
        )
    if not ranks:
        return missing(claim)
    return Verdict(claim, outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def nuclear(runs: Sequence[Run]) -> Verdict:
    """A3: gradient descent at its smallest initialization against the minimum nuclear norm."""
    scales = _scales(runs)
    estimates: list[Estimate] = []
    reasons, good, bad = [], [], []
    for depth in (2, 3):
        ratios = {}
        for regime in ("few", "many"):
            at: dict[str, Any] = {"group": "scales", "regime": regime}
            for field in ("nuclear_norm", "effective_rank"):
                convex = by_seed(runs, field, method="nuclear_norm", **at)
                deep = (
                    by_seed(runs, field, method="deep", depth=depth, init_scale=scales[0], **at)
                    if scales
                    else {}
                )
                if not ev.paired(deep, convex):
                    there = select(runs, group="scales")
                    return missing("A3", there, depth=(2, 3), method=("deep", "nuclear_norm"))
                name = f"depth {depth}, {regime} entries: {field.replace('_', ' ')} / minimum nuclear norm's"
                against: ev.Side = "low" if (regime, field) == ("few", "nuclear_norm") else "high"
                ratios[regime, field] = ev.ratio(deep, convex, name, against)
        larger, lower = ratios["few", "nuclear_norm"], ratios["few", "effective_rank"]
        same = ratios["many", "nuclear_norm"]
        estimates += [larger, lower, same]
        good += [ev.low(larger) >= 1.01, ev.high(lower) <= 0.9, abs(same.value - 1) <= 0.01]
        bad += [ev.high(larger) < 1.01, ev.low(lower) > 0.9, abs(same.value - 1) > 0.01]
        reasons.append(
            f"depth {depth} from scale {short(scales[0])}: with few entries {larger.value:.3f} times the "
            f"nuclear norm and {lower.value:.2f} times the effective rank of the minimum nuclear norm "
            f"solution; with many {same.value:.4f} times the nuclear norm"
        )
    return Verdict("A3", outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def initialization(runs: Sequence[Run]) -> Verdict:
    """A4: the smallest against the largest initialization, with few entries."""
    at: dict[str, Any] = {"group": "scales", "method": "deep", "regime": "few"}
    scales = sorted({run.config["init_scale"] for run in select(runs, **at)})
    if len(scales) == 1:
        only = f"the rule compares values of init_scale; the runs have init_scale {short(scales[0])}"
        return missing("A4", reason=only)
    if not scales:
        return missing("A4", select(runs, group="scales"), method="deep", regime="few")
    estimates, reasons, good, bad = [], [], [], []
    for depth in (2, 3):
        for field, bar in (("effective_rank", 0.8), ("error", 0.5)):
            small, large = (
                by_seed(runs, field, depth=depth, init_scale=scale, **at) for scale in (scales[0], scales[-1])
            )
            if not ev.paired(small, large):
                return missing("A4", select(runs, **at), depth=(2, 3))
            name = f"depth {depth}: {field.replace('_', ' ')} at scale {scales[0]:g} / at {scales[-1]:g}"
            ratio = ev.ratio(small, large, name, "high")
            estimates.append(ratio)
            good.append(ev.high(ratio) <= bar)
            bad.append(ev.low(ratio) > bar)
            reasons.append(
                f"depth {depth}: {field.replace('_', ' ')} {say(middle(small))} from "
                f"{short(scales[0])}, {say(middle(large))} from {short(scales[-1])}"
            )
    return Verdict("A4", outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def _dynamics(claim: str, group: str, runs: Sequence[Run]) -> Verdict:
    """A5, A6: measured velocities against the formula."""
    skipped = [run for run in runs if run.skipped and run.config.get("group") == group]
    chosen = select(runs, group=group, method="flow")
    depths = sorted({int(run.config["depth"]) for run in chosen})
    if not chosen and skipped:
        return Verdict(claim, "skipped", skipped[0].reason)
    if not {2, 3, 4} <= set(depths):
        return missing(claim, chosen, depth=DEPTHS)
    estimates, reasons, good, bad = [], [], [], []
    for depth in depths:
        some = repetitions([run for run in chosen if run.config["depth"] == depth])
        kept = [_follows(run) for run in some]
        worst = max(number(run.records[0]["deviation"]) for run in some)
        exponents = [number(run.records[0]["exponent"]) for run in some]
        estimates += [
            ev.median(exponents, f"exponent at depth {depth} (formula: {1 - 1 / depth:.3f})"),
            ev.median(
                [100 * number(run.records[0]["deviation"]) for run in some],
                f"largest deviation at depth {depth}, %",
            ),
            proportion(sum(kept), len(kept), label=f"share of seeds within 2 %, depth {depth}"),
        ]
        good.append(all(kept))
        bad.append(2 * sum(kept) <= len(kept))
        reasons.append(
            f"depth {depth}: largest deviation {say(100 * worst)} %, {sum(kept)} of "
            f"{count(len(kept), 'seed')}"
        )
    return Verdict(claim, outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def _follows(run: Run) -> bool:
    """Whether a flow ended as it should, within 2 % of the formula and with its exponent."""
    record, depth = run.records[0], int(run.config["depth"])
    gap = abs(number(record["exponent"]) - (1 - 1 / depth))
    return record["status"] == "converged" and number(record["deviation"]) <= 0.02 and gap <= 0.01
