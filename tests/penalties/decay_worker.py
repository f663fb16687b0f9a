"""Run by torchrun: steps of a SpectralDecay under DDP and FSDP2 against those of one process."""

from __future__ import annotations

import torch
from distributed_worker import Experts, model, whole
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from two_processes import in_each_process

from overt.optim import SpectralDecay

BATCH, STEPS = 8, 5


def decay_of(net: nn.Module, every: int, **settings: object) -> SpectralDecay:
    inner = torch.optim.Adam(net.parameters(), lr=1e-2)
    return SpectralDecay(inner, net, length=0.05, every=every, **settings)


def steps(net, decay, x, y):
    for _ in range(STEPS):
        decay.zero_grad()
        (net(x) - y).square().mean().backward()
        decay.step()
    return [whole(p.detach()).clone() for p in net.parameters()]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def sharded(net: nn.Module, mesh: object) -> nn.Module:
    for layer in net:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def experts(mesh: object | None, **settings: object) -> list[torch.Tensor]:
    """A batch of matrices of different lengths of step, and a kernel with groups."""
    torch.manual_seed(0)
    net = Experts().double()
    if mesh is not None:
        net = fully_shard(net, mesh=mesh)
    decay = decay_of(net, 2, **settings)
    for _ in range(STEPS):
        decay.zero_grad()
        net(torch.ones(2, 6, 5, dtype=torch.float64)).sum().backward()
        decay.step()
    return [whole(p.detach()).clone() for p in net.parameters()]


def main(rank: int, size: int) -> None:
    mesh = init_device_mesh("cpu", (size,))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 2, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, 7, generator=generator, dtype=torch.float64)
    mine = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    for every in (1, 3):
        net = model()
        expected = steps(net, decay_of(net, every), x, y)
        net = DistributedDataParallel(model())
        same(steps(net, decay_of(net, every), x[mine], y[mine]), expected)
        net = sharded(model(), mesh)
        decay = decay_of(net, every)
        same(steps(net, decay, x[mine], y[mine]), expected)
        # Distributed checkpoints hold what all optimizers have; its zero steps must not move anything.
        stored = get_optimizer_state_dict(net, decay)
        other = sharded(model(), mesh)
        before = [whole(p.detach()).clone() for p in other.parameters()]
        taken = decay_of(other, every)
        set_optimizer_state_dict(other, taken, stored)
        same([whole(p.detach()) for p in other.parameters()], before)
        assert len(taken.state) == len(decay.state)
    for settings in ({}, {"layer_weights": {"up[1]": 0.5, "up[2]": 0.0}}):
        same(experts(mesh, **settings), experts(None, **settings))


if __name__ == "__main__":
    in_each_process(main)
