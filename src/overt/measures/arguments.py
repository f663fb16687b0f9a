"""Checks of the arguments that the measures share."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

from torch import Tensor

__all__ = ["check_count", "check_fraction", "check_seed", "is_eigen"]


def check_count(name: str, value: object) -> None:
    """Refuse all but whole numbers above 0.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not _is_whole(value) or int(value) < 1:  # type: ignore[call-overload]
        raise ValueError(f"{name}: expected a whole number above 0, got {value!r}")


def check_seed(value: object) -> None:
    """Refuse all but whole numbers that a generator takes.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not _is_whole(value) or not 0 <= int(value) < 2**63:  # type: ignore[call-overload]
        raise ValueError(f"seed: expected a whole number from 0 to 2**63 - 1, got {value!r}")


def check_fraction(name: str, value: object) -> None:
    """Refuse all but numbers in [0, 1).

    Raises
    ------
    ValueError
        If it is none.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not 0 <= float(value) < 1:  # type: ignore[arg-type]
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")


def is_eigen(basis: str | Tensor, dims: Sequence[int] | None = None) -> bool:
    """Whether the eigenbasis is meant, with ``dims`` that go with the basis.

    Raises
    ------
    TypeError, ValueError
        If ``dims`` is no sequence of whole numbers, or is given for the eigenbasis.
    """
    if dims is not None and not (isinstance(dims, Sequence) and all(map(_is_whole, dims))):
        raise TypeError(f"dims: expected a sequence of dimensions of an input such as [1], got {dims!r}")
    eigen = isinstance(basis, str) and basis == "eigen"
    if eigen and dims is not None:
        raise ValueError("dims: the eigenbasis has no dimensions to choose; leave dims out")
    return eigen


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
