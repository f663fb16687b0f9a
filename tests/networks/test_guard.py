"""Looking at a model leaves its buffers as they were, also where a pass makes or resizes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.networks.guard import untouched


class Growing(nn.Module):
    """Its passes fill a buffer that was None, resize one and replace one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.register_buffer("cache", torch.arange(2.0))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean = x.mean(0)
        self.cache.resize_(5).fill_(1)
        self.count = self.count + 1
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_that_a_pass_makes_or_resizes_are_put_back(fails):
    model = Growing()
    cache, count = model.cache, model.count
    try:
        with untouched(model):
            model(torch.ones(3, 2))
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert model.mean is None
    assert model.cache is cache
    assert cache.tolist() == [0.0, 1.0]
    assert model.count is count
    assert count.item() == 0
    assert model.training
