"""Running a script of this folder in two processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_twice(script: str) -> str:
    """What the script prints under torchrun with two processes; it must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    found = subprocess.run(
        [*command, str(Path(__file__).with_name(script))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    return found.stdout
