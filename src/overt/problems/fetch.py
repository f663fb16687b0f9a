"""Data files from a local folder, the cache or the publisher, checked by their checksum."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "OVERT_DATA"
"""Environment variable that names a folder with the data files."""

_MOST = 2**28  # bytes, packed or not; the largest published file has 47 million
_TIMEOUT = 30  # seconds without an answer from the publisher


class DataUnavailableError(RuntimeError):
    """A data file is not in a local folder and cannot be downloaded."""


@dataclass(frozen=True)
class DataFile:
    """A published file.

    Parameters
    ----------
    name
        File name, in the folder and in the cache.
    url
        Its address at the publisher.
    published_sha256
        Of the publisher's file, required of a download.
    other_sha256
        Of other archives with the same members, accepted in a local folder and in the cache.
    unpacked
        Whether the checksums are of the unpacked content of a gzip file, which can be packed in many ways.
    """

    name: str
    url: str
    published_sha256: str
    other_sha256: tuple[str, ...] = ()
    unpacked: bool = False

    @property
    def sha256(self) -> tuple[str, ...]:
        """All accepted checksums."""
        return (self.published_sha256, *self.other_sha256)


MOVIELENS_100K = DataFile(
    name="ml-100k.zip",
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    # Its published md5 is 0e33842e24a9c977be4e0107933c0723.
    published_sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    # The same ratings and splits, compressed anew and without the scripts.
    other_sha256=("eb3f7d98afd79980862073acc4f5f9c4a4f7b33c5a4410affdc615d358ea8589",),
)

_FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_MNIST = tuple(
    DataFile(
        f"fashion-mnist/{name}.gz",
        f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}.gz",
        sha256,
        unpacked=True,
    )
    for name, sha256 in _FASHION_MNIST_SHA256.items()
)
"""Images and labels to train on, then to test on (Xiao, Rasul & Vollgraf 2017), MIT licence."""


def fetch(file: DataFile) -> Path:
    """Path of a verified copy of `file`.

    Looked for in this order: the folder named by the environment variable ``OVERT_DATA``, the cache, the
    publisher.

    Raises
    ------
    DataUnavailableError
        The download fails or is not the published file, or ``OVERT_DATA`` names no folder.
    ValueError
        A file in the ``OVERT_DATA`` folder has another checksum; it is never replaced by a download.
    """
    local = _in_data_folder(file)
    if local is not None:
        return local
    import pooch

    cached = Path(pooch.os_cache("overt")) / file.name
    if _accepted(cached, file):
        return cached
    return _download(file, cached.parent)


def _in_data_folder(file: DataFile) -> Path | None:
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise DataUnavailableError(
            f"{VARIABLE} names {named!r}, which is not a folder; correct it or unset it"
        )
    path = folder / file.name
    if not path.is_file():
        return None
    try:
        found = _sha256(path, file.unpacked)
    except OSError as error:
        raise ValueError(f"{path} (found through {VARIABLE}) cannot be read: {_cause(error)}") from error
    if found not in file.sha256:
        raise ValueError(
            f"{path} (found through {VARIABLE}) has SHA-256 {found}, expected {' or '.join(file.sha256)}; "
            f"replace it by {file.url} or remove it"
        )
    return path


def _download(file: DataFile, folder: Path) -> Path:
    import pooch

    logger = pooch.get_logger()  # its note on every download would break into progress displays
    level = logger.level
    logger.setLevel("WARNING")
    try:
        path = pooch.retrieve(
            url=file.url,
            known_hash=None if file.unpacked else f"sha256:{file.published_sha256}",
            fname=Path(file.name).name,
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT),
            processor=_checked(file) if file.unpacked else None,
        )
    # OSError: also of requests, and of a cache that cannot be written. ValueError: a wrong
    # checksum; pooch has then deleted what came.
    except (OSError, ValueError) as error:
        raise DataUnavailableError(
            f"{file.name} is not here and could not be downloaded from {file.url} ({_cause(error)}). "
            f"Set {VARIABLE} to a folder that holds it, or connect to a network that reaches that address"
        ) from error
    finally:
        logger.setLevel(level)
    return Path(path)


def _checked(file: DataFile) -> Callable[[str, str, object], str]:
    """For pooch: delete a download that is not the published file, and raise a ValueError."""

    def check(name: str, action: str, _: object) -> str:
        if action != "fetch" and not _accepted(Path(name), file):
            Path(name).unlink(missing_ok=True)
            raise ValueError(f"what came from {file.url} is not the published file")
        return name

    return check


def _accepted(path: Path, file: DataFile) -> bool:
    try:
        return path.is_file() and _sha256(path, file.unpacked) in file.sha256
    except OSError:
        return False  # an unreadable cache is no cache


def _sha256(path: Path, unpacked: bool) -> str:
    digest = hashlib.sha256()
    try:
        with gzip.open(path) if unpacked else path.open("rb") as stream:
            for _ in range(_MOST // 2**20):
                if not (block := stream.read(2**20)):
                    break
                digest.update(block)
            else:
                raise OSError(f"it holds more than the {_MOST:,} bytes of a published file")
    except (EOFError, zlib.error) as error:
        raise OSError(f"it is no whole gzip file ({error})") from error
    return digest.hexdigest()


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and len(text) > 120:
        text = ""  # the network libraries nest whole object representations; the type says enough
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
