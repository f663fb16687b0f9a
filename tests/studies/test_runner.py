"""From a plan to stored runs and verdicts: resuming, failing, skipping, judging what is there."""

from __future__ import annotations

import shutil
import signal
import sys
import threading

import numpy as np
import pytest
import torch
from tiny_study import Tiny, TinyConfig, altered, study

from overt._utils.errors import StoreError, UsageError
from overt.studies import Claim, RunOutput, Skip, Verdict, register, run_study
from overt.studies import registry as registry_module
from overt.studies.claims.assess import Stored, assess, load_swept
from overt.studies.claims.verdicts import last_verdicts
from overt.studies.report.figures import Figure
from overt.studies.runner import judge, run_studies, write_report
from overt.studies.runs.overrides import Sweep, apply, parse, read_toml
from overt.studies.runs.provenance import commit
from overt.studies.runs.store import Store


def evidence(out) -> dict[str, bytes]:
    """Return the bytes of all that is stored of the runs, but their metadata."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for part in ("config.json", "records.jsonl", "arrays.npz")
        for path in out.glob(f"runs/*/{part}")
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "runs"
    return run_study(study, out=out, jobs=1)


@pytest.fixture
def copy(done, tmp_path):
    """A copy of finished runs that a test may spoil."""
    return shutil.copytree(done.out, tmp_path / "copy")


def test_a_study_ends_with_stored_runs_verdicts_and_a_report(done):
    assert (done.study, done.made, done.resumed, done.failures) == ("tiny", 6, 0, {})
    assert [verdict.outcome for verdict in done.verdicts] == ["reproduced", "reproduced"]
    assert "Means of uniform numbers" in done.report.read_text(encoding="utf-8")
    store = Store.open(done.out)
    runs = [store.load("tiny", hash_) for _, hash_ in store.stored()]
    assert {run.config["seed"] for run in runs} == set(range(5))
    for run in runs:
        np.testing.assert_array_equal(
            run.arrays["values"], np.random.default_rng(run.config["seed"]).random(run.config["size"])
        )
        assert {"seconds", "versions", "commit", "dirty", "machine", "python", "command"} <= set(run.meta)
    assert not list(done.out.glob("scratch/*"))


def test_a_second_time_makes_nothing(copy):
    before = evidence(copy)
    again = run_study(study, out=copy, jobs=1)
    assert (again.made, again.resumed) == (0, 6)
    assert evidence(copy) == before


def test_only_what_is_missing_is_made_again(copy):
    before = evidence(copy)
    for folder in sorted(copy.glob("runs/tiny-*"))[:2]:
        shutil.rmtree(folder)
    again = run_study(study, out=copy, jobs=1)
    assert (again.made, again.resumed) == (2, 4)
    assert evidence(copy) == before


def test_another_version_of_the_study_does_not_count_the_old_runs(copy):
    newer = altered(version=2)
    (section,) = judge(Store.open(copy), [newer])
    assert {v.outcome for v in section.verdicts} == {"inconclusive"}
    assert "version 1" in section.verdicts[0].reason
    again = run_study(newer, out=copy, jobs=1)
    assert (again.made, again.resumed) == (6, 0)
    assert {v.outcome for v in again.verdicts} == {"reproduced"}


def test_missing_runs_make_only_the_verdicts_that_need_them_inconclusive(copy):
    store = Store.open(copy)
    timed = [h for _, h in store.stored() if store.load("tiny", h).config["exclusive"]]
    others = [h for _, h in store.stored() if h not in timed]
    shutil.rmtree(store.folder("tiny", others[0]))
    (section,) = judge(store, [study])
    assert [v.outcome for v in section.verdicts] == ["inconclusive", "reproduced"]
    assert "1 of 6 planned runs are missing; those at hand say reproduced" in section.verdicts[0].reason
    assert section.verdicts[0].estimates
    assert section.planned == 6
    shutil.rmtree(store.folder("tiny", timed[0]))
    (section,) = judge(store, [study])
    assert [v.outcome for v in section.verdicts] == ["inconclusive", "inconclusive"]


def test_no_stored_run_is_inconclusive_and_a_rule_may_fail_on_a_part(copy):
    store = Store.open(copy)
    stored = load_swept(store, study)[-1]
    assert {v.outcome for v in assess(study, Stored(stored.plan, [])).verdicts} == {"inconclusive"}

    def needs_all(self, runs):
        return [Verdict("T1", "reproduced", str(runs[5].hash))]

    demanding = altered(judge=needs_all)
    section = assess(demanding, Stored(stored.plan, stored.runs[:3]))
    assert "IndexError" in section.verdicts[0].reason
    whole = assess(demanding, stored)
    assert [v.outcome for v in whole.verdicts] == ["reproduced", "inconclusive"]
    assert whole.verdicts[1].reason == "no verdict was given"
    whole = assess(altered(judge=lambda self, runs: runs[99]), stored)  # all runs are there: the rule's fault
    assert "the rule ended with an error (IndexError" in whole.verdicts[0].reason
    assert "IndexError" in whole.notes[0]


def test_without_a_plan_all_stored_runs_count(copy):
    shutil.rmtree(copy / "plans")
    (section,) = judge(Store.open(copy), [study])
    assert (len(section.runs), section.planned) == (6, None)
    assert [v.outcome for v in section.verdicts] == ["reproduced", "reproduced"]


@pytest.mark.slow
def test_the_verdicts_are_those_of_the_latest_plan(copy):
    changed = run_study(study, out=copy, jobs=1, overrides={"size": 4})
    assert changed.section.planned == 6
    assert {run.config["size"] for run in changed.section.runs} == {4}
    back = run_study(study, out=copy, jobs=1)
    assert back.made == 0
    assert {run.config["size"] for run in back.section.runs} == {3, 4}


@pytest.mark.slow
def test_failed_runs_are_told_kept_apart_and_made_again(tmp_path):
    out = tmp_path / "runs"
    first = run_study(study, out=out, jobs=1, overrides={"trouble": "fail"})
    assert first.made == 5
    ((hash_, why),) = first.failures.items()
    assert why == "FloatingPointError: all is NaN"
    assert "Traceback" in (out / "failed" / f"tiny-{hash_}.txt").read_text()
    assert first.verdicts[0].outcome == "inconclusive"
    again = run_study(study, out=out, jobs=1, overrides={"trouble": "fail"})
    assert (again.made, again.resumed, set(again.failures)) == (0, 5, {hash_})


@pytest.mark.slow
@pytest.mark.parametrize("output", [None, RunOutput([{"x": {1}}]), RunOutput([], {"x": np.array([None])})])
def test_output_that_cannot_be_stored_is_a_failed_run(tmp_path, output):
    unstorable = altered(execute=lambda self, config, context: output)
    summary = run_study(unstorable, out=tmp_path / "runs", jobs=1)
    assert len(summary.failures) == 6
    assert summary.report.exists()


@pytest.mark.slow
def test_skipped_runs_are_stored_with_the_reason_and_tried_again(tmp_path):
    out = tmp_path / "runs"
    skipped = {"trouble": "skip"}
    assert run_study(study, out=out, jobs=1, overrides=skipped).made == 6
    store = Store.open(out)
    run = store.load(*store.stored()[0])
    assert run.skipped
    assert run.reason == "the data is out of reach"
    assert run_study(study, out=out, jobs=1, overrides=skipped).made == 6


def test_other_settings_have_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = (
        {},
        {"seed": 3},
        {"overrides": {"sleep": 0.001, "size": 2}},
        {"claims": ["T2"]},
        {"overrides": {"seed": 3}},
    )
    found = [run_study(study, jobs=1, **one).out.name for one in options]
    assert found == [
        "tiny-quick",
        "tiny-quick-seed=3",
        "tiny-quick-size=2-sleep=0.001",
        "tiny-quick-claim=T2",
        "tiny-quick-set-seed=3",
    ]


@pytest.mark.slow
def test_a_sweep_gives_a_summary_for_each_setting(tmp_path):
    fields = {"size": Sweep((2, 5)), "sleep": 0.001}
    found = run_studies([study, Other()], out=tmp_path / "runs", jobs=1, overrides=fields)
    assert [(one.study, one.section.overrides["size"], one.made) for one in found] == [
        ("tiny", 2, 6),
        ("tiny", 5, 6),
        ("other", 2, 1),
        ("other", 5, 1),
    ]
    for one in found:
        assert {run.config["size"] for run in one.section.runs} == {one.section.overrides["size"]}
    again = run_studies([study], out=tmp_path / "runs", jobs=1, overrides=fields)
    assert [(one.made, one.resumed) for one in again] == [(0, 6), (0, 6)]
    with pytest.raises(UsageError, match="run_studies"):
        run_study(study, out=tmp_path / "runs", overrides=fields)


def test_a_claim_makes_its_own_runs_and_leaves_the_others_unasked(tmp_path):
    one = run_study(study, out=tmp_path / "runs", jobs=1, claims=["T2"])
    assert (one.made, one.section.planned, one.section.asked) == (1, 1, ["T2"])
    assert [verdict.outcome for verdict in one.verdicts] == ["skipped", "reproduced"]
    assert last_verdicts(tmp_path, "tiny").outcomes == {"T2": "reproduced"}
    whole = run_study(study, out=tmp_path / "runs", jobs=1)
    assert (whole.made, whole.resumed, whole.section.asked) == (5, 1, [])
    assert [verdict.outcome for verdict in whole.verdicts] == ["reproduced", "reproduced"]
    with pytest.raises(UsageError, match=r"unknown claim 'T3'; .*T1"):
        run_study(study, out=tmp_path / "none", claims=["T3"])
    with pytest.raises(UsageError, match="no run of preset 'quick' of study 'tiny' is for T2"):
        run_study(altered(concerns=lambda self, config, claim: False), out=tmp_path / "none", claims=["T2"])
    assert not (tmp_path / "none").exists()


def test_figures_that_lack_runs_nobody_asked_for_are_no_fault(tmp_path):
    def figures(self, runs):
        return [Figure("one", "One", claim="T1"), Figure("two", "Two", claim="T2")]

    def broken(self, runs):
        raise KeyError("no run")

    for method, shown in ((figures, ["two"]), (broken, [])):
        out = tmp_path / method.__name__
        section = run_study(altered(figures=method), out=out, jobs=1, claims=["T2"]).section
        assert [figure.id for figure in section.figures] == shown
        assert section.notes == []


def test_a_disk_full_of_checkpoints_ends_the_command(tmp_path):
    with pytest.raises(StoreError, match=r"No space left.*free some space"):
        run_study(study, out=tmp_path / "runs", jobs=1, overrides={"trouble": "full"})


def test_a_damaged_run_is_told_before_anything_is_made(copy):
    folders = sorted(copy.glob("runs/tiny-*"))
    (folders[0] / "records.jsonl").write_text("[]")
    shutil.rmtree(folders[1])
    with pytest.raises(StoreError, match=f"remove the folder {folders[0]}"):
        run_study(study, out=copy, jobs=1)
    assert not folders[1].exists()


@pytest.mark.slow
def test_worker_processes_give_the_same_bytes_and_timed_runs_stay_here(done, tmp_path):
    parallel = run_study(study, out=tmp_path / "runs", jobs=2)
    assert evidence(parallel.out) == evidence(done.out)
    alone = {run.config["exclusive"]: run.meta["alone"] for run in parallel.section.runs}
    assert alone == {False: False, True: True}
    assert not list(parallel.out.glob("scratch/*"))


def deadly(trouble: str) -> dict[str, object]:
    """Make the run of seed 1 end its process, which must not be the test's own."""
    return {"trouble": trouble, "exclusive": False}


