"""Which matrices a network has: measures and penalties give one answer, and a dense oracle says which."""

from __future__ import annotations

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

import overt
from overt import functional as F
from overt.measures import compress, convolution_spectrum, weight_spectra
from overt.networks import weights_of
from overt.networks.weights import acting
from overt.penalties import truncate_adapters
from overt.training import HoldReleaseRefit

FUNCTIONALS = {
    "nuclear_norm": {},
    "normalized_nuclear_norm": {},
    "effective_rank": {},
    "stable_rank": {},
    "schatten_norm": {"p": 0.5},
}


class Experts(nn.Module):
    """As a mixture of experts holds them: one parameter that is a batch of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(5, 6, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.positions = nn.Parameter(torch.randn(1, 7, 6))


class Adapted(nn.Module):
    """A layer with two low-rank adapters, of which one is switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(6, 5)
        self.lora_A = nn.ModuleDict({name: nn.Linear(6, 2, bias=False) for name in ("on", "off")})
        self.lora_B = nn.ModuleDict({name: nn.Linear(2, 5, bias=False) for name in ("on", "off")})
        self.scaling = {"on": 0.5, "off": 1.0}
        self.active_adapters = ["on"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head, self.inner = nn.Embedding(7, 4), nn.Linear(4, 7), nn.Linear(4, 4)
        self.head.weight = self.embedding.weight
        self.again = self.inner


def pruned(layer: nn.Module) -> nn.Module:
    return nn.utils.prune.l1_unstructured(layer, "weight", 0.4)


CORPUS = {
    "depthwise with a multiplier": lambda: nn.Conv1d(4, 8, 3, groups=4),
    "grouped": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "grouped, strided, dilated": lambda: nn.Conv2d(4, 8, (3, 2), groups=4, stride=2, dilation=2),
    "grouped in 3-D": lambda: nn.Conv3d(4, 6, 2, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, 2, stride=2),
    "transposed and grouped": lambda: nn.ConvTranspose2d(6, 4, 3, groups=2, stride=2, dilation=2),
    "dilated": lambda: nn.Conv1d(3, 4, 3, dilation=3),
    "pointwise": lambda: nn.Conv2d(3, 5, 1),
    "linear and embedding": lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)),
    "bilinear": lambda: nn.Bilinear(3, 4, 2),
    "recurrent": lambda: nn.LSTM(3, 4, num_layers=2),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "experts": Experts,
    "adapted": Adapted,
    "tied": Tied,
    "weight norm, grouped": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 6, 3, groups=2)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(5, 4)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(5, 4)),
    "older spectral norm": lambda: nn.utils.spectral_norm(nn.Conv2d(4, 4, 3, groups=2)),
    "pruned": lambda: pruned(nn.Conv2d(4, 6, 3, groups=2)),
    "wrapped": lambda: nn.DataParallel(nn.Sequential(nn.Conv1d(4, 4, 3, groups=4), nn.Linear(3, 3))),
}


