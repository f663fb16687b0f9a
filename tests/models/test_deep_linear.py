"""DeepLinear: what each initialization promises, products against a dense oracle, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.models import DeepLinear

SIZES = [
    (4, 4),
    (5, 3),
    (3, 5),
    (6, 6, 6),
    (5, 9, 4),
    (7, 2, 6),
    (4, 8, 2, 8, 5),
    (1, 1, 1),
    (3, 10, 10, 10, 3),
]
INITS = ["gaussian", "orthogonal", "identity", "balanced"]


def build(sizes, init, scale=0.3, seed=0, **options):
    return DeepLinear(sizes, init=init, scale=scale, seed=seed, dtype=torch.float64, **options)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("sizes", SIZES)
def test_product_is_the_dense_product_and_forward_applies_it(sizes, init):
    model = build(sizes, init)
    oracle = torch.eye(sizes[0], dtype=torch.float64)
    for weight in model.weights:
        oracle = weight @ oracle
    assert model.product().shape == (sizes[-1], sizes[0])
    torch.testing.assert_close(model.product(), oracle, rtol=1e-12, atol=1e-14)
    x = torch.randn(3, 2, sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(x), x @ oracle.T, rtol=1e-12, atol=1e-14)
    assert model.depth == len(sizes) - 1 == len(list(model.parameters()))


@pytest.mark.parametrize("init", INITS)
def test_gradients_reach_every_layer(init):
    model = build((4, 6, 5, 3), init)
    leaves = tuple(w.detach().clone().requires_grad_() for w in model.weights)

    def product(*weights):
        return torch.func.functional_call(
            _Product(model), {f"model.weights.{i}": w for i, w in enumerate(weights)}, ()
        )

    assert torch.autograd.gradcheck(product, leaves)


class _Product(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self):
        return self.model.product()


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(30, 30), (30, 40, 20), (20, 50, 7, 25)])
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 10.0])
@pytest.mark.parametrize("init", ["gaussian", "balanced"])
def test_entries_of_the_product_have_the_promised_standard_deviation(sizes, scale, init):
    entries = torch.stack([build(sizes, init, scale, seed).product().detach() for seed in range(40)]) / scale
    second_moment = entries.square().mean((1, 2))
    stderr = float(second_moment.std()) / math.sqrt(len(second_moment))
    assert float(second_moment.mean()) == pytest.approx(1, abs=4 * stderr)
    assert stderr < 0.1
    assert float(entries.mean()) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("sizes", SIZES)
def test_product_is_a_scaled_partial_isometry(sizes, init):
    scale, rank = 1e-3, min(sizes)
    values = torch.linalg.svdvals(build(sizes, init, scale).product().detach())
    expected = torch.zeros_like(values)
    expected[:rank] = scale
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-16)
    if init == "identity":
        partial = scale * torch.eye(sizes[-1], sizes[0], dtype=torch.float64)
        partial[rank:] = 0
        torch.testing.assert_close(build(sizes, init, scale).product().detach(), partial)


@pytest.mark.parametrize(
    ("sizes", "init"),
    [(sizes, "balanced") for sizes in SIZES] + [((6, 6, 6, 6), "identity"), ((6, 6, 6, 6), "orthogonal")],
)
def test_layers_are_balanced(sizes, init):
    layers = [w.detach() for w in build(sizes, init).weights]
    for lower, upper in itertools.pairwise(layers):
        assert float((upper.T @ upper - lower @ lower.T).abs().max()) < 1e-10


def test_gaussian_layers_are_not_balanced():
    lower, upper = (w.detach() for w in build((6, 6, 6), "gaussian", 1.0).weights)
    assert float((upper.T @ upper - lower @ lower.T).abs().max()) > 0.1


def test_balanced_narrow_hidden_layer_gives_its_rank():
    values = torch.linalg.svdvals(build((7, 2, 6), "balanced").product().detach())
    assert int((values > 1e-12).sum()) == 2


@given(seed=st.integers(0, 2**40), init=st.sampled_from(INITS))
def test_seed_fixes_everything_and_dtype_changes_nothing(seed, init):
    one, two = build((3, 4, 2), init, seed=seed), build((3, 4, 2), init, seed=seed)
    single = DeepLinear((3, 4, 2), init=init, scale=0.3, seed=seed)
    assert single.product().dtype == torch.get_default_dtype()
    for a, b, c in zip(one.weights, two.weights, single.weights, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.float(), c)


def test_different_seeds_differ_and_generators_advance():
    assert not torch.equal(
        build((3, 3), "gaussian", seed=0).product(), build((3, 3), "gaussian", seed=1).product()
    )
    generator = torch.Generator().manual_seed(0)
    first, second = (DeepLinear((3, 3), generator=generator, dtype=torch.float64) for _ in range(2))
    assert not torch.equal(first.product(), second.product())
    assert torch.equal(first.product(), DeepLinear((3, 3), seed=0, dtype=torch.float64).product())


def test_with_neither_the_default_generator_is_used():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = DeepLinear((3, 3)).product()
        torch.manual_seed(3)
        assert torch.equal(first, DeepLinear((3, 3)).product())


def test_a_seed_leaves_the_default_generator_alone():
    before = torch.get_rng_state()
    for init in INITS:
        build((3, 4, 3), init)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_extreme_scales_and_depths_do_not_overflow():
    model = build((50,) * 202, "gaussian", 1e-30)
    assert all(bool(torch.isfinite(w).all()) for w in model.weights)
    assert float(model.weights[0].detach().std()) == pytest.approx(
        math.exp(math.log(1e-30 / 50**100) / 201), rel=0.1
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sizes": (4,)}, ValueError, "sizes must be a tuple of 2 or more integers ≥ 1"),
        ({"sizes": ()}, ValueError, "sizes must be a tuple of 2 or more integers ≥ 1"),
        ({"sizes": (4, 0)}, ValueError, "sizes must be a tuple"),
        ({"sizes": (4, -3, 2)}, ValueError, "sizes must be a tuple"),
        ({"sizes": (4, 2.0)}, TypeError, "sizes must be a tuple"),
        ({"sizes": (4, True)}, TypeError, "sizes must be a tuple"),
        ({"sizes": 4}, TypeError, "sizes must be a tuple"),
        ({"sizes": "44"}, TypeError, "sizes must be a tuple"),
        ({"init": "xavier"}, ValueError, "init must be 'gaussian', .* or 'balanced'"),
        ({"scale": 0.0}, ValueError, "scale"),
        ({"scale": -1.0}, ValueError, "scale"),
        ({"scale": float("nan")}, ValueError, "scale"),
        ({"scale": float("inf")}, ValueError, "scale"),
        ({"scale": "1"}, TypeError, "scale"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
        (
            {"seed": 1, "generator": torch.Generator()},
            ValueError,
            "seed and generator are both given",
        ),
        ({"generator": 3}, TypeError, "generator"),
        ({"dtype": torch.int64}, ValueError, "dtype"),
        ({"dtype": "float64"}, TypeError, "dtype"),
    ],
)
def test_refusals_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        DeepLinear(**{"sizes": (4, 4), **arguments})


def test_state_dict_round_trip():
    one, two = build((3, 4, 2), "gaussian", seed=0), build((3, 4, 2), "gaussian", seed=1)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.product(), two.product())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_equal_cpu_draws():
    cpu, cuda = build((4, 5, 3), "balanced"), build((4, 5, 3), "balanced", device="cuda")
    assert torch.equal(cpu.weights[0], cuda.weights[0].cpu())


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("scale", [1e-50, 1e50])
@pytest.mark.parametrize("sizes", [(4, 4), (4, 4, 4, 4)])
def test_a_scale_beyond_the_dtype_is_refused(init, scale, sizes):
    with pytest.raises(ValueError, match=r"scale: .* is beyond what torch.float32 can hold"):
        DeepLinear(sizes, init=init, scale=scale, seed=0, dtype=torch.float32)
    assert build(sizes, init, scale=scale).product().isfinite().all()


def test_a_draw_beyond_the_dtype_is_refused():
    with pytest.raises(ValueError, match=r"beyond what torch\.float16 can hold"):
        DeepLinear((50, 50), scale=6e4, seed=0, dtype=torch.float16)


def test_numbers_of_numpy():
    model = DeepLinear(
        tuple(np.array([5, 6, 3])), scale=np.float32(0.5), seed=np.int64(0), dtype=torch.float64
    )
    twin = DeepLinear((5, 6, 3), scale=0.5, seed=0, dtype=torch.float64)
    assert model.sizes == (5, 6, 3)
    assert type(model.sizes[0]) is int
    torch.testing.assert_close(model.product(), twin.product())
