"""One thread for small problems, where threads cost more than they bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

_SMALL = 200_000  # entries below which one thread computes


@contextmanager
def few_threads(n_observed: int) -> Iterator[None]:
    """Limit torch and the BLAS libraries to one thread while a small problem is fitted."""
    before = torch.get_num_threads()
    if n_observed >= _SMALL or before == 1:
        yield
        return
    try:
        torch.set_num_threads(1)
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