@pytest.mark.slow
def test_a_worker_that_dies_costs_no_run(done, tmp_path):
    summary = run_study(
        study, out=tmp_path / "runs", jobs=2, overrides={"trouble": "die", "exclusive": False}
    )
    assert summary.failures == {}
    assert len(summary.section.runs) == 5


def test_runs_see_one_thread_and_a_seeded_generator(tmp_path):
    seen = []

    def execute(self, config, context):
        seen.append((torch.get_num_threads(), float(torch.rand(()))))
        raise Skip("seen enough")

    state = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_study(altered(execute=execute), out=tmp_path / "runs", jobs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    expected = [
        (1, float(torch.rand((), generator=torch.Generator().manual_seed(s)))) for s in (0, 1, 2, 3, 4, 0)
    ]
    assert seen == expected
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"jobs": 0}, "jobs"),
        ({"jobs": 1.5}, "jobs"),
        ({"jobs": True}, "jobs"),
        ({"jobs": 10**9}, "jobs"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"preset": "fast"}, "quick, full"),
        ({"backend": "lokey"}, "dask, loky"),
        ({"backend": "threading"}, "unknown backend"),
        ({"address": "tcp://here:1"}, "address"),
        ({"overrides": {"sise": 3}}, "'sise' of study 'tiny'; did you mean 'size'"),
        ({"overrides": {"size": "many"}}, "study 'tiny': size"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_before_anything_is_touched(tmp_path, options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        run_study(study, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_dask_without_dask_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'dask\[distributed\]'"):
        run_study(study, out=tmp_path / "runs", backend="dask")


@pytest.mark.slow
def test_signals_are_given_back_and_other_threads_may_run_studies(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run_study(study, out=tmp_path / "a", jobs=1)
    assert signal.getsignal(signal.SIGTERM) is before
    thread = threading.Thread(target=run_study, args=[study], kwargs={"out": tmp_path / "b", "jobs": 1})
    thread.start()
    thread.join(60)
    assert (tmp_path / "b" / "report.html").exists()


class Other(Tiny):
    """A second study, for folders that hold several."""

    name = "other"
    claims = (*Tiny.claims, Claim("T3", "nothing", "Never judged.", "none", "none"))

    def plan(self, preset, seed):
        return [TinyConfig(seed=seed), TinyConfig(seed=seed)]


@pytest.mark.slow
def test_several_studies_share_a_folder_and_a_report(tmp_path):
    other = Other()
    first, second = run_studies([study, other], out=tmp_path / "runs", jobs=1)
    assert (first.study, second.study) == ("tiny", "other")
    assert second.made == 1  # the plan names the same run twice
    assert first.report == second.report
    store = Store.open(tmp_path / "runs")
    assert store.studies() == ["other", "tiny"]
    assert second.verdicts[2].reason == "no verdict was given"
    before = first.report.read_bytes()
    first.report.unlink()
    write_report(store, judge(store, [study, other]))
    assert first.report.read_bytes() == before
    assert last_verdicts(tmp_path, "other").outcomes == {
        "T1": "reproduced",
        "T2": "inconclusive",
        "T3": "inconclusive",
    }
    (tmp_path / "runs" / "verdicts" / "other.json").write_text("[")
    assert last_verdicts(tmp_path, "other").outcomes == {}


def test_registered_studies_are_found_and_names_are_not_taken_twice(monkeypatch):
    monkeypatch.setattr(registry_module, "_registered", {})
    register(study)
    register(study)
    assert registry_module.get("tiny") is study
    assert registry_module.names()[-1] == "tiny"
    assert registry_module.get("tiny_study:study") is study
    with pytest.raises(ValueError, match="already"):
        register(Tiny())
    with pytest.raises(TypeError, match="Study"):
        register("tiny")
    for name, match in [("story", "already"), ("all", "every study"), ("Not A Name", "study's name")]:
        with pytest.raises(ValueError, match=match):
            register(altered(name=name))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("storey", "did you mean 'story'"),
        ("zzz", "there are: story"),
        ("tiny_study:nothing", "not a study"),
        ("no_such_module:study", "cannot import"),
        (":", "cannot import"),
        ("../x:study", "cannot import"),
    ],
)
def test_unknown_studies_are_refused_with_a_suggestion(name, match):
    with pytest.raises(UsageError, match=match):
        registry_module.get(name)


def test_overrides_are_json_or_text_and_merge_equal_runs(tmp_path):
    assert parse(["a=1", "b=x=y", "c=null", "d=[1, 2]", "e=1e-3"]) == {
        "a": 1,
        "b": "x=y",
        "c": None,
        "d": [1, 2],
        "e": 1e-3,
    }
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--set"):
            parse(wrong)
    configs = [TinyConfig(seed=k) for k in range(3)]
    assert apply(configs, {}) == configs
    assert apply(configs, {"seed": 5, "size": 9}) == [TinyConfig(seed=5, size=9)]
    (tmp_path / "a.toml").write_text('size = 4\ntrouble = "skip"\n')
    assert read_toml(tmp_path / "a.toml") == {"size": 4, "trouble": "skip"}
    (tmp_path / "b.toml").write_bytes(b"size = = 4")
    for name in ("b.toml", "missing.toml", "."):
        with pytest.raises(UsageError, match=r"TOML|cannot read"):
            read_toml(tmp_path / name)


def test_the_commit_is_the_one_of_the_checkout_that_tracks_the_file(tmp_path, monkeypatch):
    import subprocess

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    tracked, other = tmp_path / "a.py", tmp_path / "b.py"
    tracked.write_text("1")
    git("init")
    git("add", "a.py")
    git("commit", "-m", "one")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    found = commit(tracked)
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    other.write_text("2")
    assert commit(tracked) == {**found, "dirty": True}
    assert commit(other)["dirty"] is None
    monkeypatch.setenv("PATH", "")
    assert commit(tracked)["dirty"] is None
