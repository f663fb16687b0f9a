"""A folder of runs: what is in it is whole, and what is finished is never overwritten.

::

    DIR/overt.json                       marks the folder as Overt's, with the format's version
    DIR/plans/<study>.json               which runs were planned, for each preset, seed and override
    DIR/runs/<study>-<hash>/config.json  the configuration
                            records.jsonl
                            arrays.npz
                            meta.json    status, seconds, versions, commit, machine, command
                            DONE         written last: status and the SHA-256 of each file
    DIR/scratch/<study>-<hash>/          checkpoints of a run that is not finished
    DIR/scratch/<study>-<hash>.progress  how far it is, in one line
    DIR/failed/<study>-<hash>.txt        the traceback of a run that failed

A run is written into a temporary folder that is renamed once everything is on disk, so that a process
that is killed leaves either the whole run or nothing.

A folder may come from someone else. DIR itself may be a link; nothing in it may lead out of it. A symbolic
link, a pipe or a device in the place of any of these files and folders is refused before anything is read,
written or removed; in the folder of a run it costs that run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overt._utils import files, folders
from overt._utils.checks import is_integer
from overt._utils.console import printable
from overt._utils.errors import StoreError
from overt._utils.files import names_in, remove
from overt.studies.base import Run, RunOutput, Study
from overt.studies.runs import npz, records
from overt.studies.runs.identity import config_hash, run_name, split_run_name
from overt.studies.runs.plans import Plan, check_plans, load_plans, save_plan
from overt.studies.runs.stored import MOST_BYTES, check_config, check_meta

__all__ = ["FORMAT", "IF_FULL", "PROGRESS", "Store"]

FORMAT = 1
IF_FULL = "the runs stored so far are intact: free some space and run the same command again"
PROGRESS = ".progress"
_MARKER = "overt.json"
_KIND = "overt-runs"
_PARTS = ("config.json", "records.jsonl", "arrays.npz", "meta.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OWN = {_MARKER, ".lock", "report.html", "plans", "scratch", "failed", "verdicts", "figures"}


class Store:
    """The runs in a folder; make one with `open` or `create`.

    Parameters
    ----------
    path : Path
        The folder, known to be Overt's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open an existing folder of runs for reading.

        Raises
        ------
        StoreError
            If it is not one, cannot be read, was written by a newer format, or holds something that leads
            out of it.
        """
        folder = Path(path)
        if not names_in(folder):
            raise StoreError(f"{folder} holds no runs; make some with: overt run STUDY --out {folder}")
        _check_marker(folder)
        _check_layout(folder)
        return cls(folder)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Store:
        """Open a folder of runs, making it where there is none yet.

        Raises
        ------
        StoreError
            If the path is a file, cannot be written to, or is a folder with other content, which is left
            untouched, or with something that leads out of it.
        """
        folder = Path(path)
        files.make_folder(folder)
        names = [name for name in names_in(folder) if not name.startswith(files.TEMPORARY)]
        if not names:
            files.write_whole(folder / _MARKER, records.dump_object({"format": _KIND, "version": FORMAT}))
        _check_marker(folder)
        _check_layout(folder)
        for part in ("runs", "plans"):
            files.make_folder(folder / part, if_full=IF_FULL)
        return cls(folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Keep other runners out; yields False where the file system has no locks."""
        with files.locked(self._within(".lock")) as held:
            yield held

    def status(self, study: str, hash_: str) -> str | None:
        """Return ``"done"`` or ``"skipped"`` for a stored run, and None where there is none."""
        if not self._holds(run_name(study, hash_)):
            return None
        return str(self._done(self.folder(study, hash_))["status"])

    def folder(self, study: str, hash_: str) -> Path:
        """Return where a run is stored, whether it is there or not."""
        return self.path / "runs" / run_name(study, hash_)

    def scratch(self, study: str, hash_: str) -> Path:
        """Return where a run keeps its checkpoints; it need not be there."""
        return self.path / "scratch" / run_name(study, hash_)

    def stored(self, study: str | None = None) -> list[tuple[str, str]]:
        """Return (study, hash) of all stored runs in order of their names, or of one study's.

        Damaged ones are among them: `load` and `status` say so.
        """
        found = []
        for name in sorted(names_in(self._within("runs"), missing_ok=True)):
            run = split_run_name(name)
            if run and study in (None, run[0]) and self._holds(name):
                found.append(run)
        return found

    def studies(self) -> list[str]:
        """Return the names of the studies that have a plan or a stored run here."""
        planned = [name.removesuffix(".json") for name in names_in(self._within("plans"), missing_ok=True)]
        names = {name for name in planned if split_run_name(f"{name}-{'0' * 12}")}
        return sorted(names | {study for study, _ in self.stored()})

    def load(self, study: str, hash_: str, suits: Study[Any] | None = None) -> Run:
        """Read a stored run, checking each file against its checksum, and its fields against a study's.

        Raises
        ------
        StoreError
            If a file is missing, damaged, or holds what it should not; the message names the file and
            the folder to remove.
        """
        folder = self.folder(study, hash_)
        done = self._done(folder)
        contents = {}
        for part in _PARTS:
            contents[part] = self._read(folder, part)
            if hashlib.sha256(contents[part]).hexdigest() != done["files"].get(part):
                raise _damaged(folder, part, "its checksum is not the stored one")
        config = self._parse(folder, "config.json", records.load_object, contents)
        lines = self._parse(folder, "records.jsonl", records.load_lines, contents)
        meta = self._parse(folder, "meta.json", records.load_object, contents)
        self._parse(folder, "arrays.npz", npz.unpack, contents)
        fields, version = config.get("config"), config.get("version")
        if not isinstance(fields, dict) or not is_integer(version) or config.get("study") != study:
            raise _damaged(folder, "config.json", "it does not name its study, version and config")
        try:
            known = config_hash(study, version, fields) == hash_
        except ValueError:  # a configuration has no NaN
            known = False
        if not known:
            raise _damaged(folder, "config.json", "the folder's name is not the hash of this configuration")
        try:
            check_meta(meta, done["status"], version)
        except ValueError as error:
            raise _damaged(folder, "meta.json", str(error)) from error
        try:
            if suits is not None and version == suits.version:
                check_config(suits, fields)
        except ValueError as error:
            raise _damaged(folder, "config.json", str(error)) from error
        return Run(study, hash_, fields, lines, npz.Arrays(lambda: self._read(folder, "arrays.npz")), meta)

    def save(
        self, study: str, version: int, config: Mapping[str, Any], output: RunOutput, meta: Mapping[str, Any]
    ) -> str:
        """Store a run and return its hash.

        A finished run that is already there stays as it is; a skipped one is replaced.

        Raises
        ------
        StoreError
            If the disk is full or cannot be written to; the runs stored before are untouched.
        TypeError, ValueError
            If the output cannot be stored (see `records.dump_lines`, `npz.pack`), or is too large to be read
            back.
        """
        hash_ = config_hash(study, version, config)
        if self.status(study, hash_) == "done":
            return hash_
        contents = {
            "config.json": records.dump_object({"study": study, "version": version, "config": config}),
            "records.jsonl": records.dump_lines(output.records),
            "arrays.npz": npz.pack(output.arrays),
            "meta.json": records.dump_object(meta),
        }
        for part, content in contents.items():
            if len(content) > MOST_BYTES[part]:
                raise ValueError(
                    f"{part} would have {len(content):,} bytes, more than {MOST_BYTES[part]:,}; store less"
                )
        digests = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
        contents["DONE"] = records.dump_object({"status": meta.get("status", "done"), "files": digests})
        self._put(self.folder(study, hash_), contents)
        self.forget(study, hash_)
        return hash_

    def forget(self, study: str, hash_: str) -> None:
        """Remove the checkpoints, the progress and the traceback of a run."""
        name = run_name(study, hash_)
        own = ("scratch", name), ("scratch", f"{name}{PROGRESS}"), ("failed", f"{name}.txt")
        for path in [self._within(folder) / part for folder, part in own]:
            with contextlib.suppress(OSError):
                remove(path)

    def save_failure(self, study: str, hash_: str, traceback: str) -> Path:
        """Store the traceback of a run that failed, and return where."""
        path = self._within("failed") / f"{run_name(study, hash_)}.txt"
        files.make_folder(path.parent, if_full=IF_FULL)
        lines = "".join(f"{printable(line)}\n" for line in traceback.rstrip("\n").split("\n"))
        files.write_whole(path, lines.encode(), if_full=IF_FULL)
        return path

    def clean(self) -> None:
        """Throw away what interrupted processes left half-written; call it with the lock held."""
        runs = self._within("runs")
        others = [self._within(part) for part in ("plans", "scratch", "failed", "verdicts")]
        for folder in (self.path, runs, *others):
            for name in names_in(folder, missing_ok=True):
                if name.startswith(files.TEMPORARY):
                    remove(folder / name)
        for name in names_in(runs, missing_ok=True):
            if split_run_name(name) and not self._holds(name):
                remove(runs / name)
        for name in names_in(self._within("scratch"), missing_ok=True):
            if name.endswith(PROGRESS):  # of a process that is gone
                remove(self.path / "scratch" / name)
        for study, hash_ in self.stored():
            if self.status(study, hash_) == "done":
                self.forget(study, hash_)

    def plans(self, study: str, suits: Study[Any] | None = None) -> list[Plan]:
        """Return the plans made for a study, the latest last.

        StoreError if their file is damaged, or plans what the study does not have.
        """
        path = self._plan_file(study)
        plans = load_plans(path, study)
        if suits is not None:
            check_plans(path, suits, plans)
        return plans

    def save_plan(self, plan: Plan) -> None:
        """Store a plan as the latest of its study."""
        save_plan(self._plan_file(plan.study), plan, if_full=IF_FULL)

    def _plan_file(self, study: str) -> Path:
        return self._within("plans") / f"{study}.json"

    def _within(self, *parts: str) -> Path:
        return folders.inside(self.path, *parts)

    def _holds(self, name: str) -> bool:
        """Whether a run of that name is finished, or something else is in its place, which `load` refuses."""
        folder = self._within("runs") / name
        if not os.path.lexists(folder):
            return False
        return not folders.is_folder(folder) or os.path.lexists(folder / "DONE")

    def _put(self, folder: Path, contents: Mapping[str, bytes]) -> None:
        self._within("runs")
        temporary = folder.with_name(f"{files.TEMPORARY}{folder.name}-{os.getpid()}")
        try:
            remove(temporary)
            temporary.mkdir()
            for part, content in contents.items():
                files.write_durably(temporary / part, content)
            files.sync_folder(temporary)
            remove(folder)  # a skipped or half-copied run; a finished one never comes here
            temporary.rename(folder)
            files.sync_folder(folder.parent)
        except OSError as error:
            raise files.explain(error, folder, "write", if_full=IF_FULL) from error
        finally:
            with contextlib.suppress(OSError):
                remove(temporary)

    def _done(self, folder: Path) -> dict[str, Any]:
        contents = {"DONE": self._read(folder, "DONE")}
        done: dict[str, Any] = self._parse(folder, "DONE", records.load_object, contents)
        digests = done.get("files")
        known = isinstance(digests, dict) and all(
            _DIGEST.fullmatch(str(digests.get(part))) for part in _PARTS
        )
        if done.get("status") not in ("done", "skipped") or not known:
            raise _damaged(folder, "DONE", "it does not hold the run's status and checksums")
        return done

    def _read(self, folder: Path, part: str) -> bytes:
        try:
            folders.check_plain(self._within("runs", folder.name))
            return files.read_plain(folder / part, most=MOST_BYTES[part])
        except StoreError as error:
            raise StoreError(
                f"{error}; to redo this run, remove the folder {folder} and run again"
            ) from error

    @staticmethod
    def _parse(folder: Path, part: str, parse: Any, contents: Mapping[str, bytes]) -> Any:
        try:
            return parse(contents[part])
        except ValueError as error:
            raise _damaged(folder, part, str(error)) from error


