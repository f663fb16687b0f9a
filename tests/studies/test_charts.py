"""Charts: what is drawn, that it is passive and themeable, and that it never depends on the surroundings."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest

from overt.studies.report.canvas import plain_number, power_of_ten
from overt.studies.report.charts import (
    Interval,
    Series,
    Spectra,
    heat_map,
    heat_maps,
    interval_chart,
    line_chart,
    spectrum_chart,
)
from overt.studies.report.figures import refuse_active_svg
from overt.studies.report.palette import COLOURS, method_styles
from overt.studies.report.svg import numbered, size, standalone

NAN = float("nan")


@functools.cache
def lines() -> str:
    series = [
        Series("depth 3", [1, 2, 3], [0.1, 0.01, 1e-5], [0.05, 0.001, 1e-6], [0.2, 0.02, 1e-4]),
        Series("explicit", [1, 2, 3], [0.2, None, 1e-3]),
    ]
    return line_chart(
        series, title="Error", x_label="entries", y_label="error", log_y=True, reference=(1e-2, "1e−2")
    )


@functools.cache
def spectra() -> str:
    values = np.linspace(0, 1, 12).reshape(4, 3)[:, ::-1]
    panels = [Spectra("depth 3", [1, 10, 100, 1000], values, truth=[1.0, 0.5, 0.0])]
    return spectrum_chart(panels, title="Spectrum")[0]


@functools.cache
def forest() -> str:
    rows = [Interval("depth 3", 0.5, 0.3, 0.9), Interval("depth 2", None, note="not reached")]
    return interval_chart(rows, title="Seconds", x_label="seconds", log_x=True, reference=(1.0, "one second"))


@functools.cache
def heat() -> str:
    values = [[1e-7, 1e-3, NAN], [0.5, 0.9, 2.0]]
    return heat_map(
        ["adam", "gd"],
        ["a", "b", "c"],
        values,
        title="Error",
        label="error",
        log=True,
        diverged=[[False, False, False], [False, False, True]],
    )


CHARTS: list[Callable[[], str]] = [lines, spectra, forest, heat]


def words(svg: str) -> list[str]:
    """Return what each text element says, as it is read: without markup."""
    return [
        "".join(element.itertext())
        for element in ElementTree.fromstring(svg).iter()
        if "text" in element.tag[-4:]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_is_passive_accessible_and_scales(chart: Callable[[], str]) -> None:
    svg = chart()
    refuse_active_svg(svg)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("width") is None
    assert min(size(svg)) > 50
    label, description = root[0], root[1]
    assert (label.tag[-5:], description.tag[-4:]) == ("title", "desc")
    assert root.get("aria-labelledby") == f"{label.get('id')} {description.get('id')}"
    assert label.text
    assert description.text


@pytest.mark.slow
@pytest.mark.parametrize("chart", CHARTS)
def test_ink_follows_the_page(chart: Callable[[], str]) -> None:
    svg = chart()
    assert "currentColor" in svg
    assert COLOURS["ink"] not in svg
    for name, colour in COLOURS.items():
        bare = svg.replace(f"var(--{name}, {colour})", "")
        assert colour not in bare, name


@pytest.mark.slow
@pytest.mark.parametrize("chart", CHARTS)
def test_the_same_numbers_give_the_same_text(chart: Callable[[], str]) -> None:
    assert chart() == chart.__wrapped__()  # type: ignore[attr-defined]


def test_text_is_text_and_never_markup() -> None:
    label = "a <b> & $x^2$"
    svg = line_chart([Series(label, [1, 2], [3, 4])], title="t", x_label="x", y_label="y")
    assert label in words(svg)
    assert "<b>" not in svg


@pytest.mark.slow
def test_the_user_settings_of_matplotlib_neither_matter_nor_change() -> None:
    import matplotlib

    before = lines()
    with matplotlib.rc_context(
        {"font.size": 30, "axes.grid": True, "lines.linewidth": 9, "svg.fonttype": "path"}
    ):
        mine = dict(matplotlib.rcParams)
        assert lines.__wrapped__() == before
        assert dict(matplotlib.rcParams) == mine


@pytest.mark.slow
def test_matplotlib_is_imported_only_when_a_chart_is_drawn() -> None:
    code = (
        "import sys, overt.studies.report.charts, overt.studies.report.build\n"
        "assert not {'matplotlib', 'PIL', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_a_gap_stays_a_gap() -> None:
    def points(y: list[float | None]) -> int:
        svg = line_chart([Series("mine", [1, 2, 3, 4], y)], title="t", x_label="x", y_label="y")
        return svg.count("<use")

    assert points([1, None, 3, 4]) == points([1, 2, 3, 4]) - 1


def test_an_interval_is_drawn_as_a_band() -> None:
    bare = line_chart([Series("mine", [1, 2], [3, 4])], title="t", x_label="x", y_label="y")
    band = line_chart([Series("mine", [1, 2], [3, 4], [2, 3], [4, 5])], title="t", x_label="x", y_label="y")
    assert band.count("fill-opacity: 0.16") == bare.count("fill-opacity: 0.16") + 1


@pytest.mark.slow
def test_higher_values_are_drawn_higher() -> None:
    def heights(log: bool) -> list[float]:
        svg = line_chart([Series("m", [1, 2], [1, 100])], title="t", x_label="x", y_label="y", log_y=log)
        (path,) = re.findall(r'<path d="(M [^"]+)" style="fill: none; stroke: var\(--blue', svg)[:1]
        return [float(number) for number in path.split()[2::3]]

    for log in (False, True):
        low, high = heights(log)
        assert high < low - 100  # SVG's y axis points down


@pytest.mark.slow
def test_panels_of_a_spectrum_chart_share_their_axes() -> None:
    small, large = np.full((3, 2), 1.0), np.full((3, 2), 8.0)
    panels = [Spectra("depth 3", [1, 10, 100], small), Spectra("explicit", [1, 10, 1000], large)]
    one, two = spectrum_chart(panels, title="t")
    ticks = [word for word in words(one) if word.isdigit()]
    assert ticks == [word for word in words(two) if word.isdigit()]
    assert "1000" in [word.replace("\u202f", "") for word in words(one)]
    assert size(one) == size(two)


@pytest.mark.slow
def test_leading_singular_values_stand_out_as_far_as_the_true_rank() -> None:
    values = np.tile([3.0, 2.0, 0.1, 0.05], (5, 1))
    (svg,) = spectrum_chart([Spectra("depth 3", range(1, 6), values, truth=[3.0, 2.0, 0, 0])], title="t")
    assert "the first 2" in words(svg)
    assert svg.count("stroke: var(--blue") == 2 + 1  # two lines and their entry in the legend


def test_a_forest_plot_says_its_numbers_and_notes() -> None:
    said = words(forest())
    assert "0.5 [0.3, 0.9]" in said
    assert "not reached" in said
    assert "one second" in said


def test_a_heat_map_marks_what_diverged_and_what_is_missing() -> None:
    said = words(heat())
    assert said.count("✕") == 1
    assert said.count("·") == 1
    assert "✕ diverged, · not run" in said
    assert "2" not in said  # the value of a run that diverged is not shown
    calm = heat_map(["a"], ["b"], [[1.0]], title="t", label="error")
    assert not [word for word in words(calm) if "diverged" in word or "not run" in word]


def test_an_infinite_value_counts_as_diverged() -> None:
    assert "✕" in words(heat_map(["a"], ["b", "c"], [[1.0, np.inf]], title="t", label="error"))


def test_text_in_a_cell_reads_on_its_colour() -> None:
    """The contrast of each cell's text is at least 4.5 (WCAG 2.2, 1.4.3) over the whole colour map."""
    from matplotlib.colors import Normalize, to_rgb

    from overt.studies.report.heat import _colour

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for value in np.linspace(0, 1, 101):
        pair = sorted(luminance(colour) for colour in _colour(Normalize(0, 1), value))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_panels_of_heat_maps_share_their_colour_scale() -> None:
    def fills(svg: str) -> list[str]:
        return re.findall(r"fill: (#[0-9a-f]{6})", svg)

    one, two = heat_maps({"x": [[1.0, 2.0]], "y": [[2.0, 3.0]]}, ["a"], ["b", "c"], title="t", label="error")
    assert fills(one)[1] == fills(two)[0]  # the value 2 in both
    assert fills(one)[0] != fills(two)[0]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: line_chart([], title="t", x_label="x", y_label="y"), "at least one Series"),
        (
            lambda: line_chart([Series("a", [1, 2], [1])], title="t", x_label="x", y_label="y"),
            "2 values of x",
        ),
        (lambda: spectrum_chart([], title="t"), "at least one Spectra"),
        (lambda: spectrum_chart([Spectra("a", [1, 2], [[1.0]])], title="t"), r"must be \(2, k\)"),
        (lambda: interval_chart([], title="t", x_label="x"), "at least one Interval"),
        (lambda: heat_map([], ["a"], [], title="t", label="e"), "at least one name"),
        (
            lambda: heat_map(["a"], ["b"], [[1, 2]], title="t", label="e"),
            r"values must have shape .* \(1, 1\)",
        ),
        (
            lambda: heat_map(["a"], ["b"], [[1]], title="t", label="e", text=[["x", "y"]]),
            "text must have shape",
        ),
        (lambda: heat_map(["a"], ["b"], [[1]], title="t", label="e", log=True, limits=(0, 1)), "positive"),
        (lambda: heat_maps({}, ["a"], ["b"], title="t", label="e"), "at least one panel"),
    ],
)
def test_wrong_input_is_refused_in_words(draw: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.slow
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("y", [[], [NAN, NAN], [0.0, 0.0], [1e-300, 1e300, -2.0]])
def test_odd_numbers_still_give_a_drawing(y: list[float], log: bool) -> None:
    x = list(range(1, len(y) + 1))
    line_chart([Series("a", x, y, y, y)], title="t", x_label="x", y_label="y", log_x=log, log_y=log)
    interval_chart([Interval("a", v, v, v) for v in y or [NAN]], title="t", x_label="x", log_x=log)
    heat_map(["a"], [str(v) for v in x] or ["b"], [y or [NAN]], title="t", label="e", log=log)
    if y:
        spectrum_chart([Spectra("a", x, np.array(y)[:, None], truth=y)], title="t", log_x=log, log_y=log)


def floored(value: float, low: float, high: float, label: str = "exact") -> str:
    return interval_chart(
        [Interval(label, value, low, high), Interval("other", 0.5, 0.2, 0.9)],
        title="t",
        x_label="x",
        log_x=True,
        x_lim=(1e-12, 3.0),
    )


@pytest.mark.slow
def test_a_value_below_the_axis_is_written_as_such_with_an_interval_that_holds_it() -> None:
    assert "≤ 1e−12" in words(floored(3e-16, 1e-16, 8e-16))
    assert "≤ 1e−12" in words(floored(1e-12, 1e-16, 8e-16))  # a caller that has put it at the edge
    assert "≤ 1e−12" in words(floored(0.0, 0.0, 0.0))
    assert "≤ 1e−12 [≤ 1e−12, 2e−3]" in words(floored(1e-12, 1e-16, 2e-3))
    assert "0.02 [≤ 1e−12, 0.3]" in words(floored(0.02, 1e-16, 0.3))


@pytest.mark.slow
def test_a_marker_at_the_edge_is_drawn_whole_and_inside_the_drawing() -> None:
    for value in (0.0, 1e-20, 1e-12, 3.0, 1e9):
        root = ElementTree.fromstring(floored(value, value, value))
        markers = [use for use in root.iter() if use.tag[-3:] == "use" and float(use.get("y", "0")) > 0]
        clipped = {child for group in root.iter() if group.get("clip-path") for child in group.iter()}
        width = size(floored(value, value, value))[0]
        drawn = [use for use in markers if use not in clipped and 0 < float(use.get("x", "-1")) < width]
        # Two markers of rows; ticks are other elements of the same kind and never clipped.
        assert len(drawn) == len(markers)


def test_ticks_of_a_narrow_axis_do_not_collide() -> None:
    svg = floored(1e-3, 1.23e-8, 2.34e-2, "a rather long name of a method, with its settings")
    ticks = [word for word in words(svg) if re.fullmatch("10−[0-9]+|0.01|1|0.1", word)]
    assert 2 <= len(ticks) <= 4


@pytest.mark.slow
def test_long_names_still_give_a_drawing() -> None:
    interval_chart(
        [Interval("a long name " * 6, 1.0, note="a long note " * 6)], title="t", x_label="x", panel="p"
    )
    line_chart(
        [Series(f"a long name, number {n}", [1, 2], [n, n]) for n in range(9)],
        title="t",
        x_label="x",
        y_label="y",
    )


def test_methods_look_the_same_in_every_figure() -> None:
    alone = method_styles(["explicit"])["explicit"]
    among = method_styles(["depth 1", "mine", "depth 3", "Explicit "])["Explicit "]
    assert alone == among


def test_no_two_methods_of_a_figure_look_the_same() -> None:
    names = ["depth 1", "depth 2", "depth 3", "depth 4", "explicit", "nuclear norm", "adam", "softimpute"]
    names += [f"method {number}" for number in range(8)]
    looks = list(method_styles(names).values())
    assert len({(look.colour, look.marker) for look in looks}) == len(names)
    assert len({(look.marker, look.dashes) for look in looks[:6]}) == 6  # told apart without colour, too


def test_drawings_in_one_page_do_not_share_identifiers() -> None:
    one, two = numbered(lines(), "a"), numbered(lines(), "b")
    found = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, two)]
    assert found[0]
    assert not found[0] & found[1]
    for svg, there in zip((one, two), found, strict=True):
        wanted = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert wanted <= there


def test_a_file_of_its_own_needs_no_page() -> None:
    text = standalone([lines(), heat()])
    assert "var(" not in text
    assert "currentColor" not in text
    root = ElementTree.fromstring(text.encode())
    width, height = (float(root.get(side, "").removesuffix("pt")) for side in ("width", "height"))
    assert width == pytest.approx(size(lines())[0] + 16 + size(heat())[0])
    assert height == max(size(lines())[1], size(heat())[1])
    assert len(re.findall(r' id="([^"]+)"', text)) == len(set(re.findall(r' id="([^"]+)"', text)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-3, "10⁻³"), (0.01, "0.01"), (1000.0, "1\u202f000"), (1e4, "10⁴"), (0.2, "0.2"), (0.0, "")],
)
def test_ticks_of_a_log_axis(value: float, text: str) -> None:
    assert power_of_ten(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.5, "−0.5"), (12000.0, "12\u202f000"), (1e6, "10⁶"), (-2.5e-5, "−2.5·10⁻⁵")],
)
def test_ticks_of_a_linear_axis(value: float, text: str) -> None:
    assert plain_number(value) == text
