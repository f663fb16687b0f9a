"""The report in a real browser: nothing is asked for, nothing complains, everything is there and fits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import report_sample
from report_browser import CHROMIUM, Browser

from overt.studies.report.build import StudySection, build_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def section() -> StudySection:
    return report_sample.section()


@pytest.fixture(scope="module")
def page(section: StudySection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report([section], tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def pixels(png: bytes) -> np.ndarray:
    """Return a screenshot as (height, width, 3) numbers in [0, 1]."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float64) / 255


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 768, 375])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_asked_for_and_nothing_complains(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    browser.events.clear()
    browser.open(page, width=width, dark=dark)
    browser.screenshot(whole=True)
    assert browser.complaints() == []
    asked = browser.requests()
    assert page.resolve().as_uri() in asked  # the log is not deaf
    assert all(url.startswith("data:") or url == page.resolve().as_uri() for url in asked)


@pytest.mark.slow
def test_the_listeners_would_hear_a_request_and_a_complaint(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<img src="https://example.invalid/a.png"><script>console.error("x"); throw Error("y")</script>'
    )
    browser.events.clear()
    browser.open(bad, width=800)
    assert "https://example.invalid/a.png" in browser.requests()
    assert len(browser.complaints()) >= 2


@pytest.mark.slow
def test_the_policy_stops_what_a_page_must_not_do(browser: Browser, page: Path, tmp_path: Path) -> None:
    bad = tmp_path / "injected.html"
    injected = '<img src="https://example.invalid/a.png"><script>document.title = "ran"</script></main>'
    bad.write_text(page.read_text(encoding="utf-8").replace("</main>", injected), encoding="utf-8")
    browser.events.clear()
    browser.open(bad, width=800)
    assert browser.evaluate("document.title") != "ran"
    assert any("Content Security Policy" in line for line in browser.complaints())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 768, 375, 320])
def test_every_figure_is_seen_and_the_page_fits(
    browser: Browser, page: Path, section: StudySection, width: int
) -> None:
    browser.open(page, width=width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sizes = browser.evaluate(
        "[...document.querySelectorAll('figure svg, figure img')].map(e => {"
        " const r = e.getBoundingClientRect(); return [r.width, r.height] })"
    )
    expected = sum(len(figure.panels) + len(figure.images) for figure in section.figures)
    assert len(sizes) == expected
    assert all(w > 100 and h > 40 for w, h in sizes)
    names = browser.evaluate("[...document.querySelectorAll('figure')].map(e => e.id)")
    assert names == [f"story-{figure.id}" for figure in section.figures]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "most"), [(1280, 1000), (375, 1600)])
def test_the_first_picture_comes_soon(browser: Browser, page: Path, width: int, most: int) -> None:
    browser.open(page, width=width)
    script = "document.querySelector('figure svg').getBoundingClientRect().top"
    assert browser.evaluate(script) <= most


@pytest.mark.slow
def test_text_in_figures_is_legible_on_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, width=375)
    smallest = browser.evaluate(
        "Math.min(...[...document.querySelectorAll('figure svg text')].map(e => {"
        " const svg = e.ownerSVGElement;"
        " const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        " return scale * parseFloat(getComputedStyle(e).fontSize) }))"
    )
    assert smallest >= 8


@pytest.mark.slow
def test_text_of_a_drawing_stays_inside_it(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280)
    outside = browser.evaluate(
        "[...document.querySelectorAll('figure svg text')].filter(e => {"
        " const t = e.getBoundingClientRect(), s = e.ownerSVGElement.getBoundingClientRect();"
        " return t.left < s.left - 2 || t.right > s.right + 2 || t.top < s.top - 2 || t.bottom > s.bottom + 2"
        "}).map(e => e.textContent)"
    )
    assert outside == []


@pytest.mark.slow
def test_drawings_follow_the_colour_scheme(browser: Browser, page: Path) -> None:
    colours = []
    for dark in (False, True):
        browser.open(page, width=1280, dark=dark)
        image = pixels(browser.screenshot(whole=True))
        assert image.std() > 0.05  # not blank
        assert (image.mean() < 0.5) == dark
        colours.append(browser.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill"))
    assert colours[0] != colours[1]


@pytest.mark.slow
def test_text_has_contrast_in_both_schemes(browser: Browser, page: Path) -> None:
    script = """
        (() => {
          const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
            .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
            return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2] };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const all = document.querySelectorAll('p, a, h1, h2, h3, th, td, dt, dd, summary, .badge');
          return Math.min(...[...all]
            .map(e => light(getComputedStyle(e).color))
            .map(l => (Math.max(l, paper) + 0.05) / (Math.min(l, paper) + 0.05)));
        })()
    """
    for dark in (False, True):
        browser.open(page, width=1280, dark=dark)
        assert browser.evaluate(script) >= 4.5


@pytest.mark.slow
def test_the_table_behind_a_figure_opens_and_scrolls_in_its_box(browser: Browser, page: Path) -> None:
    browser.open(page, width=375)
    assert browser.evaluate("document.querySelector('figure details table').checkVisibility()") is False
    browser.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.evaluate("document.querySelector('figure details table').checkVisibility()") is True
    assert browser.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.slow
def test_the_csv_link_saves_the_data(
    browser: Browser, page: Path, section: StudySection, tmp_path: Path
) -> None:
    browser.open(page, width=1280)
    browser.send(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True
    )
    browser.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    browser.evaluate("document.querySelector('#story-spectra a[download]').click()")
    while browser.wait_for("Browser.downloadProgress")["params"]["state"] != "completed":
        browser.events = [
            event for event in browser.events if event.get("method") != "Browser.downloadProgress"
        ]
    table = section.figures[0].data_table
    assert table is not None
    assert (tmp_path / "story-spectra.csv").read_text(encoding="utf-8") == table.to_csv()


@pytest.mark.slow
def test_print_shows_what_is_folded_in(browser: Browser, page: Path) -> None:
    browser.open(page, width=800, dark=True, media="print")
    assert (
        browser.evaluate("document.querySelector('figure details table').getBoundingClientRect().height")
        > 100
    )
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('.toc')).display") == "none"
    assert browser.pdf().startswith(b"%PDF-")
