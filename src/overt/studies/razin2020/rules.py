"""The verdicts of R1–R7, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
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
)
from overt.studies.claims.rule import judged
from overt.studies.claims.statistics import bootstrap, proportion
from overt.studies.razin2020.guard import GUARDED, JUDGED, REACHED, SCALE, guard, judged_count, told_apart_at

DEPTHS = (2, 3, 4)
SLACK = 1e-3  # of the bound: the solver's accuracy
FEWEST = 5  # seeds, below which R6 has no verdict
FUNCTIONALS = {
    "rank": "rank",
    "effective_rank": "effective rank",
    "normalized_nuclear_norm": "normalized nuclear norm",
    "nuclear_norm": "nuclear norm",
}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "R1": entry,
        "R2": norms,
        "R3": sign,
        "R4": perturbed,
        "R5": tensor,
        "R6": which,
        "R7": finite_steps,
    }
    return judged(rules, runs, {claim: guard(claim, runs) for claim in GUARDED})


def entry(runs: Sequence[Run]) -> Verdict:
    """R1."""
    estimates: list[Estimate] = []
    good, bad, reasons = [], [], []
    for depth in DEPTHS:
        chosen = _flows(runs, depth)
        slopes = [number(run.records[0]["slope"]) for run in chosen]
        if not chosen:
            return missing("R1", select(runs, group="entry"), depth=DEPTHS, determinant="positive")
        slope = ev.median(slopes, f"slope of log |w₁₁| over log ℓ, depth {depth}")
        estimates.append(slope)
        good.append(ev.low(slope) >= -0.55 and ev.high(slope) <= -0.45)
        bad.append(ev.high(slope) < -0.55 or ev.low(slope) > -0.45)
        reasons.append(f"depth {depth} {slope.value:.4f}".replace("-", "−"))
    chosen = [run for depth in DEPTHS for run in _flows(runs, depth)]
    reached = all(number(run.records[0]["loss"]) <= REACHED for run in chosen)
    least = min(number(run.records[0]["least_over_bound"], -math.inf) for run in chosen)
    holds = least >= 1 - SLACK
    entries = [number(run.records[0]["open_entry"]) for run in chosen]
    reason = (
        f"slopes: {', '.join(reasons)} (bound: −0.5); |w₁₁| ends at {say(min(entries))} or more and is at "
        f"its lowest {least:.4f} times the bound"
    )
    return Verdict(
        "R1", outcome(all(good) and reached and holds, any(bad) or not holds), reason, tuple(estimates)
    )


def norms(runs: Sequence[Run]) -> Verdict:
    """R2."""
    chosen = [run for depth in DEPTHS for run in _flows(runs, depth)]
    if not chosen:
        return missing("R2", select(runs, group="entry"), depth=DEPTHS, determinant="positive")
    counts = [_grows_at_low_rank(run.records[0]) for run in chosen]
    share = proportion(sum(counts), len(counts), label="share of runs in which all hold")
    growth = [min(number(value, 0.0) for value in run.records[0]["growth"].values()) for run in chosen]
    ranks = [number(run.records[0]["effective_rank"]) for run in chosen]
    estimates = (
        share,
        ev.median(growth, "growth of the norm that grows least"),
        ev.median(ranks, "effective rank at the end"),
    )
    reason = (
        f"in {sum(counts)} of {count(len(counts), 'run')} all norms grow and the rank falls; the norm that "
        f"grows least grows {say(min(growth))}-fold at least, the effective rank ends at {max(ranks):.4f} at "
        "most"
    )
    return Verdict("R2", outcome(all(counts), ev.high(share) < 0.9), reason, estimates)


def _grows_at_low_rank(record: dict[str, Any]) -> bool:
    rank = number(record["effective_rank"])
    return (
        min(number(value, 0.0) for value in record["growth"].values()) >= 10
        and rank <= 1.01
        and rank < number(record["effective_rank_start"], -math.inf)
        and number(record["rank_distance"]) <= 1
    )


def sign(runs: Sequence[Run]) -> Verdict:
    """R3."""
    estimates: list[Estimate] = []
    good, bad = [], []
    for depth in DEPTHS:
        chosen = _flows(runs, depth, "negative")
        settings: dict[str, Any] = {"group": "entry", "depth": depth}
        below = by_seed(runs, "open_entry", determinant="negative", **settings)
        above = by_seed(runs, "open_entry", determinant="positive", **settings)
        if not ev.paired(below, above):
            some = select(runs, group="entry")
            return missing("R3", some, depth=DEPTHS, determinant=("positive", "negative"))
        label = f"|w₁₁| with negative / positive determinant, depth {depth}"
        ratio = ev.ratio(below, above, label, "high")
        rise = ev.median(
            [
                number(number(run.records[0]["open_entry"]) / number(run.records[0]["entry_at_1e-4"]))
                for run in chosen
            ],
            f"|w₁₁| at the end / at ℓ = 1e-4, negative determinant, depth {depth}",
        )
        estimates += [ratio, rise]
        good += [ev.high(ratio) <= 0.1, rise.value < 1.1]
        bad += [ev.low(ratio) > 0.1, rise.value >= 1.1]
    ends = {run.config["seed"] for depth in DEPTHS for run in _flows(runs, depth, "negative")}
    entries = [
        number(run.records[0]["open_entry"]) for depth in DEPTHS for run in _flows(runs, depth, "negative")
    ]
    reason = (
        f"with a negative determinant |w₁₁| ends at {say(max(entries))} at most in "
        f"{count(len(entries), 'run')} over {count(len(ends), 'seed')}"
    )
    return Verdict("R3", outcome(all(good), any(bad)), reason, tuple(estimates))


def perturbed(runs: Sequence[Run]) -> Verdict:
    """R4."""
    made = select(runs, group="perturbed", determinant="positive")
    chosen = [run for run in made if number(run.records[0]["loss"]) <= 10 * run.config["loss_target"]]
    corners = sorted({run.config["corner"] for run in chosen if run.config["corner"] > 0})
    if len(corners) < 2:
        if made and not chosen:
            return missing("R4", reason="no run reaches the wanted loss")
        only = ", ".join(f"{value:g}" for value in sorted({run.config["corner"] for run in made}))
        why = f"the rule compares positive values of corner; the runs have corner {only}" if made else ""
        return missing("R4", reason=why)
    estimates, good, bad = [], [], []
    for depth in DEPTHS:
        entries = {
            corner: by_seed(chosen, "open_entry", depth=depth, corner=corner, group="perturbed")
            for corner in corners
        }
        seeds = set.intersection(*(set(found) for found in entries.values()))
        if not seeds:
            return missing("R4", chosen, depth=DEPTHS)
        slopes = [_slope({corner: entries[corner][seed] for corner in corners}) for seed in sorted(seeds)]
        slope = bootstrap(slopes, label=f"slope of log |w₁₁| over log ε, depth {depth}")
        estimates.append(slope)
        good.append(ev.low(slope) >= -1.05 and ev.high(slope) <= -0.95)
        bad.append(ev.high(slope) < -1.05 or ev.low(slope) > -0.95)
    chosen = [run for run in chosen if run.config["corner"] > 0]
    least = min(number(run.records[0]["open_entry"], 0.0) / run.records[0]["bound"] for run in chosen)
    largest = max(number(run.records[0]["open_entry"]) for run in chosen)
    reason = (
        f"slopes {', '.join(f'{one.value:.3f}' for one in estimates).replace('-', '−')} at depths 2, 3 and "
        f"4; |w₁₁| reaches {say(largest)} at ε = {corners[0]:g} and is {least:.4f} times the bound or more; "
        f"{len(chosen)} of {count(len(made), 'run')} reach the wanted loss"
    )
    holds = least >= 0.99
    return Verdict("R4", outcome(all(good) and holds, any(bad) or not holds), reason, tuple(estimates))


def _slope(values: dict[float, float]) -> float:
    x = [math.log(key) for key in values]
    y = [math.log(min(max(value, 1e-300), 1e300)) for value in values.values()]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def tensor(runs: Sequence[Run]) -> Verdict:
    """R5."""
    estimates, good, bad, reasons = [], [], [], []
    for order in JUDGED:
        for rank in (1, 3):
            wanted = {
                "order": order,
                "rank": rank,
                "n_observed": judged_count(runs, order),
                "init_scale": SCALE,
            }
            chosen = list(repetitions(select(runs, group="tensor", **wanted)))
            if not chosen:
                some = select(runs, group="tensor", order=order) or select(runs, group="tensor")
                return missing("R5", some, **(wanted | {"rank": (1, 3)}))
            hits = sum(_completed(run.records[0], rank) for run in chosen)
            share = proportion(hits, len(chosen), label=f"share completed, order {order}, rank {rank}")
            errors = {int(run.config["seed"]): number(run.records[0]["error"]) for run in chosen}
            zero = {int(run.config["seed"]): number(run.records[0]["zero_filling"]) for run in chosen}
            estimates.append(share)
            reasons.append(
                f"order {order} rank {rank}, {wanted['n_observed']} entries: {hits} of {len(chosen)}, error "
                f"{say(middle(errors))} (zeros: {say(middle(zero))})"
            )
            good.append(share.value >= 0.8)
            bad.append(ev.high(share) < 0.8)
    return Verdict("R5", outcome(all(good), any(bad)), "; ".join(reasons), tuple(estimates))


def _completed(record: dict[str, Any], rank: int) -> bool:
    return number(record["error"]) <= 0.05 and record["tensor_rank"] == rank


def which(runs: Sequence[Run]) -> Verdict:
    """R6."""
    told_apart = told_apart_at(runs)
    made = list(repetitions(select(runs, group="which", n_observed=told_apart)))
    chosen = [run for run in made if _apart(run.records[0]["values"])]
    if not made:
        return missing("R6", select(runs, group="which"), n_observed=told_apart)
    if len(chosen) < FEWEST:
        seeds = count(len(made), "seed")
        few = f"rank and norm can be told apart in {len(chosen)} of {seeds}, fewer than {FEWEST}"
        return Verdict("R6", "inconclusive", few)
    shares = {}
    for name, words in FUNCTIONALS.items():
        hits = sum(number((run.records[0]["excess"] or {}).get(name)) <= 0.01 for run in chosen)
        shares[name] = proportion(hits, len(chosen), label=f"share of seeds with the least {words}")
    others = [share for name, share in shares.items() if name != "rank"]
    estimates = list(shares.values())
    for name in ("effective_rank", "normalized_nuclear_norm", "nuclear_norm"):
        local = sum(number(run.records[0]["descents"][name]["drop"]) <= 0.01 for run in chosen)
        label = f"share of seeds where descent lowers the {FUNCTIONALS[name]} by at most 1 %"
        estimates.append(proportion(local, len(chosen), label=label))
    holds = shares["rank"].value >= 0.8 and all(share.value <= 0.2 for share in others)
    fails = ev.high(shares["rank"]) < 0.8 or any(ev.low(share) > 0.2 for share in others)
    counts = ", ".join(f"{FUNCTIONALS[name]} {share.value:.0%}" for name, share in shares.items())
    reason = (
        "the network's solution is the least of all known solutions in these shares of seeds "
        f"({len(chosen)} of {len(made)}, where rank and norm can be told apart): {counts}"
    )
    return Verdict("R6", outcome(holds, fails), reason, tuple(estimates))


def _apart(values: dict[str, dict[str, float]]) -> bool:
    """Whether the minimum nuclear norm is not that of the truth."""
    return values["minimum nuclear norm"]["nuclear_norm"] < 0.99 * values["truth"]["nuclear_norm"]


def finite_steps(runs: Sequence[Run]) -> Verdict:
    """R7."""
    made = select(runs, group="descent", init="balanced")
    chosen = [run for run in made if number(run.records[0]["loss"]) < 0.1]
    if not chosen:
        why = "no run ends below a loss of 0.1" if made else ""
        return missing("R7", select(runs, group="descent"), why, init="balanced")
    shares = []
    for depth, lr in sorted({(run.config["depth"], run.config["lr"]) for run in chosen}):
        there = [_kept(run.records[0]) for run in repetitions(select(chosen, depth=depth, lr=lr))]
        label = f"share of runs that keep the sign and the bound, depth {depth}, rate {lr:g}"
        shares.append(proportion(sum(there), len(there), label=label))
    reason = "; ".join(f"{share.label}: {share.value:.0%}" for share in shares)
    holds = all(share.value == 1 for share in shares)
    return Verdict("R7", outcome(holds, any(ev.high(share) < 0.9 for share in shares)), reason, tuple(shares))


def _kept(record: dict[str, Any]) -> bool:
    bounded = number(record["open_entry"], 0.0) >= (1 - SLACK) * record["bound"]
    return bounded and number(record["determinant"], -math.inf) > 0


def _flows(runs: Sequence[Run], depth: int, determinant: str = "positive") -> list[Run]:
    return list(repetitions(select(runs, group="entry", depth=depth, determinant=determinant)))
