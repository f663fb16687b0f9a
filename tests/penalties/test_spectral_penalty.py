"""The spectral penalty through models: values, gradients, the guard against growth, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from overt import functional as F
from overt.models import DeepDiagonal, DeepLinear
from overt.penalties import Penalty, SpectralPenalty, product_of


def deep_linear(*sizes: int, seed: int = 0) -> DeepLinear:
    return DeepLinear(sizes, scale=1.0, seed=seed, dtype=torch.float64)


def finite_differences(model: nn.Module, penalty: Penalty, h: float = 1e-6) -> list[Tensor]:
    """Central differences of penalty() with respect to every entry of every parameter."""
    gradients = []
    for p in model.parameters():
        gradient = torch.zeros_like(p)
        for i in range(p.numel()):
            flat = p.data.view(-1)
            old = flat[i].item()
            flat[i] = old + h
            above = penalty.penalty().item()
            flat[i] = old - h
            below = penalty.penalty().item()
            flat[i] = old
            gradient.view(-1)[i] = (above - below) / (2 * h)
        gradients.append(gradient)
    return gradients


SETTINGS = [
    ("normalized_nuclear_norm", None, None),
    ("normalized_nuclear_norm", None, 0.5),
    ("effective_rank", None, 0.5),
    ("normalized_schatten_norm", {"p": 0.5, "q": 2.0 / 3.0}, None),
    ("nuclear_norm", None, None),
    ("schatten_norm", {"p": 0.5}, None),
    ("log_det", {"eps": 1e-2}, None),
    (lambda W: (W**4).sum(), None, None),
]


@pytest.mark.slow
@pytest.mark.parametrize("of", ["weights", "product"])
@pytest.mark.parametrize(("functional", "options", "cap"), SETTINGS)
def test_gradient_equals_finite_differences(functional, options, cap, of):
    model = deep_linear(4, 5, 3)
    penalty = SpectralPenalty(model, functional, of=of, weight=0.7, norm_cap=cap, options=options)
    penalty.penalty().backward()
    for p, expected in zip(model.parameters(), finite_differences(model, penalty), strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-5, atol=1e-6)


def test_value_is_the_sum_over_layers_or_the_product():
    model = deep_linear(4, 5, 3)
    first, second = model.weights
    by_layer = SpectralPenalty(model, of="weights", weight=3.0)
    expected = F.normalized_nuclear_norm(first) + F.normalized_nuclear_norm(second)
    torch.testing.assert_close(by_layer.value(), expected)
    torch.testing.assert_close(by_layer.penalty(), 3.0 * expected)
    torch.testing.assert_close(by_layer(), 3.0 * expected)
    of_product = SpectralPenalty(model, of="product", weight=3.0)
    torch.testing.assert_close(of_product.value(), F.normalized_nuclear_norm(second @ first))
    W = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(of_product.value(W), F.normalized_nuclear_norm(W))
    torch.testing.assert_close(by_layer.value(W), expected)


def test_convolution_kernels_are_flattened_and_vectors_left_out():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 2)).double()
    conv, linear = model[0].weight, model[2].weight
    expected = F.nuclear_norm(conv.reshape(3, 8)) + F.nuclear_norm(linear)
    torch.testing.assert_close(SpectralPenalty(model, "nuclear_norm").value(), expected)


def test_product_of_a_sequential_and_of_one_layer():
    model = nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 2)).double()
    penalty = SpectralPenalty(model, "nuclear_norm", of="product")
    torch.testing.assert_close(penalty.value(), F.nuclear_norm(model[2].weight @ model[0].weight))
    single = nn.Linear(4, 3)
    assert product_of(single)() is single.weight


def test_below_the_cap_nothing_changes_and_above_it_growth_costs():
    model = deep_linear(6, 6)
    W = torch.randn(6, 6, dtype=torch.float64)
    norm = torch.linalg.matrix_norm(W).item()
    free = SpectralPenalty(model, of="product")
    capped = SpectralPenalty(model, of="product", norm_cap=norm)
    torch.testing.assert_close(capped.value(0.9 * W), free.value(W))
    torch.testing.assert_close(capped.value(3.0 * W), 3.0 * free.value(W))
    # The penalty that is guarded against: a spike where nothing is observed.
    spike = W.clone()
    spike[0, 0] = 1e4
    assert free.value(spike) < free.value(W) < capped.value(spike)
    torch.testing.assert_close(capped.value(spike), F.nuclear_norm(spike) / norm)


def test_weight_and_cap_may_be_changed():
    model = deep_linear(4, 4)
    penalty = SpectralPenalty(model, of="product", weight=1e-2)
    penalty.weight = 2
    torch.testing.assert_close(penalty.penalty(), 2 * penalty.value())
    penalty.norm_cap = 1e-3
    assert penalty.value() > 10
    penalty.weight = 0.0
    assert penalty.penalty().item() == 0.0
    model.weights[0].data.fill_(math.nan)
    assert penalty.penalty().item() == 0.0  # switched off, the matrix is not looked at


def test_follows_the_dtype_of_the_model():
    model = deep_linear(4, 4)
    penalty = SpectralPenalty(model, of="product")
    model.float()
    assert penalty.penalty().dtype == torch.float32


def test_describe_is_plain_and_repr_readable():
    penalty = SpectralPenalty(deep_linear(4, 4), "schatten_norm", options={"p": 0.5})
    assert penalty.describe() == {
        "penalty": "SpectralPenalty",
        "weight": 1e-2,
        "functional": "schatten_norm",
        "of": "weights",
        "norm_cap": None,
        "options": {"p": "0.5"},
    }
    assert "schatten_norm" in repr(penalty)
    assert "DeepLinear" in repr(penalty)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"functional": "nuclear"},
            ValueError,
            "functional must be a callable or one of .*normalized_nuclear_norm.*, got 'nuclear'",
        ),
        ({"functional": "singular_values"}, ValueError, "functional must be a callable or one of"),
        ({"functional": 3}, TypeError, "functional must be a name or a callable"),
        ({"of": "layers"}, ValueError, "of must be 'weights' or 'product'"),
        ({"norm_cap": 0.0}, ValueError, "norm_cap must be a finite number > 0"),
        ({"norm_cap": math.inf}, ValueError, "norm_cap"),
        ({"norm_cap": "big"}, TypeError, "norm_cap"),
        ({"functional": "nuclear_norm", "norm_cap": 1.0}, ValueError, "scale-invariant"),
        ({"functional": "nuclear_norm", "options": {"p": 1}}, ValueError, "it takes: none"),
        (
            {"functional": torch.sum, "options": {"p": 1}},
            ValueError,
            "options are for a functional given by name",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralPenalty(deep_linear(4, 4), **arguments)


def test_wrong_models_are_refused_in_words():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        SpectralPenalty([torch.zeros(2, 2)])
    with pytest.raises(ValueError, match="ReLU has no parameter with two or more dimensions"):
        SpectralPenalty(nn.ReLU())
    nonlinear = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="no end-to-end matrix"):
        SpectralPenalty(nonlinear, of="product")
    with pytest.raises(ValueError, match="use VectorPenalty"):
        SpectralPenalty(DeepDiagonal(5, 2, 0.1), of="product")
    penalty = SpectralPenalty(deep_linear(3, 3))
    with pytest.raises(ValueError, match="weight"):
        penalty.weight = -0.1


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 5, bias=False)).double()


def test_a_replaced_layer_counts():
    model = chain()
    penalty, product = SpectralPenalty(model, of="product"), product_of(model)
    model[1] = nn.Linear(3, 6, bias=False).double()
    W = model[1].weight @ model[0].weight
    torch.testing.assert_close(penalty.value(), F.normalized_nuclear_norm(W))
    torch.testing.assert_close(product(), W)


@pytest.mark.parametrize(
    ("functional", "options", "message"),
    [
        ("schatten_norm", None, r"p must be .* got None.*options=\{'p': …\}"),
        ("schatten_norm", {"p": -1}, r"p must be a number > 0, got -1.*options=\{'p': …\}"),
        ("schatten_norm", {"p": "1"}, r"options=\{'p': …\}"),
        ("normalized_schatten_norm", {"p": 1}, r"q must be .* got None.*options=\{'p': …, 'q': …\}"),
        ("log_det", None, r"eps must be .* got None.*options=\{'eps': …\}"),
    ],
)
def test_options_are_checked_at_once(functional, options, message):
    with pytest.raises(ValueError, match=message):
        SpectralPenalty(deep_linear(4, 4), functional, options=options)


@pytest.mark.parametrize("result", [1.0, None, torch.zeros(2), torch.zeros(1, 1)])
def test_a_callable_has_to_return_a_scalar(result):
    with pytest.raises(TypeError, match="functional must return a 0-d tensor"):
        SpectralPenalty(deep_linear(4, 4), lambda W: result)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_need_a_forward_pass():
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"uninitialized.*run one forward pass first"):
        SpectralPenalty(model)
    model(torch.zeros(1, 4))
    assert SpectralPenalty(model).value().ndim == 0


def test_numbers_of_numpy():
    options = {"p": np.float32(0.5), "q": np.int64(1)}
    penalty = SpectralPenalty(
        deep_linear(4, 4),
        "normalized_schatten_norm",
        weight=np.float32(0.5),
        norm_cap=np.int32(3),
        options=options,
    )
    penalty.weight = np.int64(2)
    assert penalty.weight == 2.0
    assert penalty.norm_cap == 3.0
    assert penalty.penalty().isfinite()
