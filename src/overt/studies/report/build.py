"""Build the report: one offline HTML file, and each figure as a file of its own beside it."""

from __future__ import annotations

import base64
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from overt._utils.checks import is_number
from overt._utils.files import make_folder, write_whole
from overt._utils.folders import inside
from overt.studies.report.figures import Figure, Table, format_number, png_size
from overt.studies.report.provenance import Provenance, duration, provenance, run_table
from overt.studies.report.svg import numbered, size, standalone

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from overt.studies.base import Claim, Run, Verdict

SHOWN_ROWS = 40  # of a figure's data; the CSV file holds them all
ENOUGH = 10  # values from which on the coverage of a bootstrap interval comes near its level
HEADINGS = {"paper": "Claims of papers", "own": "Own hypotheses"}
KINDS = {
    "paper": ("reproduced", "not reproduced", "inconclusive"),
    "own": ("supported", "refuted", "undecided"),
}
SYMBOLS = {
    "reproduced": "✓",
    "not reproduced": "✗",
    "inconclusive": "?",
    "supported": "✓",
    "refuted": "✗",
    "undecided": "?",
    "skipped": "–",
}


@dataclass(frozen=True)
class StudySection:
    """All that a report says about one study.

    Parameters
    ----------
    name, title : str
    claims : sequence of Claim
        In the order in which they are shown.
    verdicts : sequence of Verdict
        One for each claim; a claim without one is shown as inconclusive.
    figures : sequence of Figure
    runs : sequence of Run
        The stored runs that verdicts and figures were read from.
    planned : int, optional
        How many runs the preset has, where known.
    preset : str
        Its name, where known.
    overrides : mapping
        Fields that were overridden.
    notes : sequence of str
        What went wrong: a figure that could not be drawn, a run that is damaged.
    part : int
        The number of the section among several of the same study, from 1; 0 where it is the only one.
    changed : sequence of str
        Claims whose rule is not the one that was registered when the runs were planned.
    unregistered : sequence of str
        Claims of which no rule was registered.
    asked : sequence of str
        The claims whose runs were asked for; empty where all were.
    unended : int
        The number of runs of which there was more to expect, as the study says it.
    """

    name: str
    title: str
    claims: Sequence[Claim]
    verdicts: Sequence[Verdict]
    figures: Sequence[Figure]
    runs: Sequence[Run]
    planned: int | None = None
    preset: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    part: int = 0
    changed: Sequence[str] = ()
    unregistered: Sequence[str] = ()
    asked: Sequence[str] = ()
    unended: int = 0

    def __post_init__(self) -> None:
        known = {claim.id for claim in self.claims}
        unknown = sorted({verdict.claim for verdict in self.verdicts} - known)
        if unknown:
            raise ValueError(f"verdicts of study {self.name!r} name unknown claims: {', '.join(unknown)}")
        identifiers = [figure.id for figure in self.figures]
        if len(set(identifiers)) < len(identifiers):
            raise ValueError(f"figures of study {self.name!r} must have distinct ids, got {identifiers}")

    @property
    def judged(self) -> list[tuple[Claim, Verdict]]:
        """Each claim with its verdict."""
        from overt.studies.base import Verdict

        by_claim = {verdict.claim: verdict for verdict in self.verdicts}
        missing = "No verdict: the runs that it needs are missing."
        return [
            (claim, by_claim.get(claim.id) or Verdict(claim.id, claim.open, missing)) for claim in self.claims
        ]

    @property
    def tabled(self) -> list[tuple[str, list[tuple[Claim, Verdict]]]]:
        """Each claim with its verdict, by kind: claims of papers, and hypotheses of our own."""
        kinds = [
            (heading, [one for one in self.judged if one[0].kind == kind])
            for kind, heading in HEADINGS.items()
        ]
        return [(heading, some) for heading, some in kinds if some]

    @property
    def hero(self) -> Figure | None:
        """The figure that comes first, under the verdicts: the first with anything to look at."""
        return next((figure for figure in self.figures if figure.pictured), None)

    def beside(self, claim: str) -> list[Figure]:
        """The figures that are shown with a claim."""
        return [figure for figure in self.figures if figure.claim == claim and figure is not self.hero]

    @property
    def loose(self) -> list[Figure]:
        """The figures of no claim."""
        known = {claim.id for claim in self.claims}
        return [figure for figure in self.figures if figure.claim not in known and figure is not self.hero]

    @property
    def numbers(self) -> dict[str, int]:
        """From each figure's id to its number, in the order of the page."""
        placed = [self.hero] if self.hero is not None else []
        placed += [figure for claim in self.claims for figure in self.beside(claim.id)]
        placed += self.loose
        return {figure.id: number for number, figure in enumerate(placed, start=1)}

    @property
    def partial(self) -> str:
        """What of the plan is not there, in one sentence; "" where all is."""
        lacking = (self.planned or 0) - len(self.runs)
        said = [f"Partial: {len(self.runs)} of {self.planned} planned runs are stored"] if lacking > 0 else []
        if self.asked:
            said.append(f"{'only' if said else 'Only'} the runs of {', '.join(self.asked)} were asked for")
        return f"{'; '.join(said)}." if said else ""

    @property
    def censored(self) -> str:
        """How many runs their budget ended, in one sentence; "" where none."""
        return f"{self.unended} of {len(self.runs)} runs were ended by their budget." if self.unended else ""

    @property
    def place(self) -> str:
        """What tells the section apart in the page and names its folder of figures."""
        return f"{self.name}-{self.part}" if self.part > 1 else self.name

    @property
    def setting(self) -> str:
        """The preset and the overrides, as ``preset quick, max_steps = 50``; "" if unknown."""
        if not self.preset:
            return ""
        changed = [f"{key} = {_value(value)}" for key, value in self.overrides.items()]
        asked = [f"only {' and '.join(self.asked)}"] if self.asked else []
        return ", ".join([f"preset {self.preset}", *changed, *asked])

    @property
    def heading(self) -> str:
        """The title, with the setting where the study has several sections."""
        return f"{self.title} ({self.setting or 'runs without a plan'})" if self.part else self.title

    @property
    def few(self) -> bool:
        """Whether an interval that is shown is a bootstrap over few values."""
        return any(
            estimate.method == "bootstrap" and 1 < estimate.n < ENOUGH
            for _, verdict in self.judged
            for estimate in verdict.estimates
        )

    @property
    def provenance(self) -> Provenance:
        """Versions, seeds, commit, machine, command and cost of the runs."""
        return provenance(self.runs)

    @property
    def run_table(self) -> Table:
        """One row per run: its hash, status, seconds and settings."""
        return run_table(self.runs)


