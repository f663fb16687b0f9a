"""The numbers in a recorded row, by name."""

from __future__ import annotations

from typing import Any

__all__ = ["scalars_of"]


def scalars_of(row: dict[str, Any]) -> dict[str, float]:
    """The numbers in a row, under ``spectrum/<name>/<functional>``."""
    scalars: dict[str, float] = {}
    for name, entry in row["spectra"].items():
        parts = entry if isinstance(entry, dict) else {"value": entry}
        for key, value in parts.items():
            if isinstance(value, float):
                scalars[f"spectrum/{name}/{key}"] = value
    return scalars
