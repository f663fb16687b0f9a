"""What goes beside the inputs: cut with them in any form, or refused in one line; outputs of all kinds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from overt import JacobianPenalty, measure
from overt.measures import activation_spectra, data_spectrum
from overt.networks.batches import batch_of, differentiable_batches


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Timed(nn.Module):
    """A layer that is scaled by a time, and masked: J = diag(mask) t W for each input."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.layer.weight.copy_(gaussian(3, 4))

    def forward(self, x, t, mask):
        return self.layer(x * mask) * t[:, None]


COUNT = 7
X, T = gaussian(COUNT, 4), gaussian(COUNT, seed=1).abs() + 1
MASK = (gaussian(COUNT, 4, seed=2) > 0).double()


def moment():
    J = T[:, None, None] * Timed().layer.weight.detach() * MASK[:, None]
    return torch.einsum("nki,nkj->ij", J, J) / COUNT


def loader(size=3):
    class Rows(Dataset):
        def __len__(self):
            return COUNT

        def __getitem__(self, i):
            return {"x": X[i], "t": T[i], "mask": MASK[i]}

    return DataLoader(Rows(), batch_size=size)


FORMS = {
    "tuple": (X, {"side_inputs": (T, MASK)}),
    "list": (X, {"side_inputs": [T, MASK]}),
    "dict": (X, {"side_inputs": {"mask": MASK, "t": T}}),
    "called": (X, {"side_inputs": (MASK, T), "forward": lambda m, x, mask, t: m(x, t, mask)}),
    "called by name": (X, {"side_inputs": {"s": T}, "forward": lambda m, x, s: m(x, s, torch.ones_like(x))}),
    "one tensor": (X, {"side_inputs": torch.cat([T[:, None], MASK], 1), "forward": None}),
    "dict of inputs": ({"x": X, "t": T, "mask": MASK}, {}),
    "dicts": ([{"x": X[:2], "t": T[:2], "mask": MASK[:2]}, {"x": X[2:], "t": T[2:], "mask": MASK[2:]}], {}),
    "dict, called": ({"e": X, "s": T, "mask": MASK}, {"forward": lambda m, x, s, mask: m(x, s, mask)}),
    "loader of dicts": (loader(), {}),
}
FORMS["one tensor"][1]["forward"] = lambda m, x, both: m(x, both[:, 0], both[:, 1:])


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("budget", [1, 2000, 2**30])
def test_they_are_cut_with_the_inputs(name, budget):
    inputs, options = FORMS[name]
    M = moment()
    if name == "called by name":
        M = Timed().layer.weight.detach().T @ Timed().layer.weight.detach() * T.square().mean()
    found = measure(Timed(), inputs, "identity", memory_budget=budget, **options)
    torch.testing.assert_close(found.values, M.diagonal().sqrt())
    assert found.n_samples == COUNT


@pytest.mark.parametrize("method", ["exact", "sketch", "lanczos"])
def test_every_method_and_a_part_of_the_inputs(method):
    options = {"side_inputs": (T, MASK), "max_samples": 5, "probes": 3, "k": 2, "tolerance": 1e-12}
    J = T[:5, None, None] * Timed().layer.weight.detach() * MASK[:5, None]
    wanted = torch.linalg.svdvals(J.flatten(0, 1) / 5**0.5)
    found = measure(Timed(), X, method=method, **options).values
    errors = (found[:2] - wanted[:2]).abs()
    assert float(errors.max()) < (0.5 if method == "sketch" else 1e-6) * float(wanted[0])
    each = measure(Timed(), X, pointwise=True, side_inputs=(T, MASK), max_samples=5).values
    torch.testing.assert_close(each, torch.linalg.svdvals(J))


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("name", ["tuple", "dict", "called", "dict of inputs", "dict, called"])
def test_the_penalty_takes_them_too(name, share):
    inputs, options = FORMS[name]
    forward, sides = options.get("forward"), options.get("side_inputs")
    penalty = JacobianPenalty(
        Timed(), p=2.0, basis="identity", weight=1.0, probes=60, share=share, forward=forward
    )
    used = max(1, round(share * COUNT))
    J = (T[:, None, None] * Timed().layer.weight.detach() * MASK[:, None])[:used]
    wanted = J.square().sum().item() / used
    for found in (
        penalty.penalty(inputs, side_inputs=sides),
        penalty(inputs, side_inputs=sides),
        penalty.value(inputs, side_inputs=sides),
    ):
        assert found.item() == pytest.approx(wanted, rel=0.1)
    report = penalty.report(inputs, side_inputs=sides)
    assert report.value == pytest.approx(wanted, rel=0.1)
    with torch.no_grad():
        assert penalty(inputs, side_inputs=sides).item() == pytest.approx(wanted, rel=0.1)


