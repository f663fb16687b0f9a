"""Two processes under DDP give the Jacobian penalty, its gradient and its averages of one."""

from __future__ import annotations

import pytest
import torch.distributed as dist
from two_processes import run_twice


@pytest.mark.slow
@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch without gloo")
def test_two_processes_are_one():
    assert "same in 2 processes" in run_twice("jacobian_worker.py")
