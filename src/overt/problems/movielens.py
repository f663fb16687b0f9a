"""MovieLens ratings (Harper & Konstan 2015), with held-out ratings."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from overt._utils.seeds import generator_from
from overt.problems.archive import parse_ratings, read_member
from overt.problems.completion import CompletionProblem, Entries
from overt.problems.fetch import MOVIELENS_100K, fetch

__all__ = ["SPLITS", "movielens_100k"]

SPLITS = ("u1", "u2", "u3", "u4", "u5", "random")
"""The five published 80/20 splits (disjoint test sets), and a seeded one."""

_SHAPE = (943, 1682)
_LIMIT = 4 * 2**20  # bytes; the largest member has 1 979 173


def movielens_100k(
    split: str = "u1",
    *,
    seed: int | None = None,
    test_share: float = 0.2,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> CompletionProblem:
    """MovieLens 100K: 943 users × 1682 films, 100 000 ratings from 1 to 5, raw (not centred).

    The data set is for research and may not be passed on (GroupLens), so it comes from the folder named by
    ``OVERT_DATA``, the cache or the publisher; see `overt.problems.fetch`.

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
        The data is neither here nor can be downloaded.
    ValueError
        Unknown `split`, `seed` missing or given without need, `test_share` out of (0, 1), a damaged file.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if split == "random" and seed is None:
        raise ValueError("split='random' needs a seed")
    if split != "random" and seed is not None:
        raise ValueError(
            f"split={split!r} is published and takes no seed; leave it out or use split='random'"
        )
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, got {test_share}")
    archive = fetch(MOVIELENS_100K)
    if split == "random":
        train, test = _split(_ratings(archive, "u.data"), test_share, generator_from(seed))
    else:
        train, test = _ratings(archive, f"{split}.base"), _ratings(archive, f"{split}.test")
    problem = CompletionProblem(*train, _SHAPE, heldout=test, name=f"MovieLens 100K {split}")
    return problem.to(dtype=dtype, device=device)


def _ratings(archive: Path, member: str) -> Entries:
    text = read_member(archive, f"ml-100k/{member}", limit=_LIMIT)
    return parse_ratings(text, where=f"{archive}: ml-100k/{member}", shape=_SHAPE)


def _split(all_: Entries, test_share: float, generator: torch.Generator | None) -> tuple[Entries, Entries]:
    count = all_[0].numel()
    held = round(test_share * count)
    if not 1 <= held < count:
        raise ValueError(f"test_share={test_share} leaves an empty part of {count} ratings")
    order = torch.randperm(count, generator=generator)

    def part(index: Tensor) -> Entries:
        index = index.sort().values
        return all_[0][index], all_[1][index], all_[2][index]

    return part(order[held:]), part(order[:held])