def test_what_is_closed_over_and_not_cut_is_refused():
    """Chunk by chunk, the first masks would go with all inputs."""
    closed = {"forward": lambda m, x: m(x, T[: len(x)], MASK[: len(x)])}
    for budget in (1, 2**30):
        with pytest.raises(ValueError, match=r"place in the batch; tensors that differ .* side_inputs="):
            measure(Timed(), X, "identity", memory_budget=budget, **closed)
    with pytest.raises(ValueError, match=r"forward pass fails .* go into side_inputs="):
        measure(Timed(), X, "identity", forward=lambda m, x: m(x, T, MASK))
    shared = measure(Timed(), X, "identity", forward=lambda m, x: m(x, T[:1], MASK[:1])).values
    J = T[0] * Timed().layer.weight.detach() * MASK[0]
    torch.testing.assert_close(shared, J.square().sum(0).sqrt())
    # A penalty has one chunk, the batch: what a closure holds for it is right.
    penalty = JacobianPenalty(Timed(), p=2.0, basis="identity", probes=60, weight=1.0)
    beside = penalty.penalty(X, side_inputs=(T, MASK))
    held = JacobianPenalty(
        Timed(),
        p=2.0,
        basis="identity",
        probes=60,
        weight=1.0,
        forward=lambda m, x: m(x, T, MASK),
    )
    assert held.penalty(X).item() == beside.item()


def test_what_a_whole_batch_decides_is_refused_though_it_has_no_gradient():
    scaled = lambda x: x / x.detach().abs().max()  # noqa: E731, as activations are quantized
    with pytest.raises(ValueError, match="alone differs from that in a batch"):
        measure(scaled, X)


class Cancelling(nn.Module):
    """Terms much larger than their sum; those of an input alone are added in another order.

    With `leak` an input's output has that share of the others' in it.
    """

    def __init__(self, leak=0.0):
        super().__init__()
        weights = 1e4 * gaussian(300)
        self.weights, self.leak = (weights - weights.mean() + 1 / 300).tolist(), leak

    def forward(self, x):
        s, y = x.sum(1, keepdim=True), torch.zeros(len(x), 1)
        for w in self.weights if len(x) > 1 else reversed(self.weights):
            y = y + w * s
        return y + self.leak * y.detach().mean()


def test_rounding_of_single_precision_is_no_dependence():
    x, model = gaussian(5, 4).float(), Cancelling()
    apart, size = (model(x)[:1] - model(x[:1])).abs(), model(x).abs().max()
    assert apart > torch.finfo(torch.float32).eps ** 0.5 * size
    measure(model, x)
    with pytest.raises(ValueError, match="alone differs from that in a batch"):
        measure(Cancelling(leak=0.5), x)


@pytest.mark.parametrize("model", [lambda x: x.sum(1, keepdim=True), lambda x: x.mean(1)])
def test_gradients_that_are_views_of_one_number_can_be_looked_at(model):
    measured = measure(model, X, "identity").values
    torch.testing.assert_close(measured, torch.autograd.functional.jacobian(model, X[:1]).abs().flatten())


def test_views_of_activations_and_data_take_dicts():
    inputs = {"x": X, "t": T, "mask": MASK}
    for given in (inputs, loader()):
        spectra = activation_spectra(Timed(), given, center=False)
        wanted = torch.linalg.svdvals((X * MASK) @ Timed().layer.weight.T / COUNT**0.5)
        torch.testing.assert_close(spectra["layer"].values, wanted)
        torch.testing.assert_close(data_spectrum(given).values, data_spectrum(X).values)


def ragged():
    yield {"x": gaussian(2, 5, 4), "mask": torch.ones(2, 5)}
    yield {"x": gaussian(2, 6, 4), "mask": torch.ones(2, 6)}


