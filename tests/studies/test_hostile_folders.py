"""Nothing that is done with a received folder of runs reads, writes or removes anything outside it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hostile_folder import CANARY, KINDS, outside, places, snapshot, spoil
from tiny_study import study

from overt._utils import folders
from overt._utils.errors import StoreError
from overt.studies import run_study
from overt.studies.report.build import build_report
from overt.studies.runner import judge
from overt.studies.runs.store import Store

NAME = "tiny_study:study"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes are made as POSIX has them")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of finished runs; copy it before spoiling it."""
    return run_study(study, out=tmp_path_factory.mktemp("made") / "runs", jobs=1).out


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture
def ended():
    """Fail a test that waits, as one that opens a pipe does."""

    def stop(*arguments):
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 30)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def each_command(overt, folder: Path, place: str, kind: str) -> None:
    """Run, report and list; the tree outside stays as it is, and what is wrong is told."""
    before = snapshot(folder.parent / "outside")
    commands = {
        "report": ["report", folder, "--study", NAME],
        "run": ["run", NAME, "--out", folder, "--jobs", 1],
        "list": ["list", "--runs", folder, "--runs", folder.parent],
    }
    if kind not in ("link", "dangling link", "pipe", "hard link"):  # the others are told as these are
        del commands["run"], commands["list"]
    for name, words in commands.items():
        code, out, err = overt(*words)
        assert snapshot(folder.parent / "outside") == before, (name, place, kind)
        assert "Traceback" not in err
        assert CANARY not in out + err
        told = code != 0 and str(folder / place.split("/")[0]) in err
        assert told or name == "list" or kind == "hard link", (name, code, out, err)
    assert not any(CANARY in path.read_text() for path in [folder / "report.html"] if path.is_file())


@pytest.mark.slow
@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", places("RUN"))
def test_what_stands_in_the_place_of_a_file_or_folder_leads_nowhere(made, tmp_path, overt, place, kind):
    folder = Path(shutil.copytree(made, tmp_path / "runs"))
    place = place.replace("RUN", sorted(path.name for path in folder.glob("runs/tiny-*"))[0])
    place = place.replace("PID", str(os.getpid()))
    if not spoil(folder, place, kind):
        pytest.skip("no devices can be made here")
    each_command(overt, folder, place, kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [".lock", "report.html", "scratch/RUN.progress", "failed/RUN.txt", "plans/tiny.json"]
)
def test_another_name_of_a_file_outside_is_replaced_and_not_written_through(made, tmp_path, overt, place):
    folder = Path(shutil.copytree(made, tmp_path / "runs"))
    place = place.replace("RUN", sorted(path.name for path in folder.glob("runs/tiny-*"))[0])
    assert spoil(folder, place, "hard link")
    each_command(overt, folder, place, "hard link")


@pytest.mark.parametrize(
    "place", ["scratch", "failed", "runs", "plans", "verdicts", "figures", ".lock", "report.html"]
)
def test_a_folder_with_a_link_is_refused_in_one_line(made, tmp_path, place):
    folder = Path(shutil.copytree(made, tmp_path / "runs"))
    spoil(folder, place, "link")
    before = snapshot(tmp_path)
    for way in (Store.open, Store.create):
        with pytest.raises(StoreError, match="symbolic link") as caught:
            way(folder)
        assert str(caught.value).startswith(f"{folder / place} is ")
    assert snapshot(tmp_path) == before


def test_the_folder_that_is_named_may_be_a_link(made, tmp_path, overt):
    shutil.copytree(made, tmp_path / "disk")
    shutil.rmtree(sorted(tmp_path.glob("disk/runs/tiny-*"))[0])
    (tmp_path / "link").symlink_to("disk")
    code, out, _ = overt("run", NAME, "--out", tmp_path / "link", "--jobs", 1)
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "link" / "report.html"))
    assert overt("report", tmp_path / "link", "--study", NAME)[0] == 0
    assert len(list(tmp_path.glob("disk/runs/tiny-*"))) == 6


@pytest.mark.parametrize("place", ["scratch", "runs", "failed", "plans"])
def test_a_link_that_comes_while_a_store_is_open_is_not_followed_either(made, tmp_path, place):
    store = Store.open(shutil.copytree(made, tmp_path / "runs"))
    (run, *_), (plan, *_) = store.stored(), store.plans("tiny")
    spoil(store.path, place, "link")
    before = snapshot(tmp_path / "outside")
    ways = {
        "scratch": [store.clean, lambda: store.forget(*run)],
        "runs": [store.clean, store.stored, lambda: store.load(*run), lambda: store.status(*run)],
        "failed": [store.clean, lambda: store.save_failure(*run, "trace")],
        "plans": [store.clean, lambda: store.plans("tiny"), lambda: store.save_plan(plan)],
    }
    for way in ways[place]:
        with pytest.raises(StoreError, match="symbolic link"):
            way()
    assert snapshot(tmp_path / "outside") == before


def test_a_report_elsewhere_does_not_write_through_linked_figures(made, tmp_path):
    sections = judge(Store.open(made), [study])
    target = (
        outside(made, "figures/tiny") if not (made.parent / "outside").exists() else made.parent / "outside"
    )
    (tmp_path / "figures").symlink_to(target)
    before = snapshot(target)
    with pytest.raises(StoreError, match="symbolic link"):
        build_report(sections, tmp_path / "page.html")
    assert snapshot(target) == before


def test_folders_nested_without_end_are_one_line(made, tmp_path):
    folder = Path(shutil.copytree(made, tmp_path / "runs"))
    deep = folder / "scratch" / sorted(path.name for path in folder.glob("runs/tiny-*"))[0]
    deep.mkdir(parents=True)
    here = os.open(deep, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(StoreError, match="nested"):
        Store.create(folder)
    shutil.move(deep, folder / "runs" / "tiny-0123456789ab")
    (folder / "scratch").rmdir()
    if sys.version_info >= (3, 13):  # removes folders of any depth
        Store.create(folder).clean()
        assert not (folder / "runs" / "tiny-0123456789ab").exists()
    else:
        with pytest.raises(StoreError, match=r"nested|too long"):
            Store.create(folder).clean()
    while (folder / "runs" / "tiny-0123456789ab" / "d").exists():  # pytest cannot remove it either
        shutil.move(folder / "runs" / "tiny-0123456789ab" / "d", tmp_path / "next")
        (folder / "runs" / "tiny-0123456789ab").rmdir()
        shutil.move(tmp_path / "next", folder / "runs" / "tiny-0123456789ab")


def test_paths_below_a_folder_are_checked_part_by_part(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert folders.inside(tmp_path, "a", "b", "new") == tmp_path / "a" / "b" / "new"
    (tmp_path / "a" / "link").symlink_to("b")
    with pytest.raises(StoreError, match="link is a symbolic link"):
        folders.inside(tmp_path, "a", "link", "new")
    with pytest.raises(StoreError, match="link is a symbolic link"):
        folders.check_plain(tmp_path / "a")
    assert not folders.is_folder(tmp_path / "a" / "link")
    folders.check_plain(tmp_path / "nothing")
