"""The reference results and the README's table: no claim vanishes, no changed run becomes a reference."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
from tiny_study import study

from overt.studies import registry, run_study
from overt.studies.runner import judge
from overt.studies.runs.store import Store


@pytest.fixture
def verdicts(tmp_path, monkeypatch):
    place = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"
    spec = importlib.util.spec_from_file_location("verdicts_of_the_readme", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(f"a\n{module.START}\n{module.END}\nb\n")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped.json")
    (tmp_path / "findings").mkdir()
    monkeypatch.setattr(module, "FINDINGS", tmp_path / "findings")
    monkeypatch.setattr(registry, "_BUILT_IN", {})
    monkeypatch.setattr(registry, "_registered", {"tiny": study})
    return module


def call(verdicts, monkeypatch, *folders: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["verdicts.py", *map(str, folders)])
    verdicts.main()


@pytest.mark.slow
def test_a_folder_becomes_a_reference_and_one_with_changed_settings_does_not(verdicts, tmp_path, monkeypatch):
    plain = run_study(study, out=tmp_path / "plain", jobs=1, seed=1000).out
    page = tmp_path / "findings" / "tiny.md"
    page.write_text("# tiny\n\nwhy\n")
    call(verdicts, monkeypatch, plain)
    first = page.read_text()
    assert first.startswith("# tiny\n\nwhy\n\n## Verdicts\n")
    assert all(f"| {claim.id} {claim.title} |" in first for claim in study.claims)
    call(verdicts, monkeypatch)
    assert page.read_text() == first
    stored = tmp_path / "results" / "tiny-quick.json"
    before = stored.read_bytes()
    assert json.loads(before)["runs"] == {"made": 6, "planned": 6}
    rules = {verdict["claim"]: verdict["rule"] for verdict in json.loads(before)["verdicts"]}
    assert rules == {claim.id: claim.digest for claim in study.claims}
    changed = run_study(study, out=tmp_path / "changed", jobs=1, overrides={"size": 2}).out
    with pytest.raises(SystemExit, match="size = 2"):
        call(verdicts, monkeypatch, changed)
    asked = run_study(study, out=tmp_path / "asked", jobs=1, claims=["T2"]).out
    with pytest.raises(SystemExit, match="only T2"):
        call(verdicts, monkeypatch, asked)
    sorted(plain.glob("runs/*/records.jsonl"))[0].write_text("[]")
    with pytest.raises(SystemExit, match="damaged"):
        call(verdicts, monkeypatch, plain)
    assert stored.read_bytes() == before


def test_skipped_claims_have_a_column_where_there_are_any(verdicts, tmp_path, monkeypatch):
    results = tmp_path / "results"
    skipped = run_study(study, out=tmp_path / "skipped", jobs=1, overrides={"trouble": "skip"}).out
    (section,) = judge(Store.open(skipped), [study])
    content = verdicts.summary(section, skipped)
    assert content["runs"]["made"] == 0
    (results / "tiny-quick.json").write_text(json.dumps(content))
    table = verdicts.table(results)
    assert table.splitlines()[0] == "| study | runs | reproduced | not reproduced | inconclusive | skipped |"
    assert table.splitlines()[2].endswith("| T1 T2 |")
    for verdict in content["verdicts"]:
        verdict["outcome"] = "reproduced"
    (results / "tiny-quick.json").write_text(json.dumps(content))
    assert "skipped" not in verdicts.table(results)


def test_what_ships_is_made_from_the_fullest_results(verdicts, tmp_path):
    results = tmp_path / "results"
    rows = [
        {"claim": "T1", "title": "t", "outcome": "refuted", "rule": "ab"},
        {"claim": "T2", "title": "t", "outcome": "reproduced"},
    ]
    content = {
        "study": "tiny",
        "preset": "quick",
        "started": "2026-11-25T01:56:45+00:00",
        "commits": ["c", "d"],
        "verdicts": rows,
    }
    (results / "tiny-quick.json").write_text(json.dumps(content))
    (results / "tiny-full.json").write_text(json.dumps({**content, "preset": "full", "verdicts": rows[1:]}))
    assert json.loads(verdicts.shipped(results)) == {
        "tiny": {
            "preset": "full",
            "date": "2026-11-25",
            "commit": "c, d",
            "verdicts": {"T2": {"outcome": "reproduced"}},
        }
    }
    (results / "tiny-full.json").unlink()
    assert json.loads(verdicts.shipped(results))["tiny"]["verdicts"]["T1"] == {
        "outcome": "refuted",
        "rule": "ab",
    }


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["../../quick", "/tmp/quick", "x\x1b[2J", "none"])
def test_a_preset_that_the_study_does_not_have_names_no_file(verdicts, tmp_path, monkeypatch, preset):
    folder = run_study(study, out=tmp_path / "runs", jobs=1, seed=1000).out
    plans = folder / "plans" / "tiny.json"
    changed = json.loads(plans.read_text())
    changed["plans"][0]["preset"] = preset
    plans.write_text(json.dumps(changed))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match="has no preset") as caught:
        call(verdicts, monkeypatch, folder)
    assert str(caught.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_links_and_runs_that_say_too_little_are_one_line(verdicts, tmp_path, monkeypatch):
    folder = run_study(study, out=tmp_path / "runs", jobs=1, seed=1000).out
    for path in folder.glob("runs/*/meta.json"):
        meta = json.loads(path.read_text())
        del meta["machine"]
        path.write_text(json.dumps(meta))
        done = json.loads(path.with_name("DONE").read_text())
        done["files"]["meta.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name("DONE").write_text(json.dumps(done))
    with pytest.raises(SystemExit, match="'machine' is missing"):
        call(verdicts, monkeypatch, folder)
    (folder / "failed").symlink_to(tmp_path)
    with pytest.raises(SystemExit, match="failed is a symbolic link"):
        call(verdicts, monkeypatch, folder)
