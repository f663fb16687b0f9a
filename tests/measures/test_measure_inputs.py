"""What can be measured, how the model is left behind, and what is refused in words."""

from __future__ import annotations

import pytest
import torch
from measured_models import Attention, cnn, dense_measure, drawn, gaussian, mlp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from overt.measures import measure


def test_a_loader_of_pairs_gives_what_its_tensor_gives():
    model, x = cnn(), gaussian(5, 2, 8, 8)
    loader = DataLoader(TensorDataset(x, torch.arange(5)), batch_size=2)
    for basis in ("eigen", "fourier"):
        assert torch.allclose(
            measure(model, loader, basis).values, measure(model, x, basis).values, atol=1e-13
        )
    generator = (batch for batch in x.split(2))
    assert measure(model, generator, "fourier").n_samples == 5
    with pytest.raises(ValueError, match="used up"):
        measure(model, generator, "fourier")


@pytest.mark.parametrize("method", ["exact", "sketch", "lanczos"])
def test_the_model_is_left_as_it_was(method):
    model, x = cnn(classes=30), gaussian(4, 2, 8, 8)
    model.train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    model[6].weight.grad = torch.ones_like(model[6].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x.requires_grad_()
    state = torch.random.get_rng_state()
    options = {"k": 2} if method == "lanczos" else {}
    measure(model, x, method=method, probes=2, **options)
    assert [m.training for m in model.modules()] == [True, True, True, True, False, True, True, True]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model[0].weight.requires_grad
    assert model[1].weight.requires_grad
    assert torch.equal(model[6].weight.grad, torch.ones_like(model[6].weight))
    assert [p.grad is None for p in model.parameters()].count(False) == 1
    assert x.grad is None


def test_the_model_is_left_as_it_was_after_a_failure():
    model = cnn()
    model.train()
    with pytest.raises(ValueError, match="forward pass fails"):
        measure(model, gaussian(4, 3, 8, 8))
    assert all(m.training for m in model.modules())


def test_ambient_modes_make_no_difference():
    model, x = mlp(dtype=torch.float32), gaussian(4, 6, dtype=torch.float32)
    plain = measure(model, x)
    with torch.no_grad():
        assert torch.equal(measure(model, x).values, plain.values)
    with torch.inference_mode():
        assert torch.equal(measure(model, x.clone()).values, plain.values)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(measure(model, x).values, plain.values)


def test_half_precision_is_summed_in_float32():
    model, x = mlp(dtype=torch.bfloat16), gaussian(4, 6, dtype=torch.bfloat16)
    expected = measure(mlp(dtype=torch.float32), x.float())
    found = measure(model, x)
    assert found.values.dtype == torch.float32
    assert torch.allclose(found.values, expected.values, rtol=0, atol=0.02 * expected.values[0].item())
    assert torch.allclose(
        measure(model, x, "fourier").values, measure(model, x.float().bfloat16(), "fourier").values
    )


@pytest.mark.slow
def test_compiled_models_are_measured_without_compilation():
    model, x = mlp(dtype=torch.float32), gaussian(4, 6, dtype=torch.float32)
    expected = measure(model, x)
    compiled = torch.compile(model, backend="eager")
    compiled(x)
    assert torch.equal(measure(compiled, x).values, expected.values)
    function = torch.compile(lambda z: model(z), backend="eager")
    assert torch.equal(measure(function, x).values, expected.values)
    inner = nn.Sequential(model)
    model.compile(backend="eager")
    assert torch.equal(measure(inner, x).values, expected.values)


@pytest.mark.parametrize("method", ["exact", "sketch", "lanczos"])
def test_fused_attention(method):
    model, x = drawn(Attention()), gaussian(4, 3, 4)
    expected = torch.linalg.eigvalsh(dense_measure(model, x)).flip(0).clamp_min(0).sqrt()
    found = measure(model, x, method=method, k=3, probes=8, errors_over="probes")
    assert torch.allclose(found.values[:3], expected[:3], rtol=1e-5)


def test_batch_statistics_are_refused():
    x = gaussian(4, 2, 8, 8)
    model = cnn()
    model[3].p = 0.0
    with pytest.raises(ValueError, match=r"1 \(BatchNorm2d\) is in training mode"):
        measure(model, x, train=True)
    model[1].eval()
    assert torch.allclose(measure(model, x, train=True).values, measure(model, x).values)
    untracked = drawn(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="depends on the other inputs of its batch"):
        measure(untracked, gaussian(4, 3))
    with pytest.raises(ValueError, match="depends on the other inputs"):
        measure(lambda z: z - z.mean(0), gaussian(4, 3))
    # A recurrent network that takes time first depends on earlier inputs only.
    recurrent = nn.LSTM(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="a batch dimension that is not the first one"):
        measure(recurrent, gaussian(5, 4, 3), forward=lambda m, z: m(z)[0])


class Drifting(nn.Module):
    """Each pass differs from the one before; one of the outputs is 0."""

    def __init__(self, step):
        super().__init__()
        self.step, self.passes = step, 0

    def forward(self, x):
        self.passes += 1
        return torch.stack([x.sum(1) * (1 + self.step * self.passes), 0 * x.sum(1)], 1)


def test_randomness_is_refused():
    model = drawn(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)))
    x = gaussian(4, 3)
    assert torch.allclose(measure(model, x).values, measure(model[0], x).values)
    with pytest.raises(ValueError, match=r"1 \(Dropout\) drops entries at random \(p=0.5\)"):
        measure(model, x, train=True)
    attention = nn.MultiheadAttention(4, 2, dropout=0.1, dtype=torch.float64)
    with pytest.raises(ValueError, match="MultiheadAttention"):
        measure(attention, gaussian(2, 3, 4), train=True, forward=lambda m, z: m(z, z, z)[0])
    with pytest.raises(ValueError, match="two passes over the same inputs differ"):
        measure(lambda z: nn.functional.dropout(z, 0.5), gaussian(4, 50))
    measure(Drifting(1e-10), gaussian(4, 3))  # kernels that sum in an order of their own round otherwise
    with pytest.raises(ValueError, match="two passes over the same inputs differ"):
        measure(Drifting(1e-6), gaussian(4, 3))
    counting = nn.InstanceNorm1d(2, track_running_stats=True).double()
    with pytest.raises(ValueError, match="updates its statistics"):
        measure(counting, gaussian(2, 2, 5), train=True)


