"""A SpectralDecay in two processes under DDP and FSDP2 takes the steps of one."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from two_processes import run_twice


@pytest.mark.slow
@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch without gloo")
def test_two_processes_step_as_one():
    """Five steps of Adam inside, every=1 and 3, experts of different lengths, distributed checkpoints."""
    assert "same in 2 processes" in run_twice("decay_worker.py")
