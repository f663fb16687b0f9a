"""What is differentiated: outputs, functions of them, layers; and inputs as they lie in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from measured_models import Attention, cnn, dense_measure, drawn, gaussian, mlp
from torch import nn

from overt.measures import measure


def test_layers_are_measured_by_name():
    model, x = cnn(), gaussian(3, 2, 8, 8)
    model.eval()
    expected = dense_measure(model[:5], x)
    assert torch.allclose(measure(model, x, "identity", layer="4").values, expected.diagonal().sqrt())
    with pytest.raises(ValueError, match=r"layer: no submodule 'conv'; there are 0, 1"):
        measure(model, x, layer="conv")
    with pytest.raises(TypeError, match="layer: a function has no layers"):
        measure(lambda z: model(z), x, layer="0")
    shared = nn.Sequential(layer := drawn(nn.Linear(4, 4)), nn.Tanh(), layer)
    with pytest.raises(ValueError, match="ran 2 times"):
        measure(shared, gaussian(2, 4), layer="0")


def test_output_maps():
    model, x = mlp(), gaussian(4, 6)
    for outputs, plain in (
        ("probabilities", lambda z: model(z).softmax(-1)),
        ("margin", lambda z: model(z).topk(2).values.diff().neg()),
        (lambda y: y[:, :1], lambda z: model(z)[:, :1]),
    ):
        found = measure(model, x, "identity", outputs=outputs).values
        assert torch.allclose(found, measure(plain, x, "identity").values, rtol=1e-12)
    of_two = mlp(n_out=2)
    apart = lambda z: of_two(z).diff().abs()  # noqa: E731
    found = measure(of_two, x, "identity", outputs="margin").values
    assert torch.allclose(found, measure(apart, x, "identity").values, rtol=1e-12)
    with pytest.raises(ValueError, match=r"'probabilities' needs outputs .*torch\.sigmoid"):
        measure(mlp(n_out=1), x, outputs="probabilities")
    with pytest.raises(ValueError, match="outputs must be 'logits', 'probabilities' or 'margin'"):
        measure(model, x, outputs="loss")
    with pytest.raises(TypeError, match="function to return a tensor"):
        measure(model, x, outputs=lambda y: y.tolist())


def test_a_language_model_is_measured_from_its_embeddings():
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 4)
            self.body = Attention(tokens=3, width=4, classes=11)

        def forward(self, input_ids=None, inputs_embeds=None):
            embedded = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
            return SimpleNamespace(logits=self.body(embedded))

    model, tokens = drawn(Tiny()), torch.tensor([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(TypeError, match="inputs_embeds=e"):
        measure(model, tokens)
    embedded = model.embedding(tokens)
    found = measure(model, embedded, "fourier", forward=lambda m, e: m(inputs_embeds=e), dims=[0])
    expected = measure(model.body, embedded, "fourier", dims=[0])
    assert torch.allclose(found.values, expected.values)
    assert found.dims == (0,)


def permuted(x):
    """The same numbers, with the first dimension of an input innermost in memory."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Conv2d(3, 16, 3, padding=1), gaussian(4, 3, 5, 5)),
        (nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 30)), gaussian(4, 3, 4)),
    ],
    ids=["channels last", "transposed"],
)
def test_strides_of_the_inputs_make_no_difference(model, x):
    model = drawn(model)
    for basis in ("eigen", "fourier", "identity"):
        expected = measure(model, x, basis).values
        assert expected.max() > 0.1
        assert torch.allclose(measure(model, permuted(x), basis).values, expected, rtol=1e-9, atol=1e-12)
    sketch, turned = (measure(model, z, "fourier", "sketch", probes=4) for z in (x, permuted(x)))
    assert torch.allclose(turned.values, sketch.values, rtol=1e-9)
    turned, straight = (measure(model, z, pointwise=True).values for z in (permuted(x), x))
    assert torch.allclose(turned, straight, rtol=1e-9, atol=1e-12)


def with_what_follows(*after):
    return drawn(nn.Sequential(nn.Linear(6, 5), *after, nn.Linear(5, 3)))


class Residual(nn.Module):
    """Its layer's output is a view of a tensor that is added to afterwards."""

    def __init__(self):
        super().__init__()
        self.body, self.view = nn.Linear(6, 5), nn.Flatten()

    def forward(self, x):
        y = self.body(x)
        self.view(y)
        y.add_(x[:, :5])
        return y


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (with_what_follows(nn.ReLU(inplace=True)), "0"),
        (with_what_follows(nn.BatchNorm1d(5), nn.ReLU(inplace=True)), "1"),
        (with_what_follows(nn.Identity(), nn.Hardtanh(inplace=True)), "1"),
        (drawn(Residual()), "view"),
    ],
)
def test_what_follows_a_layer_in_place_makes_no_difference(model, layer):
    x = gaussian(7, 6)
    weight = (model.body if layer == "view" else model[0]).weight
    scale = (1 + 1e-5) ** -0.5 if isinstance(model.get_submodule(layer), nn.BatchNorm1d) else 1.0
    if scale != 1.0:
        weight = scale * model[1].weight[:, None] * weight
    expected = torch.linalg.svdvals(weight.detach())
    assert torch.allclose(measure(model, x, layer=layer).values[:5], expected, rtol=1e-10)
    assert torch.allclose(measure(model, x, method="lanczos", k=5, layer=layer).values, expected, rtol=1e-6)
    assert measure(model, x, layer=layer, pointwise=True).ranks().tolist() == [5] * 7


def test_the_first_operation_may_be_in_place():
    x = gaussian(6, 4)
    for wide in (3, 30):  # backward and forward mode
        model = drawn(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, wide)))
        before = x.clone()
        found = measure(model, x).values
        expected = torch.linalg.eigvalsh(dense_measure(out_of_place(model), x)).flip(0).clamp_min(0).sqrt()
        assert torch.allclose(found, expected[: len(found)], rtol=1e-9, atol=1e-9)
        assert torch.equal(x, before)
        assert torch.allclose(measure(model, x, method="lanczos", k=2).values, expected[:2], rtol=1e-6)


def out_of_place(model):
    """The same network with its operations out of place."""
    return nn.Sequential(nn.ReLU(), model[1])


def test_a_layer_that_returns_a_tuple_is_measured_by_what_is_picked():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x)[0][:, -1])

    model, x = drawn(Recurrent()), gaussian(5, 6, 3)
    with pytest.raises(
        TypeError, match=r"layer: expected 'body' to return a tensor, got tuple of .*outputs=lambda"
    ):
        measure(model, x, layer="body")
    picked = {"outputs": lambda y: y[0]}
    expected = measure(model.body, x, "fourier", forward=lambda m, z: m(z)[0]).values
    assert torch.allclose(measure(model, x, "fourier", layer="body", **picked).values, expected)
    assert torch.allclose(measure(model.body, x, "fourier", **picked).values, expected)
    with pytest.raises(TypeError, match=r"model: .*got tuple of Tensor, tuple; pick the tensor"):
        measure(model.body, x)


def test_a_function_of_the_outputs_gets_what_the_model_returns():
    model, x = mlp(), gaussian(4, 6)
    expected = measure(model, x, "identity").values
    for named in (lambda z: {"logits": model(z)}, lambda z: SimpleNamespace(logits=model(z))):
        assert torch.allclose(measure(named, x, "identity").values, expected)
    found = measure(
        lambda z: {"logits": z, "score": model(z)}, x, "identity", outputs=lambda y: y["score"]
    ).values
    assert torch.allclose(found, expected)