def build_report(studies: Sequence[StudySection], path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Write the report, and ``figures/<study>/<id>.svg``, ``.csv`` and ``.png`` beside it.

    The page is a pure function of its input: it holds no date but those stored with the runs, runs no
    script, and loads nothing. Each file is complete or not there at all. The page's folder may be a link;
    ``figures`` and what is in it may not.

    Parameters
    ----------
    studies : sequence of StudySection
        At least one.
    path : path-like
        The HTML file. Its folder is made where it is missing; an existing file is replaced.
    title : str
        Title of the page; made from the studies' where it is empty.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    ValueError
        If there is no study, or two sections are of the same name and part.
    StoreError
        If a file cannot be written; an earlier report is then still there.
    """
    page = render_report(studies, title=title)
    target = Path(path)
    make_folder(target.parent)
    for section in studies:
        for figure in section.figures:
            _write_figure(figure, inside(target.parent, "figures", section.place))
    write_whole(target, _encoded(page))
    return target


def render_report(studies: Sequence[StudySection], *, title: str = "") -> str:
    """Return the page that :func:`build_report` writes."""
    names = [section.name for section in studies]
    if not names or len({section.place for section in studies}) < len(names):
        raise ValueError(f"studies must be one or more sections with distinct names, got {names}")
    distinct = list(dict.fromkeys(names))
    several = "Overt: report on " + ", ".join(distinct)
    heading = title or (studies[0].title if len(distinct) == 1 else several)
    judged = [(claim, verdict) for section in studies for claim, verdict in section.judged]
    possible = {each for kind in KINDS for each in KINDS[kind] if any(c.kind == kind for c, _ in judged)}
    found = Counter[str](verdict.outcome for _, verdict in judged)
    counts = {each: found[each] for each in SYMBOLS if found[each] or each in possible}
    template = _environment().get_template("template.html.j2")
    return template.render(
        title=heading,
        studies=studies,
        kinds=len(distinct),
        counts=counts,
        symbols=SYMBOLS,
        style=_style(),
    )


def _style() -> Markup:
    from markupsafe import Markup

    return Markup(files("overt.studies.report").joinpath("report.css").read_text(encoding="utf-8"))


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("overt.studies.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=format_number,
        drawing=lambda svg, prefix: Markup(
            numbered(svg, prefix)
        ),  # Figure has refused anything but passive SVG
        natural=_natural_width,
        sentence=_sentence,
        picture=_picture,
        csv_link=_csv_link,
        shown=_shown,
        numeric=_numeric_columns,
        seconds=duration,
    )
    return environment


def _natural_width(panels: Sequence[str]) -> int:
    return max(round(size(panel)[0]) for panel in panels)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _picture(png: bytes) -> Mapping[str, Any]:
    width, height = png_size(png)
    return {
        "width": width,
        "height": height,
        "src": "data:image/png;base64," + base64.b64encode(png).decode(),
    }


def _csv_link(table: Table) -> str:
    return "data:text/csv;charset=utf-8," + quote(_encoded(table.to_csv()), safe=",.;:/()[]+-_=* ").replace(
        " ", "%20"
    )


def _shown(table: Table) -> Sequence[Sequence[Any]]:
    return table.rows[:SHOWN_ROWS]


def _numeric_columns(table: Table) -> list[bool]:
    """Say for each column whether it holds numbers only, and so is aligned right."""
    cells = [[row[j] for row in table.rows if row[j] is not None] for j in range(len(table.columns))]
    return [bool(column) and all(map(is_number, column)) for column in cells]


def _encoded(text: str) -> bytes:
    return text.encode(errors="backslashreplace")  # names of files may hold bytes that are no text


def _write_figure(figure: Figure, folder: Path) -> None:
    make_folder(folder)
    if figure.panels:
        write_whole(folder / f"{figure.id}.svg", _encoded(standalone(figure.panels)))
    if figure.data_table is not None:
        write_whole(folder / f"{figure.id}.csv", _encoded(figure.data_table.to_csv()))
    for number, (_, png) in enumerate(figure.images, start=1):
        write_whole(folder / f"{figure.id}-{number}.png", png)
