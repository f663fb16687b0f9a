"""What to say where an optional library is not there."""

from __future__ import annotations

__all__ = ["missing"]


def missing(library: str, extra: str, error: ImportError) -> ImportError:
    """An ImportError that says what to install."""
    return ImportError(f"overt.integrations needs {library} here ({error}): pip install 'overt[{extra}]'")
