"""`overt complete` from end to end: what is predicted, what is said, and what is left behind."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from overt._utils.console import stage
from overt.cli import complete as command
from overt.completion.estimator import completion as estimator
from overt.completion.estimator.solvers import SOLVERS

M, N = 14, 11
RNG = np.random.default_rng(3)
MATRIX = np.outer(RNG.normal(size=M) + 2, RNG.normal(size=N) - 2)
MASK = RNG.random((M, N)) < 0.7
ROWS = ["Ada", 'the "Q"', "a,b", "naïve ☃", "x;y", "two words", "007", *(f"u{i}" for i in range(7, M))]
OBSERVED = [(int(i), int(j)) for i, j in np.argwhere(MASK)]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def overt(overt):
    """`overt complete`: exit code, standard output, standard error."""
    return partial(overt, "complete")


def write_csv(path, records, delimiter=","):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(records)


def read_csv(path, delimiter=","):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def entries(header=("user", "item", "rating")):
    return [header, *((ROWS[i], 100 + j, repr(float(MATRIX[i, j]))) for i, j in OBSERVED)]


@pytest.fixture
def ratings():
    write_csv("r.csv", entries())
    return "r.csv"


def names_in(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


def test_all_pairs_are_predicted_exactly_with_odd_ids(overt, ratings):
    code, out, err = overt(ratings, "--out", "p.csv")
    assert code == 0
    header, *records = read_csv("p.csv")
    assert header == ["user", "item", "rating"]
    assert len(records) == len({(row, col) for row, col, _ in records}) == M * N
    for row, col, value in records:
        assert float(value) == pytest.approx(MATRIX[ROWS.index(row), int(col) - 100], rel=1e-9)
    assert "14 rows × 11 columns" in out
    assert f"{len(OBSERVED)} entries" in out
    assert "rank            1, effective rank 1" in out
    assert "column means" in out
    assert "identifiable    yes" in out
    assert f"{M * N} in p.csv" in out
    assert "warning" not in err
    assert names_in() == ["p.csv", "r.csv"]


def test_csv_and_parquet_give_the_same(overt, ratings):
    rows, cols, values = zip(*entries()[1:], strict=True)
    table = pa.table({"user": pa.array(rows).dictionary_encode(), "item": cols, "rating": map(float, values)})
    parquet.write_table(table, "r.parquet")
    for source in (ratings, "r.parquet"):
        for out in ("p.csv", "p.parquet"):
            assert overt(source, "--out", source[2:] + out)[0] == 0
    assert Path("csvp.csv").read_bytes() == Path("parquetp.csv").read_bytes()
    first, second = (parquet.read_table(f"{kind}p.parquet") for kind in ("csv", "parquet"))
    assert first.equals(second)
    assert first.schema.types == [pa.string(), pa.int64(), pa.float64()]
    written = [list(map(str, column)) for column in zip(*first.to_pydict().values(), strict=True)]
    assert written == read_csv("csvp.csv")[1:]


def test_asked_pairs_keep_their_order_and_unknown_ids_get_means(overt, ratings):
    asked = [("u9", 103), ("nobody", 104), ("u9", 999), ("nobody", 888), ("a,b", 100), ("u9", 103)]
    write_csv("ask.csv", asked)
    code, out, err = overt(ratings, "--out", "p.csv", "--ask", "ask.csv", "--summary", "s.json")
    assert code == 0
    records = read_csv("p.csv")[1:]
    assert [(row, int(col)) for row, col, _ in records] == asked
    values = [float(value) for _, _, value in records]
    seen = np.where(MASK, MATRIX, np.nan)
    means = [np.nanmean(seen[:, 4]), np.nanmean(seen[9]), np.nanmean(seen)]
    assert values == pytest.approx([MATRIX[9, 3], *means, MATRIX[2, 0], MATRIX[9, 3]])
    assert "6 in p.csv, 3 of them with unknown ids" in out
    assert "3 asked pair(s) have ids without any observation: row(s) nobody; column(s) 999, 888" in err
    facts = json.loads(Path("s.json").read_text())
    assert (facts["predictions"], facts["unknown_pairs"]) == (6, 3)


def test_pairs_in_parquet_meet_ids_of_csv_and_unknown_ids_change_the_type(overt, ratings):
    parquet.write_table(pa.table({"item": [103, 100], "user": ["u9", "a,b"]}), "ask.parquet")
    assert overt(ratings, "--out", "p.parquet", "--ask", "ask.parquet")[0] == 0
    table = parquet.read_table("p.parquet").to_pydict()
    assert (table["user"], table["item"]) == (["u9", "a,b"], [103, 100])
    write_csv("ask.csv", [("item", "user"), ("new", "u9")])
    assert overt(ratings, "--out", "p.parquet", "--overwrite", "--ask", "ask.csv")[0] == 0
    assert parquet.read_table("p.parquet")["item"].to_pylist() == ["new"]


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [[("user", "item")], [("row", "col")], [("u", "movie")], []])
def test_a_header_of_pairs_is_found(overt, ratings, pairs):
    write_csv("ask.csv", [*pairs, ("u9", 103)])
    assert overt(ratings, "--out", "p.csv", "--ask", "ask.csv")[0] == 0
    assert [record[0] for record in read_csv("p.csv")] == ["user", "u9"]


@pytest.mark.slow
def test_bounds(overt, ratings):
    low, high = (float(f(MATRIX[MASK])) for f in (np.min, np.max))
    for options, bounds in ((["--clip-observed"], (low, high)), (["--clip", -1, 0.5], (-1, 0.5))):
        write_csv("ask.csv", [(row, 100 + j) for row in [*ROWS, "new"] for j in range(N)])
        overt(ratings, "--out", "p.csv", "--overwrite", *options)
        overt(ratings, "--out", "q.csv", "--overwrite", "--ask", "ask.csv", *options)
        everything, asked = (
            np.array([float(value) for *_, value in read_csv(name)[1:]]) for name in ("p.csv", "q.csv")
        )
        assert bounds[0] <= everything.min()
        assert everything.max() <= bounds[1]
        assert sorted(asked[: M * N]) == pytest.approx(sorted(everything))
        assert bounds[0] <= asked[M * N :].min()
        assert asked[M * N :].max() <= bounds[1]


@pytest.mark.slow
def test_summary_as_json_agrees_with_the_lines_and_the_picture_is_drawn(overt, ratings):
    code, out, _ = overt(ratings, "--out", "p.tsv", "--summary", "s.json", "--spectrum", "s.svg")
    assert code == 0
    assert read_csv("p.tsv", "\t")[0] == ["user", "item", "rating"]
    facts = json.loads(Path("s.json").read_text())
    assert (facts["rows"], facts["columns"], facts["observed"]) == (M, N, len(OBSERVED))
    assert facts["observed_share"] == pytest.approx(len(OBSERVED) / (M * N))
    assert (facts["rank"], facts["converged"], facts["identifiable"]) == (1, True, True)
    assert facts["singular_values"] == pytest.approx([np.linalg.norm(MATRIX, 2)])
    assert facts["heldout_interval"][0] <= facts["heldout_error"] <= facts["heldout_interval"][1]
    assert facts["heldout_error"] < 1e-6 < facts["column_mean_error"]
    assert f"{facts['column_mean_error']:.4g}" in out
    picture = Path("s.svg").read_text()
    assert "<svg" in picture
    assert "rank 1, effective rank 1" in picture
    assert overt(ratings, "--out", "p.tsv", "--overwrite", "--spectrum", "s.png")[0] == 0
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_one_entry_and_a_constant_table(overt):
    Path("one.csv").write_text("a,b,2.5\n")
    code, out, _ = overt("one.csv", "--out", "p.csv", "--summary", "s.json", "--spectrum", "s.png")
    assert code == 0
    assert read_csv("p.csv") == [["row", "col", "value"], ["a", "b", "2.5"]]
    assert "unknown: no entry could be held out" in out
    assert json.loads(Path("s.json").read_text())["heldout_error"] is None
    write_csv("zeros.csv", [(i, j, 0) for i in range(4) for j in range(3) if i != j])
    assert overt("zeros.csv", "--out", "p.csv", "--overwrite")[0] == 0
    assert {value for *_, value in read_csv("p.csv")[1:]} == {"0.0"}


def test_warnings_name_ids(overt):
    """Two blocks that share neither row nor column do not determine what lies between them."""
    blocks = [
        (f"{side}{i}", f"{side}-{j}", (i + 1) * (j + 2)) for side in "AB" for i in range(8) for j in range(8)
    ]
    write_csv("b.csv", blocks)
    code, out, err = overt("b.csv", "--out", "p.csv", "--solver", "irls", "--summary", "s.json")
    assert code == 0
    assert "identifiable    no" in out
    (line,) = [line for line in err.splitlines() if "do not determine" in line]
    assert line.startswith("overt: warning: ")
    warnings = json.loads(Path("s.json").read_text())["warnings"]
    assert any("do not determine" in warning for warning in warnings)
    assert not any("observe more in row(s) 0" in warning for warning in warnings)


def test_very_many_pairs_have_to_be_asked_for(overt):
    write_csv("r.csv", [(i, i, 1.0) for i in range(3200)])
    code, _, err = overt("r.csv", "--out", "p.csv")
    assert code == 2
    assert "10,240,000 pairs" in err
    assert "--all" in err
    write_csv("r.csv", entries())
    assert overt("r.csv", "--out", "p.csv", "--all")[0] == 0
    assert len(read_csv("p.csv")) == M * N + 1


def test_blocks_do_not_matter(overt, ratings, monkeypatch):
    from overt.cli import parquet_source, predictions, text_source

    overt(ratings, "--out", "whole.csv")
    monkeypatch.setattr(predictions, "_BLOCK", 2 * N + 1)
    monkeypatch.setattr(text_source, "_CHUNK", 7)
    monkeypatch.setattr(parquet_source, "_CHUNK", 7)
    assert overt(ratings, "--out", "parts.parquet")[0] == 0
    assert overt(ratings, "--out", "again.csv", "--ask", "parts.parquet")[0] == 0
    whole, again = read_csv("whole.csv"), read_csv("again.csv")
    assert [record[:2] for record in whole] == [record[:2] for record in again]
    first, second = ([float(r[2]) for r in table[1:]] for table in (whole, again))
    assert first == pytest.approx(second, rel=1e-10)


def test_ctrl_c_during_the_fit_writes_the_best_model_so_far(overt, ratings, monkeypatch):
    def select(problem, options, *, offsets, heldout, incumbent, noisy):
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal comes first")

    before = signal.getsignal(signal.SIGINT)  # in the background of a shell it is ignored
    monkeypatch.setattr(estimator, "select_model", select)
    code, out, err = overt(ratings, "--out", "p.csv", "--summary", "s.json")
    assert code == 130
    assert "interrupted; the predictions are those of the best model so far" in err
    assert "not converged" in out
    facts = json.loads(Path("s.json").read_text())
    assert (facts["interrupted"], facts["converged"]) == (True, False)
    seen = np.where(MASK, MATRIX, np.nan)
    for _, col, value in read_csv("p.csv")[1:]:
        assert float(value) == pytest.approx(np.nanmean(seen[:, int(col) - 100]))
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_there_is_a_model_or_while_writing_leaves_nothing(overt, ratings, monkeypatch):
    from overt.cli import triplets
    from overt.cli.predictions import Predictor

    here = Path.cwd()

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(triplets, "_merge", stop)
        code, out, err = overt(here / ratings, "--out", here / "p.csv")
    assert (code, out, err) == (
        143,
        "",
        "overt: stopped by SIGTERM before the end; no file is left half-written\n",
    )
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "rows", stop)
        assert overt(here / ratings, "--out", here / "p.csv")[0] == 143
    assert names_in(here) == ["r.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--out", "--summary", "--spectrum"])
def test_a_file_that_is_there_is_replaced_only_when_asked(overt, ratings, option):
    names = {"--out": "p.csv", "--summary": "s.json", "--spectrum": "s.svg"}
    Path(names[option]).write_text("earlier")
    arguments = [ratings, *(part for pair in names.items() for part in pair)]
    code, out, err = overt(*arguments)
    assert (code, out) == (2, "")
    assert f"{option} {names[option]} is there already; choose another name or give --overwrite" in err
    assert Path(names[option]).read_text() == "earlier"
    assert names_in() == sorted(["r.csv", names[option]])
    assert overt(*arguments, "--overwrite")[0] == 0
    assert Path(names[option]).read_text() != "earlier"


@pytest.mark.skipif(os.name != "posix", reason="needs limits of file size")
@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_a_full_disk_leaves_the_earlier_file(overt, ratings, out):
    import resource

    Path(out).write_text("earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, before[1]))
    try:
        code, _, err = overt(ratings, "--out", out, "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    (line,) = [line for line in err.splitlines() if "error" in line]
    assert line.startswith(f"overt: error: cannot write {out}: ")
    assert "free some space" in line
    assert Path(out).read_text() == "earlier"
    assert names_in() == [out, "r.csv"]


def test_pairs_that_change_meanwhile_are_noticed(overt, ratings, monkeypatch):
    from overt.cli import completing

    write_csv("ask.csv", [("u9", 103), ("u9", 104)])
    fit = completing.fit

    def changing(*arguments, **options):
        write_csv("ask.csv", [("u9", 103)])
        return fit(*arguments, **options)

    monkeypatch.setattr(completing, "fit", changing)
    code, _, err = overt(ratings, "--out", "p.csv", "--ask", "ask.csv")
    assert code == 2
    assert "ask.csv has changed" in err
    assert names_in() == ["ask.csv", "r.csv"]


def test_help_reads_well(overt):
    code, out, err = overt("--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert "Ctrl-C" in out


def test_every_solver_is_offered_and_runs():
    (option,) = [option for option in command.complete.params if option.name == "solver"]
    assert tuple(option.type.choices) == SOLVERS


@pytest.mark.slow
def test_in_a_process_of_its_own(ratings):
    code = "from overt.cli import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "complete", ratings, "--out", "p.csv", "--solver", "soft_impute"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "20", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert b"soft_impute" in answer.stdout
    assert b"\x1b" not in answer.stdout + answer.stderr
    assert len(read_csv("p.csv")) == M * N + 1


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_sees_the_stages(overt, ratings, monkeypatch):
    class Terminal:
        encoding = "utf-8"

        def __init__(self):
            self.text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text
            return len(text)

        def flush(self):
            pass

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with contextlib.redirect_stderr(terminal), stage("reading", unit="entries") as advance:
        advance(12345)
    assert "reading" in terminal.text
    assert "12,345 entries" in terminal.text
    with contextlib.redirect_stderr(terminal), stage("writing", 10) as advance:
        advance(10)
    assert "━" in terminal.text


@pytest.mark.data
@pytest.mark.slow
def test_movielens_beats_the_column_means(overt, data_folder):
    with zipfile.ZipFile(data_folder / "ml-100k.zip") as archive:
        for name, kept in (("u1.base", "base.data"), ("u1.test", "test.data")):
            Path(kept).write_bytes(archive.read(f"ml-100k/{name}"))
    code, out, err = overt(
        "base.data", "--out", "p.csv", "--ask", "test.data", "--clip", 1, 5, "--solver", "bayes"
    )
    assert code == 0
    asked = np.loadtxt("test.data")
    found = np.array([[float(field) for field in record] for record in read_csv("p.csv")[1:]])
    assert (found[:, :2] == asked[:, :2]).all()
    error = np.sqrt(np.mean((found[:, 2] - asked[:, 2]) ** 2))
    assert error < 0.91  # user and item biases reach 0.95
    assert "80000 entries, 5.14 %" in out
    assert "32 asked pair(s)" in err
