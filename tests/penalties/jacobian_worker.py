"""Run by torchrun: the Jacobian penalty of a model under DDP against that of one process."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import overt
from overt.penalties import JacobianPenalty

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


def main() -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 300, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, OUTPUTS, generator=generator, dtype=torch.float64)
    mine = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    for options in (
        {"basis": "fourier"},
        {"basis": "identity", "normalized": True},
        {"basis": "eigen"},
        {"basis": "eigen", "every": 2},
    ):
        found = []
        for alone in (True, False):
            model = overt.DeepLinear((300, 5, OUTPUTS), scale=1.0, seed=0, dtype=torch.float64)
            net = model if alone else DistributedDataParallel(model)
            penalty = JacobianPenalty(net, p=1.0, weight=0.1, **options)
            found.append(steps(net, penalty, *((x, y) if alone else (x[mine], y[mine]))))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    if rank == 0:
        print("same in", size, "processes")
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
