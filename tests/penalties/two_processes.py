"""Running a script of this folder in two processes, and what it does in each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist


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


def in_each_process(work: Callable[[int, int], None]) -> None:
    """Call ``work(rank, size)`` among the processes of torchrun, say that all went well, and end."""
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    work(rank, size)
    if rank == 0:
        print("same in", size, "processes")
    dist.barrier()
    dist.destroy_process_group()
    # Torch's threads may abort the process while it tears itself down, now and then; all was checked by now.
    sys.stdout.flush()
    os._exit(0)
