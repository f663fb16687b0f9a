"""Run by torchrun: the Jacobian penalty of a model under DDP against that of one process; FSDP is refused."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from two_processes import in_each_process

import overt
from overt.penalties import CompositionPenalty, JacobianPenalty

OUTPUTS, BATCH = 3, 12  # each half of the batch is a whole number of blocks of orthogonal probes


def steps(model, penalty, x, y):
    """Values, gradients and averages of four steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    found = []
    for _ in range(4):
        optimizer.zero_grad()
        term = penalty.penalty(x)
        ((model(x) - y).square().mean() + term).backward()
        found += [term.detach(), *(p.grad.clone() for p in model.parameters()), penalty.spectrum()]
        optimizer.step()
    return found


def uneven(x, rank):
    """Batches of different sizes are averaged over all inputs, and looking asks no other process."""
    part = x[:3] if rank == 0 else x[3:]
    for basis in ("fourier", "eigen"):
        model = overt.DeepLinear((300, 5, OUTPUTS), scale=1.0, seed=0, dtype=torch.float64)
        penalty = JacobianPenalty(model, p=1.0, basis=basis, weight=0.1)
        value = penalty.penalty(part)
        assert int(penalty.moments.updates) == 1
        trace = model.product().detach().square().sum()
        torch.testing.assert_close(penalty.moments.trace(), trace, rtol=1e-9, atol=0)
        values = [torch.empty_like(value) for _ in range(2)]
        dist.all_gather(values, value.detach())
        torch.testing.assert_close(*values, rtol=1e-9, atol=0)
        if rank == 0:
            penalty.report(part)
            with torch.no_grad():
                penalty.penalty(part)


def sharded(x, size):
    """FSDP is refused in words."""
    for reshard in (True, False):
        model = nn.Sequential(nn.Linear(300, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        fully_shard(model, mesh=init_device_mesh("cpu", (size,)), reshard_after_forward=reshard)
        for penalty in (JacobianPenalty(model), CompositionPenalty([model, nn.Identity()])):
            with pytest.raises(ValueError, match="sharded by FSDP"):
                penalty.penalty(x)


def main(rank: int, size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 300, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, OUTPUTS, generator=generator, dtype=torch.float64)
    mine = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    for options in (
        {"basis": "fourier"},
        {"basis": "identity", "normalized": True},
        {"basis": "eigen"},
        {"basis": "eigen", "every": 2},
        {"basis": "identity", "scaling": "std"},
    ):
        found = []
        for alone in (True, False):
            model = overt.DeepLinear((300, 5, OUTPUTS), scale=1.0, seed=0, dtype=torch.float64)
            net = model if alone else DistributedDataParallel(model)
            penalty = JacobianPenalty(net, p=1.0, weight=0.1, **options)
            found.append(steps(net, penalty, *((x, y) if alone else (x[mine], y[mine]))))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    uneven(x, rank)
    sharded(x, size)


if __name__ == "__main__":
    in_each_process(main)
