"""What a report says where something is amiss: a rule or figure that fails, damage, a mixture of settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import Second, TinyConfig, altered, study

from overt.studies import Claim, Estimate, Run, Verdict, run_study
from overt.studies.claims.assess import load_mixture
from overt.studies.claims.statistics import bootstrap, proportion
from overt.studies.claims.verdicts import last_verdicts
from overt.studies.report.build import StudySection, render_report
from overt.studies.report.draw import Undrawn, draw
from overt.studies.report.figures import Figure, Table
from overt.studies.runner import judge, run_studies, write_report
from overt.studies.runs.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of finished runs; copy it before spoiling it."""
    return run_study(study, out=tmp_path_factory.mktemp("made") / "runs", jobs=1).out


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def one(runs: Any) -> Figure:
    return Figure("one", "One", table=Table(("a",), [(len(runs),)]))


def nothing(runs: Any) -> None:
    return None


def broken(runs: Any) -> Figure:
    return Figure("two", "Two", svg=str(1 / (len(runs) - len(runs))))


@pytest.mark.slow
def test_a_figure_that_fails_becomes_a_note_and_the_verdicts_and_other_figures_stay(copy):
    drawing = altered(figures=lambda self, runs: draw([one, broken, nothing], runs))
    (section,) = judge(Store.open(copy), [drawing])
    assert [verdict.outcome for verdict in section.verdicts] == ["reproduced", "reproduced"]
    assert [figure.id for figure in section.figures] == ["one"]
    (note,) = section.notes
    assert note.startswith("a figure could not be drawn: broken: ZeroDivisionError: ")
    assert "test_assess.py, line " in note
    assert "ZeroDivisionError" in render_report([section])


def test_figures_that_fail_as_a_whole_cost_no_verdict(copy):
    (section,) = judge(Store.open(copy), [altered(figures=lambda self, runs: [broken(runs)])])
    assert [verdict.outcome for verdict in section.verdicts] == ["reproduced", "reproduced"]
    assert (section.figures, len(section.notes)) == ([], 1)
    (section,) = judge(Store.open(copy), [altered(figures=lambda self, runs: [one(runs), one(runs)])])
    assert len(section.figures) == 1
    assert "the same name" in section.notes[0]


@pytest.mark.slow
def test_a_rule_that_fails_costs_no_other_study_its_report(tmp_path, monkeypatch):
    class Faulty(Second):
        name = "faulty"

        def judge(self, runs):
            raise KeyError("depth")

    summaries = run_studies([Faulty(), study], out=tmp_path / "runs", jobs=1)
    faulty, fine = (summary.section for summary in summaries)
    assert {verdict.outcome for verdict in faulty.verdicts} == {"inconclusive"}
    assert "KeyError: 'depth'" in faulty.verdicts[0].reason
    assert "no claim could be judged" in faulty.notes[0]
    assert faulty.figures
    assert {verdict.outcome for verdict in fine.verdicts} == {"reproduced"}
    assert fine.notes == []
    assert "KeyError" in summaries[0].report.read_text(encoding="utf-8")


def test_draw_calls_every_maker_and_keeps_what_was_drawn():
    assert draw([nothing, one], []) == [one([])]
    with pytest.raises(Undrawn, match="broken: ZeroDivisionError") as caught:
        draw([broken, one], [])
    assert caught.value.figures == [one([])]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_draw_takes_makers_of_several_figures_and_what_is_left_of_them():
    def some(runs):
        return draw([one, broken], runs)

    assert draw([lambda runs: [one(runs), one(runs)]], []) == [one([]), one([])]
    with pytest.raises(Undrawn, match="broken: ZeroDivisionError") as caught:
        draw([some, one], [])
    assert caught.value.figures == [one([]), one([])]


def test_a_damaged_run_is_left_out_and_named_and_its_verdicts_are_inconclusive(copy):
    first = sorted(copy.glob("runs/tiny-*"))[0]
    (first / "records.jsonl").write_text("[]")
    (section,) = judge(Store.open(copy), [study])
    assert (len(section.runs), section.planned) == (5, 6)
    assert section.verdicts[0].outcome == "inconclusive"
    assert "1 of 6 planned runs are missing" in section.verdicts[0].reason
    assert f"remove the folder {first}" in section.notes[0]
    (first / "DONE").write_bytes(b"\x80")
    (section,) = judge(Store.open(copy), [study])
    assert (len(section.runs), len(section.notes)) == (5, 1)


