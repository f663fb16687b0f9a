"""Tables that `overt complete` reads, and what it refuses in one line."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from overt.cli import main, text_source
from overt.cli.id_table import IdTable, reads_as_integer
from overt.cli.opening import open_source
from overt.cli.sources import Wanted
from overt.cli.triplets import read_triplets
from overt.studies import OvertError


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def read(path, *, duplicates="error", columns=None, **options):
    source = open_source(Path(path), Wanted(columns), **options)
    return read_triplets(source, duplicates, lambda _: None)


def listed(found):
    rows, cols = found.row_ids.names, found.col_ids.names
    parts = zip(found.rows.tolist(), found.cols.tolist(), found.values.tolist(), strict=True)
    return [(rows[i], cols[j], value) for i, j, value in parts]


PLAIN = [("1", "x", 2.0), ("2", "x", -0.5), ("1", "y", 1e300)]

TABLES = {
    "comma": "1,x,2\n2,x,-.5\n1,y,1e300\n",
    "names": "user,item,rating\n1,x,2\n2,x,-.5\n1,y,1e300\n",
    "tab": "1\tx\t2\n2\tx\t-.5\n1\ty\t1e300\n",
    "semicolon": "1;x;2\n2;x;-.5\n1;y;1e300\n",
    "double colon": "1::x::2::978300760\n2::x::-.5::978302109\n1::y::1e300::978301968\n",
    "more columns": "1,x,2,a\n2,x,-.5,b\n1,y,1e300,c\n",
    "returns": "1,x,2\r\n2,x,-.5\r\n1,y,1e300\r\n",
    "old returns": "1,x,2\r2,x,-.5\r1,y,1e300\r",
    "no newline at the end": "1,x,2\n2,x,-.5\n1,y,1e300",
    "blank lines": "\n1,x,2\n\n  \n2,x,-.5\n1,y,1e300\n\n",
    "blanks": "1, x, 2\n2, x, -.5\n1, y, 1e300\n",
    "quotes": '"1","x","2"\n"2","x","-.5"\n"1","y","1e300"\n',
    "byte order mark": "\ufeff1,x,2\n2,x,-.5\n1,y,1e300\n",
    "usual names in another order": "value,col,row\n2,x,1\n-.5,x,2\n1e300,y,1\n",
}


@pytest.mark.parametrize("case", TABLES)
def test_dialects_read_alike(case):
    Path("t.csv").write_text(TABLES[case], newline="")
    assert listed(read("t.csv")) == PLAIN


def test_columns_by_name_and_number():
    Path("t.csv").write_text("when,rating,item,user\n9,2,x,1\n9,-.5,x,2\n9,1e300,y,1\n")
    for columns in (("user", "item", "rating"), ("4", "3", "2")):
        found = read("t.csv", columns=columns)
        assert listed(found) == PLAIN
        assert found.names == ("user", "item", "rating")


def test_header_and_delimiter_may_be_said():
    Path("t.csv").write_text("1,2,3\n1,x,2\n")
    assert listed(read("t.csv", header=True)) == [("1", "x", 2.0)]
    assert read("t.csv", header=True).names == ("1", "2", "3")
    assert len(listed(read("t.csv", header=False))) == 2
    assert len(listed(read("t.csv"))) == 2
    Path("t.base").write_text("1|x|2\n2|x|-.5\n1|y|1e300\n")
    assert listed(read("t.base", delimiter="|")) == PLAIN
    Path("t.base").write_text("1\tx\t2\n2\tx\t-.5\n1\ty\t1e300\n")
    assert listed(read("t.base", delimiter="tab")) == PLAIN


def test_ids_with_every_delimiter_in_quotes():
    Path("t.csv").write_text('"a;b::c\t,",x,1\n"say ""hi""",x,2\n"two\nlines",x,3\n')
    assert [row for row, *_ in listed(read("t.csv"))] == ["a;b::c\t,", 'say "hi"', "two\nlines"]


def test_parquet_of_many_types():
    ids = [
        pa.array([1, 2, 1], pa.int16()),
        pa.array(["1", "2", "1"]),
        pa.array([1.0, 2.0, 1.0]),
        pa.array(["1", "2", "1"], pa.large_string()).dictionary_encode(),
    ]
    values = [pa.array([3, 4, 5], pa.int32()), pa.array([3, 4, 5], pa.float32()), pa.array([3.0, 4, 5])]
    for names in ids:
        for numbers in values:
            parquet.write_table(pa.table({"u": names, "i": ["x", "x", "y"], "r": numbers}), "t.parquet")
            assert listed(read("t.parquet")) == [("1", "x", 3.0), ("2", "x", 4.0), ("1", "y", 5.0)]


