"""A folder of runs refuses what is not whole or not its own, says which file, and loses nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overt._utils import files
from overt._utils.errors import StoreError
from overt.studies import RunOutput
from overt.studies.runs import npz, records
from overt.studies.runs.plans import Plan
from overt.studies.runs.store import FORMAT, Store

CONFIG = {"seed": 0, "exclusive": False, "size": 3}
OUTPUT = RunOutput([{"error": 1e-9}, {"error": float("inf")}], {"a": np.arange(4.0)})


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "runs here")


@pytest.fixture
def stored(store):
    return store, store.save("tiny", 1, CONFIG, OUTPUT, {"status": "done", "seconds": 1.5})


def configuration(study: str, **changes: int) -> bytes:
    """Return a well-formed config.json."""
    return records.dump_object({"study": study, "version": 1, "config": {**CONFIG, **changes}})


def forge(folder: Path, part: str, content: bytes) -> None:
    """Replace a file and its checksum, as one who wants to be believed would."""
    (folder / part).write_bytes(content)
    done = json.loads((folder / "DONE").read_text())
    done["files"][part] = hashlib.sha256(content).hexdigest()
    (folder / "DONE").write_text(json.dumps(done))


def test_a_run_comes_back_as_it_was(stored):
    store, hash_ = stored
    run = Store.open(store.path).load("tiny", hash_)
    assert (run.study, run.hash, run.config, run.records) == ("tiny", hash_, CONFIG, OUTPUT.records)
    assert run.meta["seconds"] == 1.5
    assert not run.skipped
    np.testing.assert_array_equal(run.arrays["a"], OUTPUT.arrays["a"])
    assert store.stored() == store.stored("tiny") == [("tiny", hash_)]
    assert store.studies() == ["tiny"]
    assert store.stored("other") == []


def test_a_finished_run_is_never_overwritten_and_a_skipped_one_is(store):
    store.save("tiny", 1, CONFIG, RunOutput([]), {"status": "skipped", "reason": "no data"})
    hash_ = store.save("tiny", 1, CONFIG, OUTPUT, {"status": "done"})
    before = contents(store.path)
    store.save("tiny", 1, CONFIG, RunOutput([{"error": 0.0}]), {"status": "done"})
    assert store.load("tiny", hash_).records == OUTPUT.records
    assert contents(store.path) == before


@pytest.mark.parametrize("part", ["config.json", "records.jsonl", "arrays.npz", "meta.json", "DONE"])
@pytest.mark.parametrize("damage", ["change", "truncate", "remove", "link", "pipe", "folder"])
def test_damage_is_told_with_the_file_and_the_folder_to_remove(stored, part, damage):
    store, hash_ = stored
    folder = store.folder("tiny", hash_)
    path = folder / part
    content = path.read_bytes()
    if damage == "change":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "truncate":
        path.write_bytes(content[:-3])
    else:
        path.unlink()
    if damage == "link":
        (store.path / "elsewhere").write_bytes(content)
        path.symlink_to(store.path / "elsewhere")
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(StoreError) as caught:
        store.load("tiny", hash_)
    assert str(path) in str(caught.value)
    assert f"remove the folder {folder}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("records.jsonl", b'{"a": 1}\n[]\n'),
        ("records.jsonl", b"\xff\n"),
        ("records.jsonl", b'{"a": ' * 100_000),
        ("config.json", b"{}"),
        (
            "config.json",
            records.dump_object({"study": "tiny", "version": 1, "config": {**CONFIG, "seed": 1}}),
        ),
        ("config.json", records.dump_object({"study": "../up", "version": 1, "config": CONFIG})),
        ("meta.json", b"null"),
        ("arrays.npz", b"\x80\x04N."),
    ],
)
def test_content_that_is_wrong_under_a_right_checksum_is_refused(stored, part, content):
    store, hash_ = stored
    forge(store.folder("tiny", hash_), part, content)
    with pytest.raises(StoreError, match=f"{part} is damaged"):
        store.load("tiny", hash_)


def test_arrays_damaged_after_loading_are_a_value_error(stored):
    store, hash_ = stored
    run = store.load("tiny", hash_)
    (store.folder("tiny", hash_) / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="archive"):
        run.arrays["a"]


def test_a_linked_run_is_not_followed(stored, tmp_path):
    store, hash_ = stored
    folder = store.folder("tiny", hash_)
    shutil.move(folder, tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    with pytest.raises(StoreError, match="symbolic link"):
        store.load("tiny", hash_)


@pytest.mark.parametrize("name", ["..", "tiny-0", "notes", "Tiny-000000000000", "a-b-000000000000"])
def test_other_names_among_the_runs_are_left_alone(stored, name):
    store, hash_ = stored
    if name != "..":
        (store.path / "runs" / name).mkdir()
    store.clean()
    assert store.stored() == [("tiny", hash_)]
    assert (store.path / "runs" / name).exists()


def test_other_content_is_refused_and_left_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    (tmp_path / "runs").mkdir()
    before = contents(tmp_path)
    for way in (Store.create, Store.open):
        with pytest.raises(StoreError, match="other content"):
            way(tmp_path)
    assert contents(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs", "thesis.tex"]


def test_own_notes_beside_the_runs_are_welcome(store):
    (store.path / "notes.txt").write_text("mine")
    Store.create(store.path).clean()
    assert (store.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("marker", "match"),
    [
        ({"format": "overt-runs", "version": FORMAT + 1}, "newer Overt"),
        ({"format": "overt-runs", "version": "1"}, "does not mark"),
        ({"format": "other", "version": 1}, "does not mark"),
        ([], "damaged"),
    ],
)
def test_foreign_and_newer_markers_are_refused(store, marker, match):
    (store.path / "overt.json").write_text(json.dumps(marker))
    for way in (Store.create, Store.open):
        with pytest.raises(StoreError, match=match):
            way(store.path)


def test_paths_that_are_no_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/below", "loop", "loop/below", "x" * 300):
        with pytest.raises(StoreError) as caught:
            Store.create(tmp_path / name)
        assert str(tmp_path) in str(caught.value)
    for name in ("file", "loop", "missing"):
        with pytest.raises(StoreError):
            Store.open(tmp_path / name)
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="holds no runs"):
        Store.open(tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="may write to"):
        Store.create(tmp_path / "runs")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EIO])
def test_any_fault_of_the_disk_is_one_line(tmp_path, monkeypatch, code):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(StoreError, match=os.strerror(code)):
        Store.create(tmp_path / "runs")


@pytest.mark.parametrize("at", range(7))  # five files and two folders are waited for
def test_a_full_disk_leaves_earlier_runs_intact_and_nothing_behind(stored, monkeypatch, at):
    store, hash_ = stored
    before = contents(store.path)
    calls = iter(range(100))
    real = os.fsync

    def fsync(handle):
        if next(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    other = {**CONFIG, "seed": 1}
    with pytest.raises(StoreError, match=r"No space left .* stored so far are intact"):
        store.save("tiny", 1, other, OUTPUT, {})
    monkeypatch.undo()
    assert {k: v for k, v in contents(store.path).items() if hash_ in k or "/" not in k} == before
    assert not list(store.path.rglob(f"{files.TEMPORARY}*"))
    other_hash = store.save("tiny", 1, other, OUTPUT, {})
    assert store.load("tiny", other_hash).records == OUTPUT.records


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs to mount a small file system")
def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        store = Store.create(disk / "runs")
        hashes = []
        output = RunOutput([], {"a": np.ones(2000)})

        def fill():
            for seed in range(100):
                hashes.append(store.save("tiny", 1, {"seed": seed}, output, {}))

        with pytest.raises(StoreError, match="free some space"):
            fill()
        assert len(hashes) >= 3
        assert [hash_ for _, hash_ in store.stored()] == sorted(hashes)
        for hash_ in hashes:
            assert store.load("tiny", hash_).arrays["a"].sum() == 2000
        with pytest.raises(StoreError):
            Store.create(disk / "more" / "runs").save("tiny", 1, {}, RunOutput([], {"a": np.ones(9000)}), {})
    finally:
        subprocess.run(["umount", disk], check=True)


KILLED = """
import os, sys
from pathlib import Path
from overt._utils import files
from overt.studies.base import RunOutput
from overt.studies.runs.store import Store

