"""The report: all is in it, nothing but passive HTML is in it, and the same runs give the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import html.parser
import io
import itertools
import math
import re
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_sample

from overt._utils.errors import StoreError
from overt.studies import Claim, Estimate, Run, Verdict
from overt.studies.report.build import SHOWN_ROWS, StudySection, build_report, render_report
from overt.studies.report.figures import Figure, Table, encode_png, format_number, png_size
from overt.studies.report.provenance import duration, provenance, ranges

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&{{ 7*7 }}"
VOID = {"meta", "link", "img", "br", "input", "hr", "path", "use"}


class Page(html.parser.HTMLParser):
    """Elements, identifiers and text of a page; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def section() -> StudySection:
    return report_sample.section()


@pytest.fixture(scope="module")
def text(section: StudySection) -> str:
    return render_report([section])


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def small(**changes: Any) -> StudySection:
    """Return a section with one claim, one figure and one run."""
    values: dict[str, Any] = {
        "name": "tiny",
        "title": "A tiny study",
        "claims": [Claim("T1", "a claim", "a statement", "a source", "a rule")],
        "verdicts": [Verdict("T1", "reproduced", "a reason", (Estimate("error", 0.5, 0.25, None, 3, "s"),))],
        "figures": [Figure("table", "a figure", "a caption", table=Table(("a", "b"), [(1, "x")]))],
        "runs": [Run("tiny", "0" * 12, {"seed": 3}, [], {}, {"status": "done", "seconds": 2.0})],
    }
    return StudySection(**{**values, **changes})


@pytest.mark.slow
def test_the_page_holds_every_claim_with_its_verdict_rule_and_source(
    page: Page, section: StudySection
) -> None:
    said = " ".join(page.text.split())
    for claim, verdict in section.judged:
        for words in (claim.id, claim.title, claim.statement, claim.source, claim.rule, verdict.reason):
            assert words in said
        for estimate in verdict.estimates:
            assert estimate.label in said
    assert said.count("Not reproduced") == 2  # in the overview and at its claim
    assert "5 reproduced" in said
    assert "[1.9e−3, 4.4e−3]" in said


def test_verdicts_come_before_figures_and_figures_before_provenance(text: str) -> None:
    places = [
        text.index(f'id="{name}"')
        for name in ("verdicts", "story-claims", "story-figures", "story-provenance")
    ]
    assert places == sorted(places)


def test_the_page_says_where_its_numbers_come_from(page: Page) -> None:
    said = " ".join(page.text.split())
    assert "overt run story --preset quick --out 'overt-runs/story quick'" in said
    assert "124 done of 126 planned (preset quick); 1 missing" in said
    assert "1: MovieLens 100K is neither here nor reachable" in said
    assert "0–9" in said
    assert "0123456789abcdef0123456789abcdef01234567 with uncommitted changes" in said
    assert "torch 2.13.0" in said
    assert "2 cores" in said


def test_every_figure_is_there_with_its_data(page: Page, section: StudySection) -> None:
    names = [attributes["id"] for attributes in page.all("figure")]
    assert names == [f"story-{figure.id}" for figure in section.figures]
    assert len(page.all("svg")) == sum(len(figure.panels) for figure in section.figures)
    assert len(page.all("img")) == sum(len(figure.images) for figure in section.figures)
    links = {
        attributes["download"]: attributes["href"] for attributes in page.all("a") if "download" in attributes
    }
    for figure in section.figures:
        assert figure.data_table is not None
        head, _, body = links[f"story-{figure.id}.csv"].partition(",")
        assert head == "data:text/csv;charset=utf-8"
        assert urllib.parse.unquote(body) == figure.data_table.to_csv()


