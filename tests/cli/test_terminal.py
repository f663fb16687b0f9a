"""What came from outside is shown on the terminal, which obeys nothing in it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overt._utils.console import printable, stage
from overt.cli.terminal import echo, shown
from overt.studies.runs.display import PlainDisplay

STUDIES = str(Path(__file__).parents[1] / "studies")
NAME = "tiny_study:study"
# Clears the screen, sets the title, turns text round, ends the line, rings; in eight and in seven bits.
EVIL = "x\x1b[2J\x1b]0;owned\x07\u202eabc\u2066\u200b\x9b31m\r\n\x08overt: error: forged\x7f"
FORBIDDEN = [*map(chr, (*range(10), *range(11, 32), *range(127, 160))), "\u202e", "\u2066", "\u200b"]


@pytest.fixture(autouse=True)
def importable(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(STUDIES)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    sys.path.insert(0, STUDIES)
    try:
        from overt.studies import run_study

        return run_study(NAME, out=tmp_path_factory.mktemp("made") / "runs", jobs=1).out
    finally:
        sys.path.remove(STUDIES)


def harmless(*texts: str) -> None:
    for text in texts:
        assert [letter for letter in FORBIDDEN if letter in text] == []
        assert not any(line.startswith("overt: error: forged") for line in text.splitlines())


@given(st.text(st.characters()))
def test_any_text_becomes_one_printable_line_that_python_reads_back(text):
    line = printable(text)
    harmless(line)
    assert "\n" not in line
    line.encode()
    if "\\" not in text:
        assert line.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


def test_what_is_readable_stays():
    for text in ("", "σ² → ½, 12\u202f000", "日本語 é 😀", "a  b\\n"):
        assert printable(text) == text


def test_the_ways_to_the_terminal_let_nothing_pass(capsys):
    echo(EVIL, err=True)
    echo(EVIL)
    with stage(EVIL):
        pass
    lines: list[str] = []
    display = PlainDisplay(lines.append)
    display.begin(EVIL, 1, 2, Path())
    display.finished(EVIL, EVIL, 0.1)
    display.note(EVIL)
    out, err = capsys.readouterr()
    harmless(out, err, *lines, shown(EVIL, EVIL).plain)
    assert shown("a", "b").plain == "a\nb"


@pytest.mark.slow
def test_stored_presets_settings_reasons_and_names_do_not_reach_it(made, tmp_path, overt):
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    path = folder / "plans" / "tiny.json"
    plans = json.loads(path.read_text())
    plans["plans"][0] |= {"preset": EVIL, "overrides": {EVIL: EVIL}, "command": EVIL}
    path.write_text(json.dumps(plans))
    harmless(*overt("report", folder, "--study", NAME)[1:])
    verdicts = folder / "verdicts" / "tiny.json"
    stored = json.loads(verdicts.read_text())
    stored |= {"setting": EVIL, "date": EVIL}
    stored["verdicts"] = [{"claim": "T1", "outcome": EVIL}, {"claim": EVIL, "outcome": EVIL}]
    verdicts.write_text(json.dumps(stored))
    harmless(*overt("list", "--runs", folder)[1:])
    evil = folder.rename(tmp_path / EVIL.replace("/", ""))
    first = sorted(evil.glob("runs/tiny-*"))[0]
    (first / "records.jsonl").write_text(EVIL)
    code, out, err = overt("report", evil, "--study", NAME)
    assert code == 1
    harmless(out, err)
    harmless(*overt("run", NAME, "--out", evil, "--set", f"trouble={EVIL}", "--jobs", 1)[1:])
    harmless(*overt("run", EVIL)[1:], *overt("report", EVIL)[1:], *overt("run", NAME, "--set", EVIL)[1:])


@pytest.mark.slow
def test_reasons_and_tracebacks_of_failed_runs_do_not_either(tmp_path, overt, monkeypatch):
    import tiny_study

    def trouble(config, context):
        raise RuntimeError(EVIL)

    monkeypatch.setattr(tiny_study, "trouble", trouble)
    code, out, err = overt("run", NAME, "--jobs", 1, "--out", "runs")
    assert code == 1
    harmless(out, err, *(path.read_text() for path in Path("runs/failed").glob("*.txt")))
    text = next(Path("runs/failed").glob("*.txt")).read_text()
    assert "Traceback (most recent call last):\n" in text
    assert "RuntimeError: x\\x1b[2J" in text


@pytest.mark.slow
def test_ids_and_columns_of_a_completion_do_not_either(tmp_path, overt):
    odd = "a\x1b[2J\u202e"
    rows = [f"{odd}{i},c{j},{i * j + 1}" for i in range(6) for j in range(6) if (i + j) % 4]
    Path("t.csv").write_text("\n".join([f"row{odd},col,value", *rows]) + "\n")
    Path("ask.csv").write_text(f"row,col\nunknown{odd},c1\n")
    code, out, err = overt("complete", "t.csv", "--out", "o.csv", "--ask", "ask.csv", "--columns", "1,2,3")
    harmless(out, err)
    assert (code, "unknowna\\x1b[2J" in err) == (0, True)
    Path("t.csv").write_text("\n".join([f"row{odd},col,value", *rows, f"{odd}x,c1,{odd}"]) + "\n")
    for more in ([], ["--columns", f"{odd},col,value"], ["--columns", "1,2,9"]):
        code, out, err = overt("complete", "t.csv", "--out", "p.csv", *more)
        assert code == 2
        harmless(out, err)
