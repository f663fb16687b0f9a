"""The last verdicts of each study, kept beside its runs so that ``overt list`` need not judge anew."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from overt.studies import files, records
from overt.studies.errors import StoreError
from overt.studies.report.build import StudySection
from overt.studies.store import Store

__all__ = ["last_verdicts", "save_verdicts"]


def save_verdicts(store: Store, section: StudySection) -> None:
    """Store what a report says of a study as ``DIR/verdicts/<study>.json``."""
    path = store.path / "verdicts" / f"{section.name}.json"
    value: dict[str, Any] = {
        "study": section.name,
        "preset": section.preset,
        "planned": section.planned,
        "stored": len(section.runs),
        "verdicts": [asdict(verdict) for _, verdict in section.judged],
    }
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise files.explain(error, path, "write") from error
    files.write_whole(path, records.dump_object(value))


def last_verdicts(folder: Path, study: str) -> dict[str, str]:
    """Return claim → outcome of a study's most recent verdicts in any folder of runs under ``folder``.

    It is for display only: what cannot be read is passed over.
    """
    found = []
    for path in (*folder.glob(f"verdicts/{study}.json"), *folder.glob(f"*/verdicts/{study}.json")):
        try:
            value = records.load_object(files.read_plain(path))
            verdicts = {str(each["claim"]): str(each["outcome"]) for each in value["verdicts"]}
            found.append((path.stat().st_mtime, verdicts))
        except (OSError, StoreError, ValueError, KeyError, TypeError):
            continue
    return max(found, key=lambda pair: pair[0])[1] if found else {}
