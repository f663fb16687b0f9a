"""Faults that one line explains to the person at the terminal."""

from __future__ import annotations

__all__ = ["OvertError", "StoreError", "UsageError"]


class OvertError(Exception):
    """A fault outside the program, told in one line; the command line exits with code 2."""


class UsageError(OvertError, ValueError):
    """An argument that cannot be meant: which one, what came, what to do."""


class StoreError(OvertError, OSError):
    """A file or folder that cannot be read or written: which one, why, what to do."""
