"""A live line in the terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overt.training.state import State

__all__ = ["LiveLine"]

_SECONDS_BETWEEN = 0.25


class LiveLine:
    """Step, loss and effective rank in one line on stderr, rewritten in place; nothing if not `enabled`."""

    def __init__(self, enabled: bool, max_steps: int) -> None:
        self._live: Any = None
        self._max_steps = max_steps
        self._last = -float("inf")
        if enabled:
            # Imported here: most runs show nothing, and rich takes a tenth of a second.
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)

    def __enter__(self) -> LiveLine:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def due(self) -> bool:
        """Whether it is time to show something again."""
        return self._live is not None and time.monotonic() - self._last >= _SECONDS_BETWEEN

    def show(self, state: State) -> None:
        """Rewrite the line."""
        if self._live is None:
            return
        self._last = time.monotonic()
        self._live.update(line_of(state, self._max_steps), refresh=True)


def line_of(state: State, max_steps: int) -> str:
    """The text of the line."""
    if state.W.ndim == 2:
        shape = f"effective rank {state.effective_rank():.2f}"
    else:
        shape = f"nonzeros {state.nonzeros()}"
    return f"step {state.step}/{max_steps}  loss {state.loss:.3e}  {shape}  {state.seconds:.1f} s"
