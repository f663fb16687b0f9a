"""From stored runs to what a report says: a pure function of a folder's records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from overt.studies.base import Run, Study, Verdict
from overt.studies.plans import Plan
from overt.studies.report.build import StudySection
from overt.studies.store import Store

__all__ = ["assess", "load_mixture", "load_planned"]


def load_planned(store: Store, study: Study[Any]) -> tuple[Plan | None, list[Run]]:
    """Return a study's latest plan and the stored runs that belong to it.

    Where there is no plan, as in a folder put together from others', all stored runs count.
    """
    plans = store.plans(study.name)
    stored = store.stored(study.name)
    plan = plans[-1] if plans else None
    return plan, [store.load(name, hash_) for name, hash_ in stored if plan is None or hash_ in plan.runs]


def load_mixture(stores: Sequence[Store], study: Study[Any]) -> tuple[Plan | None, list[Run]]:
    """Return what several folders hold of a study: the union of their latest plans and of their runs.

    A run that is in more than one folder counts once. Where a folder has runs and no plan, all runs of
    all folders count.
    """
    if len(stores) == 1:
        return load_planned(stores[0], study)
    found = [load_planned(store, study) for store in stores]
    runs = {run.hash: run for _, some in reversed(found) for run in some}
    plans = [plan for plan, some in found if plan is not None]
    if not plans or any(plan is None and some for plan, some in found):
        return None, list(runs.values())
    presets = " + ".join(dict.fromkeys(plan.preset for plan in plans))
    merged: dict[str, dict[str, Any]] = {}
    for plan in plans:
        merged |= plan.runs
    return replace(plans[0], preset=presets, runs=merged), list(runs.values())


def assess(study: Study[Any], plan: Plan | None, runs: Sequence[Run]) -> StudySection:
    """Judge the runs of a plan and draw the figures.

    Where planned runs are missing, the verdicts that need them are inconclusive and say what the runs at
    hand would give.
    """
    ordered = sorted(runs, key=lambda run: run.hash)
    missing = _missing(plan, ordered)
    preset = plan.preset if plan else ""
    planned = len(plan.runs) if plan else None
    stale = _stale(study, plan, ordered)
    if stale or not ordered:
        reason = stale or "no run is stored"
        verdicts = [Verdict(claim.id, "inconclusive", reason) for claim in study.claims]
        return StudySection(study.name, study.title, study.claims, verdicts, [], ordered, planned, preset)
    try:
        verdicts, figures = study.judge(ordered), study.figures(ordered)
    except Exception as error:
        if not missing:
            raise
        # A rule may rightly count on the runs that are not there.
        verdicts, figures = [], []
        fault = f" ({type(error).__name__}: {error})"
    else:
        fault = ""
    given = {verdict.claim: verdict for verdict in verdicts}
    verdicts = [
        _settle(study, claim.id, given.get(claim.id), missing, planned or 0, fault) for claim in study.claims
    ]
    return StudySection(study.name, study.title, study.claims, verdicts, figures, ordered, planned, preset)


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
    claim: str,
    verdict: Verdict | None,
    missing: Sequence[dict[str, Any]],
    planned: int,
    fault: str,
) -> Verdict:
    lacking = sum(study.concerns(config, claim) for config in missing)
    gap = f"{lacking} of {planned} planned runs are missing"
    if verdict is None:
        return Verdict(claim, "inconclusive", f"{gap}{fault}" if lacking else "no verdict was given")
    if not lacking:
        return verdict
    reason = f"{gap}; those at hand say {verdict.outcome}: {verdict.reason}"
    return Verdict(claim, "inconclusive", reason, verdict.estimates)
