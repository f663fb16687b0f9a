"""Two processes under DDP and FSDP2 give the penalty and the gradient of one."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from two_processes import run_twice


@pytest.mark.slow
@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch without gloo")
def test_two_processes_are_one():
    """Values, gradients and three steps, before and after the forward pass, every=1 and 2."""
    assert "same in 2 processes" in run_twice("distributed_worker.py")
