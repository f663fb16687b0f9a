"""What the commands print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from overt.cli.terminal import echo, shown
from overt.studies.base import Estimate, Study
from overt.studies.claims.verdicts import LastVerdicts
from overt.studies.report.build import StudySection

__all__ = ["print_notes", "print_study", "print_verdicts"]

_STYLES = {
    "reproduced": "green",
    "not reproduced": "red",
    "inconclusive": "yellow",
    "supported": "green",
    "refuted": "red",
    "undecided": "yellow",
    "skipped": "dim",
}


def print_verdicts(sections: Iterable[StudySection]) -> None:
    """Print each claim with its verdict and the reason."""
    console = _Console()
    for section in sections:
        missing = (section.planned or len(section.runs)) - len(section.runs)
        partial = f" (partial: {missing} of {section.planned} runs missing)" if missing > 0 else ""
        setting = f" ({section.setting})" if section.overrides or section.part else ""
        table = Table(title=shown(f"{section.title}{setting}{partial}"), title_justify="left")
        for name in ("Claim", "Verdict", "Why"):
            table.add_column(name, overflow="fold")
        for claim, verdict in section.judged:
            outcome = shown(verdict.outcome, style=_STYLES[verdict.outcome])
            why = shown(verdict.reason, *map(_estimate, verdict.estimates))
            table.add_row(shown(f"{claim.id} {claim.title}"), outcome, why)
        console.print(table)


def print_notes(sections: Iterable[StudySection]) -> bool:
    """Say on standard error what a report lacks, and return whether it lacks anything."""
    lines = [f"overt: {section.name}: {note}" for section in sections for note in section.notes]
    for line in lines:
        echo(" ".join(line.split()), err=True)
    return bool(lines)


def print_study(study: Study[Any], last: LastVerdicts) -> None:
    """Print a study with its claims, their sources and the last verdicts."""
    console = _Console()
    console.print(shown(study.name, style="bold") + shown(f"  {study.title}", style="not bold"))
    console.print(shown(f"  presets: {', '.join(study.presets)}"))
    if last.outcomes:
        said = ", ".join(filter(None, (last.setting, last.date[:10], f"in {last.folder}")))
        console.print(shown(f"  last verdicts: {said}"))
    for claim in study.claims:
        outcome = last.outcomes.get(claim.id, "not run")
        line = shown(f"  {claim.id} {claim.title} [{claim.source}]: ")
        console.print(line + shown(outcome, style=_STYLES.get(outcome, "dim")))


class _Console(Console):
    """Leaves it to the command line's own handling that the reader of the output has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _estimate(estimate: Estimate) -> str:
    unit = f" {estimate.unit}" if estimate.unit else ""
    interval = "" if estimate.low is None else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return f"{estimate.label}: {estimate.value:.3g}{interval}{unit} (n = {estimate.n})"
