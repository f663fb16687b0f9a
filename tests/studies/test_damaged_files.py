"""One file of a folder of runs that holds anything at all costs one run or one plan, and never the page."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_study import TinyConfig, study

from overt._utils.errors import StoreError
from overt.studies import RunOutput, run_study
from overt.studies.claims.assess import load_swept
from overt.studies.report.build import render_report
from overt.studies.runner import judge
from overt.studies.runs import records
from overt.studies.runs.identity import config_hash
from overt.studies.runs.npz import unpack
from overt.studies.runs.store import Store
from overt.studies.runs.stored import MOST_BYTES

PARTS = ("config.json", "records.jsonl", "arrays.npz", "meta.json", "DONE")
HUGE = 10**400
SURROGATE = "a\ud800b"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of finished runs, put right again by each test."""
    return run_study(study, out=tmp_path_factory.mktemp("made") / "runs", jobs=1).out


def first(folder: Path) -> Path:
    return sorted(folder.glob("runs/tiny-*"))[0]


def forge(run: Path, part: str, content: bytes) -> Path:
    """Put content into a file of a run as one who wants to be believed does; the run's folder then."""
    (run / part).write_bytes(content)
    if part == "DONE":
        return run
    done = json.loads((run / "DONE").read_bytes())
    done["files"][part] = hashlib.sha256(content).hexdigest()
    (run / "DONE").write_text(json.dumps(done))
    return run


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def left_out(folder: Path, name: str) -> list[str]:
    """The notes on what is stored; the other runs are there, and what is damaged is named in one line."""
    stored = load_swept(Store.open(folder), study)[-1]
    assert len(stored.runs) >= 5
    assert len(stored.notes) <= 1
    assert all(name in note and "\n" not in note for note in stored.notes)
    return stored.notes


def told(folder: Path, name: str) -> list[str]:
    """The notes of the page, which is made, holds the runs that are left, and names what is damaged."""
    (section,) = judge(Store.open(folder), [study])
    page = render_report([section])
    page.encode()
    assert "Means of uniform numbers" in page
    assert len(section.runs) >= 5
    assert all(run.hash in page for run in section.runs)
    if section.notes:
        assert len(section.notes) == 1
        assert name in section.notes[0]
        assert "\n" not in section.notes[0]
    return list(section.notes)


