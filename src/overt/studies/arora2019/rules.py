"""The verdicts A1–A6, as a pure function of stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overt.studies import evidence as ev
from overt.studies.base import Estimate, Run, Verdict
from overt.studies.evidence import by_seed, middle, missing, number, outcome, say, select
from overt.studies.statistics import proportion

WORST_RANK = 1e3  # the effective rank of a run that diverged


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """One verdict for each claim."""
    return [
        _depth("A1", "completion", runs),
        _depth("A2", "sensing", runs),
        nuclear(runs),
        initialization(runs),
        _dynamics("A5", "dynamics", runs),
        _dynamics("A6", "movielens", runs),
    ]


def _depth(claim: str, group: str, runs: Sequence[Run]) -> Verdict:
    """A1, A2: depths 3 and 4 against depth 2, with few and with many observations."""
    estimates, reasons, good, bad = [], [], [], []
    ranks = sorted({run.config["rank"] for run in select(runs, group=group)})
    for rank in ranks:
        at: dict[str, Any] = {"group": group, "method": "deep", "rank": rank}
        few = {d: by_seed(runs, "error", depth=d, regime="few", **at) for d in (2, 3, 4)}
        many = {d: by_seed(runs, "error", depth=d, regime="many", **at) for d in (2, 3, 4)}
        ranked = {
            d: by_seed(runs, "effective_rank", WORST_RANK, depth=d, regime="few", **at) for d in (2, 3, 4)
        }
        if not all(ev.paired(few[d], few[2]) for d in (3, 4)) or not all(many.values()):
            return missing(claim)
        for depth in (3, 4):
            error = ev.ratio(few[depth], few[2], f"rank {rank}: error of depth {depth} / depth 2")
            lower = ev.ratio(ranked[depth], ranked[2], f"rank {rank}: effective rank, {depth} / depth 2")
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
    scales = sorted({run.config["init_scale"] for run in select(runs, group="scales", method="deep")})
    estimates: list[Estimate] = []
    reasons, good, bad = [], [], []
    for depth in (2, 3):
        ratios = {}
        for regime in ("few", "many"):
            at = {"group": "scales", "regime": regime}
            for field, worst in (("nuclear_norm", 1e6), ("effective_rank", WORST_RANK)):
                convex = by_seed(runs, field, worst, method="nuclear_norm", **at)
                deep = (
                    by_seed(runs, field, worst, method="deep", depth=depth, init_scale=scales[0], **at)
                    if scales
                    else {}
                )
                if not ev.paired(deep, convex):
                    return missing("A3")
                name = f"depth {depth}, {regime} entries: {field.replace('_', ' ')} / minimum nuclear norm's"
                ratios[regime, field] = ev.ratio(deep, convex, name)
        larger, lower = ratios["few", "nuclear_norm"], ratios["few", "effective_rank"]
        same = ratios["many", "nuclear_norm"]
        estimates += [larger, lower, same]
        good += [ev.low(larger) >= 1.01, ev.high(lower) <= 0.9, abs(same.value - 1) <= 0.01]
        bad += [ev.high(larger) < 1.01, ev.low(lower) > 0.9, abs(same.value - 1) > 0.01]
        reasons.append(
            f"depth {depth} from scale {scales[0]:g}: with few entries {larger.value:.3f} times the nuclear "
            f"norm and {lower.value:.2f} times the effective rank of the minimum nuclear norm solution; with "
            f"many {same.value:.4f} times the nuclear norm"
        )
    return Verdict("A3", outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def initialization(runs: Sequence[Run]) -> Verdict:
    """A4: the smallest against the largest initialization, with few entries."""
    at: dict[str, Any] = {"group": "scales", "method": "deep", "regime": "few"}
    scales = sorted({run.config["init_scale"] for run in select(runs, **at)})
    if len(scales) < 2:
        return missing("A4")
    estimates, reasons, good, bad = [], [], [], []
    for depth in (2, 3):
        for field, worst, bar in (("effective_rank", WORST_RANK, 0.8), ("error", ev.WORST, 0.5)):
            small, large = (
                by_seed(runs, field, worst, depth=depth, init_scale=scale, **at)
                for scale in (scales[0], scales[-1])
            )
            if not ev.paired(small, large):
                return missing("A4")
            name = f"depth {depth}: {field.replace('_', ' ')} at scale {scales[0]:g} / at {scales[-1]:g}"
            ratio = ev.ratio(small, large, name)
            estimates.append(ratio)
            good.append(ev.high(ratio) <= bar)
            bad.append(ev.low(ratio) > bar)
            reasons.append(
                f"depth {depth}: {field.replace('_', ' ')} {say(middle(small))} from {scales[0]:g}, "
                f"{say(middle(large))} from {scales[-1]:g}"
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
        return missing(claim)
    estimates, reasons, good, bad = [], [], [], []
    for depth in depths:
        some = [run for run in chosen if run.config["depth"] == depth]
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
            f"depth {depth}: largest deviation {say(100 * worst)} %, {sum(kept)} of {len(kept)} seeds"
        )
    return Verdict(claim, outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def _follows(run: Run) -> bool:
    """Whether a flow ended as it should, within 2 % of the formula and with its exponent."""
    record, depth = run.records[0], int(run.config["depth"])
    gap = abs(number(record["exponent"]) - (1 - 1 / depth))
    return record["status"] == "converged" and number(record["deviation"]) <= 0.02 and gap <= 0.01