at, count = int(sys.argv[2]), 0

def deadly(real):
    def call(*arguments, **options):
        global count
        if count == at:
            os._exit(9)
        count += 1
        return real(*arguments, **options)
    return call

files.os.fsync = deadly(os.fsync)
for name in ("mkdir", "rename", "replace", "unlink"):
    setattr(Path, name, deadly(getattr(Path, name)))
store = Store.create(sys.argv[1])
store.clean()
for seed in range(2):
    store.save("tiny", 1, {"seed": seed}, RunOutput([{"seed": seed}]), {"status": "done"})
"""

FORKER = f"""
import os, sys
import numpy, pydantic  # loaded once for all
import overt.studies.runs.store
CODE = {KILLED!r}
for at in range(200):
    folder = os.path.join(sys.argv[1], str(at))
    child = os.fork()
    if not child:
        sys.argv = ["killed", folder, str(at)]
        exec(compile(CODE, "killed", "exec"), {{}})
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(at)
        break
"""


@pytest.mark.slow
def test_dying_before_any_step_of_storing_leaves_whole_runs_or_nothing(tmp_path):
    """Die before the k-th write, rename or removal for every k, then look and go on."""
    answer = subprocess.run(
        [sys.executable, "-c", FORKER, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    steps = int(answer.stdout)
    assert steps > 15
    for at in range(steps):
        store = Store.create(tmp_path / str(at))
        store.clean()
        assert not [p for p in store.path.rglob("*") if files.TEMPORARY in p.name]
        assert all(p.name == "DONE" or (p.parent / "DONE").exists() for p in store.path.glob("runs/*/*"))
        for _, hash_ in store.stored():
            run = store.load("tiny", hash_)
            assert run.records == [run.config]
        for seed in range(2):
            store.save("tiny", 1, {"seed": seed}, RunOutput([{"seed": seed}]), {"status": "done"})
        assert contents(store.path) == contents(tmp_path / str(steps))


def test_clean_throws_away_half_written_runs_and_stale_checkpoints(stored):
    store, hash_ = stored
    half = store.folder("tiny", "0" * 12)
    half.mkdir()
    (half / "records.jsonl").write_text("{}")
    finished, unfinished = store.scratch("tiny", hash_), store.scratch("tiny", "0" * 12)
    for folder in (finished, unfinished):
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_text("x")
    store.clean()
    assert not half.exists()
    assert not finished.exists()
    assert (unfinished / "checkpoint").exists()
    assert store.status("tiny", hash_) == "done"


def test_only_one_runner_at_a_time(store):
    with store.locked() as held:
        assert held
        with pytest.raises(StoreError, match=f"process {os.getpid()}"), Store(store.path).locked():
            pass
    with store.locked() as held:
        assert held


@pytest.mark.slow
def test_a_lock_that_a_dead_process_left_is_no_obstacle(store):
    code = f"import os; from overt.studies.runs.store import Store; s = Store.open({str(store.path)!r})\n"
    code += "with s.locked(): os._exit(9)"
    subprocess.run([sys.executable, "-c", code], timeout=60)
    assert (store.path / ".lock").read_text()
    with store.locked() as held:
        assert held


def test_file_systems_without_locks_are_told(store, monkeypatch):
    import fcntl

    def none(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with store.locked() as held:
        assert not held


def test_plans_come_back_the_latest_last_and_damage_is_told(store):
    hash_ = store.save("tiny", 1, CONFIG, OUTPUT, {})
    quick = Plan("tiny", 1, "quick", 0, {hash_: CONFIG}, command="overt run tiny")
    full = Plan("tiny", 1, "full", 0, {hash_: CONFIG}, {"size": 3})
    for plan in (quick, full, quick):
        store.save_plan(plan)
    assert store.plans("tiny") == [full, quick]
    assert store.plans("other") == []
    path = store.path / "plans" / "tiny.json"
    for content in (b"{", b"{}", b'{"plans": [3]}', b'{"plans": [{"study": "tiny"}]}'):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="remove it"):
            store.plans("tiny")
    wrong = Plan("tiny", 1, "quick", 0, {"../../../etc": CONFIG})
    path.unlink()
    store.save_plan(wrong)
    with pytest.raises(StoreError, match="damaged"):
        store.plans("tiny")


def test_what_cannot_be_stored_leaves_no_trace(store):
    for output in (RunOutput([{"x": {1}}]), RunOutput([], {"../x": np.ones(1)})):
        with pytest.raises((TypeError, ValueError), match=r"records|name"):
            store.save("tiny", 1, CONFIG, output, {})
    assert list((store.path / "runs").iterdir()) == []


def test_archives_are_the_ones_that_npz_makes(stored):
    store, hash_ = stored
    assert (store.folder("tiny", hash_) / "arrays.npz").read_bytes() == npz.pack(OUTPUT.arrays)
