"""Recorded rows as TensorBoard scalars and histograms."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from overt._utils.checks import message
from overt.integrations.spectra import missing, scalars_of

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise missing("tensorboard", "tensorboard", error) from None


class TensorBoard:
    """Writes each recorded row; give it as ``SpectrumTracker(…, on_record=TensorBoard("runs/1"))``.

    Each functional is a scalar ``spectrum/<name>/<functional>``, the leading values are a histogram
    ``spectrum/<name>/values``, and the cost of recording is ``spectrum/seconds_of_recording``.

    Parameters
    ----------
    writer
        A folder, or an existing ``SummaryWriter``.

    Raises
    ------
    TypeError
        `writer` is neither.
    ImportError
        tensorboard is not installed (when this module is imported).
    """

    def __init__(self, writer: str | os.PathLike[str] | SummaryWriter) -> None:
        self.writer: Any = SummaryWriter(str(writer)) if isinstance(writer, (str, os.PathLike)) else writer
        if not hasattr(self.writer, "add_scalar"):
            raise TypeError(message("writer", "a folder or a SummaryWriter", writer))

    def __call__(self, row: dict[str, Any]) -> None:
        """Write one row."""
        step = row["step"]
        for tag, value in scalars_of(row).items():
            self.writer.add_scalar(tag, value, step)
        for name, entry in row["spectra"].items():
            known = entry.get("values", []) if isinstance(entry, dict) else []
            values = [value for value in known if value is not None]
            if values:
                self.writer.add_histogram(f"spectrum/{name}/values", np.asarray(values), step)
        self.writer.add_scalar("spectrum/seconds_of_recording", row["cost"], step)

    def close(self) -> None:
        """Flush and close the writer."""
        self.writer.close()