def test_the_page_is_passive_and_self_contained(page: Page) -> None:
    policy = next(m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {tag for tag, _ in page.elements} & {"script", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "xlink:href"):
            if key in attributes:
                assert attributes[key].startswith(("#", "data:")), (tag, attributes[key])


def test_style_asks_for_nothing(text: str) -> None:
    style = text[text.index("<style>") : text.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_the_page_is_well_built(page: Page) -> None:
    html_element = page.elements[0]
    assert html_element == ("html", {"lang": "en"})
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for attributes in page.all("a"):
        if attributes["href"].startswith("#"):
            assert attributes["href"][1:] in names
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert any(attributes.get("class") == "skip" for attributes in page.all("a"))


def test_text_is_never_markup() -> None:
    hostile = small(
        title=HOSTILE,
        claims=[Claim("T1", HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        verdicts=[Verdict("T1", "reproduced", HOSTILE, (Estimate(HOSTILE, 1.0, None, None, 1, HOSTILE),))],
        figures=[
            Figure(
                "f",
                HOSTILE,
                HOSTILE,
                table=Table((HOSTILE,), [(HOSTILE,)], HOSTILE),
                images=[(HOSTILE, encode_png([[0.0]]))],
            )
        ],
        runs=[
            Run(
                "tiny",
                "0" * 12,
                {"seed": 0, HOSTILE: HOSTILE},
                [],
                {},
                dict.fromkeys(("command", "commit", "machine"), HOSTILE),
            )
        ],
        preset=HOSTILE,
        planned=2,
    )
    page = Page(render_report([hostile]))
    assert not page.all("script")
    assert len(page.all("img")) == 1
    assert page.text.count(HOSTILE) >= 12
    assert "49" not in page.text


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes_in_any_order(text: str) -> None:
    again = report_sample.section(runs=report_sample.sample_runs()[::-1])
    assert render_report([again]) == text


def test_a_long_table_of_data_is_cut_and_says_so(page: Page, section: StudySection) -> None:
    (spectra,) = (figure for figure in section.figures if figure.id == "spectra")
    assert len(spectra.data) > SHOWN_ROWS
    assert f"The first {SHOWN_ROWS} of {format_number(len(spectra.data))} rows." in page.text


DRAWING = '<svg viewBox="0 0 90 60"><path d="M0 0"/></svg>'


def of_claims(**changes: Any) -> StudySection:
    """A section with a claim of a paper, one of our own, and four figures."""
    claims = [
        Claim("T1", "a claim", "a statement", "a source", "a rule"),
        Claim("T2", "a guess", "a statement", "a source", "a rule", kind="own"),
    ]
    verdicts = [
        Verdict("T1", "reproduced", "a reason", (Estimate("error", 0.5, -math.inf, math.inf, 3),)),
        Verdict("T2", "refuted", "another reason"),
    ]
    figures = [
        Figure("numbers", "Numbers", table=Table(("a",), [(1,)])),
        Figure("second", "Second", svg=DRAWING, claim="T2"),
        Figure("hero", "Hero", svg=DRAWING, claim="T1"),
        Figure("stray", "Stray", svg=DRAWING, claim="T9"),
        Figure("first", "First", svg=DRAWING, claim="T1"),
    ]
    return small(**{"claims": claims, "verdicts": verdicts, "figures": figures, **changes})


def test_the_first_picture_is_under_the_verdicts_and_the_others_are_in_their_claims() -> None:
    section = of_claims()
    assert section.hero is section.figures[1]
    assert section.numbers == {"second": 1, "hero": 2, "first": 3, "numbers": 4, "stray": 5}
    text = render_report([section])
    places = {name: text.index(f'id="tiny-{name}"') for name in section.numbers}
    articles = {claim: text.index(f'<article class="claim" id="tiny-{claim}"') for claim in ("T1", "T2")}
    assert text.index('id="verdicts"') < places["second"] < articles["T1"]
    assert articles["T1"] < places["hero"] < places["first"] < articles["T2"]
    assert (
        articles["T2"] < text.index('<a href="#tiny-second">Figure 1</a>') < text.index('id="tiny-figures"')
    )
    assert text.index('id="tiny-figures"') < places["numbers"] < places["stray"]
    assert render_report([dataclasses.replace(section, figures=section.figures[1:3])]).count("<figure ") == 2
    page = Page(render_report([section, small(name="other", figures=section.figures)]))
    assert len([one for one in page.all("figure") if one.get("class") == "hero"]) == 2


def test_rule_source_and_estimates_are_folded_and_the_reason_is_not() -> None:
    text = render_report([of_claims()])
    article = text[text.index('<article class="claim" id="tiny-T1"') : text.index("</article>")]
    shown, folded = article.split('<details class="basis">')
    assert "a reason" in shown
    assert "a statement" in shown
    assert "a rule" not in shown
    for words in ("Rule, source and 1 estimate</summary>", "a rule", "a source", "[−∞, ∞]"):
        assert words in folded


def test_claims_of_papers_and_own_hypotheses_are_apart() -> None:
    page = Page(render_report([of_claims()]))
    said = " ".join(page.text.split())
    said = said[said.index("Claims of papers") :] + said[: said.index("Claims of papers")]
    assert said.index("Claims of papers") < said.index("a claim") < said.index("Own hypotheses")
    assert len([one for one in page.all("table") if one.get("class") == "overview"]) == 2
    assert "1 reproduced" in said
    assert "1 refuted" in said
    assert "Own hypotheses" not in Page(render_report([small()])).text


def test_a_partial_report_says_so_in_its_header() -> None:
    runs = [
        Run("tiny", f"{n:012x}", {"seed": n}, [{"status": status}], {}, {})
        for n, status in enumerate(("budget", "converged"))
    ]
    text = render_report([small(runs=runs, planned=5, asked=["T1"], unended=1)])
    header = " ".join(Page(text[text.index("<header>") : text.index("</header>") + 9]).text.split())
    assert "Partial: 2 of 5 planned runs are stored; only the runs of T1 were asked for." in header
    assert "1 of 2 runs were ended by their budget." in header
    unasked = render_report([of_claims(asked=["T1"])])
    assert unasked.count("Not asked</span>") == 2
    whole = small(runs=runs[1:], planned=1)
    assert (whole.partial, whole.censored) == ("", "")
    both = render_report([small(runs=runs, planned=5), small(name="other")])
    assert "A tiny study: <strong>Partial: 2 of 5" in both


def test_what_is_said_of_rules_is_what_is_known() -> None:
    registered = "the one that was registered before the runs"
    assert registered in render_report([small()])
    for changes, words in (
        ({"changed": ["T1"]}, "Rules changed after the runs were planned: T1."),
        ({"unregistered": ["T1"]}, "No rule was registered with the runs."),
    ):
        text = " ".join(render_report([small(**changes)]).split())
        assert words in text
        assert registered not in text
    some = " ".join(render_report([of_claims(unregistered=["T2"])]).split())
    assert "No rule was registered with the runs for T2." in some


def test_a_claim_without_a_verdict_is_inconclusive() -> None:
    page = Page(render_report([small(verdicts=[])]))
    assert "1 inconclusive" in page.text
    assert "0 reproduced" in page.text


def test_a_study_without_runs_still_has_a_page() -> None:
    page = Page(render_report([small(runs=[], figures=[], verdicts=[])]))
    assert page.text.count("not recorded") == 5


@pytest.mark.slow
def test_several_studies_share_a_page(section: StudySection) -> None:
    other = small(name="other", figures=[dataclasses.replace(section.figures[0], id="spectra")])
    page = Page(render_report([section, other]))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert "6 reproduced" in page.text
    assert "A tiny study" in page.text


@pytest.mark.slow
def test_files_beside_the_page(tmp_path: Path, section: StudySection) -> None:
    target = build_report([section], tmp_path / "deep" / "report.html")
    assert target.read_text(encoding="utf-8") == render_report([section])
    folder = target.parent / "figures" / "story"
    for figure in section.figures:
        assert (folder / f"{figure.id}.svg").is_file() == bool(figure.panels)
        rows = list(csv.reader(io.StringIO((folder / f"{figure.id}.csv").read_text(encoding="utf-8"))))
        assert figure.data_table is not None
        assert len(rows) == len(figure.data_table.rows) + 1
        for number, (_, png) in enumerate(figure.images, start=1):
            assert (folder / f"{figure.id}-{number}.png").read_bytes() == png
    leftovers = [path for path in target.parent.rglob(".*")]
    assert not leftovers


def test_building_again_changes_nothing_and_leaves_other_files_alone(tmp_path: Path) -> None:
    other = tmp_path / "figures" / "mine.txt"
    other.parent.mkdir()
    other.write_text("kept")
    first = build_report([small()], tmp_path / "report.html").read_bytes()
    assert build_report([small()], tmp_path / "report.html").read_bytes() == first
    assert other.read_text() == "kept"


def test_a_failed_write_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = build_report([small()], tmp_path / "report.html")
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        build_report([small(title="another")], target)
    assert target.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot make the folder"):
        build_report([small()], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: render_report([]), "one or more"),
        (lambda: render_report([small(), small()]), "distinct names"),
        (lambda: small(verdicts=[Verdict("X9", "reproduced", "")]), "unknown claims: X9"),
        (lambda: small(figures=[Figure("a", "x"), Figure("a", "y")]), "distinct ids"),
        (lambda: Figure("Not An Id", "x"), "lower-case words"),
        (lambda: Figure("../up", "x"), "lower-case words"),
        (lambda: Figure("a", "x", svg="<svg"), "well-formed"),
        (lambda: Figure("a", "x", svg="<p/>"), "root"),
        (lambda: Figure("a", "x", svg="<svg><script/></svg>"), "passive"),
        (lambda: Figure("a", "x", svg="<svg onload='x'/>"), "event handler"),
        (
            lambda: Figure("a", "x", svg="<svg><image href='https://example.org/a.png'/></svg>"),
            "outside itself",
        ),
        (
            lambda: Figure("a", "x", svg="<svg><path style='fill: url(https://example.org)'/></svg>"),
            "outside itself",
        ),
        (lambda: Figure("a", "x", svg="<svg><style>* {}</style></svg>"), "passive"),
        (lambda: Figure("a", "x", svg='<!DOCTYPE a [<!ENTITY b "c">]><svg>&b;</svg>'), "document type"),
        (lambda: Figure("a", "x", images=[("c", b"GIF89a")]), "not a PNG"),
        (lambda: Table(("a", "b"), [(1,)]), r"rows\[0\] has 1 cells for 2 columns"),
        (lambda: encode_png(np.zeros((2, 2, 4))), "must have shape"),
        (lambda: encode_png(np.zeros((0, 2))), "must have shape"),
    ],
)
def test_wrong_input_is_refused_in_words(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_encode_png_keeps_pixels() -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for shape in ((5, 7), (5, 7, 3)):
        picture = rng.integers(0, 256, shape)
        png = encode_png(picture / 255)
        assert png_size(png) == (7, 5)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), picture)


def test_encode_png_clips_and_greys_what_is_missing() -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(encode_png([[-1.0, 2.0, np.nan, np.inf]]))))
    assert pixels.tolist() == [[0, 255, 128, 255]]


