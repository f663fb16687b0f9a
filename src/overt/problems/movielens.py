"""MovieLens ratings (Harper & Konstan 2015), from an archive that is not trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_number
from overt._utils.reading import ZIP_FAULTS, brief, open_bounded
from overt._utils.seeds import seeded
from overt.problems.completion import CompletionProblem, Entries
from overt.problems.fetch import MOVIELENS_100K, fetch

SPLITS = ("u1", "u2", "u3", "u4", "u5", "random")
"""The five published 80/20 splits (disjoint test sets), and a seeded one."""

_SHAPE = (943, 1682)
_LIMIT = 4 * 2**20  # bytes; the largest member has 1 979 173
_LARGEST = 16 * 2**20  # bytes of the archive, which has 4 924 029


def movielens_100k(
    split: str = "u1",
    *,
    seed: int | None = None,
    test_share: float = 0.2,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> CompletionProblem:
    """MovieLens 100K: 943 users × 1682 films, 100 000 ratings from 1 to 5, raw (not centred).

    The data set may not be passed on (GroupLens), so it comes from the folder named by ``OVERT_DATA``, the
    cache or the publisher.

    Parameters
    ----------
    split
        ``"u1"`` … ``"u5"``: the published splits. ``"random"``: all ratings split at random by `seed`.
    seed, test_share
        For ``"random"`` only: seed, and share of the ratings that are held out.
    dtype, device
        Of the result.

    Returns
    -------
    CompletionProblem
        `heldout` are the test ratings, so `error` is their RMSE; there is no `truth`.

    Raises
    ------
    DataUnavailableError
        The data is not in a local folder and cannot be downloaded.
    TypeError, ValueError
        Unknown `split`; `seed` missing, or given for a published split; `test_share` out of (0, 1); a damaged
        file.
    """
    check_choice(split, "split", SPLITS)
    test_share = check_number(test_share, "test_share", above=0, below=1)
    if split != "random" and seed is not None:
        raise ValueError(f"seed: the split {split!r} is published; leave seed out or use split='random'")
    if split == "random" and seed is None:
        raise TypeError("seed is missing; split='random' needs one, such as seed=0")
    generator = seeded(cast(int, seed)) if split == "random" else None
    archive = fetch(MOVIELENS_100K)
    if generator is not None:
        train, test = _split(_ratings(archive, "u.data"), test_share, generator)
    else:
        train, test = _ratings(archive, f"{split}.base"), _ratings(archive, f"{split}.test")
    problem = CompletionProblem(*train, _SHAPE, heldout=test, name=f"MovieLens 100K {split}")
    return problem.to(dtype=dtype, device=device)


def _ratings(archive: Path, member: str) -> Entries:
    text = read_member(archive, f"ml-100k/{member}", limit=_LIMIT)
    return parse_ratings(text, where=f"{archive}: ml-100k/{member}", shape=_SHAPE)


def _split(all_: Entries, test_share: float, generator: torch.Generator) -> tuple[Entries, Entries]:
    count = all_[0].numel()
    held = round(test_share * count)
    if not 1 <= held < count:
        raise ValueError(f"test_share: {test_share} leaves an empty part of {count} ratings")
    order = torch.randperm(count, generator=generator)

    def part(index: Tensor) -> Entries:
        index = index.sort().values
        return all_[0][index], all_[1][index], all_[2][index]

    return part(order[held:]), part(order[:held])


def read_member(archive: Path, member: str, *, limit: int) -> str:
    """Text of one named member of at most `limit` bytes; nothing is unpacked to the disk.

    Raises
    ------
    ValueError
        No zip archive, no such member, larger than `limit`, damaged, encrypted, or not ASCII text.
    """
    try:
        with open_bounded(archive, _LARGEST) as file, zipfile.ZipFile(file) as opened:
            if [info.filename for info in opened.infolist()].count(member) > 1:
                raise ValueError(f"{archive}: {member} comes twice")
            info = opened.getinfo(member)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(
                    f"{archive}: {member} cannot be read: it is packed by another method than deflate"
                )
            if info.file_size > limit:
                raise ValueError(
                    f"{archive}: {member} claims {info.file_size} bytes, more than the {limit} allowed"
                )
            with opened.open(info) as stream:
                # The size in the directory may lie; one byte more than allowed is enough to notice.
                content = stream.read(limit + 1)
    except KeyError:
        raise ValueError(f"{archive}: there is no member {member}") from None
    except (OSError, *ZIP_FAULTS) as error:
        raise ValueError(f"{archive}: {member} cannot be read: {brief(error)}") from error
    if len(content) > limit:
        raise ValueError(f"{archive}: {member} unpacks to more than the {limit} bytes allowed")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive}: {member} is not plain text (byte {error.start})") from None


def parse_ratings(text: str, *, where: str, shape: tuple[int, int]) -> Entries:
    """Users, items (both counted from 0) and ratings of lines ``user item rating time``.

    In `text` users and items count from 1 and ratings go from 1 to 5; `shape` is the largest user and item,
    `where` is named in errors.

    Raises
    ------
    ValueError
        Any line that is not of this form; the error names it. No line at all.
    """
    users: list[int] = []
    items: list[int] = []
    ratings: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        try:
            if len(parts) != 4:
                raise ValueError(f"{len(parts)} fields instead of 4")
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