@pytest.fixture(params=CORPUS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return CORPUS[request.param]().double()


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_what_is_measured_is_what_is_penalized(model, name):
    options = FUNCTIONALS[name]
    spectra = weight_spectra(model)
    penalty = overt.SpectralPenalty(model, name, options=options)
    measured = {n: getattr(F, name)(singular_values=s.values, **options) for n, s in spectra.items()}
    layers = penalty.penalized()
    assert {layer.name for layer in layers} <= set(spectra)
    torch.testing.assert_close(penalty.value(), sum(measured[layer.name] for layer in layers))
    for layer in layers:
        values = layer.spectrum().sort(descending=True).values
        torch.testing.assert_close(values, spectra[layer.name].values, rtol=1e-10, atol=1e-12)


# One filter for each channel: vectors, which a penalty sees where it is asked to.
DEPTHWISE = {
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "depthwise and transposed": lambda: nn.ConvTranspose1d(4, 4, 3, groups=4),
}


def test_looking_leaves_no_trace(model):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    weight_spectra(model)
    overt.SpectralPenalty(model).penalty()
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


GROUPED = {name: make for name, make in CORPUS.items() if "group" in name or "depthwise" in name} | DEPTHWISE


def patch_operator(conv: nn.Module, kernel: torch.Tensor) -> torch.Tensor:
    """The dense matrix of what one position of a convolution does, from the definition of groups."""
    groups = conv.groups
    size = kernel.shape[0] // groups
    return torch.block_diag(*(kernel[g * size : (g + 1) * size].flatten(1) for g in range(groups)))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("functional", FUNCTIONALS)
@pytest.mark.parametrize("case", GROUPED)
def test_a_grouped_kernel_is_the_block_diagonal_of_its_groups(case, functional, every):
    torch.manual_seed(1)
    conv, options = GROUPED[case]().double(), FUNCTIONALS[functional]
    chosen = {"options": options, "layers": "weight"}
    penalty = overt.SpectralPenalty(conv, functional, weight=1.0, every=every, **chosen)
    value = penalty.penalty()
    parameters = [p for p in conv.parameters() if p.ndim > 1]
    found = torch.autograd.grad(value, parameters)
    kernel = penalty.penalized()[0].tensors[0]  # the parameter itself, or what is computed from some
    expected = getattr(F, functional)(patch_operator(conv, kernel), **options)
    torch.testing.assert_close(value, expected)
    for g, truth in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(g, truth, rtol=1e-6, atol=1e-8)


def test_a_callable_sees_the_block_diagonal():
    torch.manual_seed(2)
    conv = nn.Conv2d(6, 4, 3, groups=2).double()
    penalty = overt.SpectralPenalty(conv, lambda W: F.nuclear_norm(W) + W.shape[0] + W.shape[1], weight=1.0)
    dense = patch_operator(conv, conv.weight)
    assert dense.shape == (4, 54)
    torch.testing.assert_close(penalty.value(), F.nuclear_norm(dense) + 58)


def test_a_callable_of_groups_can_be_kept():
    torch.manual_seed(9)
    conv = nn.Conv2d(6, 4, 3, groups=2).double()
    penalty = overt.SpectralPenalty(conv, lambda W: F.nuclear_norm(W) ** 2, weight=1.0, every=2)
    expected = F.nuclear_norm(patch_operator(conv, conv.weight)) ** 2
    for _ in range(2):  # decomposed, and by what is kept
        value = penalty.penalty()
        torch.testing.assert_close(value, expected)
        (found,) = torch.autograd.grad(value, conv.weight)
        (truth,) = torch.autograd.grad(expected, conv.weight, retain_graph=True)
        torch.testing.assert_close(found, truth)


def test_a_kernel_that_another_module_holds_first_is_still_a_kernel():
    torch.manual_seed(10)
    conv = nn.Conv1d(4, 6, 3, groups=2).double()
    model = nn.Module()
    model.kernel, model.conv = conv.weight, conv
    expected = torch.linalg.svdvals(patch_operator(conv, conv.weight.detach()))
    spectra = weight_spectra(model)
    assert list(spectra) == ["kernel"]
    torch.testing.assert_close(spectra["kernel"].values, expected)
    torch.testing.assert_close(overt.SpectralPenalty(model, "nuclear_norm").value(), expected.sum())
    whole = weight_spectra(model, input_sizes={"conv": 8})["kernel"].values
    torch.testing.assert_close(whole, convolution_spectrum(conv, 8).values)


def test_a_weight_that_is_shared_and_pruned_in_one_place_acts_as_two():
    torch.manual_seed(11)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7), nn.Linear(4, 7)).double()
    model[1].weight = model[2].weight = model[0].weight
    pruned(model[0])
    spectra = weight_spectra(model)
    assert list(spectra) == ["0.weight", "1.weight"]
    assert [layer.name for layer in overt.SpectralPenalty(model).penalized()] == ["1.weight"]
    for name, layer in (("0.weight", model[0]), ("1.weight", model[2])):
        torch.testing.assert_close(spectra[name].values, torch.linalg.svdvals(layer.weight.detach()))
    total = sum(spectrum.values.sum() for spectrum in spectra.values())
    both = overt.SpectralPenalty(model, "nuclear_norm", layers=["embeddings", "*"])
    torch.testing.assert_close(both.value(), total)


