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
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overt._utils import files
from overt._utils.errors import StoreError
from overt._utils.files import names_in, remove
from overt.studies.base import Run, RunOutput
from overt.studies.runs import npz, records
from overt.studies.runs.identity import config_hash, run_name, split_run_name
from overt.studies.runs.plans import Plan, load_plans, save_plan

__all__ = ["FORMAT", "IF_FULL", "PROGRESS", "Store"]

FORMAT = 1
IF_FULL = "the runs stored so far are intact: free some space and run the same command again"
PROGRESS = ".progress"
_MARKER = "overt.json"
_KIND = "overt-runs"
_PARTS = ("config.json", "records.jsonl", "arrays.npz", "meta.json")


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
            If it is not one, cannot be read, or was written by a newer format.
        """
        folder = Path(path)
        if not names_in(folder):
            raise StoreError(f"{folder} holds no runs; make some with: overt run STUDY --out {folder}")
        _check_marker(folder)
        return cls(folder)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Store:
        """Open a folder of runs, making it where there is none yet.

        Raises
        ------
        StoreError
            If the path is a file, cannot be written to, or is a folder with other content, which is left
            untouched.
        """
        folder = Path(path)
        files.make_folder(folder)
        names = [name for name in names_in(folder) if not name.startswith(files.TEMPORARY)]
        if not names:
            files.write_whole(folder / _MARKER, records.dump_object({"format": _KIND, "version": FORMAT}))
        _check_marker(folder)
        for part in ("runs", "plans"):
            files.make_folder(folder / part, if_full=IF_FULL)
        return cls(folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Keep other runners out; yields False where the file system has no locks."""
        with files.locked(self.path / ".lock") as held:
            yield held

    def status(self, study: str, hash_: str) -> str | None:
        """Return ``"done"`` or ``"skipped"`` for a stored run, and None where there is none."""
        folder = self.folder(study, hash_)
        if not os.path.lexists(folder / "DONE"):
            return None
        return str(self._done(folder)["status"])

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
        for name in sorted(names_in(self.path / "runs", missing_ok=True)):
            run = split_run_name(name)
            if run and study in (None, run[0]) and os.path.lexists(self.folder(*run) / "DONE"):
                found.append(run)
        return found

    def studies(self) -> list[str]:
        """Return the names of the studies that have a plan or a stored run here."""
        planned = [name.removesuffix(".json") for name in names_in(self.path / "plans", missing_ok=True)]
        names = {name for name in planned if split_run_name(f"{name}-{'0' * 12}")}
        return sorted(names | {study for study, _ in self.stored()})

    def load(self, study: str, hash_: str) -> Run:
        """Read a stored run, checking each file against its checksum.

        Raises
        ------
        StoreError
            If a file is missing, damaged, or holds what it should not; the message names the file and
            the folder to remove.
        """
        folder = self.folder(study, hash_)
        digests = self._done(folder)["files"]
        contents = {}
        for part in _PARTS:
            contents[part] = self._read(folder, part)
            if hashlib.sha256(contents[part]).hexdigest() != digests.get(part):
                raise _damaged(folder, part, "its checksum is not the stored one")
        config = self._parse(folder, "config.json", records.load_object, contents)
        lines = self._parse(folder, "records.jsonl", records.load_lines, contents)
        meta = self._parse(folder, "meta.json", records.load_object, contents)
        self._parse(folder, "arrays.npz", npz.unpack, contents)
        fields, version = config.get("config"), config.get("version")
        if not isinstance(fields, dict) or not isinstance(version, int) or config.get("study") != study:
            raise _damaged(folder, "config.json", "it does not name its study, version and config")
        if config_hash(study, version, fields) != hash_:
            raise _damaged(folder, "config.json", "the folder's name is not the hash of this configuration")
        arrays = npz.Arrays((folder / "arrays.npz").read_bytes)
        return Run(study, hash_, fields, lines, arrays, meta)

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
            If the output cannot be stored (see `records.dump_lines`, `npz.pack`).
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
        digests = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
        contents["DONE"] = records.dump_object({"status": meta.get("status", "done"), "files": digests})
        self._put(self.folder(study, hash_), contents)
        self.forget(study, hash_)
        return hash_

    def forget(self, study: str, hash_: str) -> None:
        """Remove the checkpoints, the progress and the traceback of a run."""
        scratch = self.scratch(study, hash_)
        shutil.rmtree(scratch, ignore_errors=True)
        for path in (scratch.with_suffix(PROGRESS), self.path / "failed" / f"{scratch.name}.txt"):
            with contextlib.suppress(OSError):
                path.unlink()

    def save_failure(self, study: str, hash_: str, traceback: str) -> Path:
        """Store the traceback of a run that failed, and return where."""
        path = self.path / "failed" / f"{run_name(study, hash_)}.txt"
        files.make_folder(path.parent, if_full=IF_FULL)
        files.write_whole(path, traceback.encode(errors="backslashreplace"), if_full=IF_FULL)
        return path

    def clean(self) -> None:
        """Throw away what interrupted processes left half-written; call it with the lock held."""
        for folder in (self.path, self.path / "runs", self.path / "plans"):
            for name in names_in(folder, missing_ok=True):
                if name.startswith(files.TEMPORARY):
                    remove(folder / name)
        for name in names_in(self.path / "runs", missing_ok=True):
            if split_run_name(name) and not os.path.lexists(self.path / "runs" / name / "DONE"):
                remove(self.path / "runs" / name)
        for study, hash_ in self.stored():
            if self.status(study, hash_) == "done":
                self.forget(study, hash_)

    def plans(self, study: str) -> list[Plan]:
        """Return the plans made for a study, the latest last; StoreError if their file is damaged."""
        return load_plans(self._plan_file(study), study)

    def save_plan(self, plan: Plan) -> None:
        """Store a plan as the latest of its study."""
        save_plan(self._plan_file(plan.study), plan, if_full=IF_FULL)

    def _plan_file(self, study: str) -> Path:
        return self.path / "plans" / f"{study}.json"

    def _put(self, folder: Path, contents: Mapping[str, bytes]) -> None:
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
            shutil.rmtree(temporary, ignore_errors=True)

    def _done(self, folder: Path) -> dict[str, Any]:
        contents = {"DONE": self._read(folder, "DONE")}
        done: dict[str, Any] = self._parse(folder, "DONE", records.load_object, contents)
        if done.get("status") not in ("done", "skipped") or not isinstance(done.get("files"), dict):
            raise _damaged(folder, "DONE", "it does not hold the run's status and checksums")
        return done

    @staticmethod
    def _read(folder: Path, part: str) -> bytes:
        if folder.is_symlink():
            raise StoreError(f"{folder} is a symbolic link, which is not followed; remove it")
        try:
            return files.read_plain(folder / part)
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
    if value.get("format") != _KIND or not isinstance(version, int) or version < 1:
        raise StoreError(f"{marker} does not mark a folder of runs; choose another folder")
    if version > FORMAT:
        raise StoreError(
            f"{folder} was written by a newer Overt (format {version}; this one reads up to {FORMAT}): "
            "update Overt"
        )
