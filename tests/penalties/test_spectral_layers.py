"""Which layers are penalized, as what, and with which weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from overt import functional as F
from overt.linalg.convolution import kernel_blocks
from overt.penalties import Penalty, SpectralPenalty
from overt.penalties.methods import make_solver  # noqa: F401 - the room must import on its own


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4)),
        nn.Embedding(6, 4),
    ).double()


def names(**arguments):
    return [layer.name for layer in SpectralPenalty(net(), **arguments).penalized()]


INSIDE = ["0.weight", "2.0.weight", "2.1.weight"]
EVERY = [*INSIDE, "3.weight"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, INSIDE),
        (["*", "3"], EVERY),
        (["*", "3.weight"], EVERY),
        (["*", nn.Embedding], EVERY),
        (["*", "embeddings"], EVERY),
        (lambda name, module: True, EVERY),
        ("2.*", ["2.0.weight", "2.1.weight"]),
        ("2.1", ["2.1.weight"]),
        ("*.weight", INSIDE),
        (nn.Linear, ["2.0.weight", "2.1.weight"]),
        ([nn.Conv2d, "3"], ["0.weight", "3.weight"]),
        (lambda name, module: isinstance(module, nn.Linear) and module.in_features == 4, ["2.1.weight"]),
    ],
)
def test_selection(layers, expected):
    assert names(layers=layers) == expected


def test_weights_of_layers():
    model = net()
    penalty = SpectralPenalty(
        model, "nuclear_norm", layer_weights={"2.1": 3.0, nn.Linear: 0.5, "3": 0.0}, layers=["*", "3"]
    )
    expected = (
        F.nuclear_norm(model[0].weight.flatten(1))
        + 0.5 * F.nuclear_norm(model[2][0].weight)
        + 3.0 * F.nuclear_norm(model[2][1].weight)
    )
    torch.testing.assert_close(penalty.value(), expected)
    assert [layer.weight for layer in penalty.penalized()] == [1.0, 0.5, 3.0]


def test_frozen_and_shared_parameters():
    model = net()
    model[2][1].weight = model[2][0].weight
    assert len(SpectralPenalty(model).penalized()) == 2
    model[0].requires_grad_(False)
    assert [layer.name for layer in SpectralPenalty(model).penalized()] == ["2.0.weight"]
    model.requires_grad_(False)
    assert len(SpectralPenalty(model).penalized()) == 2  # the value is still of interest


def test_names_do_not_tell_of_wrappers():
    compiled = torch.compile(net(), backend="eager")
    assert [layer.name for layer in SpectralPenalty(compiled).penalized()] == INSIDE
    parallel = nn.DataParallel(net())
    assert [layer.name for layer in SpectralPenalty(parallel).penalized()] == INSIDE


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "encoder.*"}, ValueError, r"layers: 'encoder.\*' is no name or pattern of a matrix"),
        ({"layers": nn.LSTM}, ValueError, r"to penalize among layers=\[<class 'torch.nn.*LSTM'>\]"),
        ({"layers": 3}, TypeError, "layers must be names or patterns"),
        ({"layer_weights": [1.0]}, TypeError, "layer_weights must be a mapping from selectors"),
        ({"layer_weights": {"0": -1.0}}, ValueError, r"layer_weights\['0'\] must be a finite number ≥ 0"),
        ({"layer_weights": {3: 1.0}}, TypeError, "layer_weights must be names"),
    ],
)
def test_wrong_selections_are_refused_in_words(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralPenalty(net(), **arguments)


CONVOLUTIONS = [
    nn.Conv1d(3, 4, 3),
    nn.Conv2d(2, 3, 3, stride=2),
    nn.Conv2d(4, 4, 3, groups=2, dilation=2),
    nn.ConvTranspose2d(3, 2, 2),
]


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=lambda c: type(c).__name__ + str(c.stride))
@pytest.mark.parametrize(
    ("functional", "options"),
    [
        ("nuclear_norm", {}),
        ("normalized_nuclear_norm", {}),
        ("effective_rank", {}),
        ("stable_rank", {}),
        ("log_det", {"eps": 0.1}),
    ],
)
def test_convolutions_as_operators(layer, functional, options, every):
    layer = layer.double()
    penalty = SpectralPenalty(
        nn.Sequential(layer), functional, options=options, conv="operator", grid=6, every=every, weight=1.0
    )
    value = penalty.penalty()
    (gradient,) = torch.autograd.grad(value, layer.weight)

    def through_autograd(kernel):
        blocks = kernel_blocks(
            kernel,
            (6,) * (kernel.ndim - 2),
            stride=layer.stride,
            dilation=layer.dilation,
            groups=layer.groups,
        )
        return getattr(F, functional)(singular_values=torch.linalg.svdvals(blocks).flatten(), **options)

    expected = through_autograd(layer.weight)
    (truth,) = torch.autograd.grad(expected, layer.weight)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, truth, rtol=1e-6, atol=1e-8)


def test_operators_by_matrix_products():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).double()
    exact = SpectralPenalty(model, conv="operator", grid=5)
    iterated = SpectralPenalty(model, conv="operator", grid=5, method="polar", polar_steps=14)
    torch.testing.assert_close(iterated.value(), exact.value(), rtol=1e-8, atol=0)


def test_a_kernel_is_not_its_operator():
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).double()
    kernel, operator = SpectralPenalty(model), SpectralPenalty(model, conv="operator", grid=4)
    assert operator.value() > 1.5 * kernel.value()
    assert "operator" in str(operator.describe()["conv"])
    cap = 0.5 * operator.penalized()[0].norm().item()
    capped = SpectralPenalty(model, conv="operator", grid=4, norm_cap=cap)
    torch.testing.assert_close(capped.value(), 2 * operator.value())


PARAMETRIZED = [
    nn.utils.parametrizations.weight_norm,
    nn.utils.parametrizations.orthogonal,
    nn.utils.parametrizations.spectral_norm,
]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("parametrize", PARAMETRIZED)
def test_a_parametrized_matrix_is_the_one_that_the_layer_uses(parametrize, every):
    torch.manual_seed(0)
    model = nn.Sequential(parametrize(nn.Linear(6, 4)), nn.Linear(4, 3)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    penalty = SpectralPenalty(model, "nuclear_norm", weight=1.0, every=every, layers="0.weight")
    (layer,) = penalty.penalized()
    assert (layer.name, layer.shape) == ("0.weight", (4, 6))
    value = penalty.penalty()
    # Nothing of the model is changed, not even the power iteration of spectral_norm.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    expected = F.nuclear_norm(model[0].weight)
    torch.testing.assert_close(value, expected)
    parameters = list(model[0].parametrizations.parameters())
    truth = torch.autograd.grad(expected, parameters)
    for found, right in zip(torch.autograd.grad(value, parameters), truth, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8)


def test_parametrized_matrices_are_selected_and_seen_as_operators():
    norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(norm(nn.Conv1d(2, 3, 3)), norm(nn.Linear(4, 4))).double()
    found = SpectralPenalty(model, conv="operator", grid=5)
    assert [(layer.name, layer.kind) for layer in found.penalized()] == [
        ("0.weight", "operator"),
        ("1.weight", "matrix"),
    ]
    assert [layer.name for layer in SpectralPenalty(model, layers=nn.Linear).penalized()] == ["1.weight"]
    plain = nn.Sequential(nn.Conv1d(2, 3, 3)).double()
    plain[0].weight.data = model[0].weight.detach()
    expected = SpectralPenalty(plain, conv="operator", grid=5).value()
    torch.testing.assert_close(SpectralPenalty(model, conv="operator", grid=5, layers="0").value(), expected)
    report = SpectralPenalty(model).report()
    assert all(row.force > 0 for row in report)
    for part in model[0].parametrizations.parameters():
        part.requires_grad_(False)
    assert [layer.name for layer in SpectralPenalty(model).penalized()] == ["1.weight"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda m: nn.utils.prune.l1_unstructured(m, "weight", amount=0.5),
    ],
)
def test_matrices_that_hooks_compute(change):
    torch.manual_seed(0)
    model = nn.Sequential(change(nn.Linear(6, 4))).double()
    model.eval()
    model(torch.zeros(1, 6).double())
    penalty = SpectralPenalty(model, "nuclear_norm", weight=1.0)
    assert [layer.name for layer in penalty.penalized()] == ["0.weight"]
    torch.testing.assert_close(penalty.value(), F.nuclear_norm(model[0].weight))
    penalty.penalty().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out, self.other = nn.Embedding(6, 4), nn.Linear(4, 6), nn.Linear(4, 4)
        self.out.weight = self.embedding.weight
        self.again = self.other


def test_tied_matrices_answer_to_each_of_their_names():
    def selected(**arguments):
        return [layer.name for layer in SpectralPenalty(Tied(), **arguments).penalized()]

    assert selected() == ["other.weight"]
    assert selected(layers="out") == ["embedding.weight"]
    assert selected(layers="again.weight") == ["other.weight"]
    assert selected(layers=nn.Embedding) == ["embedding.weight"]
    assert selected(layers=["out", "other"], layer_weights={"embeddings": 0.0}) == ["other.weight"]
    penalty = SpectralPenalty(Tied(), layer_weights={"again": 3.0}, layers=["embeddings", "*"])
    weights = [p.weight for p in penalty.penalized()]
    assert weights == [1.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"layers": ["0", "2.7"]},
            ValueError,
            "layers: '2.7' is no name or pattern of a matrix of Sequential; ",
        ),
        ({"layers": "0.bias"}, ValueError, "it has 0.weight, 2.0.weight, 2.1.weight, 3.weight"),
        ({"layer_weights": {"2.o": 0.5, "0": 2.0}}, ValueError, "layer_weights: '2.o' is no name"),
        ({"layers": net()[0]}, TypeError, r"layers: got the module Conv2d itself; give its name"),
        ({"layer_weights": {"*": 0.0}}, ValueError, "the weight of each selected layer is 0"),
        ({"layers": "0", "layer_weights": {"0": 0}}, ValueError, "the weight of each selected layer is 0"),
        ({"layers": ["0", "3*"]}, ValueError, r"layers: '3\*' matches only embeddings, heads or tables"),
        ({"layers": "heads"}, ValueError, "layers: 'heads' is no name or pattern of a matrix"),
    ],
)
def test_selections_that_mean_nothing_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        SpectralPenalty(net(), **arguments)
    # A type that is not there is no mistake: the same call may serve many models.
    assert names(layer_weights={nn.LSTM: 0.0}) == INSIDE


@pytest.mark.parametrize(
    "arguments", [{"layers": "0"}, {"layer_weights": {"0": 2.0}}, {"conv": "operator", "layers": nn.Linear}]
)
def test_the_product_has_no_layers(arguments):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=f"there are no layers to choose: leave .*{next(iter(arguments))}"):
        SpectralPenalty(model, of="product", **arguments)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_empty_matrices_and_models_that_lose_theirs():
    model = nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 3))
    penalty = SpectralPenalty(model, "nuclear_norm")
    assert [layer.name for layer in penalty.penalized()] == ["1.weight"]
    with pytest.raises(ValueError, match="no parameter with two or more dimensions"):
        SpectralPenalty(model[:1])
    with pytest.raises(ValueError, match="the end-to-end matrix is empty"):
        SpectralPenalty(model[:1], of="product")
    model[1] = nn.ReLU()
    for every in (1, 2):
        penalty.every = every
        with pytest.raises(ValueError, match="Sequential has no matrix to penalize any more"):
            penalty.penalty()


def test_a_frozen_selection_warns():
    model = net()
    model[0].requires_grad_(False)
    with pytest.warns(UserWarning, match="all 1 matrices that the penalty selects are frozen"):
        SpectralPenalty(model, layers="0")
    model.requires_grad_(False)
    SpectralPenalty(model, layers="0")  # nothing is trained: no warning


def test_a_weight_of_zero_gives_a_zero_of_its_own():
    class Bare(nn.Module):
        pass

    zero = Penalty(Bare(), 0.0).penalty()
    assert zero.item() == 0.0
    assert Penalty(net(), 0.0).penalty().dtype == torch.float64
