"""Verdicts of each study that ``overt list`` shows without judging: the last ones here, and the shipped ones.

The last ones are kept beside the runs. The shipped ones are those of the reference results, which
``benchmarks/verdicts.py`` writes into ``shipped.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from overt._utils import files, folders
from overt._utils.errors import StoreError
from overt.studies.base import Study
from overt.studies.report.build import StudySection
from overt.studies.runs import records
from overt.studies.runs.store import IF_FULL, Store

__all__ = ["LastVerdicts", "ShippedVerdicts", "last_verdicts", "save_verdicts", "shipped_verdicts"]


@dataclass(frozen=True)
class LastVerdicts:
    """The most recent verdicts of a study.

    Attributes
    ----------
    outcomes : dict of str to str
        From claim to outcome.
    setting : str
        The preset and the overrides; empty where it is not known.
    date : str
        Of the last run, ISO 8601; of the file where it is not known.
    folder : Path or None
        Where the runs are.
    notes : tuple of str
        One line for each file that could not be read.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    setting: str = ""
    date: str = ""
    folder: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShippedVerdicts:
    """The verdicts of a study's reference result.

    Attributes
    ----------
    outcomes : dict of str to str
        From claim to outcome.
    preset, date, commit : str
        Of the runs.
    rules : dict of str to str
        From claim to the hash of the rule that judged it; of earlier results it is not known.
    """

    outcomes: dict[str, str]
    preset: str
    date: str
    commit: str
    rules: dict[str, str]

    def changed(self, study: Study[Any]) -> list[str]:
        """The claims of a study that another rule has judged."""
        return [one.id for one in study.claims if self.rules.get(one.id, one.digest) != one.digest]


@cache
def _shipped() -> dict[str, Any]:
    text = resources.files("overt.studies").joinpath("shipped.json").read_bytes()
    return records.load_object(text)


def shipped_verdicts(study: str) -> ShippedVerdicts | None:
    """Return the verdicts of a built-in study that came with this version of Overt, if there are any."""
    value = _shipped().get(study)
    if value is None:
        return None
    by_claim = value["verdicts"]
    return ShippedVerdicts(
        {claim: one["outcome"] for claim, one in by_claim.items()},
        value["preset"],
        value["date"],
        value["commit"],
        {claim: one["rule"] for claim, one in by_claim.items() if "rule" in one},
    )


def save_verdicts(store: Store, section: StudySection) -> None:
    """Store what a report says of a study as ``DIR/verdicts/<study>.json``."""
    path = folders.inside(store.path, "verdicts") / f"{section.name}.json"
    value: dict[str, Any] = {
        "study": section.name,
        "preset": section.preset,
        "overrides": dict(section.overrides),
        "setting": section.setting,
        "date": max((str(run.meta.get("started") or "") for run in section.runs), default=""),
        "planned": section.planned,
        "stored": len(section.runs),
        "verdicts": [
            asdict(verdict)
            for claim, verdict in section.judged
            if not section.asked or claim.id in section.asked
        ],
    }
    files.make_folder(path.parent, if_full=IF_FULL)
    files.write_whole(path, records.dump_object(value), if_full=IF_FULL)


def last_verdicts(looked_in: Path | Iterable[Path], study: str) -> LastVerdicts:
    """Return a study's most recent verdicts in any folder of runs that is one of ``looked_in`` or in one.

    It is for display only: what cannot be read is passed over, with a note. Links are not followed.
    """
    found: list[LastVerdicts] = []
    notes: list[str] = []
    for folder in [looked_in] if isinstance(looked_in, Path) else looked_in:
        for each in (folder, *_folders_in(folder)):
            path = each / "verdicts" / f"{study}.json"
            try:
                if os.path.lexists(folders.inside(each, "verdicts") / path.name):
                    found.append(_read(path))
            except StoreError as error:
                if not isinstance(error.__cause__, PermissionError):  # a folder that is someone else's
                    notes.append(str(error))
            except (OSError, ValueError, KeyError, TypeError) as error:
                notes.append(f"{path} is damaged ({type(error).__name__}); remove it")
    last = max(found, key=lambda one: one.date, default=LastVerdicts())
    return replace(last, notes=tuple(notes))


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if folders.is_folder(path)]
    except OSError:
        return []


def _read(path: Path) -> LastVerdicts:
    value = records.load_object(files.read_plain(path))
    outcomes = {str(each["claim"]): str(each["outcome"]) for each in value["verdicts"]}
    preset = str(value.get("preset") or "")  # files of earlier versions say no more than that
    setting = str(value.get("setting") or (f"preset {preset}" if preset else ""))
    written = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")
    return LastVerdicts(outcomes, setting, str(value.get("date") or written), path.parent.parent)
