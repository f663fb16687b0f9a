"""Reading rating files out of a zip archive that is not trusted."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["parse_ratings", "read_member"]


def read_member(archive: Path, member: str, *, limit: int) -> str:
    """Text of one named member of at most `limit` bytes; nothing is unpacked to the disk.

    Raises
    ------
    ValueError
        No zip archive, no such member, larger than `limit`, damaged, encrypted, or not Latin-1/ASCII text.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo(member)
            if info.file_size > limit:
                raise ValueError(
                    f"{archive}: {member} claims {info.file_size} bytes, more than the {limit} allowed"
                )
            with opened.open(info) as stream:
                # The size in the directory may lie; one byte more than allowed is enough to notice.
                content = stream.read(limit + 1)
    except KeyError:
        raise ValueError(f"{archive}: there is no member {member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive}: {member} cannot be read: {error}") from error
    if len(content) > limit:
        raise ValueError(f"{archive}: {member} unpacks to more than the {limit} bytes allowed")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive}: {member} is not plain text (byte {error.start})") from None


def parse_ratings(
    text: str, *, where: str, shape: tuple[int, int], separator: str | None = None, fields: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Users, items (both counted from 0) and ratings of lines ``user item rating …``.

    Parameters
    ----------
    text
        One rating a line: user and item counted from 1, then a rating from 1 to 5, then further fields that
        are ignored.
    where
        Named in errors.
    shape
        (number of users, number of items).
    separator
        Between fields; None for white space.
    fields
        Number of fields in each line.

    Raises
    ------
    ValueError
        Any line that is not of this form; the error names it. No line at all.
    """
    users: list[int] = []
    items: list[int] = []
    ratings: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split(separator)
        try:
            if len(parts) != fields:
                raise ValueError(f"{len(parts)} fields instead of {fields}")
            user, item, rating = int(parts[0]), int(parts[1]), float(parts[2])
            if not (1 <= user <= shape[0] and 1 <= item <= shape[1] and 1 <= rating <= 5):
                raise ValueError(f"user, item or rating out of range (1 … {shape[0]}, 1 … {shape[1]}, 1 … 5)")
        except ValueError as error:
            raise ValueError(f"{where}, line {number}: {error}; the line is {line[:80]!r}") from None
        users.append(user - 1)
        items.append(item - 1)
        ratings.append(rating)
    if not ratings:
        raise ValueError(f"{where}: holds no rating")
    return torch.tensor(users), torch.tensor(items), torch.tensor(ratings, dtype=torch.float64)
