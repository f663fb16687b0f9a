"""Places in a matrix, sampled without replacement by a seed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_integer

Sampling = Literal["uniform", "nonuniform", "blocks"]

BLOCKS = 4
"""``"blocks"`` cuts the rows into this many contiguous blocks of (nearly) equal height …"""
THINNING = 0.25
"""… of which every second one is drawn with this weight relative to the others."""

_DENSE = 2**25  # below this many entries, one random key an entry is cheaper than looking for repeats
_MAX_ROUNDS = 200
_MAX_WORK = 2 * 10**9  # random numbers drawn, in all, to meet min_per_line


def line_weights(
    shape: tuple[int, int], sampling: Sampling, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Weights a (m,) and b (n,): entry (i, j) is drawn with probability proportional to a_i b_j.

    ``"uniform"``: all 1. ``"nonuniform"``: exp of independent standard normal numbers, so that a line at one
    standard deviation is drawn e ≈ 2.7 times as often as the median line. ``"blocks"``: a is 1 and
    `THINNING` in turn over `BLOCKS` row blocks, b is 1.
    """
    check_choice(sampling, "sampling", Sampling)
    m, n = shape
    rows, cols = torch.ones(m, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    if sampling == "nonuniform":
        rows = torch.randn(m, generator=generator, dtype=torch.float64).exp()
        cols = torch.randn(n, generator=generator, dtype=torch.float64).exp()
    elif sampling == "blocks":
        rows[torch.arange(m) * BLOCKS // m % 2 == 1] = THINNING
    return rows, cols


def sample_entries(
    shape: tuple[int, int],
    count: int,
    *,
    generator: torch.Generator,
    sampling: Sampling = "uniform",
    min_per_line: int = 0,
    max_tries: int = 20_000,
) -> tuple[Tensor, Tensor]:
    """`count` different places in a matrix (m, n), sorted row by row: int64 vectors of rows and columns.

    Each draw takes one of the places that are left, with probability proportional to the `line_weights` of
    `sampling`. The whole draw (line weights included) is repeated, at most `max_tries` times, until each row
    and each column holds `min_per_line` places; large matrices get fewer tries, about a minute's worth.

    Raises
    ------
    TypeError, ValueError
        `count` out of range, `min_per_line` impossible or not met in these tries, unknown `sampling`.
    """
    m, n = shape
    count = check_integer(count, "count", least=1, most=m * n)
    if not 0 <= min_per_line <= min(m, n) or min_per_line * max(m, n) > count:
        raise ValueError(
            f"min_per_line={min_per_line} cannot be met by {count} entries of a {m}×{n} matrix; it needs "
            f"at least {min_per_line * max(m, n)} entries and must lie in 0 … {min(m, n)}"
        )
    numbers = count if _is_sparse(m * n, count) else m * n
    max_tries = max(1, min(max_tries, _MAX_WORK // numbers))
    for _ in range(max_tries):
        weights = line_weights(shape, sampling, generator)
        flat = _draw(weights, count, sampling == "uniform", generator)
        rows, cols = flat // n, flat % n
        if min_per_line == 0 or _fewest(rows, m) >= min_per_line <= _fewest(cols, n):
            return rows, cols
    raise ValueError(
        f"no draw out of {max_tries} put at least {min_per_line} of {count} entries into each row and column "
        f"of a {m}×{n} matrix; observe more entries or lower min_per_line"
    )


def _fewest(index: Tensor, size: int) -> int:
    return int(torch.bincount(index, minlength=size).min())


def _is_sparse(total: int, count: int) -> bool:
    return total > _DENSE and count <= total // 8


def _draw(weights: tuple[Tensor, Tensor], count: int, uniform: bool, generator: torch.Generator) -> Tensor:
    """Sorted flat positions."""
    rows, cols = weights
    total = rows.numel() * cols.numel()
    if _is_sparse(total, count):
        return _draw_sparse(weights, count, generator)
    if uniform:
        return torch.randperm(total, generator=generator)[:count].sort().values
    # The `count` smallest of exponential variables with rates w are a successive sample (Efraimidis &
    # Spirakis 2006).
    keys = torch.empty(total, dtype=torch.float64).exponential_(generator=generator)
    keys /= (rows[:, None] * cols).view(-1)
    return keys.topk(count, largest=False).indices.sort().values


def _draw_sparse(weights: tuple[Tensor, Tensor], count: int, generator: torch.Generator) -> Tensor:
    """The same without a key for each entry: draw with replacement and drop repeats as they appear."""
    rows, cols = weights
    flat = torch.empty(0, dtype=torch.int64)
    for _ in range(_MAX_ROUNDS):
        missing = count - flat.numel()
        more = _draw_lines(rows, missing + missing // 8 + 64, generator) * cols.numel()
        more += _draw_lines(cols, more.numel(), generator)
        flat = _first_appearances(torch.cat([flat, more]))[:count]
        if flat.numel() == count:
            return flat.sort().values
    raise ValueError(
        f"could not draw {count} different entries in {_MAX_ROUNDS} rounds; observe fewer entries"
    )


def _draw_lines(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    edges = weights.cumsum(0)
    points = torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, points, right=True).clamp_max_(weights.numel() - 1)


def _first_appearances(flat: Tensor) -> Tensor:
    """Distinct values in the order in which they first appear."""
    ordered, order = flat.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return flat[order[first].sort().values]
