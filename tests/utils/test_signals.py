"""A closed terminal ends a command as Ctrl-C does, unless the command was told to outlive it."""

from __future__ import annotations

import os
import signal

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