def test_duplicates():
    Path("t.csv").write_text("u,i,r\n1,x,2\n2,x,7\n\n1,x,4\n3,z,1\n1,x,9\n3,z,3\n")
    with pytest.raises(
        OvertError, match=r"2 positions come.*\(3 entries.*line 2 and line 5 and line 7; line 6 and line 8"
    ):
        read("t.csv")
    mean, last = read("t.csv", duplicates="mean"), read("t.csv", duplicates="last")
    assert listed(mean) == [("1", "x", 5.0), ("2", "x", 7.0), ("3", "z", 2.0)]
    assert listed(last) == [("1", "x", 9.0), ("2", "x", 7.0), ("3", "z", 3.0)]
    assert (mean.merged, last.merged) == (3, 3)
    parquet.write_table(pa.table({"u": [1, 1], "i": [2, 2], "r": [1e308, 1.5e308]}), "t.parquet")
    with pytest.raises(OvertError, match=r"1 position comes.*row 1 and row 2\."):
        read("t.parquet")
    assert listed(read("t.parquet", duplicates="mean")) == [("1", "2", 1.25e308)]


_ID = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=5)
_ID = _ID.map(str.strip).filter(bool)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.tuples(_ID, _ID), st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30
    )
)
def test_csv_and_parquet_bring_back_any_ids_and_values(tmp_path_factory, table):
    import csv

    folder = tmp_path_factory.mktemp("any")
    given_ = [(row, col, value) for (row, col), value in table.items()]
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("row", "col", "value"), *given_])
    columns = dict(zip(("row", "col", "value"), map(list, zip(*given_, strict=True)), strict=True))
    parquet.write_table(pa.table(columns), folder / "t.parquet")
    assert listed(read(folder / "t.csv", delimiter=",")) == given_
    assert listed(read(folder / "t.parquet")) == given_


@given(st.lists(st.integers(0, 5).map(str)))
def test_an_id_table_numbers_by_first_appearance(names):
    table = IdTable()
    codes = np.concatenate([table.add(names[:3]), table.add(names[3:])])
    assert [table.names[code] for code in codes] == names
    assert table.names == list(dict.fromkeys(names))
    assert table.find([*names, "absent"]).tolist() == [*codes.tolist(), -1]


def test_whole_numbers_are_those_that_print_alike():
    for name in ("0", "7", "-12", "123456789012345678"):
        assert reads_as_integer(name)
        assert str(int(name)) == name
    for name in ("007", "-0", "+1", "1.0", "", "1e3", "٣", "12345678901234567890", "1_0"):
        assert not reads_as_integer(name)


def test_lines_are_right_far_into_a_file():
    count = 3 * text_source._CHUNK
    entries = [f"{i},x,1" if i % 9 else "" for i in range(count)]
    Path("t.csv").write_text("\n".join(["a,b,c", *entries, '"q\n\nr",x,1', "z,x,oops"]))
    with pytest.raises(OvertError, match=f"t.csv line {count + 5}: the value 'oops' is not a number"):
        read("t.csv")


# ---- what is refused ---------------------------------------------------------------------------------------

WRONG_TABLES = {
    "empty": ("", "t.csv is empty"),
    "blank": ("\n \n", "t.csv is empty"),
    "names alone": ("user,item,rating\n", "holds no entry"),
    "words": ("1,x,2\n1,y,two\n", "t.csv line 2: the value 'two' is not a number"),
    "decimal comma": ("1;x;2\n1;y;2,5\n", "line 2: the value '2,5' is not a number"),
    "not a number": ("u,i,r\n1,x,2\n1,y,nan\n", "line 3: the value is nan"),
    "infinite": ("1,x,2\n1,y,-inf\n", "line 2: the value is -inf"),
    "too large": ("1,x,2\n1,y,1e999\n", "line 2: the value is 1e999"),
    "no value": ("1,x,2\n1,y,\n", "line 2: the value is missing"),
    "no row": ("1,x,2\n,y,3\n", "line 2: the id of the row is missing"),
    "no column": ("1,x,2\n1, ,3\n", "line 2: the id of the column is missing"),
    "too few columns": ("1,x\n2,y\n", "at least 3 columns are needed"),
    "a short line": ("1,x,2\n1,y\n", "line 2: 2 column(s) where at least 3 are needed"),
    "open quotes": ('1,x,2\n"1,y,3\n', "line 2: "),
    "duplicates": (
        "1,x,2\n1,x,3\n",
        "1 position comes more than once (1 entries too many): line 1 and line 2",
    ),
}


