"""The exact measure against dense oracles: torch's Jacobians and finite differences; its invariances."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measured_models import Attention, cnn, dense_jacobians, dense_measure, drawn, gaussian, mlp, orthogonal
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from overt.linalg import make_basis
from overt.measures import measure
from overt.measures.methods.exact import row_limit

MODELS = {
    "mlp": (mlp(), gaussian(5, 6, seed=1)),
    "cnn": (cnn(), gaussian(4, 2, 8, 8, seed=1)),
    "attention": (drawn(Attention()), gaussian(4, 3, 4, seed=1)),
}


@pytest.mark.parametrize("name", MODELS)
def test_eigenvalues_are_those_of_the_dense_matrix(name):
    model, x = MODELS[name]
    expected = torch.linalg.eigvalsh(dense_measure(model, x)).flip(0).clamp_min(0)
    found = measure(model, x)
    assert torch.allclose(
        found.values.square(), expected[: len(found.values)], rtol=0, atol=1e-13 * expected[0]
    )
    assert torch.allclose(found.factor.T @ found.factor, dense_measure(model, x), atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("basis", ["identity", "fourier", "dct", "matrix"])
def test_a_basis_gives_the_diagonal_of_the_dense_matrix(name, basis):
    model, x = MODELS[name]
    size = x[0].numel()
    basis = orthogonal(size) if basis == "matrix" else basis
    U = make_basis(basis, x.shape[1:]).analyse(torch.eye(size, dtype=x.dtype).reshape(size, *x.shape[1:]))
    U = U.reshape(size, size).T
    expected = (U @ dense_measure(model, x).to(U.dtype) @ U.mH).diagonal().real.sqrt()
    found = measure(model, x, basis)
    assert torch.allclose(found.values, expected, rtol=1e-11)


def test_jacobians_agree_with_finite_differences_of_the_model():
    model, x = MODELS["cnn"]
    model.eval()
    h, D = 1e-5, x[0].numel()
    steps = h * torch.eye(D, dtype=x.dtype).reshape(D, *x.shape[1:])
    with torch.no_grad():
        columns = [(model(x + step) - model(x - step)) / (2 * h) for step in steps]
    J = torch.stack(columns, 2)
    expected = J.square().sum(1).mean(0).sqrt()
    assert torch.allclose(measure(model, x, "identity").values, expected, rtol=1e-7)
    sigma = torch.linalg.svdvals(J.flatten(0, 1)) / len(x) ** 0.5
    found = measure(model, x).values
    assert torch.allclose(found, sigma[: len(found)], rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@given(log_scale=st.floats(-8, 8), seed=st.integers(0, 1000))
def test_scaling_the_outputs_scales_the_values_and_nothing_else(log_scale, seed):
    model, x = mlp(seed=seed), gaussian(3, 6, seed=seed)
    scale = 10.0**log_scale
    for basis in ("eigen", "fourier"):
        plain = measure(model, x, basis)
        scaled = measure(model, x, basis, outputs=lambda y: scale * y)
        assert torch.allclose(scaled.values, scale * plain.values, rtol=1e-10, atol=1e-14 * scale)
        for name in ("effective_rank", "normalized_nuclear_norm", "participation_ratio", "stable_rank"):
            assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)
    plain, scaled = measure(model, x), measure(model, x, outputs=lambda y: scale * y)
    assert scaled.alignment("fourier") == pytest.approx(plain.alignment("fourier"), rel=1e-9)


@pytest.mark.slow
@given(seed=st.integers(0, 1000))
def test_an_orthogonal_change_of_the_inputs_leaves_the_eigen_spectrum(seed):
    model, x = mlp(seed=seed), gaussian(3, 6, seed=seed)
    Q = orthogonal(6, seed=seed)
    plain = measure(model, x)
    turned = measure(lambda z: model(z @ Q.T), x @ Q)
    assert torch.allclose(turned.values, plain.values, rtol=1e-9, atol=1e-13)
    # The identity basis is not invariant: it sees the turn as the basis Q.
    there = measure(lambda z: model(z @ Q.T), x @ Q, "identity").values
    assert torch.allclose(there, measure(model, x, Q.T.contiguous()).values, rtol=1e-9)


def test_chunks_and_batches_change_nothing():
    model, x = MODELS["cnn"]
    whole = measure(model, x, "fourier")
    for inputs in (x, list(x.split(1)), [(x[:3], torch.zeros(3)), (x[3:], torch.zeros(1))]):
        parts = measure(model, inputs, "fourier", memory_budget=1)
        assert torch.allclose(parts.values, whole.values, rtol=1e-12)
        assert torch.allclose(parts.stderr, whole.stderr, rtol=1e-9)
        assert parts.n_samples == 4
    assert measure(model, list(x.split(3)), "fourier", max_samples=2).n_samples == 2
    assert torch.equal(measure(model, x, max_samples=2).values, measure(model, x[:2]).values)


def test_a_long_stream_of_rows_is_compressed_without_loss():
    model, x = mlp(n_in=3, n_out=2), gaussian(600, 3)
    small = measure(model, list(x.split(10)), memory_budget=2000)
    assert torch.allclose(small.values, measure(model, x).values, rtol=1e-12)


def test_exact_eigenvalues_that_do_not_fit_are_refused():
    model, x = MODELS["cnn"]
    with pytest.raises(ValueError, match=r"memory_budget: .*method='sketch'"):
        measure(model, x, memory_budget=5000)


def test_no_more_rows_are_kept_than_the_largest_square_matrix_has(monkeypatch):
    assert row_limit(10_092, torch.float32, 2**31) == 10_000
    assert row_limit(9_999, torch.float32, 2**40) == 8 * 9_999
    monkeypatch.setattr("overt.measures.methods.exact.LARGEST_SQUARE", 100)
    model, _ = MODELS["cnn"]  # 128 entries, 4 outputs
    inputs = gaussian(26, 2, 8, 8)
    assert len(measure(model, inputs[:25]).values) == 100
    with pytest.raises(ValueError, match="outputs × inputs make 104 rows of 128 entries or more"):
        measure(model, inputs)


class Doubled(torch.autograd.Function):
    backward_passes = 0

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        Doubled.backward_passes += 1
        return 2 * gradient


def test_what_cannot_fit_is_refused_before_the_passes_that_it_would_take():
    x = torch.ones(1, 12_000)
    with pytest.raises(ValueError, match=r"12000 rows of 12000 entries or more.* room for 10000; use"):
        measure(Doubled.apply, x, memory_budget=2**31)
    assert Doubled.backward_passes < 10
    several = [torch.ones(2, 12_000), torch.ones(2, 12_000)]  # the second does not fit any more
    with pytest.raises(ValueError, match="make 4 rows of 12000 entries or more"):
        measure(lambda z: Doubled.apply(z)[:, :1], several, memory_budget=3 * 2 * 4 * 12_000)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, torch.Tensor):
                self.numel = max(self.numel, part.untyped_storage().nbytes() // part.element_size())
        return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("basis", "method"),
    [
        ("eigen", "exact"),
        ("eigen", "sketch"),
        ("eigen", "lanczos"),
        ("fourier", "exact"),
        ("fourier", "sketch"),
    ],
)
def test_no_square_matrix_is_formed_for_large_inputs(basis, method):
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=4), nn.Tanh(), nn.AvgPool2d(5), nn.Flatten(), nn.Linear(50, 6)
    )
    model, x = drawn(model, dtype=torch.float32), gaussian(6, 1, 101, 101, dtype=torch.float32)
    with Largest() as largest:
        measure(model, x, basis, method, probes=4, k=2, tolerance=1e-2)
    assert x[0].numel() > 10_000
    assert x.numel() <= largest.numel <= 100 * x[0].numel()


def test_many_outputs_are_taken_by_forward_mode_and_agree():
    model = nn.Sequential(drawn(nn.Linear(3, 5)), nn.Tanh(), drawn(nn.Linear(5, 40)))
    x = gaussian(4, 3)
    M = dense_measure(model, x)
    assert torch.allclose(measure(model, x, "identity").values, M.diagonal().sqrt(), rtol=1e-11)
    expected = torch.linalg.eigvalsh(M).flip(0).sqrt()
    assert torch.allclose(measure(model, x).values, expected, rtol=1e-10)


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].cos()


def test_operations_without_forward_mode_fall_back_on_rows():
    layer = drawn(nn.Linear(3, 40))
    x = gaussian(4, 3)
    found = measure(lambda z: NoForwardMode.apply(layer(z)), x, "identity").values
    assert torch.allclose(found, measure(lambda z: layer(z).sin(), x, "identity").values, rtol=1e-12)


def test_standard_errors_of_the_exact_diagonal_are_those_of_a_mean():
    model, x = MODELS["mlp"]
    found = measure(model, x, "identity")
    each = dense_jacobians(model, x).square().sum(1)
    expected = each.std(0) / len(x) ** 0.5 / (2 * each.mean(0).sqrt())
    assert torch.allclose(found.stderr, expected, rtol=1e-10)
    assert found.covers == "data"
    assert measure(model, x[:1], "identity").stderr is None
    assert measure(model, x, "identity", errors_over="probes").stderr is None
