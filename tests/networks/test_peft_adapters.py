"""PEFT's adapters on the networks of the zoo: each is the one matrix that PEFT itself would merge."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

import overt
from overt import functional as F
from overt.measures import compress, weight_spectra
from overt.penalties import adapters_of, truncate_adapters
from zoo import animal

# These libraries warn about much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
LOW_RANK = {  # by animal, kind and settings
    "linear": ("Llama", "Lora", {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj"]}),
    "of GPT-2": ("GPT-2", "Lora", {"r": 2, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "experts": ("Mixtral", "Lora", {"r": 2, "target_modules": ["k_proj"], "target_parameters": EXPERTS}),
    "embedding": ("GPT-2", "Lora", {"r": 2, "target_modules": ["wte", "c_attn"], "fan_in_fan_out": True}),
    "convolution": ("UNet", "Lora", {"r": 2, "target_modules": ["enter", "down", "time.2"]}),
    "rank-stabilized": (
        "T5",
        "Lora",
        {"r": 3, "use_rslora": True, "target_modules": ["q", "wi"], "rank_pattern": {"q": 2}},
    ),
}
OTHERS = {
    "AdaLoRA": (
        "BERT",
        "AdaLora",
        {"init_r": 3, "target_r": 2, "total_step": 9, "target_modules": ["value"]},
    ),
    "LoHa": ("BERT", "LoHa", {"r": 2, "target_modules": ["query", "dense"]}),
    "LoHa of convolutions": ("UNet", "LoHa", {"r": 2, "target_modules": ["enter", "down"]}),
    "LoKr": ("BERT", "LoKr", {"r": 2, "target_modules": ["query", "dense"]}),
}
UNREAD = {
    "VeRA": ("BERT", "Vera", {"r": 2, "target_modules": ["query"]}),
    "IA3": ("BERT", "IA3", {"target_modules": ["query", "dense"], "feedforward_modules": ["dense"]}),
    "groups": ("UNet", "Lora", {"r": 2, "target_modules": ["enter", "grouped"]}),
}


def adapted(case):
    """The animal, and its model with adapters whose entries are random."""
    peft = pytest.importorskip("peft", reason="peft is an optional extra")
    name, kind, settings = {**LOW_RANK, **OTHERS, **UNREAD}[case] if isinstance(case, str) else case
    one = animal(name)
    try:
        model = peft.get_peft_model(one.model, getattr(peft, f"{kind}Config")(**settings))
    except (TypeError, AttributeError):
        pytest.skip("this release of peft has no such adapter")
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(0.3 * torch.randn_like(p))
    return one, model.double().eval()


def outputs(one, model):
    with torch.no_grad():
        return one.forward(model, one.inputs, **one.sides)


def merged_changes(case):
    """What merging adds to each parameter, as matrices (…, m, n)."""
    _, model = adapted(case)
    before = {name: p.clone() for name, p in animal_of(case).model.named_parameters()}
    merged = model.merge_and_unload()
    changes = {name: p.detach() - before[name] for name, p in merged.named_parameters()}
    changed = [change for change in changes.values() if change.abs().max() > 1e-8]
    return [W for change in changed for W in (change if change.ndim == 3 else [change.flatten(1)])]


def animal_of(case):
    return animal({**LOW_RANK, **OTHERS}[case][0])


def spectrum(W):
    values = torch.linalg.svdvals(W)
    return values[values > 1e-9 * values[0]]


@pytest.mark.parametrize("case", [*LOW_RANK, *OTHERS])
def test_each_adapter_is_the_matrix_that_merging_adds(case):
    _, model = adapted(case)
    penalty = overt.SpectralPenalty(model, "nuclear_norm", weight=1.0)
    layers = penalty.penalized()
    expected = sorted(map(spectrum, merged_changes(case)), key=lambda s: -s[0])
    assert len(layers) == len(expected)
    found = sorted((spectrum(layer.dense().detach()) for layer in layers), key=lambda s: -s[0])
    for s, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(s, truth, rtol=1e-6, atol=1e-8)
    measured = weight_spectra(model)
    for layer in layers:
        torch.testing.assert_close(measured[layer.name].values, layer.spectrum(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(penalty.value().detach(), sum(s.sum() for s in expected), rtol=1e-6, atol=0)
    # No factor counts as a matrix of its own.
    factor = re.compile("lora_|hada_|lokr_")
    assert not [name for name in measured if factor.search(name)]


@pytest.mark.parametrize("case", [*LOW_RANK, *OTHERS])
def test_the_gradient_is_that_of_the_dense_matrices(case):
    _, model = adapted(case)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for every in (1, 3):
        value = overt.SpectralPenalty(model, "nuclear_norm", weight=1.0, every=every).penalty()
        expected = sum(F.nuclear_norm(layer.dense()) for layer in overt.SpectralPenalty(model).penalized())
        found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        truth = torch.autograd.grad(expected, parameters, allow_unused=True, materialize_grads=True)
        for g, right in zip(found, truth, strict=True):
            torch.testing.assert_close(g, right, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("case", LOW_RANK)
def test_truncation_at_zero_changes_nothing(case):
    _, model = adapted(case)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    truncate_adapters(model, 0.0)
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert model.peft_config["default"].rank_pattern == LOW_RANK[case][2].get("rank_pattern", {})


@pytest.mark.parametrize("case", LOW_RANK)
@pytest.mark.parametrize("tolerance", [0.3, 0.9])
def test_truncation_is_the_truncated_svd_and_survives_a_file(case, tolerance, tmp_path):
    peft = pytest.importorskip("peft")
    one, model = adapted(case)
    expected = {}
    for adapter in adapters_of(model):
        U, S, Vh = torch.linalg.svd(adapter.matrix().dense().detach(), full_matrices=False)
        expected[adapter.name] = (U * S * (tolerance * S[0] < S)) @ Vh
    entries = sum(p.numel() for p in model.parameters() if p.requires_grad)
    ranks = truncate_adapters(model, tolerance)
    for adapter in adapters_of(model):
        dense = adapter.matrix().dense()
        torch.testing.assert_close(dense.detach(), expected[adapter.name], rtol=1e-9, atol=1e-9)
        assert ranks[adapter.name] == torch.linalg.matrix_rank(expected[adapter.name], rtol=1e-6)
    thinner = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert thinner < entries or tolerance < 0.9
    after = outputs(one, model)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(animal_of(case).model, tmp_path, is_trainable=True)
    assert sum(p.numel() for p in loaded.parameters() if p.requires_grad) == thinner
    torch.testing.assert_close(outputs(one, loaded.double().eval()), after, rtol=1e-9, atol=1e-9)
    if case != "embedding":  # whose merging changes the head that is tied to it
        merged = copy.deepcopy(model).merge_and_unload()
        torch.testing.assert_close(outputs(one, merged), after, rtol=1e-9, atol=1e-9)
    assert truncate_adapters(model, tolerance) == ranks


@pytest.mark.parametrize("case", LOW_RANK)
def test_a_negligible_adapter_is_removed_and_can_still_be_trained(case):
    one, model = adapted(case)
    base = outputs(one, animal_of(case).model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                p.mul_(1e-7)
    assert all(rank > 0 for rank in truncate_adapters(copy.deepcopy(model), 1e-6).values())
    ranks = truncate_adapters(model, base_tolerance=1e-5)
    assert set(ranks.values()) == {0}
    torch.testing.assert_close(outputs(one, model), base, rtol=0, atol=1e-12)
    trained = [p for p in model.parameters() if p.requires_grad]
    one.forward(model, one.inputs, **one.sides).square().sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in trained)


@pytest.mark.parametrize("case", OTHERS)
def test_what_has_no_two_factors_is_not_truncated(case):
    _, model = adapted(case)
    with pytest.raises(ValueError, match=r"is no product of two factors .* merge it, or use LoRA"):
        truncate_adapters(model)


@pytest.mark.parametrize("case", UNREAD)
def test_adapters_that_add_no_matrix_are_refused(case):
    _, model = adapted(case)
    with pytest.raises(ValueError, match=r"adapters of .* add no low-rank matrix of their own"):
        overt.SpectralPenalty(model)
    with pytest.raises(ValueError, match=r"adapters of .* there is nothing to truncate in them"):
        truncate_adapters(model)
    known = set(weight_spectra(model))
    held = {name.replace("base_model.model.", "") for name in known}
    assert not [name for name in held if re.search("lora_|ia3_|vera_", name)]


def test_selectors_find_adapters_and_no_trained_head():
    settings = {"r": 2, "target_modules": ["q_proj", "query"], "modules_to_save": ["classifier"]}
    one, model = adapted(("ViT", "Lora", settings))
    (adapter,) = adapters_of(model)
    for layers in ("*default", "adapters", None):
        found = overt.SpectralPenalty(model, layers=layers).penalized()
        assert [layer.name for layer in found] == [adapter.name]
    # The trained copy of the head goes by the name of the head; the copy is what acts.
    (head,) = overt.SpectralPenalty(model, layers="heads").penalized()
    assert head.name == "base_model.model.classifier.weight"
    copied = model.base_model.model.classifier.modules_to_save["default"].weight
    assert head.parameters[0] is copied
    names = set(weight_spectra(model))
    assert not [name for name in names if "original_module" in name or "modules_to_save" in name]
    with model.disable_adapter():
        assert adapters_of(model) == []
        spectra = weight_spectra(model)
        original = torch.linalg.svdvals(one.others["classifier.weight"].detach())
        torch.testing.assert_close(spectra[head.name].values, original)


def test_compression_does_not_lose_an_adapter():
    case = ("BERT", "Lora", {"r": 2, "target_modules": ["query"]})
    one, model = adapted(case)
    small = compress(model, ranks=1)
    assert not [name for name in small.compression.ranks if ".query" in name]
    reasons = {
        small.compression.left_alone[name] for name in small.compression.left_alone if ".query" in name
    }
    assert reasons == {
        "it is part of an adapted layer; merge the adapter first (in PEFT: merge_and_unload())"
    }
    before = outputs(one, small)
    torch.testing.assert_close(outputs(one, small.merge_and_unload()), before, rtol=1e-9, atol=1e-9)
    everything = nn.Sequential(adapted(case)[1].base_model.model.encoder.layer[0].attention.self.query)
    with pytest.raises(ValueError, match="merge the adapter first"):
        compress(everything, ranks=1)
