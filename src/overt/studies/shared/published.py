"""Published data that may be out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from overt.studies.base import Skip

__all__ = ["skipped_without_data"]


@contextmanager
def skipped_without_data() -> Iterator[None]:
    """A run whose data are in no local folder and cannot be fetched is skipped, with the reason."""
    from overt.problems import DataUnavailableError

    try:
        yield
    except DataUnavailableError as error:
        raise Skip(str(error)) from None
