"""The verdicts of M1–M13, as a pure function of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overt.studies.base import Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import missing, number, outcome, say, select
from overt.studies.claims.rule import judged
from overt.studies.measure.counting import (
    CIRCULAR,
    CONNECTED,
    ENOUGH_SEEDS,
    ZEROS,
    advantage,
    around,
    difference,
    linear_settings,
    middle,
    ratio,
    reached,
    reference,
    words,
)

RANGE = (0.9, 1 / 0.9)  # M6: what counts as no difference
CORRECTED = "corrected_alignment"
NEGLIGIBLE = 0.02  # M8, M13: an alignment difference of no consequence


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    skipped = [run.reason for run in runs if run.skipped]
    rules: tuple[Callable[[Sequence[Run]], Verdict], ...] = (
        collapse,
        cost,
        training,
        depth,
        scale,
        others,
        real,
        only,
        scrambled,
        learned,
        padding,
        corrected,
        corrected_only,
    )
    verdicts = judged({f"M{i}": rule for i, rule in enumerate(rules, 1)}, runs, {})
    if not skipped or select(runs, group="dynamics") or select(runs, group="alignment"):
        return verdicts
    # Every run on images was skipped: the data set is not here.
    return [*verdicts[:2], *(Verdict(one.claim, "skipped", skipped[0]) for one in verdicts[2:])]


# ---- linear models ----------------------------------------------------------------------------------------


def collapse(runs: Sequence[Run]) -> Verdict:
    """M1."""
    estimates, worst = [], 0.0
    for name, some in linear_settings(runs).items():
        errors = [number(run.records[0]["worst_error"]) for run in some]
        estimates.append(ev.median(errors, f"largest deviation, {name}"))
        worst = max(worst, *errors)
    if not estimates:
        return missing("M1")
    count = sum(one.n for one in estimates)
    reason = f"over {count} runs the largest deviation from the known spectrum is {say(worst)} of its top"
    return Verdict("M1", outcome(worst <= 1e-10, not worst <= 1e-10), reason, tuple(estimates))


def cost(runs: Sequence[Run]) -> Verdict:
    """M2."""
    estimates, least, most = [], float("inf"), 0.0
    for name, some in linear_settings(runs).items():
        ends = [number(run.records[0]["cost_ratio"]) for run in some]
        least = min(least, *(number(run.records[0]["least_cost_ratio"], -1.0) for run in some))
        most = max(most, *ends)
        estimates.append(ev.median(ends, f"squared norm / P_2/L at the end, {name}"))
    if not estimates:
        return missing("M2")
    below = least < 1 - 1e-8
    reason = (
        f"the layers' squared norm is never below {least:.9f} of P_2/L and at most {most:.6f} of it at the "
        "end"
    )
    fails = below or any(one.value > 1.05 for one in estimates)
    return Verdict("M2", outcome(not below and most <= 1.01, fails), reason, tuple(estimates))


# ---- networks on images -----------------------------------------------------------------------------------


def training(runs: Sequence[Run]) -> Verdict:
    """M3."""
    some = select(runs, group="dynamics", activation="relu", **reference(runs))
    change = ratio(some, some, "effective rank, end / start", second_field="start_effective_rank")
    if change is None:
        return missing("M3")
    reason = (
        f"in the reference setting training multiplies the effective rank by {words(change)}, from "
        f"{middle(some, 'start_effective_rank')} to {middle(some, 'effective_rank')}"
    )
    return Verdict("M3", outcome(ev.high(change) < 1, ev.low(change) > 1), reason, (change,))


def depth(runs: Sequence[Run]) -> Verdict:
    """M4."""
    return _extremes(runs, "M4", "depth", deep_first=True)


def scale(runs: Sequence[Run]) -> Verdict:
    """M5."""
    return _extremes(runs, "M5", "scale", deep_first=False)


def _extremes(runs: Sequence[Run], claim: str, factor: str, *, deep_first: bool) -> Verdict:
    estimates = []
    for activation, kind in (("relu", "ReLU"), ("linear", "no ReLU")):
        levels = around(runs, factor, activation)
        if len(levels) < 2:
            continue
        ends = (max(levels), min(levels)) if deep_first else (min(levels), max(levels))
        label = f"effective rank, {factor} {ends[0]:g} / {factor} {ends[1]:g}, {kind}"
        found = ratio(levels[ends[0]], levels[ends[1]], label)
        if found is not None:
            estimates.append(found)
    if not estimates or not estimates[0].label.endswith(", ReLU"):
        return missing(claim)
    levels = around(runs, factor)
    listed = ", ".join(f"{middle(some, 'effective_rank')} at {value:g}" for value, some in levels.items())
    control = f"; without ReLU the ratio is {words(estimates[1])}" if len(estimates) > 1 else ""
    reason = f"effective rank by {factor}: {listed}; ratio {words(estimates[0])}{control}"
    holds, fails = ev.high(estimates[0]) < 1, ev.low(estimates[0]) > 1
    return Verdict(claim, outcome(holds, fails), reason, tuple(estimates))


def others(runs: Sequence[Run]) -> Verdict:
    """M6."""
    estimates = []
    for factor in ("width", "lr", "batch_size"):
        levels = around(runs, factor)
        if len(levels) < 2:
            return missing("M6")
        name = {"lr": "learning rate", "batch_size": "batch size"}.get(factor, factor)
        label = f"effective rank, {name} {max(levels):g} / {min(levels):g}"
        found = ratio(levels[max(levels)], levels[min(levels)], label)
        if found is None:
            return missing("M6")
        estimates.append(found)
    widths = ", ".join(
        f"{middle(some, 'effective_rank')} at {value:g}" for value, some in around(runs, "width").items()
    )
    reason = (
        "; ".join(f"{one.label}: {words(one)}" for one in estimates)
        + f". Effective rank by width: {widths}; a hidden layer narrower than the input bounds the rank of M "
        "by its width"
    )
    holds = all(RANGE[0] <= ev.low(one) and ev.high(one) <= RANGE[1] for one in estimates)
    fails = any(ev.high(one) < RANGE[0] or ev.low(one) > RANGE[1] for one in estimates)
    return Verdict("M6", outcome(holds, fails), reason, tuple(estimates))


# ---- alignment --------------------------------------------------------------------------------------------


def real(runs: Sequence[Run]) -> Verdict:
    """M7."""
    found = advantage(runs, "real")
    if found is None:
        return missing("M7")
    untrained = advantage(runs, "real", field="start_alignment")
    data = middle(select(runs, data="real", **CONNECTED), "data_alignment")
    reason = (
        f"a_Fourier on real images: {_pair(runs, 'real', 'alignment')}, difference {words(found)}; untrained "
        f"{_pair(runs, 'real', 'start_alignment')}; the data's own covariance {data}"
    )
    estimates = tuple(one for one in (found, untrained) if one is not None)
    return Verdict("M7", outcome(ev.low(found) > 0, ev.high(found) < 0), reason, estimates)


def only(runs: Sequence[Run]) -> Verdict:
    """M8."""
    return _only(runs, "M8", "alignment")


def corrected_only(runs: Sequence[Run]) -> Verdict:
    """M13."""
    return _only(runs, "M13", CORRECTED)


def _only(runs: Sequence[Run], claim: str, field: str) -> Verdict:
    on_real, on_permuted = (advantage(runs, data, field=field) for data in ("real", "permuted"))
    gains = [_differences(runs, data, field) for data in ("real", "permuted")]
    both = sorted(set(gains[0]) & set(gains[1]))
    if on_real is None or on_permuted is None or len(both) < ENOUGH_SEEDS:
        return missing(claim)
    there, gone = ({seed: one[seed] for seed in both} for one in gains)
    lost = ev.difference(there, gone, "advantage, real − permuted")
    reason = (
        f"conv − fc is {words(on_real)} on real and {words(on_permuted)} on permuted images (there: "
        f"{_pair(runs, 'permuted', field)}); the two differ by {words(lost)}"
    )
    holds = ev.low(on_real) > 0 and ev.high(on_permuted) < NEGLIGIBLE and ev.low(lost) > 0
    fails = ev.high(on_real) < 0 or ev.low(on_permuted) > NEGLIGIBLE or ev.high(lost) < 0
    return Verdict(claim, outcome(holds, fails), reason, (on_real, on_permuted, lost))


def corrected(runs: Sequence[Run]) -> Verdict:
    """M12."""
    found = advantage(runs, "real", field=CORRECTED)
    untrained = advantage(runs, "real", field=f"start_{CORRECTED}")
    if found is None or untrained is None:
        return missing("M12")
    reason = (
        f"corrected alignment on real images: {_pair(runs, 'real', CORRECTED)}, difference {words(found)}; "
        f"untrained {_pair(runs, 'real', f'start_{CORRECTED}')}; turned at random M has "
        f"{_pair(runs, 'real', 'random_alignment')}"
    )
    return Verdict("M12", outcome(ev.low(found) > 0, ev.high(found) < 0), reason, (found, untrained))


def scrambled(runs: Sequence[Run]) -> Verdict:
    """M9."""
    found = advantage(runs, "scrambled")
    if found is None:
        return missing("M9")
    reason = f"with scrambled phases: {_pair(runs, 'scrambled', 'alignment')}, difference {words(found)}"
    return Verdict("M9", outcome(ev.low(found) > 0, ev.high(found) < 0), reason, (found,))


def learned(runs: Sequence[Run]) -> Verdict:
    """M10."""
    changes = {}
    for name, wanted in (("conv", CIRCULAR), ("fc", CONNECTED)):
        some = select(runs, data="real", **wanted)
        change = difference(
            reached(some, "alignment"),
            reached(some, "start_alignment"),
            len(some),
            f"a_Fourier, trained − untrained, {name}",
        )
        if change is None:
            return missing("M10")
        changes[name] = change
    conv = changes["conv"]
    reason = f"training changes a_Fourier by {words(conv)} (conv) and {words(changes['fc'])} (fc)"
    return Verdict("M10", outcome(ev.low(conv) > 0, ev.high(conv) < 0), reason, tuple(changes.values()))


def padding(runs: Sequence[Run]) -> Verdict:
    """M11."""
    found = [advantage(runs, "real", wanted) for wanted in (CIRCULAR, ZEROS)]
    if found[0] is None or found[1] is None:
        return missing("M11")
    first, second = found[0], found[1]
    reason = f"conv − fc is {words(first)} with circular and {words(second)} with zero padding"
    up, down = ((ev.low(one) > 0, ev.high(one) < 0) for one in (first, second))
    holds = (up[0] and down[0]) or (up[1] and down[1])
    fails = (up[0] and down[1]) or (up[1] and down[0])
    return Verdict("M11", outcome(holds, fails), reason, (first, second))


def _differences(runs: Sequence[Run], data: str, field: str) -> dict[int, float]:
    conv, fc = (reached(select(runs, data=data, **some), field) for some in (CIRCULAR, CONNECTED))
    return {seed: conv[seed] - fc[seed] for seed in set(conv) & set(fc)}


def _pair(runs: Sequence[Run], data: str, field: str) -> str:
    conv, fc = (middle(select(runs, data=data, **some), field) for some in (CIRCULAR, CONNECTED))
    return f"conv {conv}, fc {fc}"
