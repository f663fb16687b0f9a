"""Run studies: plan, keep what is stored, make what is missing, judge, report."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overt._utils.checks import check_integer
from overt._utils.console import printable
from overt._utils.errors import UsageError
from overt._utils.signals import Interrupts
from overt.studies import registry
from overt.studies.base import Study, StudyConfig, Verdict
from overt.studies.claims.assess import assess, load_mixture
from overt.studies.claims.verdicts import save_verdicts
from overt.studies.report.build import StudySection, build_report
from overt.studies.runs.backends import Workers, check_backend, check_jobs
from overt.studies.runs.display import make_display
from overt.studies.runs.identity import folder_name
from overt.studies.runs.loop import Loop
from overt.studies.runs.overrides import Sweep, apply, settings
from overt.studies.runs.provenance import provenance
from overt.studies.runs.store import Store

__all__ = ["RunSummary", "judge", "run_studies", "run_study", "write_report"]


@dataclass(frozen=True)
class RunSummary:
    """What became of one study.

    Attributes
    ----------
    section : StudySection
        Claims, verdicts, figures and runs, as in the report.
    out : Path
        The folder of runs.
    report : Path
        The HTML report.
    made, resumed : int
        How many runs were made now, and how many were stored before.
    failures : dict of str to str
        From the hash of each run that failed to one line that says why; its traceback is in
        ``out/failed``.
    seconds : float
        How long making the runs took.
    merged : str
        One line where overridden fields made planned runs equal, so that fewer were made; else empty.
    """

    section: StudySection
    out: Path
    report: Path
    made: int
    resumed: int
    failures: dict[str, str]
    seconds: float
    merged: str = ""

    @property
    def study(self) -> str:
        """The study's name."""
        return self.section.name

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One verdict for each claim."""
        return tuple(verdict for _, verdict in self.section.judged)


def run_study(
    study: str | Study[Any],
    *,
    preset: str | None = None,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    address: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    claims: Sequence[str] = (),
    progress: bool = False,
) -> RunSummary:
    """Run a study, or what is missing of it, and write its report.

    Parameters
    ----------
    study : str or Study
        A registered name, ``module:attribute`` (the module is imported, which runs its code), or the study
        itself.
    preset : str, optional
        One of the study's presets; its first by default.
    out : path-like, optional
        The folder of runs; ``overt-runs/<study>-<preset>`` by default, followed by the seed, the overrides
        and the claims that are given. Runs already in it are kept.
    jobs : int, optional
        How many runs are made side by side; one per core by default. Records do not depend on it.
    backend : str, default="loky"
        "loky" (processes on this machine), "dask", "ray", or a backend registered with joblib.
    address : str, optional
        Of a Dask scheduler; without it, "dask" starts a cluster on this machine.
    seed : int, default=0
        Shifts the seeds of all runs.
    overrides : mapping, optional
        Fields to set in each configuration.
    claims : sequence of str
        Ids of claims: only the runs that their rules select are made, and the other claims are not judged.
    progress : bool, default=False
        Whether to show progress on standard error.

    Returns
    -------
    RunSummary

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    UsageError
        If an argument is out of range, or names nothing that there is (a ValueError).
    StoreError
        If the folder cannot be used; nothing in it is lost.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM; run again to go on.

    Examples
    --------
    >>> from overt.studies import run_study
    >>> run_study("story", preset="quick", jobs=2)  # doctest: +SKIP
    """
    if any(isinstance(value, Sweep) for value in (overrides or {}).values()):
        raise UsageError("a sweep gives a summary for each value; call overt.studies.runner.run_studies")
    return run_studies(
        [study],
        preset=preset,
        out=out,
        jobs=jobs,
        backend=backend,
        address=address,
        seed=seed,
        overrides=overrides,
        claims=claims,
        progress=progress,
    )[0]


def run_studies(
    studies: Sequence[str | Study[Any]],
    *,
    preset: str | None = None,
    out: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    backend: str = "loky",
    address: str | None = None,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    claims: Sequence[str] = (),
    progress: bool = False,
    command: str | None = None,
) -> list[RunSummary]:
    """Run several studies into one folder and write one report; the arguments are those of `run_study`.

    An override may be a `Sweep`. There is one summary for each study and setting of a sweep: each is
    judged by itself and has its own section of the report. Of studies without a wanted claim nothing is run.
    """
    found = [registry.get(study) if isinstance(study, str) else study for study in studies]
    if not found:
        raise UsageError("name at least one study")
    check_backend(backend, address)
    jobs = check_jobs(jobs)
    name = found[0].name if len(found) == 1 else "all"
    found = _concerned(found, claims)
    given = dict(overrides or {})
    drafts = [_draft(study, preset, seed, setting, claims) for study in found for setting in settings(given)]
    merged = [line for draft in drafts if (line := draft.merged)]
    folder = Path(out) if out is not None else _folder(name, drafts[0].preset, seed, given, claims)
    sweep = {field: value.values for field, value in given.items() if isinstance(value, Sweep)}
    said = command or f"overt.studies.run_study: {name}, preset {drafts[0].preset}, seed {seed}"
    said = printable(said)  # an argument may hold bytes that are no text
    store = Store.create(folder)
    with store.locked() as held, Interrupts() as interrupts, make_display(progress) as display:
        if not held:
            display.note("this file system has no locks: do not start a second runner on this folder")
        for line in merged:
            display.note(f"overt: {line}")
        store.clean()
        workers = Workers(jobs, backend, address)
        loop = Loop(store, workers, interrupts, display, provenance(said))
        counts = [
            loop.run(
                draft.study, draft.preset, seed, draft.overrides, draft.configs, said, draft.claims, sweep
            )
            for draft in drafts
        ]
    sections = judge(store, found)
    path = write_report(store, sections)
    return [
        RunSummary(
            section, folder, path, count.made, count.resumed, count.failures, count.seconds, draft.merged
        )
        for section, count, draft in zip(sections, counts, drafts, strict=True)
    ]


def judge(stores: Store | Sequence[Store], studies: Iterable[Study[Any]]) -> list[StudySection]:
    """Return what the stored runs of studies say; a pure function of the folders' records.

    There is one section per study, or one for each setting where folders hold a study in several: runs of
    different settings are never judged together.
    """
    folders = [stores] if isinstance(stores, Store) else stores
    sections = []
    for study in studies:
        groups = load_mixture(folders, study)
        parts = range(1, len(groups) + 1) if len(groups) > 1 else (0,)
        sections += [assess(study, group, part) for group, part in zip(groups, parts, strict=True)]
    return sections


def write_report(store: Store, sections: Sequence[StudySection], path: Path | None = None) -> Path:
    """Write the report, by default into the folder of runs, and return where.

    Raises
    ------
    StoreError
        If it cannot be written; an earlier report is then still there.
    """
    target = path or store.path / "report.html"
    written = build_report(sections, target)
    if path is None:
        for section in sections:
            save_verdicts(store, section)
    return written


@dataclass(frozen=True)
class _Draft:
    """What is to be run of a study; `merged` says where settings made planned runs equal."""

    study: Study[Any]
    overrides: Mapping[str, Any]
    claims: list[str]
    preset: str
    configs: list[StudyConfig]
    merged: str


def _folder(name: str, preset: str, seed: int, overrides: Mapping[str, Any], claims: Sequence[str]) -> Path:
    """The default folder: other settings have another one, so that no report replaces another's."""
    parts: dict[str, Sequence[Any]] = {}
    for field, value in sorted(overrides.items()):
        known = f"set-{field}" if field in ("seed", "claim") else field
        parts[known] = value.values if isinstance(value, Sweep) else [value]
    parts |= {"seed": [seed]} if seed else {}
    parts |= {"claim": list(dict.fromkeys(claims))} if claims else {}
    return Path("overt-runs") / folder_name(name, preset, parts)


