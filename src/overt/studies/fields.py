"""Fields that configurations of several studies have, and what must hold between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from overt._utils.checks import check_choice, check_integer

__all__ = ["OptimizerName", "check_instance"]


def _known(name: str) -> str:
    from overt.training import optimizer_names

    check_choice(name, "optimizer", optimizer_names())
    return name


OptimizerName = Annotated[str, AfterValidator(_known)]
"""The name of an optimizer of `overt.train`."""


def check_instance(n: int, rank: int, n_observed: int | None, *, least: int | None = None) -> None:
    """Refuse settings that no n×n matrix has; without ``n_observed`` only its rank is checked.

    Raises
    ------
    ValueError
        If the rank is above n, or n_observed below ``least`` or above the number of entries.
    """
    remedy = f"the matrix is {n}×{n} of rank {rank}"
    check_integer(rank, "rank", most=n, remedy=remedy)
    if n_observed is not None:
        check_integer(n_observed, "n_observed", least=least, most=n * n, remedy=remedy)