def _damaged(folder: Path, part: str, why: str) -> StoreError:
    return StoreError(f"{folder / part} is damaged: {why}; to redo this run, remove the folder {folder}")


def _check_marker(folder: Path) -> None:
    marker = folder / _MARKER
    if not os.path.lexists(marker):
        raise StoreError(
            f"{folder} holds other content and no {_MARKER}, so it was left untouched; choose another folder"
        )
    try:
        value = records.load_object(files.read_plain(marker))
    except ValueError as error:
        raise StoreError(f"{marker} is damaged ({error}); choose another folder") from error
    version = value.get("version")
    if value.get("format") != _KIND or not is_integer(version) or version < 1:
        raise StoreError(f"{marker} does not mark a folder of runs; choose another folder")
    if version > FORMAT:
        raise StoreError(
            f"{folder} was written by a newer Overt (format {version}; this one reads up to {FORMAT}): "
            "update Overt"
        )


def _check_layout(folder: Path) -> None:
    """Refuse a folder in which a file or folder of Overt's is, or holds, anything but files and folders.

    Runs are checked one by one when they are read. What else lies in the folder is never touched.
    """
    for name in names_in(folder):
        if name in _OWN or name.startswith(files.TEMPORARY):
            folders.check_plain(folder / name)
    for name in names_in(folders.inside(folder, "runs"), missing_ok=True):
        if not split_run_name(name):
            folders.check_plain(folder / "runs" / name)
