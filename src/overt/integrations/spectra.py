"""The common part of the callbacks for trainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from overt._utils.checks import check_callable, message, optional
from overt.measures import SpectrumTracker


class Recorder:
    """A tracker and the part of the model that it records; subclasses call it at the right times."""

    def __init__(self, tracker: SpectrumTracker, select: Callable[[Any], nn.Module] | None) -> None:
        super().__init__()
        if not isinstance(tracker, SpectrumTracker):
            raise TypeError(message("tracker", "an overt.SpectrumTracker", tracker))
        self.tracker = tracker
        self._select = optional(check_callable, select, "select")

    def _attach(self, model: Any) -> None:
        self.tracker.attach(model if self._select is None else self._select(model))


def missing(library: str, extra: str, error: ImportError) -> ImportError:
    """An ImportError that says what to install."""
    return ImportError(f"overt.integrations needs {library} here ({error}): pip install 'overt[{extra}]'")


def scalars_of(row: dict[str, Any]) -> dict[str, float]:
    """The numbers in a recorded row, under ``spectrum/<name>/<functional>``."""
    scalars: dict[str, float] = {}
    for name, entry in row["spectra"].items():
        parts = entry if isinstance(entry, dict) else {"value": entry}
        for key, value in parts.items():
            if isinstance(value, float):
                scalars[f"spectrum/{name}/{key}"] = value
    return scalars