@pytest.fixture
def refused(capfd):
    """Call the command line, which must refuse in one line and leave all as it was; returns the line."""

    def call(*arguments: object) -> str:
        before = {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}
        with pytest.raises(SystemExit) as stopped:
            main(["complete", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert (stopped.value.code, out) == (2, "")
        assert err.startswith("overt: error: ")
        assert err.count("\n") == 1
        assert {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before
        return err

    return call


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_wrong_tables(refused, case):
    text, expected = WRONG_TABLES[case]
    Path("t.csv").write_text(text)
    assert expected in refused("t.csv", "--out", "p.csv")


def test_text_that_is_not_utf8_names_the_line(refused):
    Path("t.csv").write_bytes("1,x,2\n1,né,3\n".encode("latin-1"))
    assert "t.csv line 2: not UTF-8" in refused("t.csv", "--out", "p.csv")
    Path("t.csv").write_bytes("1,x,2\n".encode("utf-16"))
    assert "not UTF-8" in refused("t.csv", "--out", "p.csv")


WRONG_PARQUET = {
    "missing value": ({"u": [1, 1], "i": [2, 3], "r": [1.0, None]}, "row 2: the value is missing"),
    "not a number": ({"u": [1, 1], "i": [2, 3], "r": [1.0, float("nan")]}, "row 2: the value is nan"),
    "infinite": ({"u": [1, 1], "i": [2, 3], "r": [float("inf"), 1.0]}, "row 1: the value is inf"),
    "missing id": ({"u": [1, None], "i": [2, 3], "r": [1.0, 2.0]}, "row 2: the id in column 'u' is missing"),
    "text": ({"u": [1], "i": [2], "r": ["3"]}, "column 'r' of type string does not hold numbers"),
    "lists": ({"u": [[1]], "i": [2], "r": [3]}, "column 'u'"),
    "too few": ({"u": [1], "i": [2]}, "2 column(s) where at least 3 are needed"),
    "nothing": ({name: pa.array([], pa.int64()) for name in "uir"}, "holds no entry"),
}


@pytest.mark.parametrize("case", WRONG_PARQUET)
def test_wrong_parquet(refused, case):
    columns, expected = WRONG_PARQUET[case]
    parquet.write_table(pa.table(columns), "t.parquet")
    assert expected in refused("t.parquet", "--out", "p.csv")


def test_what_is_no_parquet(refused):
    for content in (b"1,x,2\n", b"", b"PAR1"):
        Path("t.parquet").write_bytes(content)
        assert "t.parquet" in refused("t.parquet", "--out", "p.csv")


WRONG_CALLS = {
    "no input": (["none.csv", "--out", "p.csv"], "cannot read none.csv: No such file"),
    "a folder": (["d.csv", "--out", "p.csv"], "cannot read d.csv"),
    "no out": (["t.csv"], "--out"),
    "unknown suffix in": (["t.xls", "--out", "p.csv"], "unknown suffix '.xls'"),
    "unknown suffix out": (["t.csv", "--out", "p.xls"], "unknown suffix '.xls'"),
    "no suffix": (["t.csv", "--out", "p"], "unknown suffix ''"),
    "no folder": (["t.csv", "--out", "no/p.csv"], "there is no folder no"),
    "out is the input": (["t.csv", "--out", "./t.csv"], "is an input file"),
    "out is linked to the input": (["t.csv", "--out", "hard.csv"], "is an input file"),
    "out is the asked table": (["t.csv", "--out", "a.csv", "--ask", "a.csv"], "is an input file"),
    "out is a link": (["t.csv", "--out", "link.csv"], "not a regular file"),
    "out is a folder": (["t.csv", "--out", "d.csv"], "not a regular file"),
    "out twice": (["t.csv", "--out", "p.csv", "--summary", "p.json", "--spectrum", "p.pdf"], ".svg or .png"),
    "summary suffix": (["t.csv", "--out", "p.csv", "--summary", "s.txt"], "write .json"),
    "ask and all": (["t.csv", "--out", "p.csv", "--ask", "a.csv", "--all"], "exclude each other"),
    "ask is missing": (["t.csv", "--out", "p.csv", "--ask", "none.csv"], "cannot read none.csv"),
    "ask is a folder": (["t.csv", "--out", "p.csv", "--ask", "d.csv"], "not a regular file"),
    "ask is short": (["t.csv", "--out", "p.csv", "--ask", "short.csv"], "short.csv line 1: at least 2"),
    "both clips": (["t.csv", "--out", "p.csv", "--clip", 1, 2, "--clip-observed"], "exclude"),
    "empty clip": (["t.csv", "--out", "p.csv", "--clip", 2, 2], "LOW < HIGH"),
    "nan clip": (["t.csv", "--out", "p.csv", "--clip", "nan", 2], "LOW < HIGH"),
    "solver": (["t.csv", "--out", "p.csv", "--solver", "svd"], "soft_impute"),
    "seed": (["t.csv", "--out", "p.csv", "--seed", "-1"], "--seed"),
    "columns": (["t.csv", "--out", "p.csv", "--columns", "a,b"], "three different"),
    "same columns": (["t.csv", "--out", "p.csv", "--columns", "1,2,2"], "three different"),
    "column out of range": (["t.csv", "--out", "p.csv", "--columns", "1,2,9"], "3 column(s)"),
    "column zero": (["t.csv", "--out", "p.csv", "--columns", "0,1,2"], "3 column(s)"),
    "column of no name": (["t.csv", "--out", "p.csv", "--columns", "u,i,r"], "asks for u, i, r"),
    "delimiter": (["t.csv", "--out", "p.csv", "--delimiter", ""], "--delimiter"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls(refused, case):
    arguments, expected = WRONG_CALLS[case]
    Path("t.csv").write_text("1,x,2\n2,x,3\n1,y,4\n")
    Path("t.xls").write_text("1,x,2\n")
    Path("a.csv").write_text("1,x\n")
    Path("short.csv").write_text("1\n2\n")
    Path("d.csv").mkdir()
    Path("link.csv").symlink_to("elsewhere.csv")
    Path("hard.csv").hardlink_to("t.csv")
    assert expected in refused(*arguments)
    assert not Path("elsewhere.csv").exists()


@pytest.mark.parametrize("arguments", [["t.parquet", "--out", "p.csv"], ["t.csv", "--out", "p.parquet"]])
def test_without_pyarrow_it_says_what_to_install(refused, monkeypatch, arguments):
    Path("t.csv").write_text("1,x,2\n")
    Path("t.parquet").write_bytes(b"")
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "pyarrow":
            raise ImportError("No module named 'pyarrow'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'overt[parquet]'" in refused(*arguments)


@pytest.mark.slow
def test_all_pairs_are_answered_as_asked_ones_are():
    """With the limits of columns of few kinds, and the digits of columns that are small beside others."""
    g = np.random.default_rng(0)
    X = g.normal(size=(30, 2)) @ g.normal(size=(2, 6)) + 0.1 * g.normal(size=(30, 6))
    X *= [1, 1e-9, 1e9, 1, 1, 1]
    X[:, 0] = X[:, 0] > 0
    seen = [(f"r{i}", f"c{j}", float(X[i, j])) for i, j in np.argwhere(g.random(X.shape) < 0.7)]
    every = [(f"r{i}", f"c{j}") for i in range(30) for j in range(6)]
    for name, records in (("t.csv", seen), ("every.csv", every)):
        Path(name).write_text("".join(",".join(map(str, record)) + "\n" for record in records))
    for arguments in (["--out", "all.csv"], ["--out", "asked.csv", "--ask", "every.csv"]):
        with pytest.raises(SystemExit) as stopped:
            main(["complete", "t.csv", *arguments])
        assert stopped.value.code == 0
    found = [
        {tuple(line.split(",")[:2]): line.split(",")[2] for line in Path(name).read_text().splitlines()[1:]}
        for name in ("all.csv", "asked.csv")
    ]
    assert found[0] == found[1]
    assert all(0 <= float(value) <= 1 for (_, col), value in found[0].items() if col == "c0")