REFUSED = {
    "length": (X, {"side_inputs": T[:3]}, ValueError, r"side_inputs\[0\] must have one entry for each of 7"),
    "number": (X, {"side_inputs": (T, 3)}, TypeError, r"side_inputs\[1\] must be a tensor.* into forward="),
    "scalar": (X, {"side_inputs": {"t": T[0]}}, ValueError, r"side_inputs\['t'\] must have one entry"),
    "loader": (loader(), {"side_inputs": T}, TypeError, "got a DataLoader; let it yield dicts"),
    "both": ({"x": X}, {"side_inputs": T}, TypeError, "a dict of inputs holds its own"),
    "flag in a dict": ({"x": X, "t": True}, {}, TypeError, r"inputs\['t'\] must be a tensor"),
    "token ids first": (
        {"ids": torch.ones(7, 4, dtype=torch.long)},
        {},
        TypeError,
        r"inputs\['ids'\] must be a floating-point tensor.* embeddings",
    ),
    "lengths that change": (ragged(), {}, ValueError, "pad to one shape, with the mask as a side input"),
    "unknown name": ({"x": X, "time": T}, {}, ValueError, "fails .*'time'.*leave out what it does not take"),
    "too many": (X, {"side_inputs": (T, MASK, T)}, ValueError, "fails .* side inputs follow the inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(name):
    inputs, options, error, words = REFUSED[name]
    model = nn.Flatten() if name == "lengths that change" else Timed()
    if name == "lengths that change":
        options = {"forward": lambda m, x, mask: m(x)}
    with pytest.raises(error, match=words) as caught:
        measure(model, inputs, "identity", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["length", "number", "scalar", "both", "flag in a dict", "unknown name"])
def test_so_it_is_by_the_penalty(name):
    inputs, options, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        JacobianPenalty(Timed())(inputs, **options)


def test_inputs_of_another_length_have_no_common_moment():
    penalty = JacobianPenalty(nn.Linear(4, 2).double())
    penalty(gaussian(3, 5, 4))
    with pytest.raises(ValueError, match=r"shape \(5, 4\) at first, now \(6, 4\).* with the mask as a side"):
        penalty(gaussian(3, 6, 4))


def test_outputs_of_another_length_are_refused():
    batches = [{"x": X[:3], "more": torch.ones(3, 1)}, {"x": X[3:], "more": torch.ones(4, 2)}]
    model = lambda x, more: torch.cat([x, x.sum(1, keepdim=True) * more], 1)  # noqa: E731
    with pytest.raises(ValueError, match="a batch has 6 outputs for an input, the first 5"):
        measure(model, batches, "identity")


def test_batches_are_cut_turned_and_moved_as_one():
    batch = batch_of({"x": X, "t": T})
    assert (len(batch), batch.name, list(batch.named)) == (COUNT, "x", ["t"])
    cut = [part.named["t"] for part in batch.split(3)]
    assert [len(part) for part in cut] == [3, 3, 1]
    assert torch.equal(torch.cat(cut), T)
    turned = batch[torch.arange(COUNT - 1, -1, -1)]
    assert torch.equal(turned.named["t"], T.flip(0))
    (one,) = differentiable_batches(X.requires_grad_(), side_inputs=T.clone().requires_grad_())
    assert not one.x.requires_grad
    assert not one.args[0].requires_grad
    X.requires_grad_(False)


# ---- outputs and models of Hugging Face ------------------------------------------------------------------


class Language(nn.Module):
    """As they are there: token ids first, of two dimensions, and an output with fields."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids=None, inputs_embeds=None, attention_mask=None, labels=None):
        if inputs_embeds is None:
            _batch, _length = input_ids.shape
            inputs_embeds = self.embed(input_ids)
        weights = torch.ones(inputs_embeds.shape[:2]) if attention_mask is None else attention_mask
        y = self.head((inputs_embeds * weights[..., None]).sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(y, labels)
        return SimpleNamespace(loss=loss, logits=y, hidden_states=(y, y))


def test_a_dict_is_given_by_name_and_logits_are_found():
    model, e = Language().double(), gaussian(3, 5, 4)
    mask, labels = torch.tensor([[1, 1, 0, 0, 0], [1] * 5, [1, 1, 1, 0, 0]]), torch.tensor([0, 1, 2])
    found = measure(model, {"inputs_embeds": e, "attention_mask": mask, "labels": labels}, "identity").values
    power = model.head.weight.detach().square().sum(0)
    wanted = mask.double().mean(0)[:, None] * power
    torch.testing.assert_close(found.reshape(5, 4), wanted.sqrt())


def each_way(model, x, **options):
    return (
        lambda: measure(model, x, "identity", **options),
        lambda: JacobianPenalty(model, **options)(x),
    )


@pytest.mark.parametrize(
    ("outputs", "error", "words"),
    [
        (lambda y: y.loss, ValueError, r"got shape \(\); a loss has one value for all: take the logits"),
        (lambda y: y[0], TypeError, "outputs: the function fails on what the model returns, SimpleNamespace"),
        (lambda y: y.hidden_states, TypeError, "to return a tensor, got tuple of Tensor, Tensor"),
    ],
)
def test_outputs_that_are_no_rows_are_told_in_one_line(outputs, error, words):
    model, e = Language().double(), gaussian(3, 5, 4)
    labels = torch.tensor([0, 1, 2])
    forward = lambda m, x: m(inputs_embeds=x, labels=labels[: len(x)])  # noqa: E731
    for call in each_way(model, e, outputs=outputs, forward=forward):
        with pytest.raises(error, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_embeddings_in_the_place_of_token_ids_are_told_in_one_line():
    for call in each_way(Language().double(), gaussian(3, 5, 4)):
        with pytest.raises(ValueError, match=r"too many values to unpack.*inputs_embeds=e"):
            call()


def test_what_is_in_an_output_is_said():
    model = Language().double()
    hidden = lambda m, x: {"last_hidden_state": x, "pooled": x}  # noqa: E731
    for call in each_way(model, gaussian(3, 5, 4), forward=hidden):
        with pytest.raises(TypeError, match=r"got dict of last_hidden_state, pooled; pick the tensor"):
            call()