def _concerned(studies: Sequence[Study[Any]], claims: Sequence[str]) -> list[Study[Any]]:
    """The studies that have one of the claims; all of them where none is named."""
    known = [claim.id for study in studies for claim in study.claims]
    for claim in claims:
        if claim not in known:
            close = difflib.get_close_matches(claim, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            raise UsageError(f"unknown claim {claim!r}; {hint}")
    return [study for study in studies if not claims or any(claim.id in claims for claim in study.claims)]


def _draft(
    study: Study[Any],
    preset: str | None,
    seed: int,
    overrides: Mapping[str, Any],
    claims: Sequence[str],
) -> _Draft:
    chosen = study.presets[0] if preset is None else preset
    if chosen not in study.presets:
        raise UsageError(
            f"study {study.name!r} has no preset {chosen!r}; there are: {', '.join(study.presets)}"
        )
    shift = check_integer(seed, "seed", least=0, most=2**32 - 1)
    planned = study.plan(chosen, shift)
    own = [claim.id for claim in study.claims if claim.id in claims]
    if own:
        planned = [config for config in planned if _wanted(study, config, own)]
        if not planned:
            raise UsageError(f"no run of preset {chosen!r} of study {study.name!r} is for {' or '.join(own)}")
    configs = apply(planned, overrides, study.name)
    before = len(dict.fromkeys(planned))
    merged = ""
    if len(configs) < before:
        names = ", ".join(overrides)
        merged = (
            f"study {study.name!r}: with {names} set, {before} planned runs are {len(configs)} different ones"
        )
    return _Draft(study, overrides, own, chosen, configs, merged)


def _wanted(study: Study[Any], config: StudyConfig, claims: Sequence[str]) -> bool:
    fields = config.model_dump(mode="json")
    return any(study.concerns(fields, claim) for claim in claims)
