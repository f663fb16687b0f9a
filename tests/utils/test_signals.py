"""A closed terminal ends a command as Ctrl-C does, unless the command was told to outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from overt._utils.signals import Interrupted, Interrupts

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN])
def before(request):
    kept = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, kept)


def test_a_hangup_interrupts_unless_it_is_ignored(before):
    interrupted = None
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    except Interrupted as stop:
        interrupted = stop.signum
    assert interrupted == (None if before == signal.SIG_IGN else signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == before


CLEARED = """
from overt.cli import main
from overt.cli.commands import front_door

class Cleared:
    def __del__(self):
        raise KeyboardInterrupt

def command(**_):
    Cleared()
    print("goes on")

front_door.main = command
main(["list"])
"""


@pytest.mark.slow
def test_a_signal_that_comes_while_an_object_is_cleared_away_ends_the_command():
    done = subprocess.run([sys.executable, "-c", CLEARED], capture_output=True, text=True, timeout=100)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "overt: stopped by SIGINT; what is stored is whole\n"
