"""Where the numbers of a report come from, read from the runs' stored metadata."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overt.studies.report.figures import Table

if TYPE_CHECKING:
    from overt.studies.base import Run
_MACHINE = {  # how each fact about a machine is said
    "system": "{}",
    "architecture": "{}",
    "processor": "{}",
    "cores": "{} cores",
    "memory_gib": "{} GiB of memory",
}


@dataclass(frozen=True)
class Provenance:
    """What all runs of a study say about themselves; several values where the runs differ."""

    done: int
    skipped: tuple[tuple[str, int], ...]
    seconds: float
    seeds: str
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]


def provenance(runs: Sequence[Run]) -> Provenance:
    """Gather the metadata of runs; keys that a run does not have are left out, never guessed."""
    made = [run for run in runs if not run.skipped]
    return Provenance(
        done=len(made),
        skipped=tuple(sorted(Counter(run.reason for run in runs if run.skipped).items())),
        seconds=sum(_seconds(run) or 0.0 for run in runs),
        seeds=ranges(run.config["seed"] for run in runs if type(run.config.get("seed")) is int),
        commits=_distinct(_commit(run.meta) for run in runs),
        machines=_distinct(_machine(run.meta.get("machine")) for run in runs),
        commands=_distinct(_command(run.meta.get("command")) for run in runs),
        versions=_versions(runs),
    )


def ranges(numbers: Iterable[int]) -> str:
    """Write whole numbers briefly.

    Examples
    --------
    >>> ranges([0, 1, 2, 7, 1])
    '0–2, 7'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" if b > a + 1 else f"{a}, {b}" for a, b in parts)


def _seconds(run: Run) -> float | None:
    seconds = run.meta.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else None


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _commit(meta: Mapping[str, Any]) -> str:
    commit = str(meta.get("commit") or "")
    if not commit:
        return ""
    return f"{commit} with uncommitted changes" if meta.get("dirty") else commit


def _machine(machine: Any) -> str:
    if isinstance(machine, Mapping):
        known = {key: value for key, value in machine.items() if value not in (None, "")}
        said = [_MACHINE[key].format(v) if key in _MACHINE else f"{key} {v}" for key, v in known.items()]
        return ", ".join(said)
    return str(machine or "")


def _command(command: Any) -> str:
    if isinstance(command, list | tuple):
        import shlex

        return shlex.join(str(part) for part in command)
    return str(command or "")


def _versions(runs: Sequence[Run]) -> tuple[tuple[str, str], ...]:
    found: dict[str, set[str]] = {}
    for run in runs:
        versions = run.meta.get("versions")
        named = dict(versions) if isinstance(versions, Mapping) else {}
        named.setdefault("python", run.meta.get("python"))
        for name in [name for name, version in named.items() if version]:
            found.setdefault(str(name), set()).add(str(named[name]))
    return tuple((name, ", ".join(sorted(found[name]))) for name in sorted(found))


def run_table(runs: Sequence[Run]) -> Table:
    """List the runs: hash, status, seconds, settings."""
    rows = []
    for run in sorted(runs, key=lambda run: run.hash):
        settings = ", ".join(f"{key}={value}" for key, value in run.config.items())
        rows.append((run.hash, str(run.meta.get("status") or "done"), _seconds(run), settings))
    return Table(("run", "status", "seconds", "settings"), rows)


def duration(seconds: float) -> str:
    """Write a duration with the two largest units.

    Examples
    --------
    >>> duration(7.25), duration(3725)
    ('7.2 s', '1 h 2 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