def test_csv_keeps_numbers_and_text() -> None:
    table = Table.from_records([{"a": 0.1 + 0.2, "b": 'x,"y"\nz'}, {"a": None, "c": True}])
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    assert rows == [["a", "b", "c"], [repr(0.1 + 0.2), 'x,"y"\nz', ""], ["", "", "True"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (12345, "12\u202f345"),
        (-3, "−3"),
        (0.0, "0"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (0.02571, "0.0257"),
        (1e-3, "1e−3"),
        (-1.5e-7, "−1.5e−7"),
        (123456.7, "123\u202f457"),
        (0.9996, "1.00"),
        (9.999e6, "1.00e7"),
        (1e300, "1e300"),
        (np.float32(0.5), "0.5"),
        (np.int64(7), "7"),
        ("a", "a"),
    ],
)
def test_format_number(value: Any, text: str) -> None:
    assert format_number(value) == text


def test_provenance_says_each_thing_once_and_guesses_nothing() -> None:
    metas: list[dict[str, Any]] = [
        {
            "seconds": 1.5,
            "commit": "abc",
            "dirty": False,
            "versions": {"torch": "2.9", "gone": None},
            "command": "a",
        },
        {"seconds": "odd", "commit": "abc", "dirty": False, "versions": {"torch": "2.10"}, "command": "a"},
        {
            "versions": "odd",
            "python": "CPython 3.11",
            "machine": {"cores": 2, "{0}": "x", "memory_gib": None},
        },
    ]
    runs = [
        Run("s", f"{n:012x}", {"seed": seed}, [], {}, meta)
        for n, (seed, meta) in enumerate(zip([1, "x", True], metas, strict=True))
    ]
    said = provenance(runs)
    assert said.commits == ("abc",)
    assert said.commands == ("a",)
    assert said.seconds == 1.5
    assert said.seeds == "1"
    assert said.machines == ("2 cores, {0} x",)
    assert said.versions == (("python", "CPython 3.11"), ("torch", "2.10, 2.9"))


def test_ranges_and_durations() -> None:
    assert ranges([]) == ""
    assert ranges([5, 1, 2]) == "1, 2, 5"
    assert ranges(range(10)) == "0–9"
    assert duration(59.94) == "59.9 s"
    assert duration(59.99) == "1 min 0 s"
    assert duration(7325) == "2 h 2 min"
