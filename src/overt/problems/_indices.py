"""Checks of shapes and of (row, column) indices."""

from __future__ import annotations

import torch
from torch import Tensor

from overt.linalg import Factored
from overt.problems.base import check_values

__all__ = ["check_factors", "check_heldout", "check_pairs", "check_shape", "check_unique"]


def check_shape(shape: object) -> tuple[int, int]:
    if not isinstance(shape, tuple | list | torch.Size) or len(shape) != 2:
        raise TypeError(f"shape must be a pair (m, n), got {shape!r}")
    m, n = shape
    if any(isinstance(size, bool) or not isinstance(size, int) for size in (m, n)):
        raise TypeError(f"shape must hold two ints, got {shape!r}")
    if m < 1 or n < 1:
        raise ValueError(f"shape must be positive, got {(m, n)}")
    return m, n


def _check_index(index: object, name: str, count: int, bound: int, like: Tensor) -> Tensor:
    if not isinstance(index, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(index).__name__}; use torch.as_tensor")
    if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, got {index.dtype}")
    if index.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},) like the values, got {tuple(index.shape)}")
    if index.device != like.device:
        raise ValueError(f"{name} is on {index.device} but the values are on {like.device}; move one of them")
    index = index.to(torch.int64)
    if count and (int(index.min()) < 0 or int(index.max()) >= bound):
        outside = index[(index < 0) | (index >= bound)]
        raise ValueError(f"{name} must lie in 0 … {bound - 1}, got {int(outside[0])}")
    return index


def check_pairs(
    rows: object, cols: object, values: Tensor, shape: tuple[int, int], prefix: str
) -> tuple[Tensor, Tensor]:
    count = values.numel()
    return (
        _check_index(rows, f"{prefix}rows", count, shape[0], values),
        _check_index(cols, f"{prefix}cols", count, shape[1], values),
    )


def check_factors(factors: object, shape: tuple[int, int], like: Tensor) -> None:
    """Refuse a factored truth that does not fit the observations."""
    if not isinstance(factors, Factored):
        raise TypeError(f"truth_factors must be an overt.Factored, got {type(factors).__name__}")
    if factors.shape != shape:
        raise ValueError(f"truth_factors must have shape {shape}, got {tuple(factors.shape)}")
    check_values(factors.U, "truth_factors.U", ndim=2, like=like)
    check_values(factors.V, "truth_factors.V", ndim=2, like=like)


def check_unique(flat: Tensor, n: int) -> None:
    if bool((flat[1:] > flat[:-1]).all()):
        return  # already sorted: no need for a sort of millions of entries
    ordered = flat.sort().values
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.numel():
        first = int(twice[0])
        raise ValueError(
            f"{twice.numel()} observation(s) repeat a (row, col) pair, the first is {divmod(first, n)}; "
            "average or drop the repeats"
        )


def check_heldout(heldout: object, y: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    if not isinstance(heldout, tuple | list) or len(heldout) != 3:
        raise TypeError("heldout must be a triple (rows, cols, values)")
    values = check_values(heldout[2], "heldout values", ndim=1, like=y)
    if values.numel() == 0:
        raise ValueError("heldout holds no entry; leave it out instead")
    rows, cols = check_pairs(heldout[0], heldout[1], values, shape, "heldout ")
    return rows, cols, values
