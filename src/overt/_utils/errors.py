"""Errors that one line explains to the user of the command line."""

from __future__ import annotations

__all__ = ["OvertError", "StoreError", "UsageError"]


class OvertError(Exception):
    """A fault outside the program; the command line prints one line and exits with code 2."""


class UsageError(OvertError, ValueError):
    """A wrong argument: which one, what came, what to do."""


class StoreError(OvertError, OSError):
    """A file or folder that cannot be read or written: which one, why, what to do."""