@pytest.mark.parametrize("train", [True, False])
def test_buffers_that_a_pass_changes_are_put_back(train):
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(3, 2, dtype=torch.float64)
            self.register_buffer("passes", torch.zeros(()))
            self.register_buffer("last", torch.zeros(2, dtype=torch.float64))

        def forward(self, x):
            self.passes += 1
            y = super().forward(x)
            self.last = y[0].detach()
            return y

    model = Counting()
    passes, last = model.passes, model.last
    measure(model, gaussian(4, 3), train=train)
    assert model.passes is passes
    assert model.passes == 0
    assert model.last is last
    assert torch.equal(last, torch.zeros_like(last))


def test_non_finite_jacobians_are_reported():
    x = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    for basis, method in (
        ("eigen", "exact"),
        ("fourier", "exact"),
        ("eigen", "sketch"),
        ("fourier", "sketch"),
    ):
        with pytest.raises(ValueError, match=r"Jacobian of 1 of 3 inputs .*the first is input 2"):
            measure(lambda z: torch.linalg.vector_norm(z, dim=1).sqrt(), x, basis, method)
    with pytest.raises(ValueError, match="outputs are NaN or infinite"):
        measure(lambda z: z / 0, x)


class ReverseOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def test_lanczos_says_when_an_operation_has_no_second_derivative():
    x = gaussian(3, 4)
    with pytest.raises(ValueError, match="use method='sketch'"):
        measure(ReverseOnly.apply, x, method="lanczos")
    assert torch.allclose(measure(ReverseOnly.apply, x, "identity").values, (4 * x.square()).mean(0).sqrt())


def test_outputs_that_ignore_the_input_measure_zero():
    layer = drawn(nn.Linear(3, 2))
    found = measure(lambda z: layer.bias.expand(len(z), 2) + 0 * z[:, :2], gaussian(4, 3))
    assert found.values.abs().max() == 0
    assert found.effective_rank == 0


@pytest.mark.cuda
def test_on_a_gpu():
    model, x = cnn(classes=30, dtype=torch.float32).cuda(), gaussian(4, 2, 8, 8, dtype=torch.float32)
    here = cnn(classes=30, dtype=torch.float32)
    for basis, method in (
        ("eigen", "exact"),
        ("fourier", "exact"),
        ("fourier", "sketch"),
        ("eigen", "lanczos"),
    ):
        found = measure(model, x, basis, method, k=3, memory_budget=10**8)
        assert found.values.is_cuda
        expected = measure(here, x, basis, method, k=3, memory_budget=10**8).values
        assert torch.allclose(found.values.cpu(), expected, rtol=1e-3, atol=1e-4)
