"""The front door: ``overt list``, ``overt run``, ``overt report``, ``overt complete``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence

import click

from overt.cli.commands import front_door
from overt.cli.terminal import echo

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    The exit code is 0 where all went well, 1 where runs failed or a report lacks something (a figure that
    cannot be drawn, a damaged run), 2 for anything that one line explains (``overt: error: …`` on standard
    error), and 128 + the signal's number after an interruption.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a stream that a caller put in place
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    before, sys.unraisablehook = sys.unraisablehook, _end_if_interrupted
    try:
        code = _run(arguments)
    finally:
        sys.unraisablehook = before
    sys.exit(code)


def _end_if_interrupted(unraisable: sys.UnraisableHookArgs) -> None:
    """End the process where a signal came while an object was cleared away, which would swallow it."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    signum = getattr(unraisable.exc_value, "signum", signal.SIGINT)
    echo(f"overt: stopped by {signal.Signals(signum).name}; what is stored is whole", err=True)
    os._exit(128 + signum)


def _run(arguments: Sequence[str] | None) -> int:
    from overt._utils.errors import OvertError

    try:
        given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
        command = shlex.join(["overt", *given])
        code = front_door.main(args=given, prog_name="overt", standalone_mode=False, obj=command)
        sys.stdout.flush()
    except click.ClickException as error:
        return _fail(error.format_message())
    except OvertError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Whoever read the output has had enough, as with ``overt list | head``.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (KeyboardInterrupt, click.Abort):
        return 130
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    line = " ".join(message.split())
    echo(f"overt: error: {line}", err=True)
    return 2
