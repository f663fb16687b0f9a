"""A clock that can be stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Wall-clock seconds of the training itself, without what is recorded, evaluated, stored or shown.

    On a CUDA device, work that was launched is waited for before the clock is paused, so that it is charged
    to the training.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        self._device = device
        self._seconds = seconds
        self._started: float | None = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far, without the pauses."""
        if self._started is None:
            return self._seconds
        return self._seconds + time.perf_counter() - self._started

    def set(self, seconds: float) -> None:
        """Go on from `seconds`; only while paused."""
        self._seconds = seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop for the time of a with block; pauses may be nested."""
        if self._started is None:
            yield
            return
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds, self._started = self.seconds, None
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            self._started = time.perf_counter()
