"""Whether a claim's runs have come far enough to say anything about it, and rules that need that they have.

A network that was stopped on its way shows nothing about where training ends: at a saddle its distance to the
saddle is ideal, and before it fits the data it can have any norm. So a rule's runs must have *ended*: they
converged, or fitted the data to a bar that the study fixes. A run that diverged has ended, in the worst way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overt.studies.base import Run, Verdict
from overt.studies.claims.evidence import FREE, MixedSettingsError, number

__all__ = ["SHARE", "Guard", "any_setting", "diverged", "ended", "fitted", "judged", "unended"]

Rule = Callable[[Sequence[Run]], Verdict]
SHARE = 0.9  # of the runs of each setting must have ended; the others count as worst


def fitted(run: Run, bar: float) -> bool:
    """Whether training converged, or ended at a relative loss of at most the bar."""
    record = run.records[0]
    if diverged(run):
        return False
    return record.get("status") == "converged" or number(record.get("loss")) <= bar


def diverged(run: Run) -> bool:
    """Whether a run was lost."""
    record = run.records[0]
    lost = "error" in record and number(record["error"]) == float("inf")
    return bool(record.get("status") == "diverged" or lost)


def ended(run: Run, bar: float) -> bool:
    """Whether there is no more to expect of a run: it fitted the data, or diverged."""
    return diverged(run) or fitted(run, bar)


@dataclass(frozen=True)
class Guard:
    """What must have ended for a claim to be judged.

    Attributes
    ----------
    done : callable
        For a run that the claim rests on, whether it has ended; None for any other run.
    words : str
        What such a run lacks: ``"had not fitted the data (relative loss above 1e-6)"``.
    fields : tuple of str
        The numbers of the record that are the worst possible for a run that has not ended.
    """

    done: Callable[[Run], bool | None]
    words: str
    fields: tuple[str, ...] = ()


def judged(rules: Mapping[str, Rule], runs: Sequence[Run], guards: Mapping[str, Guard]) -> list[Verdict]:
    """One verdict for each rule; *inconclusive* where runs have not ended, or are of mixed settings.

    Parameters
    ----------
    rules : mapping of str to callable
        A claim's id and its rule.
    runs : sequence of Run
    guards : mapping of str to Guard
        By the claim's id; a claim without one is judged on all runs.
    """
    return [_judged(claim, rule, runs, guards.get(claim)) for claim, rule in rules.items()]


def _judged(claim: str, rule: Rule, runs: Sequence[Run], guard: Guard | None) -> Verdict:
    try:
        if guard is None:
            return rule(runs)
        asked = [run for run in runs if not run.skipped and guard.done(run) is not None]
        stopped = unended(asked, lambda run: bool(guard.done(run)))
        if not stopped:
            return rule([_spoiled(run, guard) for run in runs])
        said = rule(runs)
    except MixedSettingsError as mixed:
        return Verdict(claim, "inconclusive", str(mixed))
    lacking = f"{len(stopped)} of {len(asked)} runs {guard.words}"
    reason = f"{lacking}; as they are they say {said.outcome}: {said.reason}"
    return replace(said, outcome="inconclusive", reason=reason)


def unended(runs: Iterable[Run], done: Callable[[Run], bool]) -> list[Run]:
    """The runs that have not ended, if they are too many: more than a tenth in some setting."""
    settings: dict[Any, list[Run]] = {}
    for run in runs:
        settings.setdefault(_setting(run), []).append(run)
    enough = all(sum(map(done, some)) >= SHARE * len(some) for some in settings.values())
    return [] if enough else [run for some in settings.values() for run in some if not done(run)]


def any_setting(runs: Iterable[Run], done: Callable[[Run], bool]) -> bool:
    """Whether in some setting nine of ten runs have ended, of a method that is judged at its best one."""
    settings: dict[Any, list[bool]] = {}
    for run in runs:
        settings.setdefault(_setting(run), []).append(done(run))
    return any(sum(some) >= SHARE * len(some) for some in settings.values())


def _setting(run: Run) -> Any:
    return tuple(sorted((name, repr(value)) for name, value in run.config.items() if name not in FREE))


def _spoiled(run: Run, guard: Guard) -> Run:
    """The run, with nothing to show if it has not ended."""
    if run.skipped or guard.done(run) is not False:
        return run
    lost = {name: _none(value) for name, value in run.records[0].items() if name in guard.fields}
    return replace(run, records=[run.records[0] | lost, *run.records[1:]])


def _none(value: Any) -> Any:
    return [None] * len(value) if isinstance(value, list) else None