class Spoiled:
    """The folder with one file changed, for as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = first(folder)
        self.kept = {path: path.read_bytes() for path in self.files()}

    def files(self) -> list[Path]:
        return [
            path for part in ("runs", "plans") for path in (self.folder / part).rglob("*") if path.is_file()
        ]

    def __enter__(self) -> Path:
        return self.run

    def __exit__(self, *exception: object) -> None:
        for path in set(self.files()) - set(self.kept):
            path.unlink()
        for path, content in self.kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        for path in (self.folder / "runs").iterdir():
            if not any(path.iterdir()):
                path.rmdir()


VALUES = (None, True, -1, 1e308, HUGE, "NaN", SURROGATE, "\x1b[2J", [1], {"": {"": [None, "NaN"]}})


def everywhere(value: Any, odd: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Copies of a JSON value with something odd in each place, with the place."""
    found = [(path, odd)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        for place, changed in everywhere(item, odd, (*path, key)):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = changed
            found.append((place, copy))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("part", ["config.json", "meta.json", "DONE"])
@pytest.mark.parametrize("odd", VALUES, ids=lambda value: repr(value)[:20])
def test_any_field_of_any_wrong_kind_costs_its_run(made, part, odd):
    with Spoiled(made) as run:
        usual = {name: (run / name).read_bytes() for name in PARTS}
        for place, changed in everywhere(json.loads(usual[part]), odd):
            forge(run, part, json.dumps(changed).encode())
            notes = left_out(made, str(run / part))
            # Metadata that no one reads, a text for a text, or a number for a number, may stay.
            assert notes or part == "meta.json", (place, odd)
            if len(place) < 2:
                told(made, str(run / part))
            for name, content in usual.items():
                (run / name).write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("odd", VALUES, ids=lambda value: repr(value)[:20])
def test_any_field_of_any_wrong_kind_costs_the_plans_of_its_file(made, odd):
    with Spoiled(made):
        path = made / "plans" / "tiny.json"
        usual = path.read_bytes()
        for place, changed in everywhere(json.loads(usual), odd):
            if json.dumps(changed) == json.dumps(json.loads(usual)):
                continue
            path.write_text(json.dumps(changed))
            notes = left_out(made, str(path))
            if not notes:
                told(made, str(path))
            free = (
                "preset",
                "command",
                "seed",
                "overrides",
                "rules",
                "sweep",
            )  # any text is one, or any field
            assert notes or place[2] in free, place
        path.write_bytes(usual)


@pytest.mark.slow
@pytest.mark.parametrize("odd", VALUES, ids=lambda value: repr(value)[:20])
def test_a_configuration_of_wrong_kinds_under_its_own_hash_costs_its_run_and_its_plan(made, odd):
    fields = TinyConfig(seed=77).model_dump(mode="json")
    for name in (*fields, "more"):
        changed = {**fields, name: odd}
        try:
            hash_ = config_hash("tiny", 1, changed)
        except (ValueError, RecursionError):
            continue
        with Spoiled(made) as run:
            config = {"study": "tiny", "version": 1, "config": changed}
            forge(run, "config.json", json.dumps(config).encode())
            plan = json.loads((made / "plans" / "tiny.json").read_bytes())
            del plan["plans"][0]["runs"][run.name.split("-")[1]]
            (made / "plans" / "tiny.json").write_text(json.dumps(plan))
            run.rename(run.with_name(f"tiny-{hash_}"))
            left_out(made, f"tiny-{hash_}")  # the plan does not name it
            plan["plans"][0]["runs"][hash_] = changed
            (made / "plans" / "tiny.json").write_text(json.dumps(plan))
            store = Store.open(made)
            if (name, odd) in [("exclusive", True), ("trouble", "\x1b[2J"), ("size", -1), ("sleep", 1e308)]:
                store.load("tiny", hash_, study)
                continue
            if (name, odd) in [("trouble", "NaN"), ("trouble", "Infinity")]:
                continue
            with pytest.raises(StoreError, match=r"config\.json is damaged"):
                store.load("tiny", hash_, study)
            with pytest.raises(StoreError, match=r"tiny\.json is damaged"):
                store.plans("tiny", study)


DEEP = {
    "900 deep": b'{"mean": ' + nested(900).encode() + b"}\n",
    "100 000 deep": b'{"mean": ' + b"[" * 100_000 + b"}\n",
    "objects": b'{"a": ' * 900 + b"1" + b"}" * 900 + b"\n",
    "a huge number": f'{{"mean": {HUGE}}}\n'.encode(),
    "a huge negative number": f'{{"mean": [-{HUGE}]}}\n'.encode(),
    "a huge float": b'{"mean": 1e400}\n',
    "too many digits": b'{"mean": ' + b"9" * 5000 + b"}\n",
    "half a character": b'{"mean": "\\ud800"}\n',
    "half a character in a key": b'{"\\udfff": 1}\n',
    "a constant": b'{"mean": NaN}\n',
    "no object": b"[1]\n",
    "nothing": b"",
    "empty records": b"{}\n{}\n",
    "text for a number": b'{"mean": "\\u001b[2J"}\n',
    "a list for a number": b'{"mean": [[1], [2, 3]]}\n',
    "null": b'{"mean": null}\n',
}


@pytest.mark.parametrize("kind", DEEP)
def test_records_that_no_one_can_read_cost_their_run_under_a_right_checksum(made, kind):
    with Spoiled(made) as run:
        forge(run, "records.jsonl", DEEP[kind])
        notes = told(made, f"runs/{run.name}")
        assert notes or kind == "nothing"  # as a run that recorded nothing


@pytest.mark.parametrize("part", PARTS)
def test_a_file_of_3_gb_is_not_read(made, part):
    with Spoiled(made) as run, (run / part).open("r+b") as file:
        file.truncate(3 * 2**30)
        (note,) = told(made, str(run / part))
        assert "too large" in note


def test_plans_marks_and_verdicts_of_3_gb_are_not_read_either(made):
    with Spoiled(made):
        for name in ("plans/tiny.json", "overt.json"):
            content = (made / name).read_bytes()
            with (made / name).open("r+b") as file:
                file.truncate(3 * 2**30)
            with pytest.raises(StoreError, match=f"{name} is too large"):
                Store(made).plans("tiny") if name.startswith("plans") else Store.open(made)
            (made / name).write_bytes(content)


def test_what_could_not_be_read_back_is_not_stored(tmp_path, monkeypatch):
    store = Store.create(tmp_path / "runs")
    monkeypatch.setitem(MOST_BYTES, "records.jsonl", 100)
    for output, match in [
        (RunOutput([{"a": "b" * 100}]), "records.jsonl would have"),
        (RunOutput([{"a": HUGE}]), "beyond the range"),
        (RunOutput([{"a": SURROGATE}]), "half a character"),
        (RunOutput([{"a": json.loads(nested(70))}]), "nested"),
        (RunOutput([], {"a": np.zeros(3, "V0")}), "no size"),
    ]:
        with pytest.raises(ValueError, match=match):
            store.save("tiny", 1, {"seed": 0}, output, {})
    assert store.stored() == []


def archive(**options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        content = io.BytesIO()
        np.save(content, np.zeros(3))
        file.writestr("values.npy", content.getvalue())
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f8'", body: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    content = b"\x93NUMPY\1\0" + (len(text) + 1).to_bytes(2, "little") + text + b"\n" + body
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("values.npy", content)
    return buffer.getvalue()


ARCHIVES = {
    "deflated": archive(compression=zipfile.ZIP_DEFLATED),
    "bzip2": archive(compression=zipfile.ZIP_BZIP2),
    "LZMA": archive(compression=zipfile.ZIP_LZMA),
    "no array": b"",
    "another name": archive().replace(b"values.npy", b"others.npy"),
    "a zip within a zip's list": archive() * 2,
    "very many members": archive() + b"PK\1\2" * 10_001,
    "items of no size": header("(1000000000000,)", "'|V0'"),
    "overflow": header("(0, 1" + "0" * 30 + ")"),
    "two negatives": header("(-1, -2)", body=b"\0" * 16),
    "nested descr": header("(1,)", "[" * 900 + "]" * 900),
    "very nested descr": header("(1,)", "(" * 5000 + ")" * 5000),
    "many dimensions": header("(" + "1, " * 100 + ")", body=b"\0" * 8),
    "code": header("(1,)", "__import__('os')"),
    "another kind of array": header("()", body=b"\0" * 8),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_of_any_kind_cost_their_run(made, kind):
    with Spoiled(made) as run:
        forge(run, "arrays.npz", ARCHIVES[kind])
        notes = told(made, f"runs/{run.name}")
        assert notes or kind in ("a zip within a zip's list", "another kind of array")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for _ in range(2):
            file.writestr("values.npy", b"")
    with pytest.raises(ValueError, match="the same name"):
        unpack(buffer.getvalue())


json_text = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["NaN", "Infinity", SURROGATE, "\x1b]0;x\x07"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | json_text | st.just(HUGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner, max_size=3),
    max_leaves=6,
)


# Under its own checksum, where a file has one; records also under the old one.
FILES = [(part, part != "DONE") for part in PARTS] + [("records.jsonl", False), ("plan", False)]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "believed"), FILES)
@settings(max_examples=20)
@given(value=json_values, key=st.sampled_from(["", "config", "seed", "mean", "status", "files", "plans"]))
def test_arbitrary_json_in_one_file_leaves_the_report_of_the_others(made, part, believed, value, key):
    content = json.dumps({key: value} if key else value).encode()
    with Spoiled(made) as run:
        path = made / "plans" / "tiny.json" if part == "plan" else run / part
        if believed:
            forge(run, part, content)
        else:
            path.write_bytes(content)
        notes = told(made, str(path) if part not in ("records.jsonl", "arrays.npz") else run.name)
        assert notes or part in ("meta.json", "records.jsonl")


def test_records_nest_as_deep_as_they_may():
    deepest = {"a": json.loads(nested(records.DEEPEST - 1))}
    assert records.load_object(records.dump_object(deepest)) == deepest
    with pytest.raises(ValueError, match="nested"):
        records.load_object(json.dumps({"a": deepest}).encode())
