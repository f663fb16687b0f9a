"""A live line in the terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["Line", "line_of"]


class Line:
    """One line on stderr, rewritten in place; started when first shown."""

    def __init__(self) -> None:
        self._live: Any = None
        self._text: Any = None

    def show(self, text: str) -> None:
        """Rewrite the line."""
        if self._live is None:
            # Imported here: most runs show nothing, and rich takes a tenth of a second.
            from rich.console import Console
            from rich.live import Live
            from rich.text import Text

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
            self._live.start()
            self._text = Text
        self._live.update(self._text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def line_of(row: dict[str, Any], share: float) -> str:
    """The text of the line: step, loss, effective rank of the first few spectra, share of recording."""
    parts = [f"step {row['step']}"]
    if isinstance(row.get("loss"), float):
        parts.append(f"loss {row['loss']:.3e}")
    ranks = [
        f"{name} {entry['effective_rank']:.2f}"
        for name, entry in row["spectra"].items()
        if isinstance(entry, dict) and isinstance(entry.get("effective_rank"), float)
    ]
    if ranks:
        more = f" (+{len(ranks) - 3})" if len(ranks) > 3 else ""
        parts.append(f"effective rank {', '.join(ranks[:3])}{more}")
    parts.append(f"{row['seconds']:.1f} s, recording {100 * share:.1f} %")
    return "  ".join(parts)
