"""The verdicts of A1–A9, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overt.studies.adam.claims import FAILS, RECOVERED, WORKS
from overt.studies.adam.names import CHANGES, NAMES
from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import by_seed, missing, number, outcome, repetitions, say, select
from overt.studies.claims.rule import any_setting, diverged, judged
from overt.studies.claims.statistics import proportion

ELEMENTWISE = ("adam", "rmsprop", "sign", "adam_beta1_0")
OTHERS = ("gd", "momentum", "normalized_gd", "muon")
FIT = 1e-2  # of a mean square of 1: a residual of 10 %, the error that counts as recovery
USUAL_WEIGHT = 1e-2
INVARIANT = ("keep_vectors", "keep_space", "gradient_direction")


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    rules: dict[str, Callable[[Sequence[Run]], Verdict]] = {
        "A1": elementwise,
        "A2": turning,
        "A3": necessary,
        "A4": sufficient,
        "A5": alternating,
        "A6": turned,
        "A7": scale,
        "A8": weight,
        "A9": length,
    }
    return judged(rules, runs, {})


@dataclass(frozen=True)
class Setting:
    """A setting over its learning rates: the share of seeds that recovered at the best."""

    name: str
    share: Estimate
    lr: float
    trained: bool = True

    @property
    def works(self) -> bool:
        """Enough seeds recovered."""
        return self.share.value >= WORKS

    @property
    def fails(self) -> bool:
        """Hardly any seed recovered, at any learning rate, and not for want of steps."""
        return self.share.value <= FAILS and self.trained

    @property
    def words(self) -> str:
        """The share, for a reason."""
        words = f"{self.name}, {round(self.share.value * self.share.n)} of {self.share.n}"
        return words if self.trained or self.works else f"{words} (nowhere fitted the data)"


def setting(runs: Sequence[Run], name: str, **wanted: Any) -> Setting | None:
    """The setting with these values, at its best learning rate; None where there is no run."""
    chosen = select(runs, **wanted)
    best: Setting | None = None
    for lr in sorted({run.config["lr"] for run in chosen}):
        some = repetitions(select(chosen, lr=lr))
        hits = sum(number(run.records[0]["error"]) <= RECOVERED for run in some)
        share = replace(proportion(hits, len(some)), label=f"share of seeds recovered, {name}")
        if best is None or share.value > best.share.value:
            best = Setting(name, share, lr, _trained(chosen))
    return best


def _trained(runs: Sequence[Run]) -> bool:
    """Whether the data were fitted at some learning rate, or all diverged.

    A penalty stronger than the usual one may keep the fit away for good, so that nothing is asked of those
    runs.
    """
    strong = all(run.config["weight"] > USUAL_WEIGHT for run in runs)
    return strong or any_setting(runs, _fits) or all(map(diverged, runs))


def _fits(run: Run) -> bool:
    return not diverged(run) and number(run.records[0].get("loss")) <= FIT


def free(runs: Sequence[Run], optimizer: str) -> Setting | None:
    """An optimizer left alone."""
    return setting(runs, NAMES[optimizer], group="optimizers", optimizer=optimizer)


def changed(runs: Sequence[Run], intervention: str) -> Setting | None:
    """An intervention."""
    return setting(runs, CHANGES[intervention], group="interventions", intervention=intervention)


def _there(found: Sequence[Setting | None]) -> list[Setting]:
    return [one for one in found if one is not None]


def _verdict(claim: str, holds: bool, fails: bool, found: Sequence[Setting], more: str = "") -> Verdict:
    reason = "recovered at the best learning rate: " + "; ".join(one.words for one in found) + more
    return Verdict(claim, outcome(holds, fails), reason, tuple(one.share for one in found))


def elementwise(runs: Sequence[Run]) -> Verdict:
    """A1."""
    first = _there([free(runs, name) for name in ELEMENTWISE])
    others = _there([free(runs, name) for name in OTHERS])
    if len(first) < len(ELEMENTWISE) or len(others) < len(OTHERS):
        return missing("A1", select(runs, group="optimizers"), optimizer=(*ELEMENTWISE, *OTHERS))
    holds = all(one.works for one in first) and not any(one.works or not one.trained for one in others)
    return _verdict("A1", holds, first[0].fails or any(one.works for one in others), [*first, *others])


def turning(runs: Sequence[Run]) -> Verdict:
    """A2."""
    adam, gd = free(runs, "adam"), free(runs, "gd")
    if adam is None or gd is None:
        return missing("A2", select(runs, group="optimizers"), optimizer=("adam", "gd"))
    shares = [
        by_seed(runs, "penalty_turning", group="optimizers", optimizer=name, lr=one.lr)
        for name, one in (("adam", adam), ("gd", gd))
    ]
    estimate = ev.median(shares[0].values(), "share of Adam's penalty step that turns singular vectors")
    largest = max(shares[1].values())
    reason = (
        f"Adam's step of the penalty turns singular vectors with {say(estimate.value)} of its energy in the "
        f"median, the gradient's with {say(abs(largest))} at most"
    )
    holds = largest <= 1e-6 and ev.low(estimate) > 0.1
    return Verdict("A2", outcome(holds, ev.high(estimate) < 0.1 or largest > 1e-6), reason, (estimate,))


def necessary(runs: Sequence[Run]) -> Verdict:
    """A3."""
    adam = free(runs, "adam")
    kept = _there([changed(runs, name) for name in INVARIANT])
    if adam is None or len(kept) < len(INVARIANT):
        return missing("A3", select(runs, group="interventions"), intervention=INVARIANT)
    holds = adam.works and all(one.fails for one in kept)
    return _verdict("A3", holds, adam.works and any(one.works for one in kept), [adam, *kept])


def sufficient(runs: Sequence[Run]) -> Verdict:
    """A4."""
    found = _there([changed(runs, name) for name in ("adam_penalty", "adam_length")])
    if len(found) < 2:
        return missing(
            "A4", select(runs, group="interventions"), intervention=("adam_penalty", "adam_length")
        )
    own, length = found
    return _verdict("A4", own.works and length.fails, own.fails or length.works, found)


def alternating(runs: Sequence[Run]) -> Verdict:
    """A5."""
    turns, adam, gd = changed(runs, "alternation"), free(runs, "adam"), free(runs, "gd")
    if turns is None or adam is None or gd is None:
        return missing("A5", select(runs, group="interventions"), intervention="alternation")
    shares = [
        by_seed(runs, "against", worst=0.0, group="optimizers", optimizer=name, lr=one.lr)
        for name, one in (("adam", adam), ("gd", gd))
    ]
    if not ev.paired(*shares):
        return missing("A5")
    first, second = shares
    gap = ev.difference(first, second, "share of steps against each other, Adam − gradient descent")
    more = f"; steps in which loss and penalty oppose each other, Adam − gradient descent: {say(gap.value)}"
    fails = turns.fails or ev.high(gap) < 0
    verdict = _verdict("A5", turns.works and ev.low(gap) > 0, fails, [turns, adam], more)
    return replace(verdict, estimates=(*verdict.estimates, gap))


def turned(runs: Sequence[Run]) -> Verdict:
    """A6."""
    adam = free(runs, "adam")
    other = setting(runs, "Adam in turned coordinates", group="rotations", optimizer="adam", rotated=True)
    if adam is None or other is None:
        return missing("A6", select(runs, group="rotations"), optimizer="adam", rotated=True)
    return _verdict("A6", adam.works and other.fails, adam.works and other.works, [adam, other])


def scale(runs: Sequence[Run]) -> Verdict:
    """A7."""
    values = sorted({run.config["objective_scale"] for run in select(runs, group="scales")})
    found = {
        name: _there(
            [
                setting(
                    runs,
                    f"{NAMES[name]} at scale {value:g}",
                    group="scales",
                    optimizer=name,
                    objective_scale=value,
                )
                for value in values
            ]
        )
        for name in ("adam", "normalized_gd")
    }
    adam, normalized = found["adam"], found["normalized_gd"]
    if len(values) < 3 or len(adam) < 3 or len(normalized) < 3:
        few = f"the rule needs three values of objective_scale; the runs have {len(values)}" if values else ""
        return missing(
            "A7", select(runs, group="scales"), few if len(values) < 3 else "", optimizer=tuple(found)
        )
    holds = all(one.works for one in adam) and all(one.fails for one in normalized)
    fails = any(one.fails for one in adam) or all(one.works for one in normalized)
    return _verdict("A7", holds, fails, [*adam, *normalized])


def weight(runs: Sequence[Run]) -> Verdict:
    """A8."""
    values = sorted({run.config["weight"] for run in select(runs, group="weights")})
    found = _there([setting(runs, f"GD at weight {w:g}", group="weights", weight=w) for w in values])
    if not found or math.isclose(max(values), min(values)):
        return missing("A8", reason="the rule compares values of weight; the runs have one" if found else "")
    return _verdict("A8", all(one.fails for one in found), any(one.works for one in found), found)


def length(runs: Sequence[Run]) -> Verdict:
    """A9."""
    gd, other = free(runs, "gd"), changed(runs, "adam_length")
    if gd is None or other is None:
        return missing("A9", select(runs, group="interventions"), intervention="adam_length")
    return _verdict("A9", gd.fails and other.works, gd.works or other.fails, [gd, other])
