"""The one way from a command to the terminal: text that came from outside is shown there, never obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from overt._utils.console import printable

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["echo", "shown"]


def echo(*lines: str, err: bool = False) -> None:
    """Print lines, by default on standard output."""
    for line in lines:
        click.echo(printable(line), err=err)


def shown(*lines: str, style: str = "") -> Text:
    """Return lines for a table."""
    from rich.text import Text  # it takes a tenth of a second, which help and version need not wait for

    return Text("\n".join(map(printable, lines)), style=style)
