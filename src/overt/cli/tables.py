"""What the commands print: one line a claim, one line a study, and all the rest where it is asked for."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from overt.cli.terminal import echo, shown
from overt.studies.base import Estimate, Study
from overt.studies.claims.verdicts import LastVerdicts, ShippedVerdicts
from overt.studies.report.build import SYMBOLS, StudySection
from overt.studies.report.figures import format_number

__all__ = ["print_notes", "print_studies", "print_study", "print_verdicts"]

_STYLES = {
    "reproduced": "green",
    "not reproduced": "red",
    "inconclusive": "yellow",
    "supported": "green",
    "refuted": "red",
    "undecided": "yellow",
    "skipped": "dim",
}
_LEGEND = "✓ reproduced or supported, ✗ not reproduced or refuted, ? open, – skipped"
_PLAIN = str.maketrans("✓✗–…·", "+x-..")  # for a terminal that has no other characters
_LEAST = 12  # columns in which a title or a label still says something
_READABLE = 110  # columns of running text

Cell = tuple[str, str]  # a text and its style


def print_verdicts(sections: Iterable[StudySection], *, verbose: bool = False) -> None:
    """Print a line for each claim: its title, its verdict, and the first estimate.

    With ``verbose`` the reason and all estimates follow each.
    """
    page = _Page()
    for section in sections:
        page.text(_heading(section), style="bold")
        if section.changed:
            page.text(f"rules changed after the runs were planned: {', '.join(section.changed)}")
        rows = [one for one in section.judged if not section.asked or one[0].id in section.asked]
        lines = []
        for claim, verdict in rows:
            style, first = _STYLES[verdict.outcome], next(iter(verdict.estimates), None)
            number, label = (_number(first), first.label) if first else ("", "")
            sign = f"{SYMBOLS[verdict.outcome]} {claim.id}"
            lines.append(
                [(sign, style), (claim.title, ""), (verdict.outcome, style), (number, ""), (label, "dim")]
            )
        for line, (_, verdict) in zip(page.fitted(lines), rows, strict=True):
            page.line(line)
            if verbose:
                page.text(verdict.reason, indent=4)
                for one in verdict.estimates:
                    page.text(f"· {one.label}: {_number(one)} (n = {one.n})", indent=4, hanging=2)
        others = [claim.id for claim, _ in section.judged if section.asked and claim.id not in section.asked]
        if others:
            page.text(f"not asked: {', '.join(others)}", style="dim")


def print_notes(sections: Iterable[StudySection]) -> bool:
    """Say on standard error what a report lacks, and return whether it lacks anything."""
    lines = [f"overt: {section.name}: {note}" for section in sections for note in section.notes]
    for line in lines:
        echo(" ".join(line.split()), err=True)
    return bool(lines)


def print_studies(studies: Sequence[tuple[Study[Any], ShippedVerdicts | None, LastVerdicts]]) -> None:
    """Print a line for each study, with the shipped verdicts; the last ones here where there are any."""
    page = _Page()
    lines: list[list[Cell]] = [[("study", "dim"), ("", ""), ("shipped", "dim")]]
    for study, shipped, _ in studies:
        counts = f"{_counts(shipped.outcomes)} ({_when(shipped)})" if shipped else "none"
        lines.append([(study.name, "bold"), (study.title, ""), (counts, "")])
    head, *rest = page.fitted(lines)
    page.line(head)
    for line, (study, shipped, last) in zip(rest, studies, strict=True):
        page.line(line)
        changed = shipped.changed(study) if shipped else []
        if changed:
            page.text(f"rules changed since: {', '.join(changed)}", indent=4, style="yellow")
        if last.outcomes:
            page.text(f"last here: {_counts(last.outcomes)} ({_where(last)})", indent=4, style="dim")
    page.text(_LEGEND, style="dim")
    page.text("overt list STUDY shows its claims", style="dim")


def print_study(
    study: Study[Any], shipped: ShippedVerdicts | None, last: LastVerdicts, *, verbose: bool = False
) -> None:
    """Print a study with its claims, their shipped and their last verdicts.

    With ``verbose`` the statement, the source and the rule of each follow.
    """
    page = _Page()
    page.line([(study.name, "bold"), (study.title, "")])
    page.text(f"presets: {', '.join(study.presets)}", indent=2)
    changed = shipped.changed(study) if shipped else []
    if shipped:
        commit = ", ".join(one[:12] for one in shipped.commit.split(", "))
        said = f"{_worded(shipped.outcomes)} ({_when(shipped)}, commit {commit})"
        gone = [claim for claim in shipped.outcomes if claim not in {one.id for one in study.claims}]
        lost = f"; no longer asked: {', '.join(gone)}" if gone else ""
        page.text(f"shipped: {said}{lost}", indent=2)
    if last.outcomes:
        page.text(f"last here: {_worded(last.outcomes)} ({_where(last)})", indent=2)
    lines: list[list[Cell]] = [[("claim", "dim"), ("", ""), ("shipped", "dim"), ("last here", "dim")]]
    for claim in study.claims:
        there = shipped.outcomes.get(claim.id, "–") if shipped else "–"
        here = last.outcomes.get(claim.id, "not run")
        said = f"{there}, rule changed" if claim.id in changed else there
        lines.append(
            [
                (claim.id, ""),
                (claim.title, ""),
                (said, _STYLES.get(there, "dim")),
                (here, _STYLES.get(here, "dim")),
            ]
        )
    head, *rest = page.fitted(lines)
    page.line(head)
    for line, claim in zip(rest, study.claims, strict=True):
        page.line(line)
        if verbose:
            kind = "" if claim.kind == "paper" else "Own hypothesis. "
            for said in (f"{kind}{claim.statement}", f"Source: {claim.source}", f"Rule: {claim.rule_words}"):
                page.text(said, indent=4)


class _Page:
    """Standard output, as wide as the terminal; without end where it is none and COLUMNS is not set."""

    def __init__(self) -> None:
        self.console = _Console()
        named = os.environ.get("COLUMNS", "")
        known = self.console.is_terminal or (named.isdecimal() and int(named) > 0)
        self.width = max(1, self.console.width) if known else None
        self.plain = not self.console.encoding.lower().startswith("utf")

    def fitted(self, lines: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
        """Lines as columns. The second is cut where the page is narrow, the fifth takes what is left."""
        if not lines:  # a study without claims
            return []
        count = max(map(len, lines))
        padded = [[*line, *[("", "")] * (count - len(line))] for line in lines]
        widths = [max(cell_len(line[column][0]) for line in padded) for column in range(count)]
        if self.width is not None:
            rest = sum(width + 2 for column, width in enumerate(widths[:4]) if column != 1 and width)
            widths[1] = min(widths[1], max(_LEAST, self.width - rest))
            left = self.width - rest - widths[1] - 2
            widths[4:] = [min(width, left) if left >= _LEAST else 0 for width in widths[4:]]
        return [
            [
                (self._cut(text, width), style)
                for (text, style), width in zip(line, widths, strict=True)
                if width
            ]
            for line in padded
        ]

    def line(self, cells: Sequence[Cell]) -> None:
        """Print cells on one line, with two spaces between them."""
        said = shown()
        for number, (text, style) in enumerate(cells):
            said.append("  " if number else "").append(shown(self._said(text), style=style))
        said.rstrip()
        self._print(said)

    def text(self, text: str, *, indent: int = 0, hanging: int = 0, style: str = "") -> None:
        """Print running text."""
        width = max(indent + _LEAST, min(self.width or _READABLE, _READABLE))
        begin, later = " " * indent, " " * (indent + hanging)
        lines = textwrap.wrap(
            text, width, initial_indent=begin, subsequent_indent=later, break_on_hyphens=False
        )
        for line in lines:
            self._print(shown(self._said(line), style=style))

    def _cut(self, text: str, width: int) -> str:
        """The text in exactly as many columns."""
        cut = shown(text)
        cut.truncate(width, overflow="ellipsis", pad=True)
        return cut.plain

    def _said(self, text: str) -> str:
        return text.translate(_PLAIN) if self.plain else text

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


class _Console(Console):
    """Leaves it to the command line's own handling that the reader of the output has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _heading(section: StudySection) -> str:
    missing = (section.planned or len(section.runs)) - len(section.runs)
    said = [section.setting] if section.overrides or section.part or section.asked else []
    said += [f"partial: {missing} of {section.planned} runs missing"] if missing > 0 else []
    said += [section.censored.rstrip(".")] if section.censored else []
    return f"{section.title} ({'; '.join(said)})" if said else section.title


