"""Run by torchrun: the penalty of a model under DDP and FSDP2 against that of one process."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from two_processes import in_each_process

from overt.measures import weight_spectra
from overt.models import DeepLinear
from overt.penalties import SpectralPenalty
from overt.training import HoldReleaseRefit

BATCH = 8


def model() -> nn.Sequential:
    torch.manual_seed(0)
    # An odd number of rows, so that the shards differ in size; two equal shapes; a convolution.
    return nn.Sequential(
        nn.Conv1d(2, 3, 3, padding=1),
        nn.Flatten(),
        nn.Linear(12, 7),
        nn.Tanh(),
        nn.Linear(7, 7),
        nn.Tanh(),
        nn.Linear(7, 7),
    ).double()


def penalty_of(net: nn.Module, every: int) -> SpectralPenalty:
    return SpectralPenalty(
        net, weight=0.3, every=every, norm_cap=1.5, norm_floor=0.1, layer_weights={"4": 2.0}
    )


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def steps(net, penalty, x, y, *, penalty_first=False):
    """Values and final parameters of three steps of gradient descent, with the order of the terms."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    values, gradients = [], []
    for _ in range(3):
        optimizer.zero_grad()
        before = penalty.penalty() if penalty_first else None
        loss = (net(x) - y).square().mean()
        term = penalty.penalty() if before is None else before
        (loss + term).backward()
        values.append(whole(term.detach()))
        gradients.append([whole(p.grad).clone() for p in net.parameters()])
        optimizer.step()
    return values, gradients, [whole(p.detach()).clone() for p in net.parameters()]


def same(found, expected):
    for a, b in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        [*itertools.chain(*found[1]), *found[2]], [*itertools.chain(*expected[1]), *expected[2]], strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7, bias=False), nn.Linear(7, 3, bias=False)).double()


def deep() -> DeepLinear:
    return DeepLinear((6, 7, 3), scale=1.0, seed=0, dtype=torch.float64)


def parametrized() -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(6, 7)), nn.Tanh(), norm(nn.Linear(7, 3))).double()


class Product(nn.Module):
    """A model with an end-to-end matrix of its own making."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = chain()

    def forward(self, x):
        return self.chain(x)

    def product(self):
        return self.chain[1].weight @ self.chain[0].weight


def check_product_and_release(mesh) -> None:
    """End-to-end and parametrized matrices of shards, a weight of 0, and a refit, which needs them whole."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, 3, generator=generator, dtype=torch.float64)
    for make, of in ((chain, "product"), (Product, "product"), (deep, "product"), (parametrized, "weights")):
        for every, first in ((1, True), (2, True), (2, False)):
            found = []
            for net in (make(), fully_shard(make(), mesh=mesh)):
                penalty = SpectralPenalty(net, of=of, weight=0.3, every=every)
                found.append(steps(net, penalty, x, y, penalty_first=first))
            same(found[1], found[0])
    net = fully_shard(chain(), mesh=mesh)
    released = SpectralPenalty(net, weight=0.0).penalty()
    ((net(x) - y).square().mean() + released).backward()
    assert not hasattr(released, "full_tensor")
    try:
        HoldReleaseRefit(SpectralPenalty(net), torch.optim.SGD(net.parameters(), lr=0.1))
    except ValueError as error:
        message = str(error)
    assert "FSDP2" in message


class Experts(nn.Module):
    """A batch of three matrices, which two processes cannot share evenly, and a kernel with groups."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 4, 6))
        self.conv = nn.Conv1d(6, 6, 3, groups=3)

    def forward(self, x):
        return self.conv(x).sum() + self.up.sum()


def experts() -> Experts:
    torch.manual_seed(0)
    return Experts().double()


def check_experts(mesh) -> None:
    """Measured and penalized as in one process; directions serve before and after the backward pass."""
    alone, net = experts(), fully_shard(experts(), mesh=mesh)
    for name, spectrum in weight_spectra(alone).items():
        torch.testing.assert_close(weight_spectra(net)[name].values, spectrum.values)
    expected = SpectralPenalty(alone, weight=1.0).penalty()
    expected.backward()
    penalty = SpectralPenalty(net, weight=1.0, every=4)
    loss = net(torch.ones(2, 6, 5, dtype=torch.float64))
    gathered = penalty.penalty()  # the root keeps its parameters whole until the backward pass
    (gathered + 0 * loss).backward()
    for p, truth in zip(net.parameters(), alone.parameters(), strict=True):
        if truth.grad is not None:
            torch.testing.assert_close(whole(p.grad), truth.grad)
    restored = SpectralPenalty(net, weight=1.0, every=4)
    restored.load_state_dict(penalty.state_dict())
    net(torch.ones(2, 6, 5, dtype=torch.float64))
    for value in (gathered, restored.penalty()):
        torch.testing.assert_close(value, expected)
    net.reshard()
    torch.testing.assert_close(penalty.penalty(), expected)


def main(rank: int, size: int) -> None:
    mesh = init_device_mesh("cpu", (size,))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 2, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(BATCH, 7, generator=generator, dtype=torch.float64)
    mine = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    for every in (1, 2):
        for first in (False, True):
            net = model()
            expected = steps(net, penalty_of(net, every), x, y, penalty_first=first)
            net = DistributedDataParallel(model())
            same(steps(net, penalty_of(net, every), x[mine], y[mine], penalty_first=first), expected)
            # Sharded layer by layer, and as a whole.
            for layers in (True, False):
                net = model()
                for layer in net if layers else ():
                    if list(layer.parameters()):
                        fully_shard(layer, mesh=mesh)
                fully_shard(net, mesh=mesh, reshard_after_forward=True)
                found = steps(net, penalty_of(net, every), x[mine], y[mine], penalty_first=first)
                same(found, expected)
    check_product_and_release(mesh)
    check_experts(mesh)


if __name__ == "__main__":
    in_each_process(main)