def circular_operator(conv: nn.Module, kernel: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """The dense matrix of the circular convolution that `conv` (or its transpose) stands for, tap by tap."""
    groups, (rows, columns) = conv.groups, (kernel.shape[0], kernel.shape[1] * conv.groups)
    coarse = tuple(n // s for n, s in zip(size, conv.stride, strict=True))
    matrix = torch.zeros(rows, *coarse, columns, *size, dtype=kernel.dtype)
    for o in range(rows):
        for c in range(kernel.shape[1]):
            column = (o // (rows // groups)) * kernel.shape[1] + c
            for tap in torch.cartesian_prod(*map(torch.arange, kernel.shape[2:])).reshape(-1, len(size)):
                for place in torch.cartesian_prod(*map(torch.arange, coarse)).reshape(-1, len(size)):
                    at = tuple(
                        int((p * s + t * d) % n)
                        for p, s, t, d, n in zip(place, conv.stride, tap, conv.dilation, size, strict=True)
                    )
                    matrix[(o, *place.tolist(), column, *at)] += kernel[(o, c, *tap.tolist())]
    return matrix.reshape(rows * coarse[0] * (coarse[1] if len(coarse) > 1 else 1), -1)


OPERATORS = [
    lambda: nn.Conv1d(4, 6, 3, groups=2),
    lambda: nn.Conv1d(3, 3, 4, groups=3, stride=2, dilation=2),
    lambda: nn.Conv2d(2, 4, (3, 2), groups=2, stride=(2, 1)),
    lambda: nn.ConvTranspose1d(4, 6, 3, groups=2, stride=2),
    lambda: nn.Conv2d(2, 3, 2, dilation=(1, 2)),
]


@pytest.mark.parametrize("make", OPERATORS)
def test_the_operator_of_a_convolution_against_its_dense_matrix(make):
    torch.manual_seed(3)
    conv = make().double()
    dims = conv.weight.ndim - 2
    grid = (8, 6)[:dims]
    dense = torch.linalg.svdvals(circular_operator(conv, conv.weight.detach(), grid))
    transposed = isinstance(conv, nn.ConvTranspose1d)
    size = tuple(n // s for n, s in zip(grid, conv.stride, strict=True)) if transposed else grid
    measured = convolution_spectrum(conv, size).values
    assert measured.shape == dense.shape
    torch.testing.assert_close(measured, dense, rtol=1e-10, atol=1e-10)
    (layer,) = overt.SpectralPenalty(conv, conv="operator", grid=grid).penalized()
    torch.testing.assert_close(layer.spectrum().sort(descending=True).values, dense, rtol=1e-10, atol=1e-10)


def test_experts_count_one_by_one_and_vectors_in_disguise_do_not():
    torch.manual_seed(4)
    model = Experts().double()
    names = [f"up[{i}]" for i in range(5)]
    penalty = overt.SpectralPenalty(model, "normalized_nuclear_norm", layers="up", weight=1.0)
    assert [layer.name for layer in penalty.penalized()] == names
    assert list(weight_spectra(model)) == names
    expected = sum(F.normalized_nuclear_norm(W) for W in model.up)
    torch.testing.assert_close(penalty.value(), expected)
    (found,) = torch.autograd.grad(penalty.penalty(), model.up)
    torch.testing.assert_close(found, torch.autograd.grad(expected, model.up)[0], rtol=1e-6, atol=1e-9)
    model.up.grad = torch.zeros_like(model.up)
    model.up.grad[2] = 1.0
    rows = penalty.report(gradients="loss").rows
    assert [row.loss_gradient > 0 for row in rows] == [False, False, True, False, False]


def test_experts_keep_their_directions_across_a_checkpoint():
    torch.manual_seed(5)
    model = Experts().double()
    penalty = overt.SpectralPenalty(model, every=10, weight=1.0, layers="up")
    penalty.penalty()
    with torch.no_grad():
        model.up += 0.1 * torch.randn_like(model.up)
    restored = overt.SpectralPenalty(model, every=10, weight=1.0, layers="up")
    restored.load_state_dict(penalty.state_dict())
    assert restored.penalty().item() == penalty.penalty().item()
    assert abs(restored.penalty().item() - restored.value().item()) > 1e-6  # the directions are the old ones


def test_an_adapter_is_its_product_and_one_that_is_switched_off_is_nothing():
    torch.manual_seed(6)
    model = Adapted().double()
    spectra = weight_spectra(model)
    assert list(spectra) == ["on", "base_layer.weight"]
    dense = 0.5 * model.lora_B["on"].weight @ model.lora_A["on"].weight
    torch.testing.assert_close(spectra["on"].values, torch.linalg.svdvals(dense)[:2])
    (layer, _) = overt.SpectralPenalty(model).penalized()
    torch.testing.assert_close(layer.spectrum(), spectra["on"].values)
    truncate_adapters(model, 0.0)
    torch.testing.assert_close(weight_spectra(model)["on"].values, spectra["on"].values)


def test_an_adapter_of_a_convolution_is_its_product():
    torch.manual_seed(12)
    model = Adapted()
    model.base_layer = nn.Conv1d(6, 5, 3)
    model.lora_A = nn.ModuleDict({name: nn.Conv1d(6, 2, 3, bias=False) for name in ("on", "off")})
    model.lora_B = nn.ModuleDict({name: nn.Conv1d(2, 5, 1, bias=False) for name in ("on", "off")})
    spectra = weight_spectra(model)
    assert list(spectra) == ["on", "base_layer.weight"]
    assert [layer.name for layer in overt.SpectralPenalty(model).penalized()] == list(spectra)
    # What both layers do to one patch, by an impulse at each of its entries.
    impulses = torch.eye(18).reshape(18, 6, 3)
    dense = 0.5 * model.lora_B["on"](model.lora_A["on"](impulses)).flatten(1).mT
    torch.testing.assert_close(spectra["on"].values, torch.linalg.svdvals(dense)[:2].detach())


def test_a_computed_weight_is_read_as_it_acts_now():
    torch.manual_seed(7)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).double()
    with torch.no_grad():
        layer.parametrizations.weight.original0 *= 3
    (weight,) = weights_of(layer)
    torch.testing.assert_close(weight.tensor(), layer.weight.detach())
    torch.testing.assert_close(acting(layer, "weight"), layer.weight.detach())
    assert acting(layer, "bias") is not layer.bias
    assert not weight.tensor().requires_grad


def test_names_do_not_tell_of_wrappers_and_of_nothing_else():
    inner = nn.ModuleDict({"module": nn.Linear(3, 3), "other": nn.Linear(3, 2)})
    assert [w.name for w in weights_of(inner)] == ["module.weight", "other.weight"]
    assert [w.name for w in weights_of(nn.DataParallel(inner))] == ["module.weight", "other.weight"]
    inside = nn.Sequential(nn.DataParallel(nn.Linear(3, 3)), torch.compile(nn.Linear(3, 3), backend="eager"))
    assert [w.name for w in weights_of(inside)] == ["0.weight", "1.weight"]


def test_each_expert_is_released_and_refitted_at_its_own_rank():
    torch.manual_seed(8)
    model = Experts().double()
    with torch.no_grad():
        for rank, W in enumerate(model.up, start=1):
            U, S, Vh = torch.linalg.svd(W, full_matrices=False)
            keep = torch.arange(len(S)) < (1 if rank % 2 else 0)
            W.copy_((U * S * keep) @ Vh + 1e-3 * torch.randn_like(W))
    penalty = overt.SpectralPenalty(model, layers="up")
    optimizer = torch.optim.SGD([model.up], lr=0.1)
    refit = HoldReleaseRefit(penalty, optimizer, patience=1, check_every=1, refit_steps=3)
    refit._peaks = {f"up[{i}]": 10.0 for i in range(5)}  # so that those near zero count as rank 0
    with torch.no_grad():
        refit.step()
    assert refit.ranks == {"up[0]": 1, "up[1]": 0, "up[2]": 1, "up[3]": 0, "up[4]": 1}
    model.up.square().sum().backward()
    optimizer.step()
    refit.step()
    for i, W in enumerate(model.up.detach()):
        assert torch.linalg.matrix_rank(W, rtol=1e-8, atol=1e-12) == (i + 1) % 2


def test_only_a_batch_of_matrices_has_members():
    layers = {"experts": Experts(), "conv": nn.Conv1d(3, 4, 2), "linear": nn.Linear(3, 2), "lora": Adapted()}
    members = {w.name: [name for name, _ in w.member_owners()] for w in weights_of(nn.ModuleDict(layers))}
    batches = {"experts.up": 5, "experts.token": 1, "experts.positions": 1}
    assert members == {
        name: [f"{name}[{i}]" for i in range(batches.get(name, 0))]
        for name in (*batches, "conv.weight", "linear.weight", "lora.on", "lora.base_layer.weight")
    }
    (up, *_) = weights_of(Experts())
    assert [name for name, _ in up.member_owners((3,))] == ["up[3]"]


def test_one_expert_is_selected_by_the_name_that_is_reported():
    model = Experts().double()
    penalty = overt.SpectralPenalty(model, layers=["up[1]", "up[3]"], layer_weights={"up[3]": 2.0, "up": 0.5})
    assert [(layer.name, layer.weight) for layer in penalty.penalized()] == [("up[1]", 0.5), ("up[3]", 2.0)]
    with pytest.raises(ValueError, match=r"layers: 'up\[9\]' is no name or pattern"):
        overt.SpectralPenalty(model, layers="up[9]")


class Holder(nn.Module):
    """A module with a weight of its own and a part that bears a name of some wrapper."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.add_module(part, nn.Linear(4, 4))


@pytest.mark.parametrize(
    "part", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
def test_each_weight_has_a_name_of_its_own(part):
    torch.manual_seed(13)
    model = Holder(part).double()
    names = [w.name for w in weights_of(model)]
    assert names == ["weight", f"{part}.weight"]
    assert list(weight_spectra(model)) == names
    penalty = overt.SpectralPenalty(model, "nuclear_norm", weight=1.0, every=10)
    expected = F.nuclear_norm(model.weight) + F.nuclear_norm(getattr(model, part).weight)
    torch.testing.assert_close(penalty.penalty(), expected)
    again = overt.SpectralPenalty(model, "nuclear_norm", weight=1.0, every=10)
    again.load_state_dict(penalty.state_dict())
    torch.testing.assert_close(again.penalty(), expected)


def test_weights_that_are_not_here_are_refused_in_one_line():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[1].to("meta")
    for look in (weight_spectra, overt.SpectralPenalty):
        with pytest.raises(ValueError, match=r"model: 1.weight is on the meta device and has no values here"):
            look(model)
    assert overt.SpectralPenalty(model, layers="0").value() > 0
    small = compress(nn.Sequential(*model, nn.Linear(4, 4)), ranks=1)
    assert small.compression.left_alone == {"1": "its weight is on the meta device and has no values here"}


class Quantized(torch.Tensor):
    """As torchao's: it poses as a floating-point tensor, holds integers, and has few operations."""

    @staticmethod
    def __new__(cls, whole, scale):
        return torch.Tensor._make_wrapper_subclass(cls, whole.shape, dtype=scale.dtype)

    def __init__(self, whole, scale):
        self.whole, self.scale = whole, scale

    def dequantize(self):
        return self.whole * self.scale

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return Quantized(args[0].whole, args[0].scale)
        raise NotImplementedError(func)


def test_a_quantized_weight_is_the_numbers_that_it_stands_for():
    torch.manual_seed(14)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4)).double()
    whole = torch.randint(-8, 8, (4, 5)).double()
    quantized = Quantized(whole, torch.tensor(0.1).double())
    model[0].weight = nn.Parameter(quantized, requires_grad=False)
    spectra = weight_spectra(model)
    torch.testing.assert_close(spectra["0.weight"].values, torch.linalg.svdvals(0.1 * whole))
    assert [layer.name for layer in overt.SpectralPenalty(model).penalized()] == ["1.weight"]
    value = overt.SpectralPenalty(model, "nuclear_norm", layers="*").value()
    torch.testing.assert_close(value, F.nuclear_norm(model[1].weight))
    small = compress(nn.Sequential(model, nn.Linear(4, 4).double()), ranks=1)
    assert small.compression.left_alone["0.0"] == "its weight is quantized, which factors would not be"


def test_whole_numbers_are_no_matrix():
    model = nn.Linear(4, 4)
    model.packed = nn.Parameter(torch.zeros(8, 2, dtype=torch.uint8), requires_grad=False)
    assert list(weight_spectra(model)) == ["weight"]
    assert [layer.name for layer in overt.SpectralPenalty(model).penalized()] == ["weight"]
