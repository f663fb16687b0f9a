"""Files that are written whole or not at all, reading that follows no link, and a lock for a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from overt._utils.errors import StoreError

__all__ = [
    "MIB",
    "TEMPORARY",
    "explain",
    "is_full",
    "locked",
    "make_folder",
    "names_in",
    "read_plain",
    "remove",
    "sync_folder",
    "whole_file",
    "write_durably",
    "write_whole",
]

TEMPORARY = ".overt-tmp-"
IF_FULL = "free some space or choose another disk"
MIB = 2**20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


def is_full(error: BaseException | None) -> bool:
    """Whether the error or its cause is a full disk, a used-up quota or a file that is too large."""
    return isinstance(error, OSError) and (error.errno in _FULL or is_full(error.__cause__))


def explain(error: OSError, path: Path, doing: str, *, if_full: str = IF_FULL) -> StoreError:
    """The one line that says what failed, why, and what to do: `if_full` where the disk is full."""
    reason = error.strerror or str(error) or type(error).__name__
    if is_full(error):
        remedy = f"; {if_full}"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "; choose a folder that you may write to"
    elif error.errno == errno.ELOOP:
        remedy = "; choose a folder that is not a loop of symbolic links"
    else:
        remedy = ""
    return StoreError(f"cannot {doing} {path}: {reason}{remedy}")


@contextlib.contextmanager
def whole_file(path: Path, *, if_full: str = IF_FULL, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` only if the block ends without an error.

    No reader sees it half-written, and once the block has ended it is on the disk, unless `durable` is False.
    A symbolic link at `path` is replaced; its target is left alone.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written to; an earlier file is then unchanged.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{threading.get_native_id()}")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except (BrokenPipeError, StoreError):
        raise
    except OSError as error:
        raise explain(error, path, "write", if_full=if_full) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes, *, if_full: str = IF_FULL, durable: bool = True) -> None:
    """Write a file by :func:`whole_file`."""
    with whole_file(path, if_full=if_full, durable=durable) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on systems that can do so."""
    if os.name != "posix":  # pragma: no cover
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems refuse to sync folders
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(handle)


def read_plain(path: Path, *, most: int = MIB) -> bytes:
    """Read a regular file of at most `most` bytes, and nothing else.

    Raises
    ------
    StoreError
        If it is missing, unreadable or larger, or is a link, a device or a pipe; none of these is opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        _check_regular(path, path.lstat())
        with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            status = os.fstat(file.fileno())  # of the very file that is read, should another have come there
            _check_regular(path, status)
            data = b"" if status.st_size > most else file.read(most + 1)
    except StoreError:
        raise
    except OSError as error:
        raise explain(error, path, "read") from error
    if max(status.st_size, len(data)) > most:
        raise StoreError(
            f"{path} is too large: it has more than {most:,} bytes, so it was not read; remove it"
        )
    return data


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a regular file, so it was not read; remove it")


def make_folder(folder: Path, *, if_full: str = IF_FULL) -> None:
    """Make a folder and its parents if they are missing; StoreError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(f"{folder} is a file; choose a folder") from error
    except OSError as error:
        raise explain(error, folder, "make the folder", if_full=if_full) from error


def names_in(folder: Path, *, missing_ok: bool = False) -> list[str]:
    """The names in a folder; StoreError if it is not a folder, or is missing unless `missing_ok`."""
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError as error:
        if missing_ok:
            return []
        raise StoreError(f"there is no folder {folder}") from error
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is not a folder; name a folder that overt run made") from error
    except OSError as error:
        raise explain(error, folder, "read") from error


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder with its contents; StoreError if that fails."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain(error, path, "remove") from error
    except RecursionError as error:
        raise StoreError(f"cannot remove {path}: its folders are nested too deeply; remove it") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock file while the block runs.

    The system releases the lock when the process ends, however it ends.

    Yields
    ------
    bool
        Whether the lock is held; False on file systems without locks.

    Raises
    ------
    StoreError
        If another process holds it.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        raise explain(error, path, "write") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # it is written in place
            raise StoreError(
                f"{path} is no lock, but a pipe, a device or another file's hard link; remove it"
            )
        held = _try_lock(handle, path)
        if held:
            with contextlib.suppress(OSError):  # the process id is only for the message below
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield held
    finally:
        os.close(handle)


def _try_lock(handle: int, path: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # pragma: no cover  (Windows)
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise explain(error, path, "lock") from error
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        by = f" (process {holder})" if holder.isdigit() else ""
        raise StoreError(
            f"another overt run{by} is using {path.parent}; wait for it, or choose another folder with --out"
        ) from error
    return True
