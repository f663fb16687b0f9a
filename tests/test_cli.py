"""The command line: what it prints, and one clear line with exit code 2 for anything wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import overt as overt_package
from overt import __version__
from overt.cli.commands import front_door
from overt.studies import registry
from overt.studies.claims import verdicts

STUDIES = str(Path(__file__).parent / "studies")
SOURCES = str(Path(overt_package.__file__).parents[1])
NAME = "tiny_study:study"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A package with an entry point for the study, found as one that pip installed."""
    folder = tmp_path / "site" / "tiny_study-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-study\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[overt.studies]\ntiny = {NAME}\n")
    monkeypatch.syspath_prepend(folder.parent)


@pytest.fixture(autouse=True)
def importable(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(STUDIES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((STUDIES, SOURCES)))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of finished runs."""
    sys.path.insert(0, STUDIES)
    try:
        from overt.studies import run_study

        return run_study(NAME, out=tmp_path_factory.mktemp("cli") / "runs", jobs=1).out
    finally:
        sys.path.remove(STUDIES)


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of finished runs that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "copy")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_version_and_help_read_well(overt):
    assert overt("--version") == (0, f"overt {__version__}\n", "")
    for arguments in (
        ["--help"],
        ["-h"],
        ["run", "--help"],
        ["report", "--help"],
        ["list", "--help"],
        ["new", "-h"],
    ):
        code, out, err = overt(*arguments)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: overt")
        assert "..." not in out.split("Commands:")[-1]
        assert max(map(len, out.splitlines())) <= 100


def test_help_and_version_need_no_heavy_imports():
    code = (
        "import sys, overt.cli; print(sorted({'torch', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.mark.slow
def test_run_prints_verdicts_and_the_report_last(overt, tmp_path):
    code, out, err = overt("run", NAME, "--jobs", 1)
    assert code == 0
    report = out.splitlines()[-1]
    assert Path(report) == Path("overt-runs/tiny-quick/report.html")
    assert Path(report).is_file()
    lines = out.splitlines()
    assert len(lines) == 4  # the title, two claims, the report
    assert lines[1].startswith("✓ T1  mean σ≈½  reproduced  0.4")
    assert lines[1].endswith("  mean")
    assert err.splitlines()[0] == "tiny: 6 runs"
    assert err.splitlines()[-1].startswith("tiny 6/6 ")
    stored = json.loads(next(Path().glob("overt-runs/*/runs/*/meta.json")).read_text())
    assert stored["command"] == f"overt run {NAME} --jobs 1"
    code, out, err = overt("run", NAME, "--jobs", 1)
    assert (code, err) == (0, "tiny: 6 runs, 6 already stored\n")
    code, out, _ = overt("run", NAME, "--jobs", 1, "-v")
    assert "\n    means are near ½\n    · mean: 0.4" in out
    assert "(n = 6)" in out


@pytest.mark.slow
def test_presets_seeds_and_overrides_reach_the_runs(overt, tmp_path):
    (tmp_path / "c.toml").write_text("size = 7\nsleep = 0.001\n")
    code, _, _ = overt(
        "run",
        NAME,
        "--preset",
        "full",
        "--out",
        "x",
        "--seed",
        100,
        "--jobs",
        1,
        "--config",
        "c.toml",
        "--set",
        "size=2",
        "--set",
        "trouble=none",
    )
    configs = [json.loads(p.read_text())["config"] for p in Path("x/runs").glob("*/config.json")]
    assert code == 0
    assert len(configs) == 13
    assert {c["seed"] for c in configs} == set(range(100, 112))
    assert {(c["size"], c["sleep"], c["trouble"]) for c in configs} == {(2, 0.001, "none")}


@pytest.mark.slow
def test_report_is_rebuilt_from_records_alone(overt, folder):
    page = (folder / "report.html").read_bytes()
    for derived in ("report.html", "figures", "verdicts"):
        path = folder / derived
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, out, err = overt("report", folder, "--study", NAME)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == page
    assert "reproduced" in out


def test_report_goes_where_it_is_asked_to_and_leaves_the_runs_alone(overt, folder, tmp_path):
    before = contents(folder)
    code, _, _ = overt("report", folder, "--study", NAME, "--output", tmp_path / "there" / "page.html")
    assert code == 0
    assert (tmp_path / "there" / "page.html").is_file()
    assert contents(folder) == before


def test_report_of_unknown_studies_alone_is_an_error_and_beside_known_ones_a_note(overt, folder, request):
    code, out, err = overt("report", folder)
    assert (code, out) == (2, "")
    assert "study 'tiny' are left out" in err
    assert "no runs of a known study" in err
    request.getfixturevalue("installed")
    shutil.copy(folder / "plans" / "tiny.json", folder / "plans" / "gone.json")
    code, out, err = overt("report", folder)
    assert (code, err) == (0, "overt: the runs of study 'gone' are left out: no such study is installed\n")


def test_a_partial_report_says_so(overt, folder):
    shutil.rmtree(next(folder.glob("runs/tiny-*")))
    code, out, _ = overt("report", folder, "--study", NAME)
    assert code == 0
    assert "partial: 1 of 6 runs missing" in out
    assert "inconclusive" in out


@pytest.mark.slow
def test_list_shows_claims_sources_and_the_last_verdict(overt, finished, installed):
    study = registry.get("tiny")
    code, out, err = overt("list")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(registry._BUILT_IN) < set(lines)
    assert lines["tiny"].split() == ["tiny", *study.title.split(), "none"]
    assert lines["story"].endswith(")")
    assert "✓" in lines["story"]
    code, out, _ = overt("list", "tiny")
    assert "presets: quick, full" in out
    assert "T2     timing    –        not run" in out
    code, out, _ = overt("list", "tiny", "--runs", finished, "-v")
    assert "T2     timing    –        reproduced" in out
    assert "last here: 2 of 2 reproduced (preset quick, 20" in out
    for words in ("It takes no time.", "Source: none (2026)", "Rule: under a minute"):
        assert f"    {words}" in out
    overt("run", NAME, "--jobs", 1, "--out", "mine", "--set", "size=2")
    code, out, _ = overt("list")  # a folder of one's own is found as well
    assert "    last here: 2 ✓ (preset quick, size = 2, 20" in out
    assert ", in mine)" in out


def test_list_counts_shipped_verdicts_and_names_changed_rules(overt, monkeypatch):
    name, changed = "woodworth2020", registry.get("woodworth2020").claims[0]
    by_claim = {
        changed.id: {"outcome": "reproduced", "rule": "0" * 12},
        "W2": {"outcome": "not reproduced"},
        "W0": {"outcome": "supported"},
    }
    value = {"preset": "full", "date": "2026-11-25", "commit": "ab" * 20, "verdicts": by_claim}
    monkeypatch.setattr(verdicts, "_shipped", lambda: {name: value})
    code, out, _ = overt("list")
    assert code == 0
    assert "2 ✓ 1 ✗ (full, 2026-11-25)" in out
    assert f"\n    rules changed since: {changed.id}\n" in out
    code, out, _ = overt("list", name)
    said = "shipped: 1 of 3 reproduced, 1 not reproduced, 1 supported (full, 2026-11-25, commit abababababab)"
    assert f"{said}; no longer asked: W0" in " ".join(out.split())
    (line,) = [line for line in out.splitlines() if line.startswith(changed.id)]
    assert "reproduced, rule changed" in line


def test_a_narrow_terminal_has_one_line_a_claim_and_a_study(overt, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    for arguments in (["report", folder, "--study", NAME], ["list"]):
        code, out, _ = overt(*arguments)
        assert code == 0
        assert "…" in out or arguments[0] == "report"
    assert len(out.splitlines()) <= len(registry.names()) + 8
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = overt("list")
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) <= 2 * len(registry.names()) + 3


def test_a_study_without_claims_is_shown(monkeypatch, capsys):
    from tiny_study import altered

    from overt.cli.tables import print_study, print_verdicts
    from overt.studies.report.build import StudySection

    monkeypatch.setenv("COLUMNS", "80")
    print_verdicts([StudySection("tiny", "Nothing", [], [], [], [])], verbose=True)
    print_study(altered(claims=()), None, verdicts.LastVerdicts())
    assert capsys.readouterr().out.startswith("Nothing\ntiny  Means")


@pytest.mark.slow
def test_run_all_runs_every_study(overt, monkeypatch):
    monkeypatch.setattr(registry, "_BUILT_IN", {"tiny": NAME, "second": "tiny_study:second"})
    monkeypatch.setattr(registry, "_registered", {})
    code, out, err = overt("run", "all", "--jobs", 1)
    assert code == 0
    assert Path(out.splitlines()[-1]) == Path("overt-runs/all-quick/report.html")
    assert out.count("Means of uniform numbers") == 2
    assert "second 6/6 " in err
    assert sorted(p.name for p in Path("overt-runs/all-quick/plans").iterdir()) == [
        "second.json",
        "tiny.json",
    ]
    code, _, err = overt("run", "all", "--jobs", 1)
    assert err.count("6 already stored") == 2


def test_run_all_names_the_study_that_lacks_a_field(overt, monkeypatch):
    monkeypatch.setattr(registry, "_BUILT_IN", {"tiny": NAME})
    monkeypatch.setattr(registry, "_registered", {})
    code, _, err = overt("run", "all", "--set", "depth=3")
    assert code == 2
    assert "unknown field 'depth' of study 'tiny'" in err


@pytest.mark.slow
def test_a_figure_that_fails_is_told_with_the_verdicts_and_gives_exit_code_1(overt):
    code, out, err = overt("run", "tiny_study:undrawable", "--jobs", 1)
    assert code == 1
    assert "overt: tiny: the figures could not be drawn: ValueError: no Series" in err
    assert "T1  mean" in out
    assert Path(out.splitlines()[-1]).is_file()


@pytest.mark.slow
def test_failed_runs_give_exit_code_1(overt):
    code, out, err = overt("run", NAME, "--jobs", 1, "--set", "trouble=fail")
    assert code == 1
    assert "overt: 1 run failed, " in err
    assert "FloatingPointError: all is NaN" in err
    assert "inconclusive" in out
    assert out.splitlines()[-1].endswith("report.html")


WRONG = {
    "unknown study": (["run", "storey"], "did you mean 'story'"),
    "unknown command": (["rnu"], "No such command"),
    "no command's option": (["run", NAME, "--presett", "quick"], "--preset"),
    "no study": (["run"], "Missing argument"),
    "too many": (["run", NAME, "extra"], "extra"),
    "unknown preset": (["run", NAME, "--preset", "fast"], "quick, full"),
    "jobs of words": (["run", NAME, "--jobs", "many"], "--jobs"),
    "no jobs": (["run", NAME, "--jobs", "0"], "--jobs"),
    "negative seed": (["run", NAME, "--seed", "-1"], "--seed"),
    "fraction of a seed": (["run", NAME, "--seed", "1.5"], "--seed"),
    "unknown backend": (["run", NAME, "--backend", "ray9"], "unknown backend"),
    "unknown field": (["run", NAME, "--set", "sise=3"], "did you mean 'size'"),
    "no value": (["run", NAME, "--set", "size"], "key=value"),
    "wrong value": (["run", NAME, "--set", "size=x"], "size"),
    "empty value of a sweep": (["run", NAME, "--set", "size=1,"], "quotation marks"),
    "repeated value of a sweep": (["run", NAME, "--set", "size=3,3"], "twice"),
    "unknown claim": (["run", NAME, "--claim", "T9"], "there are: T1, T2"),
    "no name of a study": (["new", "My Study"], "lower-case"),
    "the name of a study": (["new", "story"], "already is a study"),
    "the name of a module": (["new", "json"], "already is a module"),
    "a word of Python": (["new", "lambda"], "meaning of its own"),
    "the name of a file": (["new", "mine"], "left as it is"),
    "missing toml": (["run", NAME, "--config", "none.toml"], "cannot read"),
    "out is a file": (["run", NAME, "--out", "file"], "is a file"),
    "out below a file": (["run", NAME, "--out", "file/x"], "file"),
    "out is a loop": (["run", NAME, "--out", "loop"], "loop"),
    "out has other content": (["run", NAME, "--out", "thesis"], "left untouched"),
    "out cannot be made": (["run", NAME, "--out", "/proc/none/x"], "/proc/none"),
    "report of nothing": (["report", "missing"], "no folder missing"),
    "report of a file": (["report", "file"], "is not a folder"),
    "report of other content": (["report", "thesis"], "left untouched"),
    "report without folder": (["report"], "Missing argument"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(overt, tmp_path, case):
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine.py").write_text("years of work")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "loop").symlink_to("loop")
    before = contents(tmp_path)
    arguments, expected = WRONG[case]
    code, out, err = overt(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("overt: error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("part", ["records.jsonl", "arrays.npz", "config.json", "DONE"])
def test_damaged_runs_are_named_by_run_and_report(overt, folder, part):
    run = sorted(folder.glob("runs/tiny-*"))[0]
    (run / part).write_bytes(b"\x80garbage")
    arguments = {2: ["run", NAME, "--out", folder, "--jobs", 1], 1: ["report", folder, "--study", NAME]}
    for expected, words in arguments.items():
        code, out, err = overt(*words)
        assert code == expected
        assert err.count("\n") == 1
        assert str(run / part) in err
        assert f"remove the folder {run}" in err
    assert "5 runs" not in out
    assert "partial: 1 of 6 runs missing" in out  # the other runs are reported
    assert str(run / part) in (folder / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(run)
    assert overt("run", NAME, "--out", folder, "--jobs", 1)[0] == 0


def test_a_newer_format_is_refused(overt, folder):
    (folder / "overt.json").write_text('{"format": "overt-runs", "version": 99}')
    code, _, err = overt("run", NAME, "--out", folder)
    assert code == 2
    assert "update Overt" in err


def test_a_full_disk_while_the_report_is_written_is_one_line(overt, folder, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = overt("report", folder, "--study", NAME)
    assert code == 2
    assert "No space left" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii", "COLUMNS": "20"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"},
        {"COLUMNS": "1", "TERM": "dumb"},
    ],
)
def test_any_terminal_will_do(folder, settings):
    code = "from overt.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "report", str(folder), "--study", NAME],
        env={**os.environ, **settings},
        capture_output=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == str(folder / "report.html").encode()
    assert b"\x1b" not in answer.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("width", ["100", "12"])
def test_a_terminal_sees_a_bar_with_the_run_and_its_progress(tmp_path, width):
    ours, theirs = os.openpty()
    code = "from overt.cli import main; main()"
    arguments = ["run", NAME, "--jobs", "1", "--set", "sleep=0.3", "--set", "trouble=fail"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "COLUMNS": width, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while block := os.read(ours, 4096):
            seen += block
    os.close(ours)
    assert process.wait() == 1
    assert b"tiny" in seen
    if width == "100":
        for text in (b"6/6", "trouble=fail · drawing 3 numbers".encode(), b"failed after", b"1 run failed"):
            assert text in seen
    assert b"Traceback" not in seen
    assert seen.endswith((b"\r\n", b"\x1b[?25h"))


@pytest.mark.slow
def test_whoever_reads_the_output_may_stop(folder):
    program = f"{sys.executable} -c 'from overt.cli import main; main()' report {folder} --study {NAME}"
    pipe = program + " | true; exit ${PIPESTATUS[0]}"
    answer = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 141
    assert answer.stderr == ""


@pytest.mark.slow
def test_a_new_study_runs_in_worker_processes_from_a_plain_folder(tmp_path):
    """Neither the console script nor a worker process has the current folder on its path by itself."""
    code = "import sys; sys.path[:] = [p for p in sys.path if p]; from overt.cli import main; main()"
    program = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": SOURCES}

    def call(*arguments: str) -> str:
        answer = subprocess.run(
            [*program, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert call("new", "mine") == "mine.py is written. Run it: overt run mine:study\n"
    lines = call("run", "mine:study", "--jobs", "2").splitlines()
    assert lines[0] == "Completion from few entries"
    assert lines[1].startswith("✓ O1  The nuclear norm completes a")
    assert " reproduced " in lines[1]
    assert lines[2].startswith("✓ O2  ")
    assert " supported " in lines[2]
    assert lines[3] == "overt-runs/mine-quick/report.html"
    assert call("report", "overt-runs/mine-quick", "--study", "mine:study").splitlines()[:3] == lines[:3]


@pytest.mark.slow
def test_a_sweep_judges_each_value_by_itself(overt):
    code, out, _ = overt("run", NAME, "--jobs", 1, "--set", "size=2,5", "--set", "sleep=0.001")
    assert code == 0
    assert out.splitlines()[-1] == "overt-runs/tiny-quick-size=2+5-sleep=0.001/report.html"
    for size in (2, 5):
        assert f"Means of uniform numbers (preset quick, size = {size}, sleep = 0.001)" in out
    folder = Path(out.splitlines()[-1]).parent
    text = (folder / "report.html").read_text(encoding="utf-8")
    code, again, _ = overt("report", folder, "--study", NAME)
    assert again == out
    assert (folder / "report.html").read_text(encoding="utf-8") == text
    assert text.count("12 done of") == 0
    assert text.count("6 done of 6 planned") == 2
    overt("run", NAME, "--jobs", 1, "--out", folder)
    _, plain, _ = overt("report", folder, "--study", NAME)
    assert "size = " not in plain  # the latest command decides


@pytest.mark.slow
def test_a_single_claim_makes_the_runs_that_it_needs(overt):
    code, out, err = overt("run", NAME, "--jobs", 1, "--claim", "T2")
    assert code == 0
    assert err.splitlines()[0] == "tiny: 1 runs"
    assert out.splitlines()[0] == "Means of uniform numbers (preset quick, only T2)"
    assert out.splitlines()[1].startswith("✓ T2")
    assert out.splitlines()[2:] == ["not asked: T1", "overt-runs/tiny-quick-claim=T2/report.html"]
    text = Path(out.splitlines()[-1]).read_text(encoding="utf-8")
    assert "Only the runs of T2 were asked for." in text
    assert "not asked: only the runs of T2 were" in text
    _, listed, _ = overt("list", NAME)
    assert "T1     mean σ≈½  –        not run" in listed
    assert "T2     timing    –        reproduced" in listed


def test_every_command_has_help_for_each_option():
    for name, command in front_door.commands.items():
        assert command.help, name
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, (name, option.name)


@pytest.mark.slow
def test_a_report_over_several_folders_holds_the_runs_of_all(overt, folder, tmp_path):
    other = tmp_path / "other"
    assert overt("run", NAME, "--out", other, "--jobs", "1", "--seed", "2")[0] == 0
    code, _, err = overt("report", folder, other, "--study", NAME)
    assert (code, "needs --output" in err) == (2, True)
    page = tmp_path / "page.html"
    code, out, err = overt("report", folder, other, "--study", NAME, "--output", page)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == str(page)
    text = page.read_text(encoding="utf-8")
    configs = [
        json.loads(p.read_text())["config"] for d in (folder, other) for p in d.glob("runs/*/config.json")
    ]
    distinct = {json.dumps(config, sort_keys=True) for config in configs}
    assert len(distinct) < len(configs)  # some seeds are in both
    hashes = {p.name.split("-")[1] for d in (folder, other) for p in d.glob("runs/*")}
    assert len(hashes) == len(distinct)
    assert all(hash_ in text for hash_ in hashes)