@pytest.mark.slow
def test_runs_of_different_settings_are_judged_apart(made, tmp_path):
    changed = run_study(study, out=tmp_path / "b", jobs=1, overrides={"size": 9}).out
    shifted = run_study(study, out=tmp_path / "c", jobs=1, seed=100).out
    stores = [Store.open(folder) for folder in (made, changed, shifted)]
    plain, other = judge(stores, [study])
    assert {run.config["size"] for run in other.runs} == {9}
    assert {run.config["size"] for run in plain.runs} == {3, 4}
    assert {run.config["seed"] for run in plain.runs} == {*range(5), *range(100, 105)}
    assert (plain.planned, other.planned) == (12, 6)
    assert (plain.setting, other.setting) == ("preset quick", "preset quick, size = 9")
    assert (plain.place, other.place) == ("tiny", "tiny-2")
    path = write_report(stores[0], [plain, other], tmp_path / "both.html")
    page = path.read_text(encoding="utf-8")
    for text in (
        "Means of uniform numbers (preset quick)",
        "Means of uniform numbers (preset quick, size = 9)",
        'id="tiny-2-T1"',
        "<h1>Means of uniform numbers</h1>",
        "a study in 2 settings",
    ):
        assert text in page
    assert (tmp_path / "figures" / "tiny" / "sums.csv").is_file()
    assert (tmp_path / "figures" / "tiny-2" / "sums.csv").is_file()


@pytest.mark.slow
def test_presets_are_judged_apart_and_one_folder_twice_is_one(made, tmp_path):
    full = run_study(study, out=tmp_path / "full", jobs=1, preset="full").out
    sections = judge([Store.open(made), Store.open(full), Store.open(made)], [study])
    assert [(section.setting, len(section.runs)) for section in sections] == [
        ("preset quick", 6),
        ("preset full", 13),
    ]
    (alone,) = judge([Store.open(made), Store.open(made)], [study])
    assert (alone.part, alone.place, alone.heading) == (0, "tiny", "Means of uniform numbers")


def test_runs_without_a_plan_go_where_a_plan_names_them(made, copy, tmp_path):
    shutil.rmtree(copy / "plans")
    for folder in sorted(copy.glob("runs/tiny-*"))[3:]:
        shutil.rmtree(folder)
    planned = Path(shutil.copytree(made, tmp_path / "planned"))
    for folder in sorted(planned.glob("runs/tiny-*"))[:3]:
        shutil.rmtree(folder)
    stores = [Store.open(planned), Store.open(copy)]
    (section,) = judge(stores, [study])
    assert (len(section.runs), section.planned) == (6, 6)
    Store.open(copy).save("tiny", 1, TinyConfig(seed=77).model_dump(mode="json"), *stray())
    planned_part, loose = load_mixture(stores, study)
    assert (len(planned_part.runs), len(loose.runs)) == (6, 1)
    assert loose.plan is None


def stray() -> tuple[Any, dict[str, Any]]:
    from overt.studies import RunOutput

    return RunOutput([{"mean": 0.5}], {"values": np.zeros(1)}), {"status": "done", "study_version": 1}


def test_the_last_verdicts_say_of_which_setting_and_when(made, tmp_path):
    run_study(study, out=tmp_path / "mine", jobs=1, overrides={"size": 2})
    last = last_verdicts([tmp_path / "nowhere", tmp_path], "tiny")
    assert last.outcomes == {"T1": "reproduced", "T2": "reproduced"}
    assert last.setting == "preset quick, size = 2"
    assert last.date.startswith("20")
    assert last.folder == tmp_path / "mine"
    old = '{"preset": "full", "verdicts": [{"claim": "T1", "outcome": "inconclusive"}]}'
    (tmp_path / "old" / "verdicts").mkdir(parents=True)
    (tmp_path / "old" / "verdicts" / "tiny.json").write_text(old)
    assert last_verdicts(tmp_path / "old", "tiny").setting == "preset full"
    assert last_verdicts(tmp_path, "second").outcomes == {}


def shown(*estimates: Estimate, **more: Any) -> str:
    claim = Claim("T1", "a claim", "a statement", "a source", "a rule")
    verdict = Verdict("T1", "reproduced", "a reason", estimates)
    run = Run("tiny", "0" * 12, {"seed": 3}, [])
    return render_report([StudySection("tiny", "Tiny", [claim], [verdict], [], [run], **more)])


@pytest.mark.slow
def test_the_report_says_once_that_a_bootstrap_of_few_seeds_is_narrow():
    few, many = [1.0, 2.0, 3.0], list(range(1, 13))
    for estimate in (bootstrap(few), bootstrap(few, np.mean)):
        assert shown(estimate, estimate).count("75 % of three") == 1
    for estimate in (bootstrap(many), bootstrap([1.0]), proportion(2, 3), Estimate("x", 1.0, 0.0, 2.0, 3)):
        assert "75 % of three" not in shown(estimate)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "said"), [(2, 0.49), (3, 0.75), (4, 0.88), (5, 0.94), (7, 0.87)])
def test_the_coverage_of_the_median_s_bootstrap_is_what_the_report_says(n, said):
    rng = np.random.default_rng(n)
    samples = rng.normal(size=(4000, n))
    medians = np.median(samples[:, rng.integers(0, n, (500, n))], axis=2)
    low, high = np.quantile(medians, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(said, abs=0.025)


def test_the_header_says_preset_and_overrides():
    page = shown(preset="quick", overrides={"max_steps": 50, "functional": "nuclear", "rates": [1, 2]})
    assert "Preset quick, max_steps = 50, functional = nuclear, rates = [1, 2]." in page