def _number(estimate: Estimate) -> str:
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f" [{format_number(estimate.low)}, {format_number(estimate.high)}]"
    return f"{format_number(estimate.value)}{interval}{f' {estimate.unit}' if estimate.unit else ''}"


def _counts(outcomes: dict[str, str]) -> str:
    """How many of each symbol: ``5 ✓ 1 ✗ 1 ?``."""
    found = Counter(SYMBOLS.get(outcome, "?") for outcome in outcomes.values())
    return " ".join(
        f"{found[symbol]} {symbol}" for symbol in dict.fromkeys(SYMBOLS.values()) if found[symbol]
    )


def _worded(outcomes: dict[str, str]) -> str:
    """How many of each outcome: ``5 of 7 reproduced, 1 not reproduced, 1 inconclusive``."""
    found = Counter(outcomes.values())
    first, *rest = [f"{found[outcome]} {outcome}" for outcome in SYMBOLS if found[outcome]] or ["0 judged"]
    count, _, word = first.partition(" ")
    return ", ".join([f"{count} of {len(outcomes)} {word}", *rest])


def _when(shipped: ShippedVerdicts) -> str:
    return f"{shipped.preset}, {shipped.date}"


def _where(last: LastVerdicts) -> str:
    return ", ".join(filter(None, (last.setting, last.date[:10], f"in {last.folder}")))
