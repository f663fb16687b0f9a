"""Looking at a model leaves its buffers as they were, also where a pass makes or resizes them."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from overt.networks.guard import evaluated, measuring, untouched


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


def dropping() -> nn.Module:
    """Layers of both modes, one frozen, with buffers of each kind."""
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.5)), nn.Linear(3, 2))
    model[3].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones(3, 3)
    model[1].running_var[0] = torch.nan
    return model


def test_a_model_and_all_random_generators_are_as_they_were():
    import numpy as np

    model, x = dropping(), torch.ones(4, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [p.grad for p in model.parameters()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16), untouched(model):
        assert not any(module.training for module in model.modules())
        assert all(p.grad is None for p in model.parameters())
        torch.rand(1), np.random.rand(1), random.random()  # noqa: NPY002
        y = model.train()(x)
        assert (y.dtype, y.requires_grad) == (torch.float32, True)
        y.sum().backward()
        model.requires_grad_(False)
    assert [module.training for module in model.modules()] == [True, True, True, True, True, False]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]
    assert all(p.grad is grad for p, grad in zip(model.parameters(), grads, strict=True))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_no_buffer_is_written():
    """What a graph has saved stays valid."""
    model = dropping()
    versions = [buffer._version for buffer in model.buffers()]
    with untouched(model):
        model(torch.ones(4, 3))
    assert [buffer._version for buffer in model.buffers()] == versions
    with untouched(model, "as is"):
        model(torch.ones(4, 3))
        assert model[1].num_batches_tracked == 1
    assert [buffer._version for buffer in model.buffers()] == versions
    assert model[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("mode", "training"), [("eval", [False] * 6), ("train", [True] * 6), ("as is", None)]
)
def test_the_mode_of_the_model_inside(mode, training):
    model = dropping()
    before = [module.training for module in model.modules()]
    with untouched(model, mode):
        assert [module.training for module in model.modules()] == (before if training is None else training)
    with evaluated(model[2], model[1]):
        assert [module.training for module in model.modules()] == [True, True, False, False, False, False]
    assert [module.training for module in model.modules()] == before


def test_a_changed_parameter_is_an_error():
    model = dropping()
    with pytest.raises(RuntimeError, match="a parameter of the model was changed"), untouched(model):
        nn.init.zeros_(model[3].bias)
    with untouched(model):
        pass


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        (nn.BatchNorm2d(2), "depends on all inputs of the batch"),
        (nn.InstanceNorm1d(2, track_running_stats=True), "updates its statistics"),
        (nn.InstanceNorm1d(2), None),
        (nn.Dropout1d(0.25), r"drops entries at random \(p=0\.25\)"),
        (nn.Dropout(0.0), None),
        (nn.LSTM(2, 2, 2, dropout=0.1), r"drops entries at random \(p=0\.1\)"),
        (nn.LSTM(2, 2), None),
        (nn.MultiheadAttention(2, 1, dropout=0.2), "drops entries at random"),
        (nn.Linear(2, 2), None),
    ],
)
def test_layers_that_mix_or_draw_are_refused_in_training_mode_alone(layer, refused):
    model = nn.Sequential(nn.Linear(2, 2).eval(), layer)
    if refused:
        words = rf"model: 1 \({type(layer).__name__}\) .*{refused}"
        with pytest.raises(ValueError, match=words), measuring(model, train=True):
            pass
    else:
        with measuring(model, train=True):
            assert layer.training
            assert not model[0].training
    with measuring(model):
        # cuDNN differentiates recurrent layers in training mode only; without dropout it is the same map.
        recurrent = isinstance(layer, nn.RNNBase)
        assert (layer.training, getattr(layer, "dropout", 0.0) if recurrent else 0.0) == (recurrent, 0.0)
    with measuring(model.eval(), train=True), measuring(lambda x: x, train=True):
        assert not layer.training
