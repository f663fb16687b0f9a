"""Faults that one line explains to the person at the terminal."""

from __future__ import annotations

__all__ = ["StoreError", "StudyError", "UsageError"]


class StudyError(Exception):
    """A fault outside the program, told in one line; the command line exits with code 2."""


class UsageError(StudyError, ValueError):
    """An argument that cannot be meant: which one, what came, what to do."""


class StoreError(StudyError):
    """A folder of runs that cannot be read or written: which file, why, what to do."""
