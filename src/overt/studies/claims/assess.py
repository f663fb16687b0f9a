"""From stored runs to what a report says: a pure function of a folder's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from overt._utils.checks import is_number
from overt._utils.errors import StoreError
from overt._utils.folders import is_folder
from overt.studies.base import FAULT, Claim, Run, Study, Verdict
from overt.studies.report.build import StudySection
from overt.studies.report.draw import Undrawn, fault
from overt.studies.runs.identity import run_name
from overt.studies.runs.plans import Plan
from overt.studies.runs.store import Store

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

__all__ = ["Stored", "assess", "load_mixture", "load_swept"]

_SUSPECTS = 8


@dataclass(frozen=True)
class Stored:
    """Runs of a study that are judged together.

    Attributes
    ----------
    plan : Plan or None
        None where the folder has none, as one put together from others' runs.
    runs : list of Run
    notes : list of str
        What the report must say of them, such as that a run is damaged.
    """

    plan: Plan | None
    runs: list[Run]
    notes: list[str] = field(default_factory=list)


def load_swept(store: Store, study: Study[Any]) -> list[Stored]:
    """Return the plans of a study's latest command, one for each value of a sweep, with their stored runs.

    Where there is no plan, as in a folder put together from others', all stored runs count. A damaged run
    is left out, so that its plan lacks it, and is named in the notes; so is a damaged file of plans.
    """
    notes = []
    try:
        plans = store.plans(study.name, study)
    except StoreError as error:
        plans = []
        notes.append(f"all stored runs count, whatever was planned: {error}")
    latest = [plan for plan in plans if plan.command_key == plans[-1].command_key]
    found = [Stored(plan, [], []) for plan in latest] or [Stored(None, [], notes)]
    for name, hash_ in store.stored(study.name):
        homes = [one for one in found if one.plan is None or hash_ in one.plan.runs]
        if not homes and not is_folder(store.folder(name, hash_)):
            homes = found[-1:]
        for one in homes:
            try:
                one.runs.append(store.load(name, hash_, study))
            except StoreError as error:
                one.notes.append(f"a stored run is left out: {error}")
    return found


def load_mixture(stores: Sequence[Store], study: Study[Any]) -> list[Stored]:
    """Return what several folders hold of a study, apart for each setting.

    A setting is a version, a preset, overrides, and the claims whose runs were asked for.

    Folders of the same setting and other seeds are joined; a run that is in more than one of them counts
    once. A run of a folder without a plan belongs where a plan names it; what no plan names stays apart.
    """
    found = [one for store in stores for one in load_swept(store, study)]
    groups: dict[str, Stored] = {}
    for one in found:
        if one.plan is not None:
            key = one.plan.setting
            groups[key] = _join(groups[key], one) if key in groups else one
    planned = list(groups.values())
    loose = [one for one in found if one.plan is None and (one.runs or one.notes)]
    runs = {run.hash: run for one in loose for run in one.runs}
    for group in planned:
        assert group.plan is not None
        there = {run.hash for run in group.runs}
        group.runs.extend(
            run for hash_, run in runs.items() if hash_ in group.plan.runs and hash_ not in there
        )
    named = {hash_ for one in planned if one.plan is not None for hash_ in one.plan.runs}
    left = [run for hash_, run in runs.items() if hash_ not in named]
    notes = [note for one in loose for note in one.notes]
    if left or notes or not planned:
        planned.append(Stored(None, left, notes))
    return planned


def _join(first: Stored, second: Stored) -> Stored:
    assert first.plan is not None
    assert second.plan is not None
    there = {run.hash for run in first.runs}
    runs = [*first.runs, *(run for run in second.runs if run.hash not in there)]
    one, other = first.plan.rules, second.plan.rules
    # A claim with two registered rules has none that holds for all of its runs.
    rules = {
        claim: rule if other.get(claim, rule) == rule else "" for claim, rule in {**other, **one}.items()
    }
    plan = replace(first.plan, runs={**first.plan.runs, **second.plan.runs}, rules=rules)
    return Stored(plan, runs, [*first.notes, *second.notes])


def assess(study: Study[Any], stored: Stored, part: int = 0) -> StudySection:
    """Judge the runs of a plan and draw the figures.

    Where planned runs are missing, the verdicts that need them are inconclusive and say what the runs at
    hand would give. Neither a rule nor a figure that fails ends the report: the verdicts are then
    inconclusive, the figure is missing, and a note says why. Where one run alone makes them fail, it is left
    out as a damaged one is.

    Parameters
    ----------
    study : Study
    stored : Stored
    part : int, default=0
        The number of the section among several of the same study, from 1; 0 where it is the only one.
    """
    plan = stored.plan
    notes = list(stored.notes)
    ordered = sorted(stored.runs, key=lambda run: run.hash)
    missing = _missing(plan, ordered)
    verdicts: list[Verdict] = []
    figures: list[Figure] = []
    reason = _stale(study, plan, ordered) or ("" if ordered else "no run is stored")
    if reason:
        verdicts = [Verdict(claim.id, claim.open, reason) for claim in study.claims]
    else:
        verdicts = _judge(study, ordered, missing, plan, notes)
        figures = _draw(study, ordered, missing, plan, notes)
        whole = plan is not None and not missing and not plan.claims
        found = _unreadable(study, ordered) if whole and notes != stored.notes else None
        if found is not None:
            run, why = found
            rest = [other for other in ordered if other is not run]
            said = f"runs/{run_name(run.study, run.hash)} holds records.jsonl or arrays.npz that {why}"
            left_out = f"a stored run is left out: {said}; to redo this run, remove that folder"
            return assess(study, Stored(plan, rest, [*stored.notes, left_out]), part)
    return StudySection(
        study.name,
        study.title,
        study.claims,
        verdicts,
        figures,
        ordered,
        len(plan.runs) if plan else None,
        plan.preset if plan else "",
        plan.overrides if plan else {},
        notes,
        part,
        changed=_changed(study, plan),
        unregistered=[claim.id for claim in study.claims if plan is None or claim.id not in plan.rules],
        asked=plan.claims if plan else (),
        unended=0 if reason else sum(not _ended(study, run) for run in ordered),
    )


def _ended(study: Study[Any], run: Run) -> bool:
    try:
        return study.ended(run)
    except (ValueError, TypeError, LookupError):
        return True  # a run without what its part asks for; the notes say so


def _changed(study: Study[Any], plan: Plan | None) -> list[str]:
    """The claims whose rules are not those that were registered with the plan."""
    registered = plan.rules if plan else {}
    return [one.id for one in study.claims if registered.get(one.id, one.digest) != one.digest]


def _judge(
    study: Study[Any],
    runs: Sequence[Run],
    missing: Sequence[dict[str, Any]],
    plan: Plan | None,
    notes: list[str],
) -> list[Verdict]:
    said = ""
    asked, planned = (plan.claims, len(plan.runs)) if plan else ([], 0)
    skipped = f"not asked: only the runs of {', '.join(asked)} were"
    given: dict[str, Verdict] = {}
    try:
        given = {verdict.claim: verdict for verdict in study.judge(runs)}
    except Exception as error:
        said = fault(error)
        if not missing:  # a rule may rightly need the missing runs
            notes.append(f"{FAULT}, so no claim could be judged: {said}")
    if not missing:
        faults = [one for one in given.values() if one.reason.startswith(FAULT)]
        notes += [one.reason for one in faults if not asked or one.claim in asked]
    return [
        Verdict(claim.id, "skipped", skipped)
        if asked and claim.id not in asked
        else _settle(study, claim, given.get(claim.id), missing, planned, said)
        for claim in study.claims
    ]


def _draw(
    study: Study[Any],
    runs: Sequence[Run],
    missing: Sequence[dict[str, Any]],
    plan: Plan | None,
    notes: list[str],
) -> list[Figure]:
    lacking = f"; {len(missing)} planned runs are missing" if missing else ""
    if plan and plan.claims:  # figures of the other claims lack their runs, which nobody asked for
        notes, unasked = [], {claim.id for claim in study.claims} - set(plan.claims)
    else:
        unasked = set()
    try:
        figures = study.figures(runs)
    except Undrawn as undrawn:
        figures = undrawn.figures
        notes += [f"a figure could not be drawn: {said}{lacking}" for said in undrawn.faults]
    except Exception as error:
        notes.append(f"the figures could not be drawn: {fault(error)}{lacking}")
        return []
    figures = [figure for figure in figures if figure.claim not in unasked]
    by_id = {figure.id: figure for figure in reversed(figures)}
    if len(by_id) < len(figures):
        notes.append("a figure is left out: another one has the same name")
    return [figure for figure in figures if by_id[figure.id] is figure]


def _unreadable(study: Study[Any], runs: Sequence[Run]) -> tuple[Run, str] | None:
    """The one run without which rules and figures do not fail, and how they fail with it.

    None if there is no such run. Only the runs whose records and arrays are least like the others' are tried.
    """
    why = _failure(study, runs)
    shapes = {run.hash: _shape(run) for run in runs}
    alike = Counter(shapes.values())
    for suspect in sorted(runs, key=lambda run: alike[shapes[run.hash]])[:_SUSPECTS]:
        if why and not _failure(study, [run for run in runs if run is not suspect]):
            return suspect, why
    return None


def _failure(study: Study[Any], runs: Sequence[Run]) -> str:
    try:
        broken = [one.reason for one in study.judge(runs) if one.reason.startswith(FAULT)]
    except Exception as error:
        return f"the rules cannot read ({fault(error)})"
    if broken:  # of a study of parts, which isolates its rules
        return f"the rules cannot read {broken[0].removeprefix(FAULT).strip()}"
    try:
        study.figures(runs)
    except Exception as error:
        return f"the figures cannot show ({fault(error)})"
    return ""


def _shape(run: Run) -> tuple[Any, ...]:
    """What records and arrays a run has, but not their values."""
    records = {tuple(sorted((key, _kind(value)) for key, value in record.items())) for record in run.records}
    return tuple(sorted(records)), tuple(sorted((name, run.arrays[name].ndim) for name in run.arrays))


def _kind(value: Any) -> str:
    return "number" if is_number(value) else type(value).__name__


def _missing(plan: Plan | None, runs: Sequence[Run]) -> list[dict[str, Any]]:
    if plan is None:
        return []
    there = {run.hash for run in runs}
    return [config for hash_, config in plan.runs.items() if hash_ not in there]


def _stale(study: Study[Any], plan: Plan | None, runs: Sequence[Run]) -> str:
    versions = {run.meta.get("study_version", study.version) for run in runs}
    versions |= {plan.version} if plan else set()
    others = sorted(version for version in versions if version != study.version)
    if not others:
        return ""
    listed = " and ".join(str(version) for version in others)
    return f"the stored runs are of version {listed} of this study; this Overt has version {study.version}"


def _settle(
    study: Study[Any],
    claim: Claim,
    verdict: Verdict | None,
    missing: Sequence[dict[str, Any]],
    planned: int,
    said: str,
) -> Verdict:
    lacking = sum(study.concerns(config, claim.id) for config in missing)
    gap = f"{lacking} of {planned} planned runs are missing"
    if verdict is None:
        ended = f"{FAULT} ({said})" if said else "no verdict was given"
        return Verdict(claim.id, claim.open, f"{gap}{f' ({said})' if said else ''}" if lacking else ended)
    if not lacking:
        return verdict
    reason = f"{gap}; those at hand say {verdict.outcome}: {verdict.reason}"
    return Verdict(claim.id, claim.open, reason, verdict.estimates)
